"""Batches: every record counted once, replays repeat the old bytes, a failing record harms nobody else."""

from collections import Counter
from itertools import product

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.kafka.records import Output, Record
from stream_coupons.runtime.cells import MemoryCells
from stream_coupons.runtime.isolate import MAX_FAILURES, TooManyFailures

from .fakes import NUMBERS, TICKS, WORDS, Applied, Total, Worker, keep, log, once, values

LOG = [
    *log(
        (NUMBERS, b"b", "add 1"),
        (WORDS, b"b", "twice 2"),
        (NUMBERS, b"c", "soft 3"),
        (NUMBERS, b"b", "at 50"),
        (NUMBERS, b"d", "at 40"),
        (NUMBERS, b"c", "refuse 1"),
        (NUMBERS, b"b", "same 0"),
        (WORDS, b"d", "add 5"),
        (TICKS, b"0", "now 60"),
        (NUMBERS, b"d", "add 7"),
        (NUMBERS, b"b", "later 4"),
        (NUMBERS, b"c", "later 6"),
        (NUMBERS, b"d", "add 1"),
        (NUMBERS, b"b", "add 9"),
        (NUMBERS, b"d", "later 2"),
    )
]


def by_partition(outputs: list[Output]) -> list[Output]:
    """In the order of their inputs within each partition; among partitions there is none."""
    return sorted(outputs, key=lambda output: dict(output.headers).get("origin", b":0:").split(b":")[1])


def wire(outputs: list[Output]) -> list[bytes]:
    return [msgspec.msgpack.encode(output) for output in by_partition(outputs)]


def counted(result: Applied) -> Counter[str]:
    total = result.applied + result.duplicates + result.replays
    for (topic, _), count in result.dead.items():
        total[topic] += count
    return total


def test_records_change_their_keys_in_order() -> None:
    worker = Worker(factor=10)
    worker.run(log((NUMBERS, b"b", "add 1"), (NUMBERS, b"d", "add 5"), (NUMBERS, b"b", "add 2")))
    assert values(worker.sent) == [b"b=1*10", b"d=5*10", b"b=3*10"]
    assert {key: state.total for key, state in worker.states().items()} == {"b": 3, "d": 5}


def test_the_state_of_a_key_can_be_looked_at_as_it_was_saved() -> None:
    worker = Worker(factor=1)
    assert worker.batches.state(0, "b").total == 0
    worker.run(log((NUMBERS, b"b", "add 1"), (NUMBERS, b"b", "add 2")))
    assert worker.batches.state(0, "b").total == 3
    worker.apply(log((NUMBERS, b"b", "add 4"), start=2))  # never saved
    assert worker.batches.state(0, "b").total == 3
    worker.restart()
    assert worker.batches.state(0, "b").total == 3


def test_batches_of_any_size_lead_to_the_same() -> None:
    whole, single = Worker(), Worker()
    whole.run(LOG)
    for record in LOG:
        single.run([record])
    assert wire(single.sent) == wire(whole.sent)
    assert single.cells() == whole.cells()


CRASHES = ["nothing saved", "some states saved", "states saved", "some outputs sent", "all sent", "all but committed"]


def crash(worker: Worker, records: list[Record], where: str) -> list[Output]:
    """Apply records and die; what was sent until then."""
    result = worker.apply(records)
    if where == "nothing saved":
        return []
    if where == "some states saved":
        keep(worker.table, result.results[0].cells.items())  # those of a partition are one record batch
        return []
    keep(worker.table, result.cells.items())
    return {"states saved": [], "some outputs sent": result.outputs[:3]}.get(where, result.outputs)


def kept(outputs: list[Output]) -> list[Output]:
    """All but what is overtaken by the next one."""
    return by_partition([output for output in outputs if not (output.value or b"").startswith(b"c=3")])


@pytest.mark.parametrize("where", CRASHES)
def test_a_replay_after_a_crash_sends_the_old_bytes_and_decides_nothing_anew(where: str) -> None:
    quiet = Worker(factor=1)
    quiet.run(LOG)
    worker = Worker(factor=1)
    sent = crash(worker, LOG, where)
    has_decided = where not in ("nothing saved", "some states saved")
    worker.restart(factor=99 if has_decided else 1)
    result = worker.run(LOG)
    assert kept(worker.sent) == kept(quiet.sent)
    assert sent == quiet.sent[: len(sent)]
    assert worker.states() == quiet.states()
    assert sum(counted(result).values()) == len(LOG)
    if has_decided:
        assert worker.step.applied == 0
        assert worker.cells() == quiet.cells()


@pytest.mark.parametrize(("first", "then"), list(product(CRASHES, CRASHES)))
def test_a_second_crash_changes_nothing(first: str, then: str) -> None:
    quiet = Worker()
    quiet.run(LOG)
    worker = Worker()
    for where in (first, then):
        crash(worker, LOG, where)
        worker.restart()
    worker.run(LOG)
    assert kept(once(worker.sent)) == kept(quiet.sent)
    assert worker.cells() == quiet.cells()


def test_a_replay_in_other_batches_sends_the_old_bytes() -> None:
    quiet, worker = Worker(), Worker(factor=1)
    quiet.run(LOG)
    crash(worker, LOG, "states saved")
    worker.restart(factor=99)
    for record in LOG:
        worker.run([record])
    assert kept(worker.sent) == kept(quiet.sent)


