import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback_kafka import record_batches
from loopback_kafka.log import PartitionLog
from loopback_kafka.protocol import ErrorCode
from loopback_kafka.record_batches import marker_batch
from loopback_kafka.sequences import AppendRefused

from .builders import Sender, make_batch, numbered, read_all

ANY_SIZE = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "words-0"


@pytest.fixture
def log(folder: Path) -> Iterator[PartitionLog]:
    log = PartitionLog(folder)
    yield log
    log.close()


def reopen(log: PartitionLog, folder: Path) -> PartitionLog:
    log.close()
    return PartitionLog(folder)


def log_file(folder: Path) -> Path:
    (path,) = folder.glob("*.log")
    return path


def test_offsets_follow_each_other(log: PartitionLog) -> None:
    assert log.append(numbered(3), ANY_SIZE) == 0
    assert log.append(numbered(2), ANY_SIZE) == 3
    assert (log.start_offset, log.end_offset, len(log._index)) == (0, 5, 2)
    assert [offset for offset, _ in read_all(log.read(0, ANY_SIZE, True))] == [0, 1, 2, 3, 4]


def test_a_read_starts_with_the_batch_that_holds_the_offset(log: PartitionLog) -> None:
    for _ in range(3):
        log.append(numbered(3), ANY_SIZE)
    assert read_all(log.read(4, ANY_SIZE, True))[0][0] == 3
    assert log.read(9, ANY_SIZE, True) == b""


def test_a_read_returns_whole_batches_within_its_limit(log: PartitionLog) -> None:
    size = len(numbered(3))
    for _ in range(4):
        log.append(numbered(3), ANY_SIZE)
    assert len(log.read(0, 2 * size + 5, True)) == 2 * size
    assert len(log.read(0, 2 * size, True)) == 2 * size
    assert len(log.read(3, 3 * size, True)) == 3 * size


def test_a_batch_over_the_limit_is_returned_only_as_the_first(log: PartitionLog) -> None:
    log.append(numbered(3), ANY_SIZE)
    log.append(numbered(3), ANY_SIZE)
    assert len(log.read(0, 1, whole_first=True)) == len(numbered(3))
    assert log.read(0, 1, whole_first=False) == b""


def test_available_counts_what_a_read_would_return(log: PartitionLog) -> None:
    log.append(numbered(3), ANY_SIZE)
    assert log.available(0, ANY_SIZE) == log.size
    assert log.available(0, 10) == 10
    assert log.available(3, ANY_SIZE) == 0


def test_records_survive_reopening(log: PartitionLog, folder: Path) -> None:
    log.append(numbered(3), ANY_SIZE)
    before = log.read(0, ANY_SIZE, True)
    again = reopen(log, folder)
    assert (again.end_offset, again.size) == (3, log.size)
    assert again.read(0, ANY_SIZE, True) == before
    again.close()


@pytest.mark.parametrize("lost", [1, 30, 60, 61, 100])
def test_a_torn_tail_is_cut(log: PartitionLog, folder: Path, lost: int) -> None:
    log.append(numbered(3), ANY_SIZE)
    kept = log.size
    log.append(numbered(3), ANY_SIZE)
    os.truncate(log_file(folder), log.size - lost)
    again = reopen(log, folder)
    assert (again.end_offset, again.size) == (3, kept)
    assert log_file(folder).stat().st_size == kept
    assert again.append(numbered(1), ANY_SIZE) == 3
    again.close()


def test_a_batch_whose_checksum_fails_is_cut(log: PartitionLog, folder: Path) -> None:
    log.append(numbered(3), ANY_SIZE)
    kept = log.size
    log.append(numbered(3), ANY_SIZE)
    with log_file(folder).open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"xx")
    again = reopen(log, folder)
    assert (again.end_offset, again.size) == (3, kept)
    again.close()


def test_garbage_after_the_last_batch_is_cut(log: PartitionLog, folder: Path) -> None:
    log.append(numbered(3), ANY_SIZE)
    with log_file(folder).open("ab") as file:
        file.write(b"\x7f" * 500)
    again = reopen(log, folder)
    assert (again.end_offset, again.size) == (3, log.size)
    again.close()


@pytest.mark.parametrize(
    ("batch", "code"),
    [
        (numbered(50), ErrorCode.MESSAGE_TOO_LARGE),
        (b"", ErrorCode.CORRUPT_MESSAGE),
        (numbered(2)[:-1], ErrorCode.CORRUPT_MESSAGE),
        (numbered(2)[:-1] + b"x", ErrorCode.CORRUPT_MESSAGE),
        (numbered(2) + numbered(2), ErrorCode.INVALID_RECORD),
        (make_batch([(None, b"v")]), ErrorCode.INVALID_RECORD),
        (make_batch([(b"k", b"v")], is_transactional=True), ErrorCode.INVALID_RECORD),
        (marker_batch(7, 0, is_commit=True, at_ms=0), ErrorCode.INVALID_RECORD),
    ],
    ids=["large", "empty", "short", "checksum", "two-batches", "no-key", "transaction-of-nobody", "marker"],
)
def test_a_bad_batch_is_refused(log: PartitionLog, batch: bytes, code: ErrorCode) -> None:
    with pytest.raises(AppendRefused) as refused:
        log.append(batch, max_bytes=500, needs_keys=True)
    assert refused.value.code is code
    assert log.size == 0


