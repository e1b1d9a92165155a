"""A worker whose memory is gone gets all of it back from the changelog."""

import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from msgspec import Struct

from loopback_kafka import BrokerProcess
from stream_coupons.core.messages.inputs import BrowseEvent
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.ops.digest import Digest, StateDigest
from stream_coupons.runtime.cells import CellCodec
from stream_coupons.settings import Store
from stream_coupons.testing import browse
from stream_coupons_lab.demo.system import LocalSystem
from stream_coupons_lab.simulation.shoppers import World, WorldSettings
from tests.integration.builders import total, wait_until

from .trial import FIGURES, settings_under_faults

pytestmark = pytest.mark.kafka

ASKED = 500
"""Shoppers whose latest event is sent a second time: only who has their state knows it for a copy."""
USERS = topics.changelog("users")


class Latest(Struct):
    """A shopper and an event that is known to be seen."""

    cell: bytes
    event: BrowseEvent


@pytest.mark.parametrize("store", list(Store))
def test_all_of_a_large_changelog_is_recovered(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int, rounds: Callable[[int, int], int], store: Store
) -> None:
    count = rounds(20_000, 1_000_000)
    settings = settings_under_faults(store=store)
    world = World(WorldSettings(seed=seed, shoppers=60, days=1, coupons=12))
    first = LocalSystem(empty_broker, settings, tmp_path / "first", 1)
    first.prepare(world.catalogue())
    events: dict[str, BrowseEvent] = {}
    with first, first.publisher() as publisher:
        first.wait_ready()
        for topic, event in world.advance(world.ends_at):
            publisher.send(topics.BY_NAME[topic], event)
            if isinstance(event, BrowseEvent):
                events[event.user_id] = event
        publisher.flush()
        first.wait_idle(60.0)
    grown = [Latest(cell, events[user]) for (_, user), cell in cells(first) if user in events]
    publish(first.bootstrap, grown, count)
    before = digest(first)
    assert before.keys >= count

    second = LocalSystem(empty_broker, settings, tmp_path / "second", 1)
    began = time.monotonic()
    with second, second.publisher() as publisher:
        second.wait_ready()
        ready_after_s = time.monotonic() - began
        assert digest(second) == before
        for number in range(0, count, count // ASKED):
            latest = grown[number % len(grown)]
            publisher.send(topics.BROWSE, _of(latest.event, f"grown-{number}"))
        publisher.flush()
        wait_until(lambda: total(second, "duplicates_total", topic="browse-events") >= ASKED, "copies known as such")
        second.wait_idle(60.0)
        assert total(second, "duplicates_total", topic="browse-events") == ASKED
        assert total(second, "records_total", topic="browse-events") == 0
    [recovered] = re.findall(r"users: .*, (\d+) states restored in ([\d.]+) s", second.workers[0].log.read_text())
    FIGURES.append(
        {
            "seed": seed,
            "store": store.value,
            "keys": before.keys,
            "MiB": before.bytes >> 20,
            "recovered in s": float(recovered[1]),
            "s per million keys": round(float(recovered[1]) / int(recovered[0]) * 1e6, 1),
            "ready after s": round(ready_after_s, 1),
        }
    )
    assert int(recovered[0]) == before.keys


def cells(system: LocalSystem) -> Iterable[tuple[tuple[int, str], bytes]]:
    """Return the latest cell of every shopper and purse, by partition and key."""
    latest: dict[tuple[int, str], bytes] = {}
    with Reader(system.connection, [USERS.name], from_beginning=True) as reader:
        for record in reader.read_to_end():
            latest[record.partition, record.key.decode()] = record.value
    return latest.items()


def publish(bootstrap: str, grown: list[Latest], count: int) -> None:
    """Append as many cells, of shoppers that are like those."""
    codec = CellCodec(Shopper)
    bare = []
    for latest in grown:
        cell = codec.decode(latest.cell)
        # What a cell knows of offsets and open business belongs to the shopper that it is a copy of.
        cell.applied, cell.outbox, cell.due = {}, [], None
        cell.state.issues, cell.state.controls = {}, {}
        bare.append(codec.encode(cell))
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 100_000})
    for number in range(count):
        key = f"grown-{number}".encode()
        while True:
            try:
                producer.produce(USERS.name, bare[number % len(bare)], key, topics.partition_for(key, 4))
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(120) == 0


def digest(system: LocalSystem) -> Digest:
    """Return the digest of all shoppers' states, and of the purses of each partition."""
    states = StateDigest("users")
    for (partition, key), cell in cells(system):
        states.take(key.encode(), cell, partition)
    return states.result()


def _of(event: BrowseEvent, user_id: str) -> BrowseEvent:
    return browse(user_id, event.item, at=event.occurred_at, event_id=event.event_id, domain=event.domain)
