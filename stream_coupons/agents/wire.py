"""Between the core's messages and the runtime's records: topics, keys, partitions, dead letters."""

from msgspec import Struct

from stream_coupons import topics
from stream_coupons.codec import encode
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.reasons import Rejection
from stream_coupons.runtime.records import BEGAN_HEADER, ORIGIN_HEADER, Output, Record, origin_of
from stream_coupons.runtime.steps import Sent

TOPIC_OF = {topic.message: topic for topic in topics.with_message()}
SOFT = {topics.VECTORS.name, topics.NEIGHBOURS.name, topics.OPEN.name}
"""Topics whose messages are overtaken by the next one, or of which a sample is taken: not sent again after a crash."""

REDRIVEN_HEADER = "redriven"
"""The header of a record that was sent again: partition:offset of its dead letter."""
CARRIED = {ORIGIN_HEADER, BEGAN_HEADER, REDRIVEN_HEADER}
"""Headers of a refused record that its dead letter has too, so that it can be sent again as what it was."""


def output(message: Struct, partitions: int) -> Sent:
    """A message as a record to send, keyed and partitioned as its topic says."""
    topic = TOPIC_OF[type(message)]
    key = topic.key_of(message)
    partition = topics.partition_for(key, topic.partitions or partitions)
    return Sent(Output(topic.name, partition, key, encode(message)), kept=topic.name not in SOFT)


def sender_of(record: Record) -> tuple[str, tuple[int, int]]:
    """The origin of a message of ours.

    Raises
    ------
    BadMessage
        If it has none: a stranger sent it, and a second copy could not be told from the first.
    """
    origin = origin_of(record)
    if origin is None:
        raise BadMessage(Rejection.INVALID, "none of our agents sent it: expected the header origin")
    return origin


def dead_letter(record: Record, reason: str, detail: str) -> Output:
    """A record that could not be used: its own key and bytes, with the reason and where it came from.

    It carries on what the record's own headers say of its origin, its beginning and of being sent again.
    """
    headers = {
        "reason": reason,
        "detail": detail[:1000],
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp_ms),
    }
    return Output(
        topics.DEAD_LETTERS.name,
        record.partition,
        record.key,
        record.value,
        [
            *((name, text.encode()) for name, text in headers.items()),
            *((name, value) for name, value in record.headers if name in CARRIED and value is not None),
        ],
    )
