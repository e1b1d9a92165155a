"""The order of a lane: shut out, recover, apply, deliver, save, acknowledge; and nothing of it out of turn."""

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from stream_coupons.runtime.batch import Batches
from stream_coupons.runtime.cells import Cell, CellCodec
from stream_coupons.runtime.circuit_breaker import CircuitBreaker
from stream_coupons.runtime.consumer import Chunk
from stream_coupons.runtime.consumer_thread import Membership
from stream_coupons.runtime.lane import Lane, LogReplaced
from stream_coupons.runtime.records import Record
from stream_coupons.runtime.stores import CellStore, MemoryCells

from .fakes import NUMBERS, PARTITIONS, TICKS, Adder, Total, home_of

BOTH = frozenset(range(PARTITIONS))


class World:
    """All that a lane talks to; it notes what it is told, in order."""

    is_transactional = False
    topic = "changelog"

    def __init__(self, *, max_bad_ratio: float = 1.0) -> None:
        self.log: list[Any] = []
        self.cells: dict[int, dict[str, bytes]] = {}
        self.committed_now: dict[TP, int] = {}
        self.ends: dict[TP, int] = {}
        self.consumer = self
        self.refuses = False
        self.is_broken = False
        self.breaker = CircuitBreaker("adder", 4, max_bad_ratio)
        self.step = Adder()
        self.batches = Batches(self.step, TICKS, home_of, PARTITIONS)
        self.lane: Lane[Any] = Lane(
            self.batches,
            self,
            self,
            lambda agent, results, seconds: self.log.append("observe"),  # noqa: ARG005
            self.breaker,
            100,
            self,
        )
        self.epoch = 1
        self.in_pause: Callable[[], None] = lambda: None
        self.lane.sleep = self.sleep  # type: ignore[method-assign]

    # the changelog
    async def read(self, partitions: Any) -> dict[int, CellStore]:
        self.log.append(("read", sorted(partitions)))
        return {partition: MemoryCells(self.cells.get(partition, {})) for partition in partitions}

    async def place_of(self, partition: int, key: str) -> str:
        return f"changelog:{partition}:{sorted(self.cells[partition]).index(key)}"

    async def sleep(self, _seconds: float) -> None:
        self.log.append("pause")
        self.in_pause()

    # the delivery
    async def take_over(self, agent: str, partitions: Any) -> None:  # noqa: ARG002
        self.log.append(("shut out", sorted(partitions)))

    async def release(self, agent: str, partitions: Any) -> None:  # noqa: ARG002
        self.log.append(("release", sorted(partitions)))

    async def deliver(self, agent: str, parcels: Any) -> None:  # noqa: ARG002
        if self.is_broken:
            raise ConnectionError
        assert all(self.batches.cells(parcel.partition).get("new") is None for parcel in parcels)
        self.log += [
            ("deliver", p.partition, [c.key for c in p.changes], [o.value for o in p.outputs], dict(p.offsets))
            for p in parcels
        ]

    # the consumer
    async def committed_offsets(self, tps: Any) -> dict[TP, int]:
        self.log.append("committed?")
        return {tp: offset for tp, offset in self.committed_now.items() if tp in tps}

    async def highwaters(self, *tps: TP) -> dict[TP, int]:
        return {tp: self.ends.get(tp, 1000) for tp in tps}

    def highwater(self, tp: TP) -> int:
        return self.ends.get(tp, 1000)

    def committed(self, topics: Any, partition: int) -> dict[str, int]:  # noqa: ARG002
        return {}

    def take(self, message: Any) -> list[Chunk]:
        return [] if self.refuses else message.value

    def acknowledge(self, message: Any, chunks: list[Chunk], *, is_committed: bool) -> None:
        assert chunks == message.value
        self.log += [("acknowledge", chunk.tp.partition, chunk.end, is_committed) for chunk in chunks]

    # what comes in
    def assign(self, partitions: frozenset[int], generation: int = 1, member: str = "me") -> None:
        self.lane.inbox.assign(partitions, Membership(member, generation))

    def put(self, key: bytes, *values: str, start: int = 0) -> None:
        tp = TP(NUMBERS, home_of(key, PARTITIONS))
        records = [Record(*tp, start + n, 0, key, value.encode()) for n, value in enumerate(values)]
        chunk = Chunk(tp, records, start, start + len(records), 1)
        self.lane.inbox._queue.put_nowait(SimpleNamespace(tp=tp, value=[chunk]))

    def run(self, turns: int = 1) -> list[Any]:
        """What is noted in some turns of the loop."""

        async def turn() -> None:
            for _ in range(turns):
                await self.lane._turn()

        self.log.clear()
        asyncio.run(turn())
        return list(self.log)


@pytest.fixture
def world() -> World:
    world = World()
    world.assign(BOTH)
    world.run()
    return world


def test_partitions_are_owned_once_whoever_had_them_is_shut_out_and_their_cells_are_read() -> None:
    world = World()
    assert not world.lane.is_ready
    world.assign(BOTH)
    assert not world.lane.is_ready
    assert world.run() == [("release", []), ("shut out", [0, 1]), ("read", [0, 1]), "committed?"]
    assert world.lane.is_ready


def test_only_what_was_gained_is_read_and_what_was_lost_is_forgotten(world: World) -> None:
    world.assign(frozenset({1}), 2)
    assert world.run() == [("release", [0]), ("shut out", []), ("read", []), "committed?"]
    assert world.batches.owned == {1}
    world.assign(BOTH, 3)
    assert world.run() == [("release", []), ("shut out", [0]), ("read", [0]), "committed?"]


