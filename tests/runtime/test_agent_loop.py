"""The order of a lane: shut out, recover, apply, deliver, save, acknowledge; and nothing of it out of turn."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.types import TP

from stream_coupons.kafka import contact
from stream_coupons.kafka.records import Membership, Output, Record
from stream_coupons.runtime.agent_loop import MAX_STEPS, AgentLoop, LogReplaced
from stream_coupons.runtime.batch import BatchProcessor
from stream_coupons.runtime.cells import Cell, CellCodec, CellStore, MemoryCells, StateCodec
from stream_coupons.runtime.circuit_breaker import CircuitBreaker
from stream_coupons.runtime.delivery import Offsets, TransactionUndone
from stream_coupons.runtime.source import Chunk
from stream_coupons.runtime.steps import SHARED_PREFIX

from .fakes import FILLS, NUMBERS, PARTITIONS, TICKS, Adder, Pot, Total, home_of, keep, log, pot_of, values

BOTH = frozenset(range(PARTITIONS))
CODEC = CellCodec(Total)


def size_of(changes: Sequence[Output]) -> int:
    """The length of the record batch that they make."""
    builder = BatchBuilder(1_000_000, 0)
    for change in changes:
        assert builder.append(timestamp=None, key=change.key, value=change.value, headers=change.headers) is not None
    return len(builder._build())


class World:
    """All that a lane talks to; it notes what it is told, in order."""

    is_transactional = False
    topic = "changelog"

    def __init__(self, *, max_bad_ratio: float = 1.0, whole_bytes: int = 10_000) -> None:
        self.log: list[Any] = []
        self.cells: dict[int, dict[str, bytes]] = {}
        self.whole_bytes = whole_bytes
        self.longest = 0
        self.sent: list[Output] = []
        self.dies_after: int | None = None
        """Deliveries that succeed until the worker dies in the middle of one: cells are appended, outputs are not."""
        self.committed_now: dict[TP, int] = {}
        self.ends: dict[TP, int] = {}
        self.consumer = self
        self.refuses = False
        self.is_broken = False
        self.breaker = CircuitBreaker("adder", 4, max_bad_ratio)
        self.step = Adder()
        self.batches = BatchProcessor(self.step, TICKS, home_of, PARTITIONS)
        self.lane: AgentLoop[Any] = AgentLoop(
            self.batches,
            self,
            self,
            lambda *_batch: self.log.append("observe"),
            self.breaker,
            100,
            self,
        )
        self.epoch = 1
        self.in_pause: Callable[[], None] = lambda: None
        self.in_delivery: Callable[[], None] = lambda: None
        self.in_read: Callable[[], Exception | None] = lambda: None
        self.lane.sleep = self.sleep  # type: ignore[method-assign]

    # the changelog
    async def read(self, partitions: Any) -> dict[int, CellStore]:
        if (failure := self.in_read()) is not None:
            raise failure
        self.log.append(("read", sorted(partitions)))
        return {partition: MemoryCells(self.cells.get(partition, {})) for partition in partitions}

    async def place_of(self, partition: int, key: str) -> str:
        return f"changelog:{partition}:{sorted(self.cells[partition]).index(key)}"

    async def sleep(self, _seconds: float) -> None:
        self.log.append("pause")
        self.in_pause()

    # the delivery
    async def join(self, agent: str, membership: Membership) -> None:  # noqa: ARG002
        self.log.append(("join", membership.generation))

    async def deliver(self, agent: str, changes: Any, outputs: Any, offsets: Offsets) -> None:  # noqa: ARG002
        if self.is_broken:
            raise ConnectionError
        self.in_delivery()
        assert all(self.batches.cells(tp.partition).get("new") is None for tp in offsets)
        by_partition = {tp.partition: [one for one in changes if one.partition == tp.partition] for tp in offsets}
        keys = {partition: [change.key for change in own] for partition, own in by_partition.items()}
        self.log.append(("deliver", keys, [output.value for output in outputs], offsets))
        self.longest = max([self.longest, *(size_of(own) for own in by_partition.values() if len(own) > 1)])
        for partition, own in by_partition.items():
            table = self.cells.setdefault(partition, {})
            keep(table, [((change.key or b"").decode(), change.value) for change in own])
        if self.dies_after == 0:
            raise ConnectionError
        self.dies_after = None if self.dies_after is None else self.dies_after - 1
        self.sent += outputs

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

    def acknowledge(self, message: Any, chunks: list[Chunk], *, is_committed: bool = False) -> None:
        if not chunks:
            self.log.append(("acknowledge nothing",))
            return
        assert chunks == message.value
        self.log += [("acknowledge", chunk.tp.partition, chunk.end, is_committed) for chunk in chunks]

    # what comes in
    def assign(self, partitions: frozenset[int], generation: int = 1, member: str = "me") -> None:
        self.lane.inbox.assign(partitions, Membership(member, generation))

    def put(self, key: bytes, *values: str, start: int = 0) -> None:
        home = home_of(key, PARTITIONS)
        self.put_records([Record(NUMBERS, home, start + n, 0, key, value.encode()) for n, value in enumerate(values)])

    def put_log(self, records: list[Record]) -> None:
        """Records of several topics and partitions, for one batch."""
        places = sorted({(one.topic, one.partition) for one in records})
        self.put_records(*([one for one in records if (one.topic, one.partition) == place] for place in places))

    def put_records(self, *runs: list[Record]) -> None:
        chunks = [
            Chunk(TP(run[0].topic, run[0].partition), run, run[0].offset, run[0].offset + len(run), 1) for run in runs
        ]
        self.lane.inbox._queue.put_nowait(SimpleNamespace(tp=chunks[0].tp, value=chunks))

    def totals(self) -> dict[str, int]:
        """What the changelog says of each key."""
        cells = [(key, data) for table in self.cells.values() for key, data in table.items()]
        return {key: CODEC.decode(data).state.total for key, data in cells if not key.startswith(SHARED_PREFIX)}

    def pot(self, partition: int) -> Pot:
        return StateCodec(Pot).decode(self.cells[partition][SHARED_PREFIX + pot_of(partition)])

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


def test_partitions_are_owned_once_the_lane_delivers_as_the_new_member_and_their_cells_are_read() -> None:
    world = World()
    assert not world.lane.is_ready
    world.assign(BOTH)
    assert not world.lane.is_ready
    assert world.run() == [("join", 1), ("read", [0, 1]), "committed?"]
    assert world.lane.is_ready


def test_only_what_was_gained_is_read_and_what_was_lost_is_forgotten(world: World) -> None:
    world.assign(frozenset({1}), 2)
    assert world.run() == [("join", 2), ("read", []), "committed?"]
    assert world.batches.owned == {1}
    world.assign(BOTH, 3)
    assert world.run() == [("join", 3), ("read", [0]), "committed?"]


def test_nothing_is_kept_by_who_was_away_for_a_generation_or_came_back_as_another(world: World) -> None:
    world.assign(BOTH, 3)
    assert world.run()[:2] == [("join", 3), ("read", [0, 1])]
    world.assign(BOTH, 4, "another")
    assert world.run()[:2] == [("join", 4), ("read", [0, 1])]


def test_a_batch_whose_transaction_was_aborted_is_read_again_after_joining_the_group_again(world: World) -> None:
    rejoined: list[bool] = []
    world.lane.inbox.rejoin = lambda: rejoined.append(True)

    def abort() -> None:
        raise TransactionUndone

    world.put(b"b", "add 1", "add 2")
    world.in_delivery = abort
    assert world.run() == [("acknowledge nothing",)]
    assert rejoined == [True]
    assert not world.lane.is_ready
    assert not world.batches.owned
    world.put(b"b", "add 1", "add 2")
    assert world.run() == [("acknowledge nothing",)], "it was fetched before the group was joined again"
    world.in_delivery = lambda: None
    world.assign(BOTH, 2)
    assert world.run()[:2] == [("join", 2), ("read", [0, 1])], "states of the aborted transaction are not kept"
    world.put(b"b", "add 1", "add 2")
    world.run()
    assert world.totals() == {"b": 3}


def test_partitions_are_taken_over_as_soon_as_a_broker_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact, "PAUSE_S", 0.0)
    world, failures = World(), [KafkaConnectionError(), OSError("no route")]
    world.in_read = lambda: failures.pop() if failures else None
    world.assign(BOTH)
    assert world.run() == [("join", 1)] * 3 + [("read", [0, 1]), "committed?"]
    assert world.lane.is_ready


def test_a_broker_that_refuses_the_states_ends_the_worker() -> None:
    world = World()
    world.in_read = TopicAuthorizationFailedError
    world.assign(BOTH)
    with pytest.raises(TopicAuthorizationFailedError):
        world.run()


def test_a_batch_is_delivered_saved_and_then_acknowledged(world: World) -> None:
    world.put(b"b", "add 1", "add 2")
    world.put(b"c", "add 5")
    assert world.run() == [
        (
            "deliver",
            {0: [b"b"], 1: [b"c"]},
            [b"b=1*1", b"b=3*1", b"c=5*1"],
            {(NUMBERS, 0): 2, (NUMBERS, 1): 1},
        ),
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
    assert delivered == ("deliver", {0: [b"b"]}, [b"b=2*1"], {(NUMBERS, 0): 3})
    assert acknowledged == ("acknowledge", 0, 3, False)


def died_with_two_outputs() -> World:
    """The world of a successor whose predecessor has saved two states, and died before it sent what they led to."""
    world = World()
    world.assign(BOTH)
    world.run()
    world.dies_after = 0
    world.put_records(log((NUMBERS, b"b", "add 1"), (NUMBERS, b"d", "add 2")))
    with pytest.raises(ConnectionError):
        world.run()
    successor = World()
    successor.cells = world.cells
    successor.assign(BOTH)
    return successor


def test_who_takes_over_sends_what_its_predecessor_may_not_have_sent_before_it_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(contact, "PAUSE_S", 0.0)
    world, ready = died_with_two_outputs(), list[bool]()

    def fail_once() -> None:
        ready.append(world.lane.is_ready)
        if len(ready) == 1:
            raise KafkaConnectionError

    world.in_delivery = fail_once
    sent = ("deliver", {}, [b"b=1*1", b"d=2*1"], {})
    again = [("join", 1), ("read", []), "committed?", sent]
    assert world.run() == [("join", 1), ("read", [0, 1]), "committed?", *again]
    assert (world.lane.is_ready, ready) == (True, [False, False])
    world.assign(BOTH, 2)
    assert world.run() == [("join", 2), ("read", []), "committed?"], "it was sent"


def test_what_its_predecessor_had_sent_and_committed_is_not_sent_by_who_takes_over() -> None:
    world = died_with_two_outputs()
    world.committed_now = {TP(NUMBERS, 0): 1}
    assert world.run()[-1] == ("deliver", {}, [b"d=2*1"], {})


def test_who_takes_over_and_is_undone_joins_the_group_again() -> None:
    world = died_with_two_outputs()
    failures = [TransactionUndone()]

    def undo_once() -> None:
        if failures:
            raise failures.pop()

    world.in_delivery = undo_once
    world.run()
    assert (world.lane.is_ready, world.batches.owned) == (False, set())
    world.assign(BOTH, 2)
    assert world.run()[-1] == ("deliver", {}, [b"b=1*1", b"d=2*1"], {})
    assert world.lane.is_ready


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
    assert world.run()[0] == ("deliver", {0: [b"b"]}, [b"b=6*1"], {(NUMBERS, 0): 1})


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


# ------------------------------------------------------------ a batch that is longer than a record batch is cut

SHOPPERS = [bytes([first]) + b"%d" % number for number in range(12) for first in b"bc"]
INPUT = [
    *log(
        (FILLS, b"0", "fill 30"),
        (FILLS, b"1", "fill 20"),
        *[(NUMBERS, key, "draw 2") for key in SHOPPERS],
        *[(NUMBERS, key, "free-at 40") for key in SHOPPERS[:6]],
        (NUMBERS, b"b0", "fail 1"),
        *[(TICKS, home, at) for at in ("now 30", "now 50") for home in (b"0", b"1")],
        *[(NUMBERS, key, "draw-later 1") for key in SHOPPERS],
        *[(NUMBERS, key, "at 45") for key in SHOPPERS[6:]],
        *[(TICKS, home, "now 60") for home in (b"0", b"1")],
    )
]


def ran(whole_bytes: int, **settings: int | None) -> World:
    """A world that has taken the input in one batch, or died in it."""
    world = World(whole_bytes=whole_bytes)
    world.dies_after = settings.get("dies_after")
    world.assign(BOTH)
    world.run()
    world.put_log(INPUT)
    try:
        world.run()
    except ConnectionError:
        world.dies_after = None
    return world


def after_death(world: World, whole_bytes: int) -> World:
    """Another worker over the same changelog, which takes the input again."""
    successor = World(whole_bytes=whole_bytes)
    successor.cells = world.cells
    successor.assign(BOTH)
    successor.run()
    successor.put_log(INPUT)
    successor.run()
    return successor


def check_pots(world: World) -> None:
    """As much is drawn of each pot as its keys hold."""
    totals = world.totals()
    for partition in BOTH:
        pot = world.pot(partition)
        held = sum(total for key, total in totals.items() if home_of(key.encode(), PARTITIONS) == partition)
        assert pot.drawn - pot.freed == held
        assert pot.available >= 0


@pytest.mark.parametrize("whole_bytes", [400, 700, 1500])
def test_what_is_too_long_for_one_record_batch_is_cut_and_comes_to_the_same(whole_bytes: int) -> None:
    whole, cut = ran(1_000_000), ran(whole_bytes)
    delivered = [told for told in cut.log if told[0] == "deliver"]
    assert len(delivered) > 6
    assert [told for told in cut.log if told[0] != "deliver"] == [told for told in whole.log if told[0] != "deliver"]
    assert cut.totals() == whole.totals()
    assert [cut.pot(home) for home in (0, 1)] == [whole.pot(home) for home in (0, 1)]
    assert sorted(values(cut.sent)) == sorted(values(whole.sent))
    assert len(values(cut.sent, "dead")) == 1
    check_pots(cut)


def test_all_but_the_changes_of_a_single_record_are_as_short_as_they_must_be() -> None:
    world = World(whole_bytes=400)
    world.assign(BOTH)
    world.run()
    world.put_log([one for one in INPUT if one.topic != TICKS])
    world.run()
    assert 200 < world.longest <= 400


def test_a_single_record_that_is_too_long_is_delivered_all_the_same_what_is_shared_last() -> None:
    world = World(whole_bytes=100)
    world.assign(BOTH)
    world.run()
    world.put_log(log((FILLS, b"0", "fill 10"), (NUMBERS, b"b", "draw 1")))
    world.run()
    assert [told[1] for told in world.log if told[0] == "deliver"][-1] == {0: [b"b", b"\x000"]}


def test_the_next_batches_are_cut_short_at_once_and_longer_again_when_there_is_room() -> None:
    def steps_of(records: list[Record]) -> int:
        before = world.step.applied
        world.put_log(records)
        world.run()
        return world.step.applied - before

    def entries(start: int) -> list[Record]:
        return log(*[(NUMBERS, key, "add 1") for key in SHOPPERS], start=start)

    world = World(whole_bytes=400)
    world.assign(BOTH)
    world.run()
    assert steps_of(entries(0)) > len(SHOPPERS)
    assert steps_of(entries(12)) == len(SHOPPERS)
    world.whole_bytes = 1_000_000
    for start in range(24, 24 + 12 * 4, 12):
        steps_of(entries(start))
    world.put_log(entries(72))
    assert len([told for told in world.run() if told[0] == "deliver"]) == 1


def waiting_for_a_tick(world: World, count: int) -> None:
    """Take over partition 0 with so many keys that wait for a tick, which is the next record."""
    world.assign(frozenset({0}))
    world.run()
    keys = [b"b%d" % number for number in range(count)]
    world.put_log(log(*[(NUMBERS, key, "at 40") for key in keys]))
    world.run()
    world.sent.clear()
    world.put_log(log((TICKS, b"0", "now 50")))


def test_a_tick_that_many_wait_for_is_delivered_in_parts_before_it_is_acknowledged() -> None:
    world = World(whole_bytes=1_000_000)
    waiting_for_a_tick(world, 2 * MAX_STEPS + 1)
    *delivered, acknowledged, _ = world.run()
    assert [len(told[1][0]) for told in delivered] == [MAX_STEPS, MAX_STEPS, 1]
    assert acknowledged == ("acknowledge", 0, 1, False)
    origins = [dict(output.headers)["origin"] for output in world.sent]
    assert origins == [b"ticks:0:0:%d" % number for number in range(2 * MAX_STEPS + 1)]


def test_a_transaction_holds_all_of_a_batch() -> None:
    class Transactional(World):
        is_transactional = True

    world = Transactional(whole_bytes=1_000_000)
    waiting_for_a_tick(world, MAX_STEPS + 1)
    delivered, acknowledged, _ = world.run()
    assert len(delivered[1][0]) == MAX_STEPS + 1
    assert acknowledged == ("acknowledge", 0, 1, True)


def test_what_fits_into_a_record_batch_is_not_cut() -> None:
    world = ran(1_000_000)
    assert [list(told[1]) for told in world.log if told[0] == "deliver"] == [[0, 1]]


@pytest.mark.parametrize("whole_bytes", [400, 1500])
@pytest.mark.parametrize("other_bytes", [400, 1_000_000])
def test_whoever_dies_between_two_parts_has_applied_nothing_twice(whole_bytes: int, other_bytes: int) -> None:
    whole, deaths = ran(1_000_000), 0
    while (dead := ran(whole_bytes, dies_after=deaths)).log[-1] != "observe":
        check_pots(dead)
        world = after_death(dead, other_bytes)
        check_pots(world)
        world.put_log(log((TICKS, b"0", "now 61"), (TICKS, b"1", "now 61"), start=3))
        world.run()
        assert world.totals() == whole.totals()
        assert [world.pot(home).drawn for home in (0, 1)] == [whole.pot(home).drawn for home in (0, 1)]
        assert set(values(dead.sent + world.sent)) >= set(values(whole.sent))
        deaths += 1
    assert deaths > 4


# ------------------------------------------------------------ two workers that believe they own a partition


def test_who_is_held_back_when_it_sends_has_done_nothing_and_its_successor_draws_on_what_there_is() -> None:
    late = World()
    late.assign(BOTH)
    late.run()
    late.put_log(log((FILLS, b"0", "fill 10"), (NUMBERS, b"b", "draw 4")))
    late.run()
    successor = World()
    successor.cells = late.cells
    successor.assign(BOTH)
    successor.run()
    late.is_broken = True  # as whoever lost its lease, or was fenced
    for world in (late, successor):
        world.put(b"d", "draw 4", start=1)
        world.put(b"f", "draw 4", start=2)
    with pytest.raises(ConnectionError):
        late.run()
    successor.run()
    assert successor.totals() == {"b": 4, "d": 4, "f": 2}
    assert successor.pot(0) == Pot(filled=10, drawn=10)
    assert values(late.sent) == [b"b=4*1"]