ADDED = log((WORDS, b"b", "add 1"), (NUMBERS, b"b", "add 2"), (WORDS, b"d", "add 3"), (NUMBERS, b"d", "later 4"))


@pytest.mark.parametrize("place", range(5))
def test_what_comes_of_a_key_is_in_the_order_of_its_decisions_whichever_input_comes_first_after_a_crash(
    place: int,
) -> None:
    worker = Worker()
    crash(worker, ADDED, "states saved")
    worker.restart(factor=99)
    later = log((NUMBERS, b"b", "add 10"), start=2)
    worker.run([*ADDED[:place], *later, *ADDED[place:]])
    assert values(worker.sent) == [b"b=1*1", b"b=3*1", b"d=3*1", b"d=7*1", b"b=13*99"]
    crash(worker, log((WORDS, b"d", "add 1"), start=2), "states saved")
    worker.restart(factor=99)
    assert values(worker.unsent)[-2:] == [b"b=13*99", b"d=8*99"], "a second worker goes on counting"


def test_what_was_committed_is_not_sent_by_whoever_takes_a_partition_over() -> None:
    worker = Worker(committed={WORDS: 2, NUMBERS: 1})
    worker.run(ADDED)
    worker.restart()
    assert values(worker.unsent) == [b"d=7*1"]
    assert worker.batches.unsent(0, {}) == [], "it was sent"


def test_a_batch_without_effects_until_it_is_saved() -> None:
    worker = Worker()
    first = worker.apply(LOG[:3])
    worker.restart()
    assert wire(worker.apply(LOG[:3]).outputs) == wire(first.outputs)
    assert worker.table == {}


def test_only_outputs_of_uncommitted_inputs_are_kept() -> None:
    worker = Worker()
    worker.run(log((NUMBERS, b"b", "add 1"), (WORDS, b"b", "add 1"), (NUMBERS, b"b", "add 1")))
    worker.committed = {NUMBERS: 1, WORDS: 1}
    worker.run(log((NUMBERS, b"b", "add 1"), start=2))
    outbox = worker.batches._codec.decode(worker.table["b"]).outbox
    assert [(each.topic, each.offset) for each in outbox] == [(NUMBERS, 1), (NUMBERS, 2)]


def test_what_is_not_known_to_be_committed_is_kept() -> None:
    worker = Worker(committed={WORDS: 10})
    worker.run(log((NUMBERS, b"b", "add 1")))
    worker.run(log((NUMBERS, b"b", "add 1"), start=1))
    assert len(worker.batches._codec.decode(worker.table["b"]).outbox) == 2


def test_outboxes_stay_small_while_offsets_are_committed() -> None:
    worker = Worker()
    for n in range(100):
        worker.run(log((NUMBERS, b"b", "twice 1"), start=n))
        worker.committed = {NUMBERS: n + 1}
    assert len(worker.batches._codec.decode(worker.table["b"]).outbox) <= 4


def test_what_repeats_its_input_is_sent_again_without_being_kept() -> None:
    worker = Worker()
    told = log((NUMBERS, b"b", "echo " + "0" * 300), (WORDS, b"b", "add 2"))
    worker.run(told)
    assert len(worker.table["b"]) < 300
    first, worker.sent = worker.sent, []
    worker.restart()
    worker.run(told)
    assert sorted(wire(worker.sent)) == sorted(wire(first))
    assert values(worker.sent, "dead") == [told[0].value]


def test_soft_outputs_are_sent_once_and_not_kept() -> None:
    worker = Worker()
    records = log((NUMBERS, b"b", "soft 3"))
    worker.run(records)
    worker.restart()
    assert worker.run(records).outputs == []
    assert values(worker.sent) == [b"b=3*1"]


BAD = [
    ("fail 9", "step_failed"),
    ("fail-later 9", "step_failed"),
    ("nonsense", "invalid"),
]


@pytest.mark.parametrize(("value", "reason"), BAD)
@pytest.mark.parametrize("place", [0, 1, 4])
def test_a_record_that_cannot_be_applied_is_a_dead_letter_as_if_it_never_came(
    value: str, reason: str, place: int
) -> None:
    good = [(NUMBERS, b"b", "add 1"), (NUMBERS, b"d", "at 70"), (NUMBERS, b"b", "later 2"), (NUMBERS, b"d", "later 3")]
    bad = [*good[:place], (NUMBERS, b"b", value), *good[place:]]
    worker, quiet = Worker(), Worker()
    result = worker.run(log(*bad))
    quiet.run(log(*good))
    assert result.dead == {(NUMBERS, reason): 1}
    assert values(worker.sent, "dead") == [value.encode()]
    assert values(worker.sent) == values(quiet.sent)
    assert worker.states() == quiet.states()
    assert worker.step.view == quiet.step.view
    assert counted(result) == {NUMBERS: 5}


def test_a_bug_that_fails_on_everything_stops_the_worker_instead_of_emptying_its_input() -> None:
    worker = Worker()
    with pytest.raises(TooManyFailures):
        worker.run(log(*[(NUMBERS, b"b", "fail 1")] * (MAX_FAILURES + 1)))
    assert worker.sent == []