def test_nothing_is_kept_by_who_was_away_for_a_generation_or_came_back_as_another(world: World) -> None:
    world.assign(BOTH, 3)
    assert world.run()[:2] == [("release", [0, 1]), ("shut out", [0, 1])]
    world.assign(BOTH, 4, "another")
    assert world.run()[:2] == [("release", [0, 1]), ("shut out", [0, 1])]


def test_a_batch_is_delivered_saved_and_then_acknowledged(world: World) -> None:
    world.put(b"b", "add 1", "add 2")
    world.put(b"c", "add 5")
    assert world.run() == [
        ("deliver", 0, [b"b"], [b"b=1*1", b"b=3*1"], {NUMBERS: 2}),
        ("deliver", 1, [b"c"], [b"c=5*1"], {NUMBERS: 1}),
        ("acknowledge", 0, 2, False),
        ("acknowledge", 1, 1, False),
        "observe",
    ]
    assert [key for key, _ in world.batches.cells(0).items()] == ["b"]


def test_what_cannot_be_delivered_is_neither_saved_nor_acknowledged(world: World) -> None:
    world.is_broken = True
    world.put(b"b", "add 1")
    with pytest.raises(ConnectionError):
        world.run()
    assert world.log == []
    assert not list(world.batches.cells(0).items())


def test_what_is_out_of_turn_is_not_applied(world: World) -> None:
    world.refuses = True
    world.put(b"b", "add 1")
    assert world.run() == []
    assert world.step.applied == 0


def test_what_its_predecessor_committed_until_it_was_shut_out_is_not_done_again() -> None:
    world = World()
    world.committed_now = {TP(NUMBERS, 0): 2}
    world.assign(BOTH)
    world.run()
    world.put(b"b", "nonsense", "add 1", "add 2", start=0)
    [delivered, acknowledged, _] = world.run()
    assert delivered == ("deliver", 0, [b"b"], [b"b=2*1"], {NUMBERS: 3})
    assert acknowledged == ("acknowledge", 0, 3, False)


def test_when_most_is_bad_it_delivers_the_dead_letters_goes_on_and_its_topic_is_held_back() -> None:
    world = World(max_bad_ratio=0.5)
    world.assign(BOTH)
    world.run()
    world.put(b"b", "nonsense", "nonsense", "nonsense", "add 1")
    assert [what[0] for what in world.run()[:2]] == ["deliver", "acknowledge"]
    assert world.lane.is_ready
    assert not world.breaker.may_fetch(NUMBERS)
    world.put(b"b", "add 1", start=4)
    assert [what[0] for what in world.run()[:2]] == ["deliver", "acknowledge"]
    assert world.breaker.may_fetch(NUMBERS)


@pytest.mark.parametrize("bad", [b"", b"garbage", b"\x92\xc0\xc0"])
def test_what_is_no_state_is_waited_for_until_it_is_mended_and_its_key_never_begun_anew(
    bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    good = CellCodec(Total).encode(Cell(None, Total(5)))
    world.cells = {0: {"b": bad, "d": good}, 1: {"c": good}}
    world.assign(BOTH)

    def look_and_mend() -> None:
        assert (world.lane.is_ready, world.batches.owned) == (False, set())
        if world.log.count("pause") == 2:
            world.cells[0]["b"] = good

    world.in_pause = look_and_mend
    with caplog.at_level(logging.ERROR):
        world.run()
    assert world.lane.is_ready
    assert world.log.count("pause") == 2
    assert [
        record.message.startswith("adder cannot start: changelog:0:0 is no state") for record in caplog.records
    ] == [
        True,
        True,
    ]
    world.put(b"b", "add 1")
    assert world.run()[0] == ("deliver", 0, [b"b"], [b"b=6*1"], {NUMBERS: 1})


def test_who_waits_for_a_state_to_be_mended_lets_go_of_what_is_given_away(world: World) -> None:
    world.cells = {0: {"b": b"garbage"}}
    world.assign(BOTH, 3)
    world.in_pause = lambda: world.assign(frozenset({1}), 4)
    world.run()
    assert not world.lane.is_ready
    world.run()
    assert world.lane.is_ready
    assert world.batches.owned == {1}


def test_a_log_that_ends_before_what_was_applied_is_not_read_for_its_records_would_count_as_replays(
    world: World,
) -> None:
    world.put(b"b", *["add 1"] * 20)
    world.run()
    world.ends[TP(NUMBERS, 0)] = 5
    world.assign(BOTH, 2)  # as when the topic comes back
    with pytest.raises(LogReplaced, match="numbers:0 ends at offset 5, but was applied up to 20"):
        world.run()
    assert not world.lane.is_ready


def test_whoever_takes_over_knows_from_the_states_how_far_a_log_was() -> None:
    world = World()
    world.cells = {1: {"c": CellCodec(Total).encode(Cell(None, Total(5), {NUMBERS: 19, TICKS: 7}))}}
    world.ends = {TP(NUMBERS, 1): 20, TP(TICKS, 1): 7}
    world.assign(BOTH)
    with pytest.raises(LogReplaced, match="ticks:1 ends at offset 7, but was applied up to 8"):
        world.run()
    world.ends[TP(TICKS, 1)] = 8
    world.assign(BOTH, 2)
    world.run()
    assert world.lane.is_ready


def test_a_log_that_is_exchanged_amid_the_work_is_noticed_before_anything_of_it_is_delivered(world: World) -> None:
    world.put(b"b", *["add 1"] * 20)
    world.run()
    world.put(b"b", "add 4", start=3)
    assert [told[0] for told in world.run()[:2]] == ["deliver", "acknowledge"]  # a replay
    world.ends[TP(NUMBERS, 0)] = 4
    world.put(b"b", "add 4", start=3)
    with pytest.raises(LogReplaced):
        world.run()
    assert world.log == []
