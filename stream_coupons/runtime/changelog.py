"""Recover the cells of partitions from their changelog: read it to its end, the latest record of a key counts.

This is not left to Faust's recovery: 0.15.3 waits for the record before the end of the log, which never comes where a
transaction marker stands there, reads record by record, and reads all of what it already has again at every rebalance.
"""

from collections.abc import Collection, Iterable
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_coupons.runtime.stores import CellStore, NewStore

FETCH_BYTES = 8 * 1024 * 1024
POLL_MS = 500


class Changelog(Protocol):
    """Where the cells of an agent are kept."""

    topic: str

    async def read(self, partitions: Collection[int]) -> dict[int, CellStore]:
        """The cells of partitions, each in a store of its own."""


class KafkaChangelog:
    """A compacted topic with a partition for each partition of the agent's inputs.

    Parameters
    ----------
    isolation_level : str
        "read_committed" where cells are appended in transactions: those of an aborted one never were.
    new_store : callable
        Makes the empty store that a partition is read into.
    """

    def __init__(self, bootstrap: str, topic: str, isolation_level: str, new_store: NewStore) -> None:
        self.topic = topic
        self._bootstrap = bootstrap
        self._isolation_level = isolation_level
        self._new_store = new_store

    async def read(self, partitions: Collection[int]) -> dict[int, CellStore]:
        """The cells of partitions as they are when this is called.

        Raises
        ------
        KafkaError
            If no broker answers.
        """
        cells = {partition: self._new_store(partition) for partition in partitions}
        if not cells:
            return cells
        tps = [TopicPartition(self.topic, partition) for partition in partitions]
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=None,
            enable_auto_commit=False,
            isolation_level=self._isolation_level,
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        await consumer.start()
        try:
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            # By positions, not records: behind the last record a transaction marker may stand.
            while behind := [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
                for tp, records in (await consumer.getmany(*behind, timeout_ms=POLL_MS)).items():
                    cells[tp.partition].save(_latest(records))
        finally:
            await consumer.stop()
        return cells


def _latest(records: Iterable[Any]) -> dict[str, bytes | None]:
    """What the records come to, by key."""
    return {record.key.decode(): record.value for record in records}
