"""Compressed batches of records that do not unpack to what a reader can hold.

A topic's limit, and a fetch's, is one of compressed bytes: a batch of 12 KB may unpack to 256 MB, and would end every
worker that reads it, one after the other. Such a batch, and one that does not unpack at all, has one record in place of
all of its own: without a key, so that every agent refuses it, and with the compressed bytes for its dead letter.
"""

import struct
import threading
from typing import Final

import numpy as np
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from stream_coupons.kafka.lenient.compression import NotUnpacked, unpack_into
from stream_coupons.kafka.records import UNPACKED_HEADER

Bytes = bytes | bytearray | memoryview

MOST_BYTES = 64 * 1024 * 1024
"""A client bounds its batches before they are packed, by 1 MiB unless it is told otherwise; an input takes 8 MiB."""
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
"""Header of a batch of format 2: base offset, length, leader epoch, magic, checksum, attributes, delta of the last
offset, first and last timestamp, producer's id and epoch, sequence number, number of records. The checksum covers what
follows it [1]_.

References
----------
.. [1] Apache Kafka documentation, "Implementation: Message Format", section 5.3.1.
"""
_LENGTH_OVERHEAD: Final = 12
"""Bytes before the part that the length field counts."""
_CHECKED_FROM: Final = 21
_MAGIC: Final = 2
_CODEC_MASK: Final = 0x07


def size_of(batches: Bytes, position: int) -> int:
    """Return the bytes of a batch, by its own length field.

    Parameters
    ----------
    batches : bytes, bytearray or memoryview
        One or more batches.
    position : int
        First byte of the batch.
    """
    return _LENGTH_OVERHEAD + int.from_bytes(batches[position + 8 : position + _LENGTH_OVERHEAD], "big")


def readable(batch: Bytes) -> Bytes:
    """Return the batch, or one that stands for it if it does not unpack to at most `MOST_BYTES`.

    That has one record in place of all, uncompressed: offsets, times and producer stay as they were. Bytes that were
    changed on their way are left for the client to refuse.
    """
    if _unpacks(batch):
        return batch
    whole = bytes(batch)
    return _stand_in(whole) if _is_sound(whole) else batch


def _unpacks(batch: Bytes) -> bool:
    codec = batch[_CHECKED_FROM + 1] & _CODEC_MASK
    if not codec:
        return True
    try:
        unpack_into(codec, memoryview(batch)[_HEADER.size :], _room.bytes)
    except NotUnpacked:
        return False
    return True


def _is_sound(batch: bytes) -> bool:
    """Return True for one whole batch of format 2 with the right checksum."""
    if len(batch) < _HEADER.size or len(batch) < size_of(batch, 0):
        return False
    *_, magic, checksum, _, _, _, _, _, _, _, _ = _HEADER.unpack_from(batch)
    return bool(magic == _MAGIC and calc_crc32c(batch[_CHECKED_FROM : size_of(batch, 0)]) == checksum)


def _stand_in(batch: bytes) -> bytes:
    """Return a batch of one record that holds the bytes of another batch."""
    base, _, epoch, magic, _, attributes, last, *others, count = _HEADER.unpack_from(batch)
    text = (
        f"a batch of {len(batch)} bytes, said to hold {count} records at the offsets {base} to {base + last}: expected "
        f"one that unpacks, to at most {MOST_BYTES} bytes"
    )
    builder = DefaultRecordBatchBuilder(_MAGIC, 0, 0, -1, -1, -1, MOST_BYTES)
    builder.append(0, 0, None, batch, [(UNPACKED_HEADER, text.encode())])
    record = bytes(builder.build())[_HEADER.size :]
    length = _HEADER.size - _LENGTH_OVERHEAD + len(record)
    header = _HEADER.pack(base, length, epoch, magic, 0, attributes & ~_CODEC_MASK, last, *others, 1)
    checked = header[_CHECKED_FROM:] + record
    checksum: int = calc_crc32c(checked)
    return header[: _CHECKED_FROM - 4] + checksum.to_bytes(4, "big") + checked


class _Room(threading.local):
    """A thread's buffer for unpacking a batch to check its size. Only the part ever written takes memory."""

    def __init__(self) -> None:
        self.bytes = np.empty(MOST_BYTES, np.uint8).data


_room = _Room()