@pytest.mark.parametrize("codec", [1, 2, 3, 4], ids=["gzip", "snappy", "lz4", "zstd"])
def test_keys_are_checked_in_compressed_batches(log: PartitionLog, codec: int) -> None:
    assert log.append(make_batch([(b"k", b"v")], codec=codec), ANY_SIZE, needs_keys=True) == 0
    with pytest.raises(AppendRefused, match="needs keys"):
        log.append(make_batch([(None, b"v")], codec=codec), ANY_SIZE, needs_keys=True)
    assert log.find_timestamp(1_000) == (0, 1_000)


@pytest.mark.parametrize("codec", [1, 2, 3, 4], ids=["gzip", "snappy", "lz4", "zstd"])
def test_a_compacted_topic_refuses_a_batch_that_does_not_unpack(
    log: PartitionLog, monkeypatch: pytest.MonkeyPatch, codec: int
) -> None:
    monkeypatch.setattr(record_batches, "MAX_UNPACKED_BYTES", 1_000)
    with pytest.raises(AppendRefused, match="at most 1000 bytes") as refused:
        log.append(make_batch([(b"k", bytes(2_000))], codec=codec), ANY_SIZE, needs_keys=True)
    assert refused.value.code is ErrorCode.CORRUPT_MESSAGE


def test_a_retried_batch_keeps_its_first_offset(log: PartitionLog, folder: Path) -> None:
    first = make_batch([(b"a", b"1"), (b"b", b"2")], Sender(7, 0, 0))
    second = make_batch([(b"c", b"3")], Sender(7, 0, 2))
    assert [log.append(batch, ANY_SIZE) for batch in (first, second, first)] == [0, 2, 0]
    again = reopen(log, folder)
    assert again.append(second, ANY_SIZE) == 2
    assert again.end_offset == 3
    again.close()


def test_a_gap_in_a_producers_sequence_is_refused(log: PartitionLog) -> None:
    log.append(make_batch([(b"a", b"1")], Sender(7, 0, 0)), ANY_SIZE)
    with pytest.raises(AppendRefused) as refused:
        log.append(make_batch([(b"a", b"1")], Sender(7, 0, 2)), ANY_SIZE)
    assert refused.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_an_older_producer_epoch_is_refused_and_a_newer_starts_over(log: PartitionLog) -> None:
    log.append(make_batch([(b"a", b"1")], Sender(7, 1, 0)), ANY_SIZE)
    with pytest.raises(AppendRefused) as refused:
        log.append(make_batch([(b"a", b"1")], Sender(7, 0, 1)), ANY_SIZE)
    assert refused.value.code is ErrorCode.INVALID_PRODUCER_EPOCH
    assert log.append(make_batch([(b"a", b"1")], Sender(7, 2, 0)), ANY_SIZE) == 1


def test_a_sequence_wraps_around(log: PartitionLog) -> None:
    last = 2**31 - 1
    log.append(make_batch([(b"a", b"1")], Sender(7, 0, last)), ANY_SIZE)
    assert log.append(make_batch([(b"a", b"1")], Sender(7, 0, 0)), ANY_SIZE) == 1


def test_a_time_finds_the_record_inside_its_batch(log: PartitionLog) -> None:
    log.append(make_batch([(b"a", b"1"), (b"b", b"2")], timestamp=100), ANY_SIZE)
    log.append(make_batch([(b"c", b"3"), (b"d", b"4")], timestamp=200), ANY_SIZE)
    assert log.find_timestamp(0) == (0, 100)
    assert log.find_timestamp(102) == (2, 200)
    assert log.find_timestamp(201) == (3, 201)
    assert log.find_timestamp(202) is None


def test_dropping_old_batches_moves_the_start_for_good(log: PartitionLog, folder: Path) -> None:
    for _ in range(3):
        log.append(numbered(2), ANY_SIZE)
    log.drop_before(2)
    assert (log.start_offset, log.end_offset) == (4, 6)
    assert read_all(log.read(4, ANY_SIZE, True))[0][0] == 4
    again = reopen(log, folder)
    assert (again.start_offset, again.end_offset, len(again._index)) == (4, 6, 1)
    assert again.append(numbered(1), ANY_SIZE) == 6
    again.close()


def test_a_death_while_rewriting_leaves_one_whole_log(log: PartitionLog, folder: Path) -> None:
    for _ in range(2):
        log.append(numbered(2), ANY_SIZE)
    old = log_file(folder).read_bytes()
    log.drop_before(1)
    (folder / f"{0:020d}.log").write_bytes(old)
    (folder / "rewrite.tmp").write_bytes(b"half")
    again = reopen(log, folder)
    assert (again.start_offset, again.end_offset) == (2, 4)
    assert len(list(folder.iterdir())) == 1
    again.close()


def test_replacing_the_head_keeps_what_was_appended_meanwhile(log: PartitionLog) -> None:
    log.append(numbered(2), ANY_SIZE)
    until = log.size
    log.append(numbered(2), ANY_SIZE)
    log.replace_head(b"", until)
    assert (log.start_offset, log.end_offset) == (0, 4)
    assert [offset for offset, _ in read_all(log.read(0, ANY_SIZE, True))] == [2, 3]