def test_many_failing_records_are_many_dead_letters() -> None:
    worker = Worker()
    result = worker.run(log(*[(NUMBERS, b"b", "fail 1"), (NUMBERS, b"d", "add 1")] * 10))
    assert result.dead == {(NUMBERS, "step_failed"): 10}
    assert {key: state.total for key, state in worker.states().items() if state.total} == {"d": 10}


def test_a_new_key_whose_only_record_failed_leaves_no_trace_in_views() -> None:
    worker = Worker()
    worker.run(log((NUMBERS, b"b", "fail 9")))
    assert not any(worker.step.view.values())
    assert all(state.total == 0 for state in worker.states().values())


OVERSIZED = [
    (NUMBERS, b"d", "later 1"),
    (NUMBERS, b"b", "at 50"),
    *[(NUMBERS, b"b", what) for n in range(100) for what in (f"twice {n}", f"later {1000 + n}")],
    (NUMBERS, b"d", "add 5"),
]


def test_a_record_that_would_make_a_cell_outgrow_its_changelog_is_a_dead_letter_as_if_it_never_came() -> None:
    worker, quiet = Worker(max_cell_bytes=2000), Worker()
    result = worker.run(log(*OVERSIZED))
    refused = values(worker.sent, "dead")
    assert result.dead == {(NUMBERS, "too_large"): len(refused)}
    assert len(refused) > 100
    assert 1800 < len(worker.table["b"]) <= 2000
    assert counted(result) == {NUMBERS: len(OVERSIZED)}
    quiet.run([record for record in log(*OVERSIZED) if record.value not in refused])
    assert wire([output for output in worker.sent if output.topic == "out"]) == wire(quiet.sent)
    assert worker.states() == quiet.states()
    assert worker.step.view == quiet.step.view


def test_a_record_that_would_make_a_number_outgrow_its_cell_is_a_dead_letter_as_if_it_never_came() -> None:
    most = 2**64 - 2048  # the step reads floats
    told = [
        (NUMBERS, b"d", "later 1"),
        (NUMBERS, b"b", f"add {most}"),
        (NUMBERS, b"b", f"later {most}"),
        (NUMBERS, b"b", "add 2047"),
        (NUMBERS, b"b", "at 50"),
        (NUMBERS, b"b", "add 1"),
    ]
    worker = Worker()
    result = worker.run(log(*told))
    assert result.dead == {(NUMBERS, "too_large"): 2}
    assert counted(result) == {NUMBERS: len(told)}
    assert values(worker.sent, "dead") == [f"later {most}".encode(), b"add 1"]
    assert {key: state.total for key, state in worker.states().items()} == {"b": 2**64 - 1, "d": 1}
    worker.restart()
    assert values(worker.run(TICK).outputs) == [b"b=%d*1" % (2**64 - 1)]


def test_a_full_cell_takes_records_again_when_its_outbox_is_empty() -> None:
    worker = Worker(max_cell_bytes=2000)
    worker.run(log(*OVERSIZED))
    worker.committed = {NUMBERS: len(OVERSIZED)}
    assert worker.run(log((NUMBERS, b"b", "add 1"), start=len(OVERSIZED))).dead == {}
    assert len(worker.table["b"]) < 200


def test_a_replay_to_a_full_cell_is_no_dead_letter() -> None:
    worker = Worker(max_cell_bytes=2000)
    taken = worker.run(log(*OVERSIZED)).applied
    worker.restart()
    again = worker.run(log(*OVERSIZED))
    assert again.replays[NUMBERS] >= taken[NUMBERS]


def test_time_that_would_make_a_cell_outgrow_its_changelog_leaves_it_as_it_was() -> None:
    worker = Worker(max_cell_bytes=2000)
    worker.run(log(*[(NUMBERS, b"b", "at 50")] * 100, (NUMBERS, b"d", "at 50")))
    before = worker.states()["b"]
    result = worker.run(TICK)
    assert result.dead == {(TICKS, "too_large"): 1}
    assert values(result.outputs) == [b"d=0*1"]
    assert worker.states()["b"] == before
    assert worker.run(log((TICKS, b"0", "now 60"), start=1)).outputs == []


def filled(told: list[tuple[str, bytes | None, str]]) -> Worker:
    """A worker whose cell of b an outbox fills, so that a tick, due at 50, can add nothing to it."""
    unbounded = Worker()
    unbounded.run(log(*told))
    worker = Worker(max_cell_bytes=len(unbounded.table["b"]) + 10)
    assert worker.run(log(*told)).dead == {}
    return worker


FULL = [(NUMBERS, b"b", "at 50"), (NUMBERS, b"d", "at 50"), *[(NUMBERS, b"b", "add 1")] * 20]


def test_time_that_an_outbox_left_no_room_for_passes_when_its_inputs_are_committed() -> None:
    worker = filled(FULL)
    result = worker.run(TICK)
    assert result.dead == {(TICKS, "too_large"): 1}
    assert values(result.outputs) == [b"d=0*1"]
    worker.committed = {NUMBERS: len(FULL)}
    result = worker.run(log((TICKS, b"0", "now 60"), start=1))
    assert (result.dead, result.applied) == ({}, {TICKS: 1})
    assert values(result.outputs) == [b"b=20*1"]
    assert worker.states()["b"].alarms == []


