"""Retention and compaction: which partitions are due, and doing it while they are in use."""

import asyncio
import logging

from loopback_kafka.compaction import compact
from loopback_kafka.log import PartitionLog
from loopback_kafka.record_batches import CorruptBatch
from loopback_kafka.topics import BrokerTopic, Topics

logger = logging.getLogger(__name__)


async def clean_topics(topics: Topics, now: float) -> None:
    """Shorten and compact every partition that is due.

    Parameters
    ----------
    topics : Topics
        All topics.
    now : float
        Epoch seconds.
    """
    now_ms = int(now * 1000)
    for topic in topics.all():
        for log in topic.partitions:
            if topic.has_policy("delete") and not log.is_closed:
                apply_retention(log, topic, now_ms)
            if topic.has_policy("compact") and is_compaction_due(log, topic):
                await _compact(log, topic, now_ms)


def apply_retention(log: PartitionLog, topic: BrokerTopic, now_ms: int) -> None:
    """Drop the oldest batches beyond `retention.bytes` or `retention.ms`, never the last one.

    Dropping rewrites the rest of the file, so it waits until half of it or a segment can go.

    Parameters
    ----------
    log : PartitionLog
        An open log.
    topic : BrokerTopic
        Its topic, with the settings.
    now_ms : int
        Epoch milliseconds.
    """
    retention_ms = topic.limit("retention.ms")
    oldest_ms = now_ms - retention_ms if retention_ms >= 0 else 0
    keep_from = log.first_batch_to_keep(topic.limit("retention.bytes"), oldest_ms)
    droppable = log.position_of(keep_from)
    if droppable >= min(topic.limit("segment.bytes"), log.size // 2):
        log.drop_before(keep_from)


def is_compaction_due(log: PartitionLog, topic: BrokerTopic) -> bool:
    """Return True if an open log fills at least a segment and has doubled since its last compaction."""
    return not log.is_closed and log.size >= max(topic.limit("segment.bytes"), 2 * log.size_when_compacted)


async def _compact(log: PartitionLog, topic: BrokerTopic, now_ms: int) -> None:
    """Compact all but the newest batch, in a thread; what is appended meanwhile is kept.

    Compaction ends at the stable offset, because readers of committed records cannot see later records yet.
    """
    until = min(log.position_of(-1), log.stable_position())
    head = log.read_file(0, until)
    try:
        compacted = await asyncio.to_thread(compact, head, now_ms - topic.limit("delete.retention.ms"))
    except CorruptBatch as error:
        logger.warning("%s is not compacted: %s", topic.name, error)
        log.size_when_compacted = log.size
        return
    if not log.is_closed:  # the topic may have been deleted meanwhile
        log.replace_head(compacted, until)
        log.size_when_compacted = log.size
