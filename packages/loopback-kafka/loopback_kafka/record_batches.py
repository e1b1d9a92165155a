"""Record batches of the message format v2: header, checks, and the records inside.

A batch is a header of 61 bytes and a payload, compressed as a whole or not at all. The checksum
covers everything after itself, so the broker may set the base offset and the leader epoch, which
come before it, without touching the rest.

References
----------
.. [1] Apache Kafka documentation, "Implementation: Message Format", sections 5.3.1 and 5.3.2.
"""

import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import cramjam
from crc32c import crc32c

_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_CRC: Final = struct.Struct(">I")
_PREFIX: Final = struct.Struct(">qii")

HEADER_SIZE: Final = _HEADER.size
LENGTH_OVERHEAD: Final = 12
"""Bytes before the part that the length field counts."""
_CRC_START: Final = 17
_CRC_END: Final = 21
_MAGIC: Final = 2
_CODEC_MASK: Final = 0x07
_TRANSACTIONAL: Final = 0x10
_CONTROL: Final = 0x20
_APPEND_TIME: Final = 0x08
_MAX_TIMESTAMP_AT: Final = 35 - _CRC_END
"""Place of the newest timestamp among the bytes that the checksum covers."""
_MARKER_RECORD: Final = struct.Struct(">5sHH8s")
"""The record of a marker: sizes and deltas, the key (version 0, decision), the value (zeros) and no headers."""
_MARKER_SIZES: Final = bytes([32, 0, 0, 0, 8])
_MARKER_VALUE: Final = bytes([12, 0, 0, 0, 0, 0, 0, 0])
_MAX_VARINT_BITS: Final = 70
MAX_UNPACKED_BYTES: Final = 256 * 1024 * 1024
_JAVA_SNAPPY: Final = b"\x82SNAPPY\x00"
_JAVA_SNAPPY_HEADER: Final = 16


class CorruptBatch(Exception):
    """Bytes that are no whole and sound batch."""


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """The header fields the broker needs; times in milliseconds, size in bytes with the header."""

    base_offset: int
    size: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    count: int

    @property
    def last_offset(self) -> int:
        """The offset of the last record, also of a batch that compaction has thinned out."""
        return self.base_offset + self.last_offset_delta

    @property
    def is_transactional(self) -> bool:
        """True if the batch belongs to a transaction or is its marker."""
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """True if the batch is the broker's own: it holds a marker that ends a transaction."""
        return bool(self.attributes & _CONTROL)


@dataclass(frozen=True, slots=True)
class EncodedRecord:
    """One record of a batch, with its encoded bytes as they stand in the payload."""

    offset: int
    timestamp: int
    key: bytes | None
    is_tombstone: bool
    encoded: bytes


def read_header(data: bytes, position: int = 0) -> BatchHeader:
    """Return the header at a position; it is not checked against the rest of the batch.

    Parameters
    ----------
    data : bytes
        One or more batches.
    position : int
        First byte of the batch.

    Raises
    ------
    CorruptBatch
        When fewer bytes are left than a header has, or its length field is impossible.
    """
    if len(data) - position < HEADER_SIZE:
        raise CorruptBatch("fewer bytes than a batch header")
    base, length, _epoch, *rest = _HEADER.unpack_from(data, position)
    header = BatchHeader(base, length + LENGTH_OVERHEAD, *rest)
    if header.size < HEADER_SIZE or header.last_offset_delta < 0 or base < 0:
        raise CorruptBatch(f"impossible batch header: {header}")
    return header


def codec_of(batch: bytes | bytearray | memoryview) -> int:
    """Return the number of the compression of a batch; 0 is none."""
    return batch[_CRC_END + 1] & _CODEC_MASK


