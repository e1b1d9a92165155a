"""What all keys of a partition share: it is saved with their cells or not at all, and nothing is drawn twice."""

from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.kafka.records import Output, Record
from stream_coupons.runtime.batch import BatchProcessor
from stream_coupons.runtime.cells import MemoryCells, StateCodec
from stream_coupons.runtime.shard import UnreadableCell
from stream_coupons.runtime.steps import SHARED_PREFIX, SharedStates

from .fakes import (
    FILLS,
    NUMBERS,
    PARTITIONS,
    TICKS,
    WORDS,
    Adder,
    Applied,
    Pot,
    Worker,
    home_of,
    keep,
    log,
    pot_of,
    unnumbered,
    values,
)

POT = SHARED_PREFIX + pot_of(0)


def filled(most: int = 10, **settings: int) -> Worker:
    """A worker of whose pots each holds so much."""
    worker = Worker(**settings)
    worker.run(log((FILLS, b"0", f"fill {most}"), (FILLS, b"1", f"fill {most}")))
    return worker


def totals(worker: Worker, partition: int = 0) -> int:
    """What the keys of a partition hold."""
    return sum(state.total for key, state in worker.states().items() if home_of(key.encode(), PARTITIONS) == partition)


# ------------------------------------------------------------ copy on write


def test_a_change_is_made_to_a_copy() -> None:
    saved = {"a": Pot(filled=5)}
    states = SharedStates(saved, Pot)
    assert states.get("a") is saved["a"]
    states.change("a").drawn = 3
    assert states.change("a").drawn == 3, "a second change is made to the same copy"
    assert states.get("a") == Pot(filled=5, drawn=3)
    assert saved == {"a": Pot(filled=5)}
    assert states.changed == {"a": Pot(filled=5, drawn=3)}


def test_a_state_that_is_not_there_is_none_until_it_is_changed() -> None:
    states = SharedStates[Pot]({}, Pot)
    assert states.get("a") is None
    states.change("a").drawn = 1
    states.change("b", lambda: Pot(filled=7)).drawn = 2
    assert states.change("b", lambda: Pot(filled=9)).filled == 7, "it is there by now"
    assert dict(states.items()) == {"a": Pot(drawn=1), "b": Pot(filled=7, drawn=2)}


def test_states_upon_states_see_what_lies_below_and_do_not_touch_it() -> None:
    below = SharedStates({"a": Pot(filled=5), "b": Pot(filled=6)}, Pot)
    below.change("a").drawn = 1
    above = SharedStates(below, Pot)
    above.change("a").drawn += 1
    assert dict(above.items()) == {"a": Pot(filled=5, drawn=2), "b": Pot(filled=6)}
    assert below.get("a") == Pot(filled=5, drawn=1)


# ------------------------------------------------------------ with the batch, or not at all


def test_keys_of_a_partition_draw_on_one_pot_and_those_of_another_on_theirs() -> None:
    worker = filled(10)
    told = [(NUMBERS, b"b", "draw 6"), (NUMBERS, b"d", "draw 6"), (NUMBERS, b"c", "draw 6"), (NUMBERS, b"b", "free 1")]
    worker.run(log(*told))
    assert {key: state.total for key, state in worker.states().items()} == {"b": 5, "d": 4, "c": 6}
    assert worker.pot(0) == Pot(filled=10, drawn=10, freed=1)
    assert worker.pot(1) == Pot(filled=10, drawn=6)


def test_nothing_is_drawn_until_the_batch_is_saved() -> None:
    worker = filled(10)
    first = worker.apply(log((NUMBERS, b"b", "draw 6")))
    assert worker.batches.shared(0) == {pot_of(0): Pot(filled=10)}
    again = worker.apply(log((NUMBERS, b"b", "draw 6")))
    assert unnumbered(worker.batches._codec, again.cells) == unnumbered(worker.batches._codec, first.cells)
    worker.save(again)
    assert worker.batches.shared(0) == {pot_of(0): Pot(filled=10, drawn=6)}


def test_what_is_given_back_was_not_drawn() -> None:
    worker = filled(10)
    applied = worker.apply(log((NUMBERS, b"b", "draw 6")))
    for result in applied.results:
        worker.batches.give_back(result)
    assert values(worker.run(log((NUMBERS, b"d", "draw 8"))).outputs) == [b"d=8*1"]
    assert worker.batches.state(0, "b").total == 0


