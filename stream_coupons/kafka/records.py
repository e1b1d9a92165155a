"""Input records and outputs of the runtime, with the origin of each."""

import heapq
import re
from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.reasons import Rejection

Origin = tuple[str, int, int, int]
"""(topic, partition, offset, index): the input record that an output came of, and its place among its outputs."""

ORIGIN_HEADER = "origin"
BEGAN_HEADER = "began-ms"
SIGNATURE_HEADER = "signature"
TRACE_HEADER = "traceparent"
"""The trace context of a producer's span (W3C Trace Context, version 00): carried from an input to all its outputs."""
CLIENT_HEADER = "client"
ANSWER_HEADER = "answer"
"""In the headers of an input: its producer waits for the result in decision-answers."""
UNPACKED_HEADER = "not-unpacked"
"""In the headers of a record that stands for a batch which does not unpack: says so, and for which."""
MAX_CLIENT_BYTES = 100
MAX_NUMBER = 2**52
"""No offset of a log comes so far. A larger one is forged: snapshots, which hold origins too, take no more."""
MAX_TOPIC = 249
"""Characters that Kafka allows the name of a topic. A longer one is forged: cells and snapshots would hold it."""

_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Membership(NamedTuple):
    """A worker's identity in its group."""

    member_id: str
    generation: int


class Record(NamedTuple):
    """One input record as it was read."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def appended_at(self) -> float | None:
        """Time of the append in epoch seconds, by the record's timestamp; None if it has none."""
        return self.timestamp_ms / 1000.0 if self.timestamp_ms >= 0 else None


def check_whole(record: Record) -> None:
    """Refuse a record that stands for a batch which does not unpack (`unpacking`).

    Raises
    ------
    BadMessage
    """
    if record.key is None:
        said = dict(record.headers).get(UNPACKED_HEADER)
        if said is not None:
            raise BadMessage(Rejection.TOO_LARGE, said.decode(errors="backslashreplace"))


class Output(Struct, array_like=True):
    """One record to send."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = []


def origin_header(origin: Origin) -> tuple[str, bytes]:
    """Return the header that tells a consumer where an output came from.

    Examples
    --------
    >>> origin_header(("browse-events", 3, 17, 0))
    ('origin', b'browse-events:3:17:0')
    """
    topic, partition, offset, index = origin
    return (ORIGIN_HEADER, f"{topic}:{partition}:{offset}:{index}".encode())


def began_header(record: Record) -> tuple[str, bytes]:
    """Return the header that tells when the first record of a chain of steps was appended, epoch milliseconds."""
    for name, value in record.headers:
        if name == BEGAN_HEADER and value is not None and value.isdigit() and len(value) < 20:
            return name, value
    return (BEGAN_HEADER, str(record.timestamp_ms).encode())


def trace_headers(record: Record) -> tuple[tuple[str, bytes], ...]:
    """Return the record's first header `traceparent`, always of 55 bytes; nothing if it has none, or an invalid one.

    Examples
    --------
    >>> header = "traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    >>> trace_headers(Record("cart-events", 0, 1, 0, b"u1", b"{}", (header,))) == (header,)
    True
    >>> trace_headers(Record("cart-events", 0, 1, 0, b"u1", b"{}", (("traceparent", b"x" * 1000),)))
    ()
    """
    for name, value in record.headers:
        if name == TRACE_HEADER:
            return ((name, value),) if value is not None and _TRACEPARENT.fullmatch(value) else ()
    return ()


def client_of(record: Record) -> str | None:
    """Return the client that a record's header `client` names, cut to fit a log line; None if there is none."""
    for name, value in record.headers:
        if name == CLIENT_HEADER and value:
            return value[:MAX_CLIENT_BYTES].decode(errors="replace")
    return None


def origin_of(record: Record) -> tuple[str, tuple[int, int]] | None:
    """Return (source, (offset, index)) of a record that one of our agents sent; None for any other.

    Headers of strangers are not trusted to have the form of ours, nor names and numbers that a cell can hold.

    From one source, origins only grow: one not above the last seen is a second copy.
    """
    for name, value in record.headers:
        if name == ORIGIN_HEADER and value is not None:
            try:
                topic, *numbers = value.decode().rsplit(":", 3)
                partition, offset, index = map(int, numbers)
            except ValueError:
                return None
            if len(topic) > MAX_TOPIC or not all(0 <= number <= MAX_NUMBER for number in (partition, offset, index)):
                return None
            return f"{topic}:{partition}", (offset, index)
    return None


def merge(chunks: Iterable[list[Record]]) -> list[Record]:
    """Return chunks of several partitions as one list, by time of append as far as that goes.

    Within a partition the order is that of the offsets, whatever the timestamps say: producers set them, and a record
    that came behind a later one would be taken for a replay of what was applied already.
    """
    runs: dict[tuple[str, int], list[Record]] = {}
    for chunk in chunks:
        if chunk:
            runs.setdefault((chunk[0].topic, chunk[0].partition), []).extend(chunk)
    return list(heapq.merge(*runs.values(), key=lambda record: record.timestamp_ms))
