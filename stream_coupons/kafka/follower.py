"""Follow a small compacted topic without a group: every worker reads all of it and keeps reading.

What a record says is worked out in another thread: a model takes some tens of milliseconds, in which no shopper waits.
What all of them come to, a catalogue of thousands, takes longer: that is not made for each record anew.
Delivery: each record at least once, in order; `caught_up` is set when the end, as it was at the start, was reached.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from mode import Service

from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.consumer import new_consumer
from stream_coupons.kafka.contact import Contact

log = logging.getLogger(__name__)

PARTITION = 0
RETRY_PAUSE_S = 1.0
LOGGED_RETRIES = 60
"""One in so many failures in a row is logged."""
SETTLING_RATIO = 0.5
"""The most of the time that goes into bringing into use what was taken."""
MAX_REST_S = 5.0
"""The longest rest after that: the clock also counts what a busy machine or a stopped process adds."""
ENDS_WITHIN_S = 10.0
"""Time in which the leaders must state their ends; another leader is asked by another attempt."""

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class RecordHandlers(Generic[Read]):
    """The functions that take in the records of a topic.

    Parameters
    ----------
    read : callable
        What a record's key and value say, None for nothing; called in another thread.
    take : callable
        Takes that in; called in the loop, in the order of the records.
    settle : callable, optional
        Brings into use what was taken: once when the end is reached, before `caught_up` is set, and then after records
        that came since, as many as there are by then.
    prepare : callable, optional
        Awaited with the consumer before records that were fetched are read.
    """

    read: Callable[[bytes | None, bytes | None], Read | None]
    take: Callable[[Read], None]
    settle: Callable[[], Awaitable[None]] | None = None
    prepare: Callable[[AIOKafkaConsumer], Awaitable[None]] | None = None


class Follower(Service, Generic[Read]):  # type: ignore[misc]
    """Takes in every record of a one-partition topic, from the beginning.

    Parameters
    ----------
    connection : Connection
        How the brokers are reached.
    topic : str
        The topic.
    max_bytes : int
        The longest record of the topic.
    reading : Reading
        How its records are taken in.
    contact : Contact, optional
        Notes every answer of a broker.

    Attributes
    ----------
    waits_for_open : bool
        True if it has caught up only once the transactions are ended that were open at the start. Set it before that.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        max_bytes: int,
        reading: RecordHandlers[Read],
        contact: Contact | None = None,
    ) -> None:
        super().__init__()
        self.waits_for_open = False
        self._connection = connection
        self._tp = TopicPartition(topic, PARTITION)
        self._max_bytes = max_bytes
        self._reading = reading
        self._contact = contact
        self._next = 0
        self._failures = 0
        self._caught_up = asyncio.Event()

    @property
    def label(self) -> str:
        """Name in logs."""
        return f"Follower: {self._tp.topic}"

    @property
    def is_caught_up(self) -> bool:
        """True if all that was there at the start has been taken."""
        return self._caught_up.is_set()

    async def wait_caught_up(self) -> None:
        """Wait until all that was there at the start has been taken."""
        await self._caught_up.wait()

    @Service.task  # type: ignore[untyped-decorator]
    async def _follow(self) -> None:
        while not self.should_stop:
            consumer = new_consumer(
                self._connection,
                contact=self._contact,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                max_partition_fetch_bytes=self._max_bytes,
                fetch_max_wait_ms=200,
                isolation_level="read_committed",
            )
            try:
                await consumer.start()
                await self._take_all(consumer)
            except (KafkaError, OSError) as error:
                if self._failures % LOGGED_RETRIES == 0:
                    log.warning("%s: %r; tried again every %s s", self._tp.topic, error, RETRY_PAUSE_S)
                self._failures += 1
                await self.sleep(RETRY_PAUSE_S)
            finally:
                # To stop a service is to cancel its task more than once, which would leave connections half closed.
                await asyncio.shield(consumer.stop())

    async def _take_all(self, consumer: AIOKafkaConsumer) -> None:
        consumer.assign([self._tp])
        if self._next:
            consumer.seek(self._tp, self._next)
        ends = ends_of(self._connection, [self._tp]) if self.waits_for_open else consumer.end_offsets([self._tp])
        end = (await ends)[self._tp]
        self._failures = 0
        while not self.should_stop:
            if not self.is_caught_up and await consumer.position(self._tp) >= end:
                await self._bring_into_use()
                self._caught_up.set()
            fetched = await consumer.getmany(self._tp, timeout_ms=500)
            records = fetched.get(self._tp, ())
            if not records:
                continue
            if self._reading.prepare is not None:
                await self._reading.prepare(consumer)
            for read in await asyncio.to_thread(self._read_each, records):
                if read is not None:
                    self._reading.take(read)
            self._next = records[-1].offset + 1
            if self.is_caught_up:
                await self._bring_into_use()

    async def _bring_into_use(self) -> None:
        if self._reading.settle is None:
            return
        started = time.monotonic()
        await self._reading.settle()
        if self.is_caught_up:
            took_s = time.monotonic() - started
            await self.sleep(min(took_s * (1.0 / SETTLING_RATIO - 1.0), MAX_REST_S))

    def _read_each(self, records: Sequence[Any]) -> list[Read | None]:
        return [self._reading.read(record.key, record.value) for record in records]


async def ends_of(connection: Connection, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the offsets behind all that is appended, also behind a transaction that is still open.

    A reader of what is committed is told where that begins. But what is ours may lie behind it, appended without a
    transaction: after the guarantee was changed, until the broker ends the last one of a worker that was killed.

    Parameters
    ----------
    connection : Connection
        How the brokers are reached.
    tps : sequence of TopicPartition
        The partitions.

    Raises
    ------
    KafkaTimeoutError
        If a leader is silent for `ENDS_WITHIN_S`, or a partition has none.
    """
    within_ms = int(ENDS_WITHIN_S * 1000)
    consumer = new_consumer(connection, group_id=None, isolation_level="read_uncommitted", request_timeout_ms=within_ms)
    await consumer.start()
    try:
        return dict(await consumer.end_offsets(tps))
    finally:
        await consumer.stop()