def test_what_a_tick_led_to_is_sent_again_though_a_batch_that_ended_its_key_was_given_back() -> None:
    worker, tick = Worker(), log((TICKS, b"0", "now 60"))
    worker.run(log((NUMBERS, b"b", "at 50")))
    worker.run(tick)
    worker.restart()
    assert values(worker.unsent) == [b"b=0*1"]
    for result in worker.apply(log((NUMBERS, b"b", "gone 0"), (NUMBERS, b"b", "add 0"), start=1)).results:
        worker.batches.give_back(result)
    worker.restart()
    assert values(worker.unsent) == [b"b=0*1"]


FAILS = [
    [(NUMBERS, b"b", "draw-fail 3")],
    [(NUMBERS, b"b", "draw-later 3"), (NUMBERS, b"d", "fail-later 1")],
    [(NUMBERS, b"b", "draw-later 3"), (NUMBERS, b"c", "fail-later 1")],
    [(FILLS, b"0", "fill-fail 99")],
]


@pytest.mark.parametrize("fails", FAILS, ids=["a step", "one that was deferred", "one of another partition", "a fill"])
def test_a_step_that_raises_has_drawn_nothing_and_the_others_draw_once(fails: list[tuple[str, bytes, str]]) -> None:
    worker, quiet = filled(10), filled(10)
    around = [(NUMBERS, b"d", "draw 2"), (NUMBERS, b"f", "draw-later 4")]
    whole = log((FILLS, b"0", "fill 10"), (FILLS, b"1", "fill 10"), around[0], *fails, around[1])
    result = worker.run(whole)
    assert sum(result.dead.values()) == 1
    quiet.run([record for record in whole if b"fail" not in (record.value or b"")])
    assert (worker.pot(0), worker.pot(1)) == (quiet.pot(0), quiet.pot(1))
    assert totals(worker) == totals(quiet) == worker.pot(0).drawn


def test_a_record_that_would_make_a_cell_too_large_has_drawn_nothing() -> None:
    worker = filled(1000, max_cell_bytes=1000)
    result = worker.run(log(*[(NUMBERS, b"b", "draw 1"), (NUMBERS, b"d", "draw-later 1")] * 50))
    assert result.dead[NUMBERS, "too_large"] > 20
    assert worker.pot().drawn == totals(worker) == len(values(result.outputs))


def test_time_that_would_make_a_cell_too_large_has_freed_nothing() -> None:
    told = [(NUMBERS, key, f"{what} {n}") for key in (b"b", b"d") for what, n in (("draw", 3), ("free-at", 50))]
    told += [(NUMBERS, b"b", "at 50"), *[(NUMBERS, b"b", "add 0")] * 20]
    unbounded = filled(10)
    unbounded.run(log(*told))
    worker = filled(10, max_cell_bytes=len(unbounded.table["b"]) + 10)
    worker.run(log(*told))
    assert worker.run(log((TICKS, b"0", "now 60"))).dead == {(TICKS, "too_large"): 1}
    assert worker.pot() == Pot(filled=10, drawn=6, freed=3, told=9)
    worker.committed = {NUMBERS: len(told)}
    assert worker.run(log((TICKS, b"0", "now 60"), start=1)).dead == {}
    assert worker.pot().freed == 6


def test_a_key_that_fails_in_time_does_not_free_what_the_others_free_again() -> None:
    worker = filled(10)
    told = [(NUMBERS, b"b", "draw 5"), (NUMBERS, b"b", "free-at 10"), (NUMBERS, b"d", "fail-at 20")]
    worker.run(log(*told))
    result = worker.run(log((TICKS, b"0", "now 60")))
    assert result.dead == {(TICKS, "step_failed"): 1}
    assert (worker.pot().freed, totals(worker)) == (5, 0)


def test_time_that_fails_for_what_is_shared_has_changed_nothing_and_a_later_tick_does_it() -> None:
    worker = filled(10)
    worker.run(log((NUMBERS, b"b", "draw 5"), (NUMBERS, b"b", "free-at 10")))
    worker.step.fails_in_shared_time = True
    result = worker.run(log((TICKS, b"0", "now 60")))
    assert result.dead == {(TICKS, "step_failed"): 1}
    assert worker.pot() == Pot(filled=10, drawn=5)
    worker.step.fails_in_shared_time = False
    worker.run(log((TICKS, b"0", "now 60"), start=1))
    assert (worker.pot().freed, totals(worker)) == (5, 0)


def test_time_says_what_has_changed_and_what_it_says_is_not_kept() -> None:
    worker = filled(10)
    worker.run(log((NUMBERS, b"b", "draw 5")))
    assert values(worker.run(log((TICKS, b"0", "now 1"))).outputs, "said") == [b"0=5-0"]
    assert worker.run(log((TICKS, b"0", "now 2"), start=1)).outputs == []
    worker.restart()
    assert worker.run(log((TICKS, b"0", "now 1"))).outputs == []