def test_time_that_an_outbox_leaves_no_room_for_is_refused_once_at_every_tick() -> None:
    worker = filled(FULL)
    result = worker.run(log(*[(TICKS, b"0", "now 60")] * 3))
    assert result.dead == {(TICKS, "too_large"): 3}
    assert [len(values(result.outputs, topic)) for topic in ("out", "dead")] == [1, 3]
    assert worker.run(log((TICKS, b"0", "now 60"), start=3)).dead == {(TICKS, "too_large"): 1}


def test_a_round_is_decided_together_over_keys_and_partitions_and_committed_in_the_order_of_inputs() -> None:
    worker = Worker()
    told = [
        (NUMBERS, b"b", "later 1"),
        (NUMBERS, b"d", "add 5"),
        (NUMBERS, b"d", "later 2"),
        (NUMBERS, b"c", "later 3"),
    ]
    worker.run(log(*told))
    assert worker.step.decided == [3]
    assert values(by_partition(worker.sent)) == [b"b=1*1", b"d=5*1", b"d=7*1", b"c=3*1"]


@pytest.mark.parametrize("then", [(NUMBERS, b"b", "add 4"), (TICKS, b"0", "now 60")])
def test_a_round_is_committed_before_its_key_changes_or_time_passes(then: tuple[str, bytes, str]) -> None:
    together, alone = Worker(), Worker()
    told = log(
        (NUMBERS, b"b", "at 50"), (NUMBERS, b"b", "later 1"), (NUMBERS, b"d", "later 2"), then, (WORDS, b"d", "add 9")
    )
    together.run(told)
    for record in told:
        alone.run([record])
    assert together.step.decided == [2]
    assert wire(together.sent) == wire(alone.sent)


def test_a_record_refused_amid_a_round_is_a_dead_letter_in_its_place() -> None:
    worker = Worker()
    worker.run(log((NUMBERS, b"b", "later 1"), (NUMBERS, None, "add 1"), (NUMBERS, b"c", "later 3")))
    assert worker.step.decided == [2]
    assert [one.value for one in worker.sent] == [b"b=1*1", b"add 1", b"c=3*1"]


def test_one_failure_in_a_commit_costs_the_others_nothing() -> None:
    worker = Worker()
    told = log(
        (NUMBERS, b"b", "later 1"), (NUMBERS, b"d", "fail-later 2"), (NUMBERS, b"c", "later 3"), (NUMBERS, b"d", "at 7")
    )
    result = worker.run(told)
    assert result.dead == {(NUMBERS, "step_failed"): 1}
    assert values(worker.sent) == [b"b=1*1", b"c=3*1"]
    assert {key: state.total for key, state in worker.states().items()} == {"b": 1, "c": 3, "d": 0}


def test_a_null_key_and_a_wrong_partition_are_refused_by_their_reasons() -> None:
    worker = Worker()
    result = worker.run([*log((NUMBERS, None, "add 1")), *log((NUMBERS, b"b", "add 1"), partition=1)])
    assert result.dead == {(NUMBERS, "no_key"): 1, (NUMBERS, "wrong_partition"): 1}
    assert worker.states() == {}


def test_a_key_that_is_known_is_refused_in_the_wrong_partition_all_the_same() -> None:
    worker = Worker()
    worker.run(log((NUMBERS, b"b", "add 1"), (NUMBERS, b"b", "add 2")))
    result = worker.run(log(*[(NUMBERS, b"b", "add 4")] * 5, partition=1))
    assert result.dead == {(NUMBERS, "wrong_partition"): 5}
    assert worker.run(log((NUMBERS, b"b", "add 8"), start=2)).applied == {NUMBERS: 1}
    assert worker.states()["b"].total == 11
    assert list(worker.batches.cells(1).items()) == []


def test_a_cell_that_a_stranger_wrote_into_the_wrong_partition_takes_no_records() -> None:
    worker = Worker()
    worker.run(log((NUMBERS, b"b", "add 1")))
    worker.batches.adopt(1, MemoryCells(worker.table))
    assert worker.run(log((NUMBERS, b"b", "add 4"), start=7, partition=1)).dead == {(NUMBERS, "wrong_partition"): 1}
    assert worker.run(log((NUMBERS, b"b", "add 8"), start=1)).applied == {NUMBERS: 1}
    assert worker.states()["b"].total == 9


entries = st.lists(
    st.tuples(
        st.sampled_from([NUMBERS, WORDS]),
        st.sampled_from([b"b", b"c", b"d", None]),
        st.sampled_from(
            [
                "add 1",
                "twice 2",
                "soft 1",
                "same 0",
                "refuse 1",
                "fail 1",
                "nonsense",
                "at 50",
                "fail-at 50",
                "later 1",
                "fail-later 1",
            ]
        ),
    )
    | st.just((TICKS, b"0", "now 60")),
    max_size=15,
)


