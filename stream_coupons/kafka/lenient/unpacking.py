"""Compressed batches of records that do not unpack to what a reader can hold.

A topic's limit, and a fetch's, is one of compressed bytes: a batch of 12 KB may unpack to 256 MB, and would end every
worker that reads it, one after the other. Such a batch, and one that does not unpack at all, has one record in place of
all of its own: without a key, so that every agent refuses it, and with the compressed bytes for its dead letter.
"""

import threading

import numpy as np
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from stream_coupons.kafka.lenient.compression import NotUnpacked, unpack_into
from stream_coupons.kafka.lenient.record_batches import (
    HEADER_SIZE,
    LENGTH_OVERHEAD,
    CorruptBatch,
    check_batch,
    codec_of,
    read_records,
    thin_batch,
)

Bytes = bytes | bytearray | memoryview

MOST_BYTES = 64 * 1024 * 1024
"""A client bounds its batches before they are packed, by 1 MiB unless it is told otherwise; an input takes 8 MiB."""
UNPACKED_HEADER = "not-unpacked"
"""In the headers of a record that stands for a batch: says so, and for which."""


def size_of(batches: Bytes, position: int) -> int:
    """Return the bytes of a batch, by its own length field.

    Parameters
    ----------
    batches : bytes, bytearray or memoryview
        One or more batches.
    position : int
        First byte of the batch.
    """
    return LENGTH_OVERHEAD + int.from_bytes(batches[position + 8 : position + LENGTH_OVERHEAD], "big")


def readable(batch: Bytes) -> Bytes:
    """Return the batch, or one that stands for it if it does not unpack to at most `MOST_BYTES`.

    That has one record in place of all, uncompressed: offsets, times and producer stay as they were. Bytes that were
    changed on their way are left for the client to refuse.
    """
    if _unpacks(batch):
        return batch
    whole = bytes(batch)
    try:
        header = check_batch(whole)
    except CorruptBatch:
        return batch
    said = (
        f"a batch of {len(whole)} bytes, said to hold {header.count} records at the offsets {header.base_offset} to "
        f"{header.last_offset}: expected one that unpacks, to at most {MOST_BYTES} bytes"
    )
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, MOST_BYTES)
    builder.append(0, 0, None, whole, [(UNPACKED_HEADER, said.encode())])
    return thin_batch(whole, list(read_records(bytes(builder.build()))))


def _unpacks(batch: Bytes) -> bool:
    codec = codec_of(batch)
    if not codec:
        return True
    try:
        unpack_into(codec, memoryview(batch)[HEADER_SIZE:], _room.bytes)
    except NotUnpacked:
        return False
    return True


class _Room(threading.local):
    """A thread's buffer for unpacking a batch to check its size. Only the part ever written takes memory."""

    def __init__(self) -> None:
        self.bytes = np.empty(MOST_BYTES, np.uint8).data


_room = _Room()