def check_batch(data: bytes, position: int = 0) -> BatchHeader:
    """Return the header of the batch at a position after checking magic, length and checksum.

    Parameters
    ----------
    data : bytes
        One or more batches.
    position : int
        First byte of the batch.

    Raises
    ------
    CorruptBatch
        When any of them is wrong or the batch is cut short.
    """
    header = read_header(data, position)
    if header.magic != _MAGIC:
        raise CorruptBatch(f"message format {header.magic}, expected {_MAGIC}")
    end = position + header.size
    if end > len(data):
        raise CorruptBatch("the batch is cut short")
    if crc32c(data[position + _CRC_END : end]) != header.crc:
        raise CorruptBatch("the checksum does not match")
    return header


def offset_prefix(base_offset: int, size: int) -> bytes:
    """Return the bytes before the magic: base offset, length, leader epoch 0.

    Parameters
    ----------
    base_offset : int
        Offset of the first record.
    size : int
        Bytes of the whole batch, the prefix included.

    Returns
    -------
    bytes
        `PREFIX_SIZE` bytes.

    Examples
    --------
    >>> offset_prefix(5, 61).hex()
    '00000000000000050000003100000000'
    """
    return _PREFIX.pack(base_offset, size - LENGTH_OVERHEAD, 0)


PREFIX_SIZE: Final = _PREFIX.size


def read_records(batch: bytes) -> Iterator[EncodedRecord]:
    """Yield the records of a checked batch in order of offset.

    Raises
    ------
    CorruptBatch
        When the payload does not hold the records the header announces.
    """
    header = read_header(batch)
    payload = _payload(batch, header)
    position = 0
    try:
        for _ in range(header.count):
            size, body = _varint(payload, position)
            end = body + size
            if end > len(payload) or size < 0:
                raise CorruptBatch("a record is cut short")
            yield _read_record(payload, position, body, header)
            position = end
    except IndexError:
        raise CorruptBatch("a record is cut short") from None


def _read_record(payload: bytes, start: int, body: int, header: BatchHeader) -> EncodedRecord:
    size, _ = _varint(payload, start)
    timestamp_delta, position = _varint(payload, body + 1)
    offset_delta, position = _varint(payload, position)
    key_size, position = _varint(payload, position)
    key = None if key_size < 0 else payload[position : position + key_size]
    value_size, _ = _varint(payload, position + max(key_size, 0))
    return EncodedRecord(
        offset=header.base_offset + offset_delta,
        timestamp=header.max_timestamp
        if header.attributes & _APPEND_TIME
        else header.first_timestamp + timestamp_delta,
        key=key,
        is_tombstone=value_size < 0,
        encoded=payload[start : body + size],
    )


def stamp_batch(batch: bytes, at_ms: int) -> bytes:
    """Return a batch with the time of its append for all its records, whatever the producer's clock said.

    Parameters
    ----------
    batch : bytes
        A whole batch.
    at_ms : int
        Time of the append, epoch milliseconds.
    """
    checked = bytearray(batch[_CRC_END:])
    struct.pack_into(">h", checked, 0, int.from_bytes(checked[:2], "big") | _APPEND_TIME)
    struct.pack_into(">q", checked, _MAX_TIMESTAMP_AT, at_ms)
    return batch[: _CRC_END - _CRC.size] + _CRC.pack(crc32c(bytes(checked))) + bytes(checked)


def marker_batch(producer_id: int, producer_epoch: int, is_commit: bool, at_ms: int) -> bytes:
    """Return the control batch of one record that ends a producer's transaction in a partition.

    Parameters
    ----------
    producer_id, producer_epoch : int
        The producer.
    is_commit : bool
        True if the transaction commits, False if it aborts.
    at_ms : int
        Time of the marker, epoch milliseconds.

    Returns
    -------
    bytes
        A batch with the base offset 0.
    """
    record = _MARKER_RECORD.pack(_MARKER_SIZES, 0, int(is_commit), _MARKER_VALUE)
    size = HEADER_SIZE + len(record)
    fields = (0, size - LENGTH_OVERHEAD, 0, _MAGIC, 0, _TRANSACTIONAL | _CONTROL, 0, at_ms, at_ms)
    return _checksummed(_HEADER.pack(*fields, producer_id, producer_epoch, -1, 1) + record)


