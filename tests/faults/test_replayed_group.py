"""Everything is read again from the beginning: by the same group, its offsets gone, and by one of another name."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from loopback_kafka import BrokerProcess
from stream_coupons.kafka import topics
from tests.integration.builders import IDLE_WITHIN_S, records, total

from .trial import CHAIN, Trial, changed_copies, trial

pytestmark = pytest.mark.kafka

GRACE_S = 30.0


@pytest.mark.parametrize("group_id", [None, "coupons-anew"], ids=["offsets reset", "another group"])
def test_reading_everything_again_issues_nothing_anew(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int, group_id: str | None
) -> None:
    with trial(empty_broker, tmp_path, seed, days=6) as running:
        system = running.system
        running.play(0.5)
        system.wait_idle(IDLE_WITHIN_S)
        before = decisions(running)
        given = issued(running)
        read = sum(len(records(system, topic.name)) for topic in topics.READ_BY_AGENTS)

        stop_all(running)
        if group_id is None:
            reset_offsets(running)
        else:
            kafka = msgspec.structs.replace(system.settings.kafka, group_id=group_id)
            system.settings = msgspec.structs.replace(system.settings, kafka=kafka)
        for index in range(len(system.workers)):
            system.restart(index)
        system.wait_ready()
        system.wait_idle(IDLE_WITHIN_S)

        again = sum(total(system, f"{name}_total") for name in ("records", "duplicates", "replays", "dead_letters"))
        assert again >= read, "not everything was read again: this test tested nothing"
        assert total(system, "replays_total", topic=topics.BROWSE.name) == len(records(system, topics.BROWSE.name))
        assert issued(running) == given
        assert changed_copies(system) == []
        assert set(decisions(running)) == set(before)

        running.play(1.0)
        running.check()
        assert len(issued(running)) > len(given), "nothing was issued after all was read again"


def issued(running: Trial) -> set[bytes]:
    """The issues there are, as bytes."""
    return {record.value for record in records(running.system, topics.ISSUES.name)}


def decisions(running: Trial) -> Counter[tuple[str, bytes, bytes]]:
    """What is in the topics of a decision, and how often."""
    found = records(running.system, *(topic.name for topic in CHAIN))
    return Counter((record.topic, record.key, record.value) for record in found)


def stop_all(running: Trial) -> None:
    """Let all workers leave."""
    for worker in running.system.workers:
        worker.process.terminate()
    assert [worker.process.wait(GRACE_S) for worker in running.system.workers] == [0, 0]


def reset_offsets(running: Trial) -> None:
    """Commit for both groups, which nobody is in, that they have read nothing."""
    kafka = running.system.settings.kafka
    everything = [
        TopicPartition(topic.name, partition)
        for topic in topics.READ_BY_AGENTS
        for partition in range(topic.partitions or kafka.partitions)
    ]
    for group_id in kafka.group_ids:
        consumer = KafkaConsumer(
            bootstrap_servers=running.system.bootstrap, group_id=group_id, enable_auto_commit=False
        )
        try:
            consumer.assign(everything)
            consumer.commit({tp: OffsetAndMetadata(0, "", -1) for tp in everything})
            assert all(consumer.committed(tp) == 0 for tp in everything)
        finally:
            consumer.close()
