"""Between the core's messages and the runtime's records: topics, keys, partitions, dead letters."""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256

import msgspec
from msgspec import Struct

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.events import Lease, UserVector
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.records import BEGAN_HEADER, ORIGIN_HEADER, Output, Record, origin_of
from stream_coupons.runtime.steps import Sent

TOPIC_OF = {topic.message: topic for topic in topics.with_message()}
SOFT = {topics.VECTORS.name, topics.NEIGHBOURS.name, topics.OPEN.name, topics.LEASES.name, topics.LEASE_REPORTS.name}
"""Topics whose messages are overtaken by the next one, or of which a sample is taken: not sent again after a crash."""

REDRIVEN_HEADER = "redriven"
"""The header of a record that was sent again: partition:offset of its dead letter."""
CARRIED = {ORIGIN_HEADER, BEGAN_HEADER, REDRIVEN_HEADER}
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
"""What a letter has of a longer record's: enough to tell whose it is."""


def output(message: Struct, partitions: int) -> Sent:
    """A message as a record to send, keyed and partitioned as its topic says."""
    topic = TOPIC_OF[type(message)]
    key = topic.key_of(message)
    home = message.partition if isinstance(message, Lease) else None
    partition = topics.partition_for(key, topic.partitions or partitions) if home is None else home
    # No vector comes behind one that says that the shopper has left: their neighbours would have them for good.
    is_last = isinstance(message, UserVector) and message.has_left
    return Sent(Output(topic.name, partition, key, encode(message)), kept=is_last or topic.name not in SOFT)


def sender_of(record: Record, partitions: int) -> tuple[str, tuple[int, int]]:
    """The origin of a message of ours.

    Raises
    ------
    BadMessage
        If it has none, or one that none of our agents reads: a stranger sent it, and a second copy could not be told
        from the first.
    """
    origin = origin_of(record)
    if origin is None:
        raise BadMessage(Rejection.INVALID, "none of our agents sent it: expected the header origin")
    if origin[0] not in sources(partitions):
        raise BadMessage(Rejection.INVALID, f"its origin is {origin[0]!r}: expected a partition that our agents read")
    return origin


@lru_cache
def sources(partitions: int) -> frozenset[str]:
    """All that agents read, as topic:partition: whoever remembers origins has one of each at most."""
    read = topics.READ_BY_AGENTS
    return frozenset(f"{topic.name}:{home}" for topic in read for home in range(topic.partitions or partitions))


def digest(topic: str, key: bytes | None, value: bytes | None) -> bytes:
    """The same for every copy of a record of a topic, and for no other: hexadecimal digits."""
    return sha256(msgspec.msgpack.encode((topic, key, value))).hexdigest().encode()


def dead_letter(record: Record, reason: str, detail: str) -> Output:
    """A record that could not be used: its own key and bytes, with the reason and where it came from.

    It carries on what the record's own headers say of its origin, its beginning and of being sent again.

    Of a record that its topic would not take uncompressed it has the beginning, lengths and digest: a topic's limit is
    one of compressed batches, so a broker lets records of any length in, and would refuse their letters for ever.
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
    """Of each name the first, which is the one that is believed, if it is as short as ours."""
    first: dict[str, bytes] = {}
    for name, value in headers:
        if name in CARRIED and value is not None:
            first.setdefault(name, value)
    return [(name, value) for name, value in first.items() if len(value) <= CARRIED_BYTES]
