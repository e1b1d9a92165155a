"""Unpack the compressed payload of a record batch into no more bytes than the reader allows."""

import struct
from collections.abc import Callable

import cramjam

Payload = bytes | bytearray | memoryview

_XERIAL = b"\x82SNAPPY\x00"
"""The first bytes of what Java's clients make of snappy: blocks, each behind its length."""
_XERIAL_HEADER_BYTES = 16


class NotUnpacked(Exception):
    """A payload that is damaged, needs more room than there is, or is in an unknown compression."""


def unpack_into(codec: int, payload: Payload, room: memoryview) -> int:
    """Unpack a payload to the start of `room` and return the number of bytes written.

    Parameters
    ----------
    codec : int
        Compression in the attributes of the batch: 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    payload : bytes, bytearray or memoryview
        All records of the batch, compressed.
    room : memoryview
        Writable bytes.

    Raises
    ------
    NotUnpacked
        If the payload does not unpack, or not into `room`.
    """
    if codec not in _UNPACK:
        raise NotUnpacked(f"compression {codec}, expected gzip, snappy, lz4 or zstd")
    try:
        return _UNPACK[codec](memoryview(payload), room)
    except (cramjam.DecompressionError, struct.error) as error:
        raise NotUnpacked(str(error)) from None


def _snappy(payload: memoryview, room: memoryview) -> int:
    if payload[: len(_XERIAL)] != _XERIAL:
        return cramjam.snappy.decompress_raw_into(payload, room)
    at, total = _XERIAL_HEADER_BYTES, 0
    while at < len(payload):
        (length,) = struct.unpack_from(">i", payload, at)
        end = at + 4 + max(length, 0)
        total += cramjam.snappy.decompress_raw_into(payload[at + 4 : end], room[total:])
        at = end
    return total


_UNPACK: dict[int, Callable[[memoryview, memoryview], int]] = {
    1: cramjam.gzip.decompress_into,
    2: _snappy,
    3: cramjam.lz4.decompress_into,
    4: cramjam.zstd.decompress_into,
}
"""By compression: write a payload's bytes and return their number; they raise if that is more than the room."""
