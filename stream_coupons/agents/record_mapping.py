"""Between the core's messages and the runtime's records: topics, keys, partitions, dead letters."""

from functools import lru_cache

from msgspec import Struct

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.leases import Lease
from stream_coupons.core.messages.neighbours import UserVector
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.records import Output, Record, origin_of

TOPIC_OF = {topic.message: topic for topic in topics.with_message()}
SOFT = {topics.VECTORS.name, topics.NEIGHBOURS.name, topics.LEASES.name, topics.LEASE_REPORTS.name}
"""Topics whose messages are overtaken by the next one: not sent again after a crash."""


def output(message: Struct, partitions: int) -> Output:
    """Return a message as a record to send, keyed and partitioned as its topic requires."""
    topic = TOPIC_OF[type(message)]
    key = topic.key_of(message)
    home = message.partition if isinstance(message, Lease) else None
    partition = topics.partition_for(key, topic.partitions or partitions) if home is None else home
    return Output(topic.name, partition, key, encode(message))


def is_soft(message: Struct) -> bool:
    """Return True if a message need not be sent again after a crash.

    No vector overtakes one that reports that the shopper has left: their neighbours would keep them for good.
    """
    return TOPIC_OF[type(message)].name in SOFT and not (isinstance(message, UserVector) and message.has_left)


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
    """Return the partitions that agents read, as topic:partition: at most one origin is kept for each."""
    read = topics.READ_BY_AGENTS
    return frozenset(f"{topic.name}:{home}" for topic in read for home in range(topic.partitions or partitions))
