"""A sender that repeats, shuffles, delays and contradicts itself."""

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import Struct

from loopback_kafka import BrokerProcess
from stream_coupons.kafka import topics
from stream_coupons.testing import browse, item
from tests.integration.builders import DAY_S, messages, total

from .trial import Trial, trial, unhurried

pytestmark = pytest.mark.kafka

DAYS = 9
STEP_S = 6 * 3600.0
LATE_S = 7 * DAY_S
SHOP = (topics.BROWSE, topics.CART, topics.ORDER)
Sent = tuple[topics.Topic, Any]


class BadSender:
    """Sends every event of a world at least once, and some a week late, in an order of its own.

    Attributes
    ----------
    copies : int
        Events sent besides the first of their id.
    late : set of str
        Ids of events that are held back for a week.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._held: list[tuple[float, Sent]] = []
        self.copies = 0
        self.contradictions = 0
        self.late: set[str] = set()

    def disturb(self, events: list[tuple[str, Struct]], now: float) -> list[Sent]:
        """What is sent in place of these events."""
        sent: list[Sent] = []
        for name, event in events:
            topic = topics.BY_NAME[name]
            if topic in SHOP and self._rng.random() < 0.05:
                self._held.append((now + LATE_S, (topic, event)))
                self.late.add(event.event_id)  # type: ignore[attr-defined]
            else:
                sent += self._repeat(topic, event)
        sent += [one for due, one in self._held if due <= now]
        self._held = [(due, one) for due, one in self._held if due > now]
        self._rng.shuffle(sent)  # type: ignore[arg-type]
        return sent

    def _repeat(self, topic: topics.Topic, event: Any) -> list[Sent]:
        """The event, for a third of them again, and for some of those with another content."""
        if self._rng.random() > 1 / 3:
            return [(topic, event)]
        self.copies += 1
        other = event
        if topic in SHOP and self._rng.random() < 0.3:
            self.contradictions += 1
            other = msgspec.structs.replace(event, occurred_at=event.occurred_at + 1, context={"told": "otherwise"})
        return [(topic, event), (topic, other)]


def test_a_bad_sender_gets_every_event_applied_once_and_every_coupon_once(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int
) -> None:
    settings = unhurried()  # a step is six hours
    # Exact counts need every id to be remembered; the horizon itself is for the tests of the profile.
    profile = msgspec.structs.replace(settings.profile, max_seen_events=2000)
    with trial(empty_broker, tmp_path, seed, msgspec.structs.replace(settings, profile=profile), days=DAYS) as running:
        sender = BadSender(seed)
        world = running.world
        while world.now < world.ends_at:
            for topic, event in sender.disturb(world.advance(world.now + STEP_S), world.now):
                running.send(topic, event)
            running.tick(world.now)
            running.hand_out()
        assert min(sender.copies, 3 * sender.contradictions, 10 * len(sender.late)) > 100, vars(sender)
        send_from_the_future(running)

        running.check()
        running.check_sums()
        published = {topic.name for topic in (*SHOP, topics.FEEDBACK)}
        assert sum(total(running.system, "duplicates_total", topic=name) for name in published) == sender.copies
        check_that_the_first_content_counts(running)


def send_from_the_future(running: Trial) -> None:
    """Events of the day after tomorrow are refused, one of this evening is not."""
    now = time.time()
    for number in range(8):
        event = browse(f"hasty-{number}", item("A"), at=now + 3 * DAY_S, event_id=f"future-{number}")
        running.send_bytes(topics.BROWSE, event.user_id.encode(), msgspec.json.encode(event), None, "from_the_future")
    running.send(topics.BROWSE, browse("hasty", item("A"), at=now + DAY_S / 4, event_id="evening"))


def check_that_the_first_content_counts(running: Trial) -> None:
    """Of several events with one id, the one that came first decided."""
    first: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    contents: dict[tuple[str, str], set[bytes]] = defaultdict(set)
    for topic in (topics.BROWSE, topics.CART):
        for event in messages(running.system, topic):
            identity = event.user_id, event.event_id
            first[identity].setdefault(topic.name, event.occurred_at)
            contents[identity].add(msgspec.json.encode(event))
    issues = messages(running.system, topics.ISSUES)
    contested = [one for one in issues if len(contents[one.user_id, one.trigger_id]) > 1]
    assert contested, "no coupon was issued for an event that was told in two ways"
    wrong = [one for one in issues if one.issued_at not in first[one.user_id, one.trigger_id].values()]
    assert wrong == []
