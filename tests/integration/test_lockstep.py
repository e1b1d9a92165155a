"""A system of processes, played in lock step, decides what the same system in one process decides."""

import random
import signal
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from loopback_kafka import open_broker
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.records import Output
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.lockstep import LiveTarget
from stream_coupons_lab.demo.play import play, play_locally
from stream_coupons_lab.demo.shoppers import PARTITIONS, settings_for_shoppers
from stream_coupons_lab.demo.system import LocalSystem
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

pytestmark = [pytest.mark.process]

WORLD = WorldSettings(seed=5, shoppers=30, days=3, coupons=20)
COMPARED = (
    topics.VECTORS,
    topics.NEIGHBOURS,
    topics.LEASE_REPORTS,
    topics.LEASES,
    topics.DECISIONS,
    topics.ISSUES,
    topics.EXAMPLES,
)


BY_ACCOUNT = frozenset({topics.LEASE_REPORTS.name, topics.LEASES.name})
"""Accounts have owners in several workers, and know nothing of each other: only of each one there is an order."""


def place_of(topic: str, partition: int, value: bytes) -> tuple[str, int, str]:
    """Where there is an order: topic, partition, and the account, if it is about one."""
    return topic, partition, msgspec.json.decode(value)["account_id"] if topic in BY_ACCOUNT else ""


class Dawdling(LiveTarget):
    """Stops a worker for a moment now and then, as a busy machine does."""

    def tick(self, at: float, partition: int) -> None:
        worker = random.Random(at).choice(self._system.workers).process
        worker.send_signal(signal.SIGSTOP)
        worker.send_signal(signal.SIGCONT)
        super().tick(at, partition)


def test_live_decisions_are_those_of_one_process_to_the_last_byte(tmp_path: Path) -> None:
    """Whoever is faster, however records are batched: every topic between and behind the agents holds the same."""
    settings = settings_for_shoppers(Settings())
    world = World(WORLD)
    sent: dict[tuple[str, int, str], list[bytes]] = {}
    with open_broker("embedded", tmp_path / "broker") as broker:
        system = LocalSystem(broker, settings, tmp_path, workers=2)
        system.prepare(world.catalogue())
        with system:
            system.wait_ready()
            with Dawdling(system) as target:
                live = play("learned", world, target)
            owners = Counter(
                worker.scrape("stream_coupons_records_total").get(BROWSED, 0.0) > 0 for worker in system.workers
            )
        with Reader(system.connection, [topic.name for topic in COMPARED], from_beginning=True) as reader:
            for record in reader.read_to_end():
                sent.setdefault(place_of(record.topic, record.partition, record.value), []).append(record.value)
    assert owners == {True: 2}, "both workers had shoppers"

    expected: dict[tuple[str, int, str], list[bytes]] = {}
    names = {topic.name for topic in COMPARED}

    def take(output: Output) -> None:
        if output.topic in names:
            value = output.value or b""
            expected.setdefault(place_of(output.topic, output.partition, value), []).append(value)

    local = play_locally("learned", WORLD, settings, on_output=take)
    assert {place[0] for place in expected} == names
    for place in sorted(expected.keys() | sent.keys()):
        assert sent.get(place) == expected.get(place), place
    assert live.outcomes == local.outcomes
    assert live.statistics == local.statistics
    assert len(live.outcomes.issues) > 30
    assert max(issue.model_version for issue in live.outcomes.issues) > 1, "it learnt meanwhile"


BROWSED = ("stream_coupons_records_total", (("topic", topics.BROWSE.name),))


def test_the_order_in_one_process_depends_on_nothing_but_the_partitions() -> None:
    settings = settings_for_shoppers(Settings())
    assert settings.kafka.partitions == PARTITIONS
    first, second = (play_locally("learned", WORLD, settings) for _ in range(2))
    assert first == second
