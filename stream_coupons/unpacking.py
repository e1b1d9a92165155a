"""Compressed batches of records that do not unpack to what a reader can hold.

A topic's limit, and a fetch's, is one of compressed bytes: a batch of 12 KB may unpack to 256 MB, and would end every
worker that reads it, one after the other. Such a batch, and one that does not unpack at all, has one record in place of
all of its own: without a key, so that every agent refuses it, and with the compressed bytes for its dead letter.
"""

import struct
import threading
from collections.abc import Callable

import cramjam
import numpy as np
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

MOST_BYTES = 64 * 1024 * 1024
"""A client bounds its batches before they are packed, by 1 MiB unless it is told otherwise; an input takes 8 MiB."""
UNPACKED_HEADER = "not-unpacked"
"""In the headers of a record that stands for a batch: says so, and for which."""

_BEFORE_CRC = struct.Struct(">qiibI")
_AFTER_CRC = struct.Struct(">hiqqqhii")
_HEADER_BYTES = _BEFORE_CRC.size + _AFTER_CRC.size
_LENGTH_OVERHEAD = 12
_CODEC_MASK = 0x07
_XERIAL = b"\x82SNAPPY\x00"
"""The first bytes of what Java's clients make of snappy: blocks, each behind its length."""
_XERIAL_HEADER_BYTES = 16


Bytes = bytes | bytearray | memoryview


def size_of(batches: Bytes, position: int) -> int:
    """Bytes of the batch at a position, by its own length."""
    return _LENGTH_OVERHEAD + int.from_bytes(batches[position + 8 : position + _LENGTH_OVERHEAD], "big")


def is_readable(batch: Bytes) -> bool:
    """Whether a batch of the message format v2 is not compressed, or unpacks to at most MOST_BYTES."""
    codec = batch[_BEFORE_CRC.size + 1] & _CODEC_MASK
    if not codec:
        return True
    try:
        return codec in _UNPACK and _UNPACK[codec](memoryview(batch)[_HEADER_BYTES:], _room.bytes) <= MOST_BYTES
    except (cramjam.DecompressionError, struct.error):
        return False


def stand_in(batch: Bytes) -> bytes:
    """The same batch with one record in place of all, uncompressed: offsets, times and producer stay as they were."""
    base, _length, epoch, magic, _crc = _BEFORE_CRC.unpack_from(batch)
    attributes, last, *between, count = _AFTER_CRC.unpack_from(batch, _BEFORE_CRC.size)
    said = (
        f"a batch of {len(batch)} bytes, said to hold {count} records at the offsets {base} to {base + last}: "
        f"expected one that unpacks, to at most {MOST_BYTES} bytes"
    )
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, MOST_BYTES)
    builder.append(0, 0, None, bytes(batch), [(UNPACKED_HEADER, said.encode())])
    checked = _AFTER_CRC.pack(attributes & ~_CODEC_MASK, last, *between, 1) + bytes(builder.build())[_HEADER_BYTES:]
    length = _BEFORE_CRC.size + len(checked) - _LENGTH_OVERHEAD
    return _BEFORE_CRC.pack(base, length, epoch, magic, calc_crc32c(checked)) + checked


class _Room(threading.local):
    """Where a thread unpacks to, to see whether it fits. Memory is only taken as far as it is ever written."""

    def __init__(self) -> None:
        self.bytes = np.empty(MOST_BYTES, np.uint8).data


_room = _Room()


def _snappy(payload: memoryview, room: memoryview) -> int:
    if payload[: len(_XERIAL)] != _XERIAL:
        return cramjam.snappy.decompress_raw_into(payload, room)
    at, total = _XERIAL_HEADER_BYTES, 0
    while at < len(payload) and total <= MOST_BYTES:
        (length,) = struct.unpack_from(">i", payload, at)
        end = at + 4 + max(length, 0)
        total += cramjam.snappy.decompress_raw_into(payload[at + 4 : end], room)
        at = end
    return total


_UNPACK: dict[int, Callable[[memoryview, memoryview], int]] = {
    1: cramjam.gzip.decompress_into,
    2: _snappy,
    3: cramjam.lz4.decompress_into,
    4: cramjam.zstd.decompress_into,
}
"""By the number of the compression: how many bytes a payload unpacks to. They raise if that is more than the room."""