def test_a_fill_is_counted_as_applied_once_and_as_a_duplicate_when_it_changes_nothing() -> None:
    worker = Worker()
    result = worker.run(log((FILLS, b"0", "fill 5"), (FILLS, b"0", "fill 3"), (FILLS, b"0", "fill 8")))
    assert (result.applied, result.duplicates) == ({FILLS: 2}, {FILLS: 1})
    assert result.facts == {("fill", "up"): 2}
    assert dict(result.outputs[0].headers)["origin"] == b"fills:0:0:0"
    worker.restart()
    assert worker.run(log((FILLS, b"0", "fill 5"), (FILLS, b"0", "fill 3"))).duplicates == {FILLS: 2}
    assert worker.pot().filled == 8


# ------------------------------------------------------------ recovery


def test_a_partition_that_is_taken_over_brings_its_pot() -> None:
    worker = filled(10)
    worker.run(log((NUMBERS, b"b", "draw 5")))
    worker.restart(owned=[0])
    assert dict(worker.batches.shared(0)) == {pot_of(0): Pot(filled=10, drawn=5)}
    assert values(worker.run(log((NUMBERS, b"d", "draw 9"))).outputs) == [b"d=5*1"]


def test_what_is_shared_is_no_key_of_its_own() -> None:
    worker = filled(10)
    worker.run(log((NUMBERS, b"b", "add 1")))
    worker.restart()
    assert set(worker.step.view) == {"b"}
    assert worker.batches.ends(0) == {NUMBERS: 1}


@pytest.mark.parametrize("bad", [b"", b"garbage", b"\xc0"])
def test_bytes_that_are_no_shared_state_are_not_begun_anew(bad: bytes) -> None:
    worker = filled(10)
    with pytest.raises(UnreadableCell) as caught:
        worker.batches.adopt(0, MemoryCells({POT: bad}))
    assert (caught.value.partition, caught.value.key) == (0, POT)


def test_an_agent_that_shares_nothing_does_not_take_a_shared_state_for_a_cell() -> None:
    class Alone(Adder):
        shared_type = None

    alone = BatchProcessor(Alone(), TICKS, home_of, PARTITIONS)
    with pytest.raises(UnreadableCell):
        alone.adopt(0, MemoryCells({POT: StateCodec(Pot).encode(Pot(filled=1))}))


@pytest.mark.parametrize("key", [b"\x00", b"\x000", b"\x00units:c1", b"\x00\x00b"])
@pytest.mark.parametrize("topic", [NUMBERS, WORDS])
def test_a_key_that_could_be_taken_for_a_shared_one_is_refused(topic: str, key: bytes) -> None:
    worker = filled(10)
    before = dict(worker.table)
    result = worker.run([Record(topic, 0, 0, 1, key, b"add 1"), Record(topic, 0, 1, 2, key, b"draw 1")])
    assert result.dead == {(topic, "invalid"): 2}
    assert values(result.outputs, "dead") == [b"add 1", b"draw 1"]
    assert worker.table == before


def test_a_zero_that_is_not_the_first_character_is_any_other() -> None:
    worker = filled(10)
    worker.run(log((NUMBERS, b"b\x00", "draw 1")))
    assert worker.states()["b\x00"].total == 1


# ------------------------------------------------------------ death between any two writes

LOG = [
    *log(
        (FILLS, b"0", "fill 10"),
        (FILLS, b"1", "fill 4"),
        (NUMBERS, b"b", "draw 3"),
        (WORDS, b"d", "draw-later 3"),
        (NUMBERS, b"c", "draw 3"),
        (NUMBERS, b"c", "draw-later 3"),
        (FILLS, b"1", "fill 6"),
        (NUMBERS, b"b", "free 1"),
        (NUMBERS, b"f", "draw 9"),
        (NUMBERS, b"d", "free-at 50"),
        (TICKS, b"0", "now 60"),
        (WORDS, b"d", "draw 2"),
        (NUMBERS, b"c", "twice 0"),
        (NUMBERS, b"f", "draw-later 3"),
    )
]


def writes(worker: Worker, applied: Applied) -> list[Callable[[], None]]:
    """What a turn appends, one after the other: a record batch of each partition, and every output."""

    def write(changes: list[tuple[str, bytes | None]]) -> Callable[[], None]:
        return lambda: keep(worker.table, changes)

    def send(output: Output) -> Callable[[], None]:
        return lambda: worker.sent.append(output)

    cells = [write(list(result.cells.items())) for result in applied.results]
    return [*cells, *(send(output) for output in applied.outputs)]


def batches(size: int) -> list[list[Record]]:
    return [LOG[first : first + size] for first in range(0, len(LOG), size)]


