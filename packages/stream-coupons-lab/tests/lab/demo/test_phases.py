"""Events of a slice are sent in one order, whatever the machine."""

import pytest

from stream_coupons.kafka import topics
from stream_coupons.testing import observed
from stream_coupons_lab.demo.phases import ORDER, phases
from stream_coupons_lab.simulation.shoppers import World, WorldSettings


def test_phases_hold_every_event_once_by_topic_then_partition_then_time() -> None:
    world = World(WorldSettings(shoppers=40, days=2))
    events = world.advance(world.ends_at)
    found = list(phases(events, 2))
    names = [topic.name for topic in ORDER]
    assert [(phase.topic, phase.partition) for phase in found] == [
        (name, partition) for name in names[:3] for partition in (0, 1)
    ]
    for phase in found:
        assert phase.messages == [
            message
            for topic, message in events
            if topic == phase.topic and topics.partition_for(message.user_id.encode(), 2) == phase.partition
        ]
    assert sum(len(phase.messages) for phase in found) == len(events)


def test_events_of_another_topic_are_refused() -> None:
    with pytest.raises(ValueError, match="observed-issues"):
        list(phases([(topics.OBSERVED.name, observed("u"))], 2))
