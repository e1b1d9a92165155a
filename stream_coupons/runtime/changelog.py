"""Recover the cells of partitions from their changelog: read it to its end, the latest record of a key counts.

This is not left to Faust's recovery: 0.15.3 waits for the record before the end of the log, which never comes where a
transaction marker stands there, reads record by record, and reads all of what it already has again at every rebalance.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

from aiokafka import TopicPartition

from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.consumer import new_consumer
from stream_coupons.kafka.follower import ends_of
from stream_coupons.runtime.cells import CellStore, NewStore

log = logging.getLogger(__name__)

FETCH_BYTES = 8 * 1024 * 1024
POLL_MS = 500


class Changelog(Protocol):
    """The log of an agent's cells."""

    topic: str

    async def read(self, partitions: Collection[int]) -> dict[int, CellStore]:
        """Return the cells of partitions, each in a store of its own."""

    async def place_of(self, partition: int, key: str) -> str:
        """Return the place of a key's cell for the operator: keys of shoppers are not logged.

        Parameters
        ----------
        partition : int
            The partition of the key.
        key : str
            The key.

        Returns
        -------
        str
            Topic, partition and offset of the latest cell.
        """


class KafkaChangelog:
    """A compacted topic with a partition for each partition of the agent's inputs.

    Cells of an aborted transaction never were, whatever guarantee the workers give by now.

    Parameters
    ----------
    connection : Connection
        How the brokers are reached.
    topic : str
        The topic.
    new_store : callable
        Makes the empty store that a partition is read into.
    on_skipped : callable
        Called for each record that is none of ours.
    """

    def __init__(self, connection: Connection, topic: str, new_store: NewStore, on_skipped: Callable[[], None]) -> None:
        self.topic = topic
        self._connection = connection
        self._new_store = new_store
        self._on_skipped = on_skipped

    async def read(self, partitions: Collection[int]) -> dict[int, CellStore]:
        """Return the cells of partitions as they are when this is called.

        Raises
        ------
        KafkaError
            If no broker answers.
        """
        cells = {partition: self._new_store(partition) for partition in partitions}
        try:
            if cells:
                await self._read(partitions, lambda partition, records: cells[partition].save(self._latest(records)))
        except BaseException:
            for store in cells.values():
                store.discard()  # one on disk would stand in the way of the next attempt
            raise
        return cells

    async def place_of(self, partition: int, key: str) -> str:
        """Return topic, partition and offset of the latest cell of a key; "?" as the offset if there is none."""
        offsets: list[int] = []
        await self._read(
            [partition],
            lambda _, records: offsets.extend(record.offset for record in records if record.key == key.encode()),
        )
        return f"{self.topic}:{partition}:{offsets[-1] if offsets else '?'}"

    async def _read(self, partitions: Collection[int], take: Callable[[int, list[Any]], None]) -> None:
        """Hand on all records of partitions up to now, in order within each."""
        tps = [TopicPartition(self.topic, partition) for partition in partitions]
        ends = await ends_of(self._connection, tps)
        consumer = new_consumer(
            self._connection,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # not by a seek: until then it would fetch from the end, and wait there
            isolation_level="read_committed",
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        await consumer.start()
        try:
            consumer.assign(tps)
            # By positions, not records: behind the last record a transaction marker may stand.
            while behind := [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
                for tp, records in (await consumer.getmany(*behind, timeout_ms=POLL_MS)).items():
                    take(tp.partition, records)
        finally:
            await consumer.stop()

    def _latest(self, records: Iterable[Any]) -> dict[str, bytes | None]:
        """Return the last value of each key. Our keys are text: a record with another key is foreign, no state."""
        latest = {}
        for record in records:
            try:
                latest[(record.key or b"\xff").decode()] = record.value
            except UnicodeDecodeError:
                place = f"{record.topic}:{record.partition}:{record.offset}"
                log.error("%s: its key is no text, so none of our agents wrote it: skipped", place)
                self._on_skipped()
        return latest