@settings(max_examples=100, derandomize=True)
@given(entries, st.lists(st.integers(1, 5)), st.lists(st.integers(0, 14), max_size=4))
def test_applied_duplicate_and_dead_add_up_to_the_input(
    inputs: list[tuple[str, bytes | None, str]], sizes: list[int], again: list[int]
) -> None:
    worker, records = Worker(), log(*inputs)
    records += [records[place] for place in again if place < len(records)]
    done = 0
    for size in [*sizes, len(records)]:
        batch = records[done : done + size]
        done += len(batch)
        result = worker.run(batch)
        assert counted(result) == Counter(record.topic for record in batch)


STRANGE_HEADERS = [
    ("origin", None),
    ("origin", b"\xff"),
    ("origin", b"a:b:c"),
    ("origin", b"a" * 250 + b":0:0:0"),
    ("origin", b"7"),
    ("origin", b"a:0:%d:0" % 2**64),
    ("origin", b"a:0:0:%d" % 2**64),
    ("origin", b"a:%d:0:0" % 2**64),
    ("origin", b"a:0:-1:0"),
    ("origin", b"a:x:0:0"),
    ("origin", b"0:0:0"),
    ("began-ms", None),
    ("began-ms", b"yesterday"),
    ("began-ms", b"\xff"),
    ("began-ms", b"-5"),
    ("began-ms", b"9" * 4000),
    ("", None),
    ("traceparent", None),
    ("traceparent", b"x" * 100_000),
    ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"),
    ("traceparent", b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("traceparent", b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
    ("traceparent", b"00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
    ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"),
]


@pytest.mark.parametrize("header", STRANGE_HEADERS)
def test_headers_of_strangers_do_no_harm(header: tuple[str, bytes | None]) -> None:
    worker = Worker()
    record = Record(NUMBERS, 0, 0, 1234, b"b", b"add 1", (header,))
    [output] = worker.run([record]).outputs
    assert output.headers == [("origin", b"numbers:0:0:0"), ("began-ms", b"1234")]
    worker.restart()
    assert worker.unsent == [output]


def test_outputs_are_in_the_trace_of_their_input_and_again_in_a_replay_by_another_worker() -> None:
    worker = Worker()
    traced = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    record = Record(NUMBERS, 0, 0, 1234, b"b", b"twice 1", (traced,))
    outputs = worker.run([record]).outputs
    assert [output.headers[-1] for output in outputs] == [traced, traced]
    worker.restart()
    again = record._replace(headers=(("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"),))
    assert worker.run([again]).outputs == []
    assert worker.unsent == outputs


def test_an_output_that_the_next_one_overtakes_is_in_no_trace() -> None:
    traced = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    [output] = Worker().run([Record(NUMBERS, 0, 0, 1234, b"b", b"soft 1", (traced,))]).outputs
    assert [name for name, _ in output.headers] == ["origin", "began-ms"]


def test_outputs_tell_their_origin_and_when_the_chain_began() -> None:
    worker = Worker()
    record = Record(NUMBERS, 0, 7, 1234, b"b", b"twice 1", ())
    later = Record(NUMBERS, 0, 8, 5678, b"b", b"add 1", (("began-ms", b"42"), ("other", b"x")))
    first, second, third = (dict(output.headers) for output in worker.run([record, later]).outputs)
    assert first == {"origin": b"numbers:0:7:0", "began-ms": b"1234"}
    assert second == {"origin": b"numbers:0:7:1", "began-ms": b"1234"}
    assert third == {"origin": b"numbers:0:8:0", "began-ms": b"42"}


# ---------------------------------------------------------------- time

TIMED = log((NUMBERS, b"b", "at 30"), (NUMBERS, b"d", "at 20"), (NUMBERS, b"f", "at 90"), (NUMBERS, b"c", "at 10"))
TICK = log((TICKS, b"0", "now 50"))


def test_a_tick_wakes_what_is_due_in_its_partition_in_order_of_time() -> None:
    worker = Worker()
    worker.run(TIMED)
    assert values(worker.run(TICK).outputs) == [b"d=0*1", b"b=0*1"]
    assert values(worker.run(log((TICKS, b"0", "now 50"), start=1)).outputs) == []
    assert values(worker.run(log((TICKS, b"1", "now 50"), partition=1)).outputs) == [b"c=0*1"]
    assert values(worker.run(log((TICKS, b"0", "now 90"), start=2)).outputs) == [b"f=0*1"]


def origins(outputs: list[Output]) -> list[bytes]:
    return [dict(output.headers)["origin"] for output in outputs]


def test_what_a_tick_led_to_is_numbered_in_one_order() -> None:
    worker = Worker()
    worker.run(TIMED)
    assert origins(worker.run(TICK).outputs) == [b"ticks:0:0:0", b"ticks:0:0:1"]


def test_what_a_tick_led_to_is_sent_again_in_its_old_order() -> None:
    worker = Worker()
    worker.run(TIMED)
    sent = crash(worker, TICK, "all sent")
    worker.restart(factor=99)
    assert worker.run(TICK).outputs == []
    assert worker.unsent == sent
    assert origins(sent) == sorted(origins(sent))


@pytest.mark.parametrize("saved", ["b", "d"])
def test_a_tick_saved_by_half_gives_no_two_outputs_one_origin_nor_a_falling_one(saved: str) -> None:
    worker = Worker()
    worker.run(TIMED)
    result = worker.apply(TICK)
    worker.table[saved] = result.cells[saved]
    worker.restart()
    worker.run(TICK)
    outputs = [*worker.sent]
    assert sorted(values(outputs)) == [b"b=0*1", b"d=0*1"]
    assert origins(outputs) == sorted(set(origins(outputs)))
    worker.restart(factor=99)
    assert worker.unsent == outputs
    assert worker.run(TICK).outputs == []


def test_a_tick_sees_the_deadlines_that_its_own_batch_set() -> None:
    worker = Worker()
    assert values(worker.run([*TIMED, *TICK]).outputs) == [b"d=0*1", b"b=0*1"]


def test_two_ticks_in_one_batch_wake_what_two_batches_would() -> None:
    told = log((NUMBERS, b"b", "at 30"), (NUMBERS, b"b", "at 70"), (NUMBERS, b"d", "at 70"))
    ticks = log((TICKS, b"0", "now 50"), (TICKS, b"0", "now 90"))
    together, apart = Worker(), Worker()
    together.run([*told, *ticks])
    for batch in (told, *([tick] for tick in ticks)):
        apart.run(batch)
    assert values(together.sent) == [b"b=0*1", b"b=0*1", b"d=0*1"]
    assert sorted(wire(together.sent)) == sorted(wire(apart.sent))
    together.restart(factor=99)
    assert sorted(wire(together.unsent)) == sorted(wire(apart.sent))
    assert together.run([*told, *ticks]).outputs == []


def test_a_replayed_tick_does_not_wake_what_came_behind_it() -> None:
    # A late event may set a deadline that a tick before it, delivered again after a crash, would find due.
    records = [*TICK, *log((NUMBERS, b"b", "at 30"), (NUMBERS, b"b", "add 1"))]
    worker, quiet = Worker(), Worker()
    quiet.run(records)
    crash(worker, records, "states saved")
    worker.restart(factor=99)
    worker.run(records)
    assert worker.sent == quiet.sent
    assert worker.states() == quiet.states()
    assert values(worker.run(log((TICKS, b"0", "now 51"), start=1)).outputs) == [b"b=1*99"]


def test_a_tick_delivered_again_does_not_hide_that_later_ones_had_passed() -> None:
    first, second = TICK, log((TICKS, b"0", "now 60"), start=1)
    late = log((NUMBERS, b"b", "add 1"), (NUMBERS, b"b", "at 30"), start=0)
    worker, quiet = Worker(), Worker()
    quiet.run([late[0], *first, *second, late[1]])
    crash(worker, [late[0], *first, *second, late[1]], "states saved")
    worker.restart(factor=99)
    for batch in ([late[0], *first], second, [late[1]]):
        worker.run(batch)
    assert worker.sent == quiet.sent
    assert worker.states() == quiet.states()


def test_deadlines_are_known_again_after_recovery_in_owned_partitions_only() -> None:
    worker = Worker()
    worker.run(TIMED)
    worker.restart(owned={0})
    assert values(worker.run(TICK).outputs) == [b"d=0*1", b"b=0*1"]
    assert worker.batches.owned == {0}


def test_a_partition_let_go_of_is_forgotten_and_another_is_not() -> None:
    worker = Worker()
    worker.run(log((NUMBERS, b"b", "add 2"), (NUMBERS, b"c", "add 3")))
    worker.batches.drop(0)
    assert (worker.batches.owned, worker.step.view) == ({1}, {"c": 3})


def test_recovery_makes_views_of_owned_partitions_only() -> None:
    worker = Worker()
    worker.run(log((NUMBERS, b"b", "add 2"), (NUMBERS, b"c", "add 3")))
    worker.restart(owned={1})
    assert worker.step.view == {"c": 3}


def test_ticks_after_recovery_write_only_what_they_change() -> None:
    worker = Worker()
    worker.run(TIMED)
    worker.run(TICK)
    worker.restart()
    worker.run(TICK)
    worker.committed = {TICKS: 1, NUMBERS: 3}
    worker.run(log((TICKS, b"0", "now 51"), start=1))
    worker.committed = {TICKS: 2, NUMBERS: 3}
    assert worker.run(log((TICKS, b"0", "now 52"), start=2)).cells == {}


def test_a_key_that_fails_in_time_costs_the_others_nothing() -> None:
    worker = Worker()
    worker.run(log((NUMBERS, b"b", "fail-at 10"), (NUMBERS, b"d", "at 20"), (NUMBERS, b"f", "at 30")))
    result = worker.run(TICK)
    assert values(result.outputs) == [b"d=0*1", b"f=0*1"]
    assert result.dead == {(TICKS, "step_failed"): 1}
    later = worker.run(log((TICKS, b"0", "now 60"), start=1))
    assert later.outputs == []


def test_a_key_that_fails_in_time_keeps_what_the_batch_did_to_it_before() -> None:
    worker, quiet = Worker(), Worker()
    worker.run(log((NUMBERS, b"b", "fail-at 10")))
    quiet.run(log((NUMBERS, b"b", "fail-at 10")))
    around = [*log((NUMBERS, b"b", "add 5"), start=1), *TICK, *log((NUMBERS, b"b", "add 2"), start=2)]
    result = worker.run(around)
    quiet.run([around[0], around[2]])
    assert values(result.outputs) == [b"b=5*1", b"b=7*1"]
    assert worker.states() == quiet.states()
    worker.restart(factor=99)
    assert values(worker.unsent) == [b"b=5*1", b"b=7*1"]
    assert values(worker.run(around).outputs) == []


def test_a_tick_that_is_no_tick_is_left_to_the_step() -> None:
    worker = Worker()
    worker.run(TIMED)
    result = worker.apply(log((NUMBERS, b"b", "fail 1"), (TICKS, b"0", "now 50"), start=3))
    assert values(result.outputs) == [b"d=0*1", b"b=0*1"]


def test_a_failure_later_in_the_batch_leaves_deadlines_as_they_were() -> None:
    worker = Worker()
    worker.run(TIMED)
    worker.run([*TICK, *log((NUMBERS, b"f", "fail 1"), (NUMBERS, b"d", "add 1"), start=3)])
    assert values(worker.sent) == [b"d=0*1", b"b=0*1", b"d=1*1"]


def run_in_parts(worker: Worker, records: list[Record], most: int) -> list[Applied]:
    """Apply records of partition 0 in parts of at most so many steps, each saved and sent before the next."""
    parts, left = [], records
    while left:
        part = Applied(worker.batches.apply_all({0: (left, worker.committed)}, most))
        worker.save(part)
        worker.sent += part.outputs
        parts.append(part)
        left = list(part.results[0].left)
    return parts


WAITING = log(
    *((NUMBERS, key, f"{what} {at}") for at, key in enumerate((b"b0", b"b2", b"b1", b"b3")) for what in ("at", "add")),
    (NUMBERS, b"b4", "at 90"),
)
AROUND = [*log((NUMBERS, b"b1", "later 5"), start=9), *TICK, *log((NUMBERS, b"b0", "add 3"), start=10)]


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_a_batch_may_be_cut_anywhere_also_amid_a_tick(most: int) -> None:
    whole, cut = Worker(), Worker()
    whole.run([*WAITING, *AROUND])
    parts = run_in_parts(cut, [*WAITING, *AROUND], most)
    assert len(parts) >= len([*WAITING, *AROUND]) / most
    assert wire(cut.sent) == wire(whole.sent)
    assert cut.states() == whole.states()
    assert sum((counted(part) for part in parts), Counter()) == {NUMBERS: 11, TICKS: 1}
    assert wire(cut.run(log((TICKS, b"0", "now 95"), start=1)).outputs) == wire(
        whole.run(log((TICKS, b"0", "now 95"), start=1)).outputs
    )


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_whoever_dies_amid_a_tick_sends_the_rest_of_it_once_more_under_the_same_numbers(parts: int) -> None:
    whole, worker = Worker(), Worker()
    for each in (whole, worker):
        each.run(WAITING)
    whole.run(TICK)
    left: list[Record] = TICK
    for _ in range(parts):
        part = Applied(worker.batches.apply_all({0: (left, {})}, 1))
        worker.save(part)
        left = list(part.results[0].left)
    assert left == TICK
    worker.sent.clear()
    worker.committed[NUMBERS] = 9
    worker.restart()
    run_in_parts(worker, TICK, 1)
    run_in_parts(worker, log(*[(NUMBERS, key, "soft 0") for key in (b"b0", b"b1", b"b2", b"b3")], start=9), 9)
    assert {worker.batches._codec.decode(data).passed for data in worker._own.values()} == {-1}
    worker.sent = worker.sent[:4]
    assert wire(worker.sent) == wire(whole.sent[-4:])
    assert worker.states() == whole.states()


def test_a_tick_delivered_again_does_not_wake_whom_it_has_passed_already_though_a_late_record_is_merged_before_it() -> (
    None
):
    worker = Worker()
    worker.run(WAITING)
    part = Applied(worker.batches.apply_all({0: (TICK, {})}, 1))
    worker.save(part)
    assert list(part.cells) == ["b0"]
    worker.restart()
    late = log((NUMBERS, b"b0", "at 30"), start=9)
    assert values(worker.unsent)[-1] == b"b0=0*1"
    assert values(worker.run([*late, *TICK]).outputs) == [b"b2=1*1", b"b1=2*1", b"b3=3*1"]
    assert values(worker.run(log((TICKS, b"0", "now 51"), start=1)).outputs) == [b"b0=0*1"]


def test_a_part_of_a_tick_that_is_given_back_passes_anew_and_what_was_saved_before_does_not() -> None:
    whole, worker = Worker(), Worker()
    for each in (whole, worker):
        each.run(WAITING)
    whole.run(TICK)
    for most in (1, 2):
        [result] = worker.batches.apply_all({0: (TICK, {})}, most)
        worker.batches.give_back(result)
    first = Applied(worker.batches.apply_all({0: (TICK, {})}, 2))
    worker.save(first)
    worker.sent += first.outputs
    [result] = worker.batches.apply_all({0: (TICK, {})}, 1)
    worker.batches.give_back(result)
    run_in_parts(worker, TICK, 1)
    assert wire(worker.sent) == wire(whole.sent)


def test_a_key_that_fails_amid_a_tick_that_is_cut_costs_the_others_nothing() -> None:
    failing = log((NUMBERS, b"b9", "fail-at 2"), start=9)
    whole, worker = Worker(), Worker()
    whole.run([*WAITING, *failing, *TICK])
    parts = run_in_parts(worker, [*WAITING, *failing, *TICK], 2)
    assert wire(worker.sent) == wire(whole.sent)
    assert worker.states() == whole.states()
    assert sum((part.dead for part in parts), Counter()) == {(TICKS, "step_failed"): 1}


ENDING = [
    *log((NUMBERS, b"b", "add 1"), (NUMBERS, b"b", "end 10"), (NUMBERS, b"d", "add 4")),
    *log((TICKS, b"0", "now 9"), (TICKS, b"0", "now 20"), (TICKS, b"0", "now 30"), (TICKS, b"0", "now 40")),
]
"""Of b the state ends at 10, that of d never."""


def test_a_cell_that_is_over_is_no_more_when_none_of_its_records_can_come_again() -> None:
    worker = Worker()
    worker.run(ENDING[:4])
    assert set(worker.table) == {"b", "d"}
    worker.run(ENDING[4:5])  # nothing is committed yet: a replay must find it
    assert set(worker.table) == {"b", "d"}
    worker.committed[NUMBERS] = 3
    assert worker.run(ENDING[5:6]).cells == {"b": None}
    assert worker.run(ENDING[6:]).cells == {}, "time is due for what is no more"
    assert set(worker.table) == {"d"}
    assert worker.batches.cells(0).get("b") is None
    assert worker.batches.state(0, "b").total == 0


def test_where_records_never_come_again_a_cell_ends_at_once() -> None:
    worker = Worker(keeps_outputs=False)
    worker.run(ENDING[:5])
    assert set(worker.table) == {"d"}


def test_what_a_state_leaves_stays_in_a_cell_of_its_own_without_deadline_or_history() -> None:
    worker = Worker()
    worker.run(log((NUMBERS, b"b", "add 1"), (NUMBERS, b"b", "mark 10")))
    worker.committed[NUMBERS] = 2
    ticks = log((TICKS, b"0", "now 20"), (TICKS, b"0", "now 30"))
    worker.run(ticks[:1])
    assert worker.cells()["b"] == (None, Total(total=1), [])
    assert NUMBERS not in worker.batches._codec.decode(worker.table["b"]).applied
    assert worker.run(ticks[1:]).cells == {}, "time is due for a mark"
    worker.restart()
    worker.run(log((NUMBERS, b"b", "add 2"), start=2))
    assert worker.states()["b"].total == 3


def test_a_key_that_has_ended_begins_anew_in_the_same_batch_too() -> None:
    worker = Worker()
    worker.run(ENDING[:4])
    worker.committed[NUMBERS] = 3
    more = [record._replace(offset=record.offset + 3) for record in log((NUMBERS, b"b", "add 7"))]
    worker.run([*ENDING[4:5], *more])
    assert worker.states()["b"].total == 7
    worker.run(ENDING[5:])
    assert worker.states()["b"].total == 7, "it had no end"


@pytest.mark.parametrize("where", CRASHES)
def test_a_crash_beside_the_end_of_a_cell_changes_nothing(where: str) -> None:
    later = [record._replace(offset=record.offset + 3) for record in log((NUMBERS, b"b", "add 7"))]
    workers = Worker(), Worker()
    for worker in workers:
        worker.run(ENDING[:4])
        worker.committed |= {NUMBERS: 3, TICKS: 1}
    quiet, worker = workers
    quiet.run([*ENDING[4:], *later])
    crash(worker, [*ENDING[4:], *later], where)
    worker.restart()
    worker.run([*ENDING[4:], *later])
    assert worker.cells() == quiet.cells()
    assert worker.states()["b"].total == 7


def test_outputs_that_may_have_to_be_sent_again_keep_a_cell() -> None:
    worker = Worker()
    worker.run(log((NUMBERS, b"b", "at 10"), (NUMBERS, b"b", "end 10")))
    worker.committed[NUMBERS] = 2
    ticks = log((TICKS, b"0", "now 20"), (TICKS, b"0", "now 30"))
    worker.run(ticks[:1])
    assert values(worker.sent) == [b"b=0*1"]
    assert set(worker.table) == {"b"}
    worker.committed[TICKS] = 1
    worker.run(ticks[1:])
    assert worker.table == {}


def test_a_record_may_end_a_cell_at_once() -> None:
    worker = Worker()
    worker.run(log((NUMBERS, b"b", "add 1"), (NUMBERS, b"b", "gone 0"), (NUMBERS, b"b", "add 2")))
    assert worker.states()["b"].total == 2
    worker.run(log((NUMBERS, b"b", "gone 0"), start=3))
    assert worker.table == {}
    worker.restart()
    assert worker.batches.state(0, "b").total == 0


def test_a_cell_that_ends_and_is_too_large_when_it_begins_anew_has_ended() -> None:
    worker = Worker(max_cell_bytes=120)
    result = worker.run(log((NUMBERS, b"b", "soft 1"), (NUMBERS, b"b", "gone 0"), (NUMBERS, b"b", "twice 2")))
    assert result.dead == {(NUMBERS, "too_large"): 1}
    assert worker.table == {}
