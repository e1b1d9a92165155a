"""Dead letters as they are written: a record that could not be used, why, and where it came from."""

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from stream_coupons.kafka import topics
from stream_coupons.kafka.records import BEGAN_HEADER, ORIGIN_HEADER, SIGNATURE_HEADER, TRACE_HEADER, Output, Record

REDRIVEN_HEADER = "redriven"
"""The header of a record that was sent again: partition:offset of its dead letter."""
CLOUDEVENTS_HEADERS = ("ce_specversion", "ce_id", "ce_time")
"""Headers of CloudEvents in binary mode that an event is read with."""
CARRIED = {ORIGIN_HEADER, BEGAN_HEADER, SIGNATURE_HEADER, REDRIVEN_HEADER, TRACE_HEADER, *CLOUDEVENTS_HEADERS}
"""Headers of a refused record that its dead letter has too, so that it can be sent again as what it was."""
CARRIED_BYTES = 256
"""The longest value of a header that is carried on: ours are references and never longer."""

DIGEST_HEADER = "digest"
"""The header of a letter that has not all of its record's key and value: what `digest` made of them."""
KEY_BYTES_HEADER = "key-bytes"
VALUE_BYTES_HEADER = "value-bytes"
"""Headers of such a letter: how long key and value were, if there were any."""
WHOLE_BYTES = topics.INPUT_BYTES
"""The longest key and value, together, that a letter has as they are; the rest of its topic's limit is for headers."""
CUT_KEY_BYTES, CUT_VALUE_BYTES = 1024, 64 * 1024
"""Bytes of key and value in a cut dead letter: enough to identify the record's owner."""


def digest(topic: str, key: bytes | None, value: bytes | None) -> bytes:
    """Return a digest that all copies of a record of a topic share, and no other record has.

    Parameters
    ----------
    topic : str
        The record's topic.
    key, value : bytes or None
        Its key and value; None differs from empty.

    Returns
    -------
    bytes
        SHA-256 in 64 hexadecimal digits.

    Examples
    --------
    >>> digest("browse-events", b"u1", b"{}") == digest("browse-events", b"u1", None)
    False
    """
    return sha256(msgspec.msgpack.encode((topic, key, value))).hexdigest().encode()


def dead_letter(record: Record, reason: str, detail: str) -> Output:
    """Return the dead letter of a record: its key and value, with the reason and its origin in headers.

    It carries on what the record's own headers say of its origin, its beginning and of being sent again.

    Of a record that its topic would not take uncompressed it has the beginning, lengths and digest: a topic's limit is
    one of compressed batches, so a broker lets records of any length in, and would refuse their letters for ever.

    Parameters
    ----------
    record : Record
        The record that could not be used.
    reason : str
        Why, as a value of `Rejection`.
    detail : str
        What was found and expected; cut to 1000 characters.

    Returns
    -------
    Output
        For the partition of the same number in `DEAD_LETTERS`.
    """
    headers = {
        "reason": reason,
        "detail": detail[:1000],
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp_ms),
    }
    key, value, of_cut = _kept_of(record)
    own = [*((name, text.encode()) for name, text in headers.items()), *of_cut, *_carried(record.headers)]
    return Output(topics.DEAD_LETTERS.name, record.partition, key, value, own)


def _kept_of(record: Record) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
    """Key and value of a record as its letter has them, and the headers that say what is missing."""
    key, value = record.key, record.value
    if len(key or b"") + len(value or b"") <= WHOLE_BYTES:
        return key, value, []
    lengths = [(KEY_BYTES_HEADER, key), (VALUE_BYTES_HEADER, value)]
    said = [(name, str(len(part)).encode()) for name, part in lengths if part is not None]
    said.append((DIGEST_HEADER, digest(record.topic, key, value)))
    return key and key[:CUT_KEY_BYTES], value and value[:CUT_VALUE_BYTES], said


def _carried(headers: Iterable[tuple[str, bytes | None]]) -> list[tuple[str, bytes]]:
    """Return the first header, the valid one, of each carried name, if at most `CARRIED_BYTES` long."""
    first: dict[str, bytes] = {}
    for name, value in headers:
        if name in CARRIED and value is not None:
            first.setdefault(name, value)
    return [(name, value) for name, value in first.items() if len(value) <= CARRIED_BYTES]