def run_and_die(worker: Worker, size: int, after: int) -> bool:
    """Take the log in batches until so many writes are done; whether it died before the end."""
    for batch in batches(size):
        applied = worker.apply(batch)
        for write in writes(worker, applied):
            if not after:
                worker.restart()
                return True
            write()
            after -= 1
        for result in applied.results:
            worker.batches.save(result)
    return False


def totals_of_pots(worker: Worker) -> list[tuple[int, int, int]]:
    """All but what was told: that may be more often after a death."""
    pots = [worker.pot(partition) for partition in range(PARTITIONS)]
    return [(pot.filled, pot.drawn, pot.freed) for pot in pots]


def check_books(worker: Worker) -> None:
    """In each partition as much is drawn as its keys hold, and no more than there is."""
    for partition in range(PARTITIONS):
        pot = worker.pot(partition)
        assert pot.drawn - pot.freed == totals(worker, partition)
        assert pot.available >= 0


def kept(worker: Worker) -> set[tuple[str, bytes | None]]:
    """What was said to the world, each once."""
    return {(str(dict(one.headers)["origin"]), one.value) for one in worker.sent if one.topic == "out"}


def quiet(size: int) -> Worker:
    worker = Worker()
    assert not run_and_die(worker, size, 10_000)
    check_books(worker)
    assert worker.pot(0).freed > 0
    return worker


@pytest.mark.parametrize("size", [1, 3, 5, len(LOG)])
def test_whoever_dies_between_any_two_writes_has_drawn_nothing_twice_and_lost_nothing(size: int) -> None:
    expected = quiet(size)
    deaths = 0
    while True:
        worker = Worker()
        has_died = run_and_die(worker, size, deaths)
        check_books(worker)
        assert not run_and_die(worker, size, 10_000)
        check_books(worker)
        assert worker.states() == expected.states()
        assert totals_of_pots(worker) == totals_of_pots(expected)
        assert kept(worker) == kept(expected)
        if not has_died:
            break
        deaths += 1
    assert deaths >= len(LOG)


@pytest.mark.parametrize(("first", "then"), list(product(range(0, 18, 3), range(0, 18, 4))))
def test_whoever_dies_twice_has_drawn_nothing_twice(first: int, then: int) -> None:
    worker, expected = Worker(), quiet(5)
    for after in (first, then):
        run_and_die(worker, 5, after)
        check_books(worker)
    run_and_die(worker, 5, 10_000)
    assert worker.states() == expected.states()
    assert totals_of_pots(worker) == totals_of_pots(expected)
    assert kept(worker) == kept(expected)


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from([NUMBERS, WORDS]),
        st.sampled_from([b"b", b"c", b"d"]),
        st.sampled_from(["draw 1", "draw-later 2", "free 1", "free-at 50", "draw-fail 1", "fail-later 1", "add 0"]),
    )
    | st.tuples(st.just(FILLS), st.sampled_from([b"0", b"1"]), st.sampled_from(["fill 2", "fill 5", "fill-fail 9"]))
    | st.just((TICKS, b"0", "now 60")),
    max_size=15,
)


@settings(max_examples=100, derandomize=True)
@given(ENTRIES, st.lists(st.tuples(st.integers(1, 6), st.none() | st.integers(0, 6)), max_size=8))
def test_the_books_agree_whenever_a_worker_dies_and_however_its_input_is_cut(
    inputs: list[tuple[str, bytes, str]], turns: list[tuple[int, int | None]]
) -> None:
    worker, records = Worker(), log(*inputs)
    done = 0
    for size, dies_after in [*turns, (len(records), None)]:
        applied = worker.apply(records[done : done + size])
        for write in writes(worker, applied)[:dies_after]:
            write()
        if dies_after is None:
            for result in applied.results:
                worker.batches.save(result)
            done += size
        else:
            worker.restart()
        check_books(worker)


# ------------------------------------------------------------ two workers that believe they own a partition


def test_what_a_worker_has_in_hand_that_lost_its_partition_does_not_count() -> None:
    """It is held back when it sends; its successor begins with what was appended."""
    late = filled(10)
    in_hand = late.apply(log((NUMBERS, b"b", "draw 7")))
    successor = Worker(table=late.table)
    successor.run(log((NUMBERS, b"b", "draw 7"), (NUMBERS, b"d", "draw 7")))
    assert successor.pot() == Pot(filled=10, drawn=10)
    check_books(successor)
    assert late.batches.shared(0) == {pot_of(0): Pot(filled=10)}, "nothing is shared between processes"
    late.restart()
    assert late.run(log((NUMBERS, b"b", "draw 7"))).replays == {NUMBERS: 1}
    assert in_hand.outputs[0].value == b"b=7*1"
