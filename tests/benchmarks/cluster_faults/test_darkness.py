"""Darkness: which times count, and when a reader of committed records sees an answer."""

from pathlib import Path

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from benchmarks.cluster_faults.auditor import Entry
from benchmarks.cluster_faults.darkness import (
    Batch,
    Darkness,
    Wait,
    batches_of,
    darkness,
    longest_dark_s,
    visible_ms,
)
from loopback_kafka.record_batches import marker_batch, stamp_batch


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        ([], 0.0),
        ([Wait(0, 500)], 0.5),
        ([Wait(0, 100), Wait(60_000, 60_100)], 0.1),  # nobody waits in a quiet minute
        ([Wait(0, 9000), Wait(1000, 9000), Wait(8000, 9100)], 9.0),
        ([Wait(0, 1000), Wait(100, 2000), Wait(200, 3000)], 1.0),  # one by one: slow, not dark
        ([Wait(0, 20_000), Wait(5000, 6000)], 14.0),  # one that is passed over waits on
    ],
)
def test_a_partition_is_dark_while_an_event_waits_and_none_is_answered(waits: list[Wait], expected: float) -> None:
    assert longest_dark_s(waits) == expected


def test_an_answer_is_seen_at_its_append_where_no_transaction_is_open() -> None:
    assert visible_ms([Batch(10, origins=("a", "b")), Batch(20, origins=("c",))]) == {"a": 10, "b": 10, "c": 20}


def test_a_copy_does_not_answer_again() -> None:
    assert visible_ms([Batch(10, origins=("a",)), Batch(20, origins=("a",))]) == {"a": 10}


def test_an_answer_of_a_transaction_is_seen_at_its_commit() -> None:
    assert visible_ms([Batch(10, 1, origins=("a",)), Batch(50, 1, committed=True)]) == {"a": 50}


def test_an_aborted_answer_is_not_seen_and_one_sent_again_is() -> None:
    batches = [
        Batch(10, 1, origins=("a",)),
        Batch(50, 1, committed=False),
        Batch(60, 1, origins=("a",)),
        Batch(70, 1, committed=True),
    ]
    assert visible_ms(batches) == {"a": 70}


def test_an_open_transaction_hides_what_comes_behind_it() -> None:
    batches = [
        Batch(10, 1, origins=("lost",)),
        Batch(20, 2, origins=("a",)),
        Batch(30, 2, committed=True),
        Batch(40, origins=("b",)),
        Batch(9000, 1, committed=False),
    ]
    assert visible_ms(batches) == {"a": 9000, "b": 9000}


def test_what_never_ends_is_never_seen() -> None:
    assert visible_ms([Batch(10, 1, origins=("a",))]) == {}


def test_the_worst_partition_and_the_median_one_are_told_apart() -> None:
    entries = [Entry("browse-events", number, 0, 0, None, None, {}) for number in range(3)]
    answered = {entry.place: 1000 * (entry.partition + 1) ** 2 for entry in entries}
    assert darkness([(entry, 0) for entry in entries], answered) == Darkness(4.0, 9.0)
    assert darkness([], {}) == Darkness(0.0, 0.0)


def transactional_batch(producer_id: int, appended_ms: int, origin: str) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer_id, 0, 0, 4096)
    builder.append(0, 1, b"ann", b"{}", [("origin", origin.encode())])
    return stamp_batch(bytes(builder.build()), appended_ms)


def test_files_of_a_partition_are_read_in_order_with_the_markers_of_transactions(tmp_path: Path) -> None:
    first = transactional_batch(7, 1000, "browse-events:3:17:2") + marker_batch(7, 0, True, 2000)
    (tmp_path / "00000000000000000000.log").write_bytes(first)
    second = transactional_batch(8, 3000, "cart-events:3:4:0") + marker_batch(8, 0, False, 4000)
    (tmp_path / "00000000000000000002.log").write_bytes(second)
    (tmp_path / "00000000000000000002.index").write_bytes(b"no records")
    assert list(batches_of(tmp_path)) == [
        Batch(1000, 7, None, ("browse-events:3:17",)),
        Batch(2000, 7, True),
        Batch(3000, 8, None, ("cart-events:3:4",)),
        Batch(4000, 8, False),
    ]
    assert visible_ms(batches_of(tmp_path)) == {"browse-events:3:17": 2000}
