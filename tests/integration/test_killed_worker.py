"""SIGKILL of a worker amid a closed loop: nothing is lost, given twice or changed, and lag returns to zero."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream_coupons import topics
from stream_coupons.broker import BrokerProcess
from stream_coupons.clients import Publisher, Reader
from stream_coupons.codec import Decoder
from stream_coupons.demo.system import LocalSystem
from stream_coupons.simulation.shoppers import World, WorldSettings

from .builders import (
    DAY_S,
    IDLE_WITHIN_S,
    messages,
    records,
    send_ticks,
    settings,
    total,
    violations,
    wait_until,
)

pytestmark = pytest.mark.kafka

NEVER_S = 600.0
"""A commit interval that does not pass within the test: all that a killed worker did is done again by another."""

CHAIN = (topics.PROPOSALS, topics.RESERVATIONS, topics.ISSUES, topics.SETTLEMENTS)


class ClosedLoop:
    """Simulated shoppers against a running system."""

    def __init__(self, system: LocalSystem, world: World, publisher: Publisher, reader: Reader) -> None:
        self._system = system
        self._world = world
        self._publisher = publisher
        self._reader = reader
        self._decode = Decoder(topics.ISSUES)
        self.published: Counter[str] = Counter()

    def play_until(self, at: float) -> None:
        """Publish what the shoppers do, hour by hour, and hand them what was issued meanwhile."""
        while self._world.now < at:
            for topic, event in self._world.advance(min(self._world.now + 3600.0, at)):
                self._publisher.send(topics.BY_NAME[topic], event)
                self.published[topic] += 1
            send_ticks(self._system, self._publisher, self._world.now)
            for record in self._reader.poll(0.05):
                self._world.receive(self._decode(record.value))


def copies(system: LocalSystem) -> dict[str, list[tuple[Any, ...]]]:
    """By topic: (identity, key, value) of every record of the chain of decisions."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for topic in CHAIN:
        decode = Decoder(topic)
        for record in records(system, topic.name):
            message = decode(record.value)
            identity = (
                getattr(message, "issue_id", None) or message.proposal_id,
                getattr(message, "rank", None),
                getattr(message, "outcome", None),
            )
            found.setdefault(topic.name, []).append((identity, record.key, record.value))
    return found


def test_a_worker_killed_amid_a_closed_loop_loses_and_changes_nothing(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    world = World(WorldSettings(seed=1, shoppers=60, days=2, coupons=12))
    coupons = world.catalogue()
    never = settings(commit_interval_s=NEVER_S, triggers=frozenset({"browse", "cart"}), exploration_ratio=0.2)
    system = LocalSystem(empty_broker, never, tmp_path, workers=2)
    system.prepare(coupons)
    start = world.now
    with (
        system,
        system.publisher() as publisher,
        Reader(system.bootstrap, [topics.ISSUES.name], from_beginning=True) as reader,
    ):
        system.wait_ready()
        loop = ClosedLoop(system, world, publisher, reader)
        loop.play_until(start + 0.8 * DAY_S)
        wait_until(lambda: bool(records(system, "coupon-issues")), "a first issue")
        system.totals()

        system.kill(0)
        loop.play_until(start + 1.2 * DAY_S)
        kafka = msgspec.structs.replace(system.settings.kafka, commit_interval_s=0.3)
        system.settings = msgspec.structs.replace(system.settings, kafka=kafka)
        system.restart(0)
        system.wait_ready()
        loop.play_until(world.ends_at)
        system.totals()
        system.kill(1)
        system.restart(1)
        system.wait_ready()
        system.wait_idle(IDLE_WITHIN_S)

        assert total(system, "replays_total") > 0, "nothing was done again: this test tested nothing"
        assert violations(system, coupons) == []
        for topic, chain in copies(system).items():
            bytes_of: dict[Any, set[tuple[Any, Any]]] = {}
            for identity, key, value in chain:
                bytes_of.setdefault(identity, set()).add((key, value))
            assert [identity for identity, seen in bytes_of.items() if len(seen) > 1] == [], topic
        check_nothing_is_lost(system, loop.published)
        assert records(system, "dead-letters") == []


def check_nothing_is_lost(system: LocalSystem, published: Counter[str]) -> None:
    """Every proposal was answered, every confirmed one issued; the inputs are what was published."""
    proposed = {proposal.proposal_id for proposal in messages(system, topics.PROPOSALS)}
    reservations = messages(system, topics.RESERVATIONS)
    settlements = messages(system, topics.SETTLEMENTS)
    issued = {issue.issue_id for issue in messages(system, topics.ISSUES)}
    assert proposed == {reservation.proposal_id for reservation in reservations}
    assert issued == {one.proposal_id for one in settlements if one.outcome == "confirmed"}
    assert len(issued) > 10
    assert {name: len(records(system, name)) for name in published} == dict(published)
