"""Of what a fetch brought each record is handed out once, in order, whatever the names of its headers are."""

from collections.abc import Sequence

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.errors import CorruptRecordException
from kafka.record.memory_records import MemoryRecordsBuilder

from loopback.clients import NoText
from stream_coupons.kafka.lenient.fetch import FetchedBatches, Records

UNCOMPRESSED, GZIP, ZSTD = 0, 1, 4
NO_PRODUCER = -1


def batch(first: int, names: Sequence[str], compression: int = UNCOMPRESSED, producer: int = NO_PRODUCER) -> bytes:
    """Records from an offset on, each with a header of such a name."""
    state = (True, producer, 0, 0) if producer != NO_PRODUCER else ()
    builder = MemoryRecordsBuilder(2, compression, 2**20, first, *state)
    for number, name in enumerate(names, first):
        builder.append(number, b"key", str(number).encode(), [(name, b"1"), ("none", None)])
    builder.close()
    return bytes(builder.buffer())


def records(data: bytes, first: int = 0, aborted: Sequence[tuple[int, int]] = ()) -> Records:
    return Records(TopicPartition("t", 0), FetchedBatches(data), aborted, first, None, None, True, READ_COMMITTED)


BAD, NAME = NoText("trace"), "tr\\xff\\xfe trace"
BATCHES = (["a", "b"], ["c", BAD, "d", BAD], [BAD], ["e"], [BAD, "f"], ["g"])
NAMES = ["a", "b", "c", NAME, "d", NAME, NAME, "e", NAME, "f", "g"]


@pytest.mark.parametrize("compression", [UNCOMPRESSED, GZIP, ZSTD])
@pytest.mark.parametrize("first", [0, 3, 4, 9])
def test_every_record_is_handed_out_once_from_where_was_asked_for(first: int, compression: int) -> None:
    data, end = b"", 0
    for names in BATCHES:
        if end + len(names) > first:  # a broker answers from the batch on where it lies
            data += batch(end, names, compression)
        end += len(names)
    found = [(one.offset, one.timestamp, one.key, one.value, one.headers) for one in records(data, first)]
    assert found == [
        (number, number, b"key", str(number).encode(), ((NAMES[number], b"1"), ("none", None)))
        for number in range(first, end)
    ]


def test_where_the_next_fetch_begins_is_known_behind_every_record() -> None:
    reading = records(batch(5, ["a", BAD, "b"]), 5)
    assert [(one.offset, reading.next_fetch_offset) for one in reading] == [(5, 6), (6, 7), (7, 8)]


def test_what_was_aborted_stays_aborted_around_such_a_record() -> None:
    data = batch(0, [BAD], producer=7) + batch(1, ["a", BAD], producer=8) + batch(3, ["b"], producer=7)
    assert [one.offset for one in records(data, aborted=[(7, 0)])] == [1, 2]


@pytest.mark.parametrize("names", [["a"], [BAD]])
def test_bytes_that_are_broken_are_still_an_error(names: Sequence[str]) -> None:
    reading = records(batch(0, ["a"]) + batch(1, names)[:-1] + b"\xff")
    assert next(reading).offset == 0
    with pytest.raises(CorruptRecordException):
        next(reading)
