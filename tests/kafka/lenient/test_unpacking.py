"""A batch that does not unpack, or to too much, is one record for either client; all others are left as they are."""

import struct
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from stream_coupons.kafka.lenient import kafka_python
from stream_coupons.kafka.lenient.fetch import FetchedBatches, LenientBatches, Records
from stream_coupons.kafka.lenient.unpacking import MOST_BYTES
from stream_coupons.kafka.records import UNPACKED_HEADER

PACK: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "gzip": (1, lambda data: gzip_encode(data, 1)),
    "snappy": (2, lambda data: snappy_encode(data, xerial_compatible=False)),
    "snappy in blocks": (2, snappy_encode),
    "lz4": (3, lz4_encode),
    "zstd": (4, zstd_encode),
}
FIRST, COUNT = 70, 3
HEADER_BYTES = 61


def packed(by: str, value_bytes: int, spoil: bool = False) -> bytes:
    """Three records at the offsets 70 to 72, of a producer's transaction, compressed."""
    codec, pack = PACK[by]
    builder = DefaultRecordBatchBuilder(2, 0, 1, 7, 0, 0, 1 << 30)
    for number in range(COUNT):
        builder.append(number, 1_000 + number, b"key", bytes(value_bytes), [])
    batch = bytes(builder.build())
    payload = bytes(pack(batch[HEADER_BYTES:]))
    if spoil:
        payload = payload[: len(payload) // 2]
    checked = struct.pack(">h", struct.unpack(">h", batch[21:23])[0] | codec) + batch[23:HEADER_BYTES] + payload
    head = struct.pack(">qiib", FIRST, 9 + len(checked), 0, 2)
    return head + struct.pack(">I", calc_crc32c(checked)) + checked


def plain(offset: int) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    builder.append(0, 1_000, b"key", b"plain", [])
    return struct.pack(">q", offset) + bytes(builder.build())[8:]


Found = tuple[int, int, bytes | None, bytes | None]


def by_aiokafka(data: bytes) -> list[Found]:
    reading = Records(TopicPartition("t", 0), FetchedBatches(data), [], FIRST, None, None, True, READ_COMMITTED)
    return [(one.offset, one.timestamp, one.key, one.value) for one in reading]


def by_aiokafka_in_python(data: bytes) -> list[Found]:
    return by_batches(LenientBatches(data, FIRST))


def by_kafka_python(data: bytes) -> list[Found]:
    return by_batches(kafka_python.LenientMemoryRecords(data))


def by_batches(batches: Any) -> list[Found]:
    found = []
    while batches.has_next():
        batch = batches.next_batch()
        if not batch.validate_crc():
            raise CorruptRecordException
        found += [(one.offset, one.timestamp, one.key, one.value) for one in batch]
    return found


READERS = [by_aiokafka, by_aiokafka_in_python, by_kafka_python]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("by", PACK)
def test_what_unpacks_is_left_as_it_is(by: str, read: Callable[[bytes], list[Found]]) -> None:
    data = packed(by, 1_000) + plain(FIRST + COUNT)
    records = [(FIRST + number, 1_000 + number, b"key", bytes(1_000)) for number in range(COUNT)]
    assert read(data) == [*records, (FIRST + COUNT, 1_000, b"key", b"plain")]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("by", PACK)
def test_what_unpacks_to_too_much_is_one_record(by: str, read: Callable[[bytes], list[Found]]) -> None:
    bomb = packed(by, MOST_BYTES // COUNT)
    assert read(bomb + plain(FIRST + COUNT)) == [
        (FIRST, 1_000, None, bomb),
        (FIRST + COUNT, 1_000, b"key", b"plain"),
    ]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("by", PACK)
def test_what_does_not_unpack_is_one_record(by: str, read: Callable[[bytes], list[Found]]) -> None:
    spoilt = packed(by, 1_000, spoil=True)
    assert read(spoilt + plain(FIRST + COUNT)) == [
        (FIRST, 1_000, None, spoilt),
        (FIRST + COUNT, 1_000, b"key", b"plain"),
    ]


@pytest.mark.parametrize("read", READERS)
def test_bytes_that_were_changed_on_their_way_are_still_an_error(read: Callable[[bytes], list[Found]]) -> None:
    changed = packed("zstd", 1_000)[:-1] + b"\xff"
    with pytest.raises(CorruptRecordException):
        read(changed)


def test_as_much_as_may_be_is_still_unpacked() -> None:
    records_bytes = len(packed("zstd", 0)) + 3 * 40
    found = by_aiokafka(packed("zstd", (MOST_BYTES - records_bytes) // COUNT))
    assert [key for _, _, key, _ in found] == [b"key"] * COUNT


def test_the_record_that_stands_for_a_batch_says_for_which_and_what_was_expected() -> None:
    data = packed("zstd", MOST_BYTES)
    reading: Any = Records(TopicPartition("t", 0), FetchedBatches(data), [], FIRST, None, None, True, READ_COMMITTED)
    [record] = reading
    assert dict(record.headers)[UNPACKED_HEADER].decode() == (
        f"a batch of {len(data)} bytes, said to hold 3 records at the offsets 70 to 72: "
        "expected one that unpacks, to at most 67108864 bytes"
    )
    assert reading.next_fetch_offset == FIRST + COUNT


def test_what_a_transaction_took_back_stays_taken_back() -> None:
    data = packed("zstd", MOST_BYTES)
    aborted = [(7, FIRST)]
    reading = Records(TopicPartition("t", 0), FetchedBatches(data), aborted, FIRST, None, None, True, READ_COMMITTED)
    assert list(reading) == []
    assert reading.next_fetch_offset == FIRST + COUNT