def is_commit_marker(batch: bytes) -> bool:
    """Return True if a control batch commits; otherwise it aborts."""
    key = next(read_records(batch)).key or b""
    return int.from_bytes(key[2:4], "big") == 1


def settle_batch(batch: bytes) -> bytes:
    """Return a batch of a committed transaction as one of no transaction, which needs no marker."""
    attributes = read_header(batch).attributes & ~_TRANSACTIONAL
    return _checksummed(batch[:_CRC_END] + struct.pack(">h", attributes) + batch[_CRC_END + 2 :])


def _checksummed(batch: bytes) -> bytes:
    checked = batch[_CRC_END:]
    return batch[:_CRC_START] + _CRC.pack(crc32c(checked)) + checked


def thin_batch(batch: bytes, kept: list[EncodedRecord]) -> bytes:
    """Return a batch with only some of its records, uncompressed.

    Base offset, last offset, times and producer fields stay as they were, so offsets do not move
    and a fetch that starts inside the batch still finds it.

    Parameters
    ----------
    batch : bytes
        A whole batch.
    kept : list of EncodedRecord
        The records to keep, as `read_records` yields them.
    """
    header = read_header(batch)
    payload = b"".join(record.encoded for record in kept)
    after_crc = bytearray(batch[_CRC_END:HEADER_SIZE])
    struct.pack_into(">h", after_crc, 0, header.attributes & ~_CODEC_MASK)
    struct.pack_into(">i", after_crc, len(after_crc) - 4, len(kept))
    checked = bytes(after_crc) + payload
    prefix = offset_prefix(header.base_offset, HEADER_SIZE + len(payload))
    return prefix + bytes([_MAGIC]) + _CRC.pack(crc32c(checked)) + checked


def _payload(batch: bytes, header: BatchHeader) -> bytes:
    codec = codec_of(batch)
    payload = batch[HEADER_SIZE : header.size]
    if codec == 0:
        return payload
    if codec not in _UNPACK:
        raise CorruptBatch(f"compression {codec}, expected gzip, snappy, lz4 or zstd")
    room = memoryview(mmap.mmap(-1, MAX_UNPACKED_BYTES))  # only the part that is written takes memory
    try:
        return bytes(room[: _UNPACK[codec](payload, room)])
    except (cramjam.DecompressionError, struct.error) as error:
        raise CorruptBatch(f"the payload does not decompress to at most {MAX_UNPACKED_BYTES} bytes: {error}") from None


def _unpack_snappy(payload: bytes, room: memoryview) -> int:
    """Unpack snappy in one block, or in the blocks of Java's clients."""
    if not payload.startswith(_JAVA_SNAPPY):
        return cramjam.snappy.decompress_raw_into(payload, room)
    position, total = _JAVA_SNAPPY_HEADER, 0
    while position < len(payload):
        (size,) = struct.unpack_from(">i", payload, position)
        end = position + 4 + max(size, 0)
        total += cramjam.snappy.decompress_raw_into(payload[position + 4 : end], room[total:])
        position = end
    return total


_UNPACK: Final[dict[int, Callable[[bytes, memoryview], int]]] = {
    1: cramjam.gzip.decompress_into,
    2: _unpack_snappy,
    3: cramjam.lz4.decompress_into,
    4: cramjam.zstd.decompress_into,
}


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Decode a zigzag varint; most are one byte."""
    byte = data[position]
    position += 1
    value = byte & 0x7F
    shift = 7
    while byte >= 0x80:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > _MAX_VARINT_BITS:
            raise CorruptBatch("a number is longer than 64 bits")
    return (value >> 1) ^ -(value & 1), position
