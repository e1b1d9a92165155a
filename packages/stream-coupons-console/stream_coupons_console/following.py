"""Follow the topics of a running system into the index, without a group: nothing is committed, nobody is disturbed."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream_coupons.kafka import topics
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.consumer import new_consumer
from stream_coupons.kafka.contact import Contact
from stream_coupons_console.index import RECENT, WHOLE, FollowedRecord

log = logging.getLogger(__name__)

AWAY_AFTER_S = 10.0
"""Kafka counts as away after so many seconds without an answer."""
RETRY_PAUSE_S = 1.0
LOGGED_RETRIES = 60
"""One of so many failures in a row is logged."""
MAX_BATCH = 500
"""Records that are taken in before other tasks run."""


class TopicFollower:
    """Reads the followed topics, and hands each record on once.

    Parameters
    ----------
    connection : Connection
        How the brokers are reached.
    partitions : int
        Partitions of topics that name no number.
    take : callable
        Takes in a record; called in the event loop.

    Attributes
    ----------
    contact : Contact
        Time of the brokers' last answer.
    """

    def __init__(self, connection: Connection, partitions: int, take: Callable[[FollowedRecord], None]) -> None:
        self._connection, self._partitions, self._take = connection, partitions, take
        self._next: dict[TopicPartition, int] = {}
        self._caught_up = asyncio.Event()
        self.contact = Contact()

    @property
    def is_caught_up(self) -> bool:
        """True once everything is read that was there at the start."""
        return self._caught_up.is_set()

    async def wait_caught_up(self) -> None:
        """Wait until everything is read that was there at the start."""
        await self._caught_up.wait()

    @property
    def is_away(self) -> bool:
        """True if no broker has answered for `AWAY_AFTER_S`."""
        return self.contact.silent_s > AWAY_AFTER_S

    async def report(self) -> None:
        """Log when Kafka stops answering, and when it answers again, until cancelled."""
        is_away, silent_s = False, 0.0
        while True:
            await asyncio.sleep(RETRY_PAUSE_S)
            if self.is_away and not is_away:
                log.warning("Kafka at %s has not answered for %.0f s", self._connection.bootstrap, AWAY_AFTER_S)
            if is_away and not self.is_away:
                log.warning("Kafka answers again after %.0f s", silent_s)
            is_away, silent_s = self.is_away, self.contact.silent_s

    async def run(self) -> None:
        """Follow until cancelled; a connection that fails is made again."""
        failures = 0
        while True:
            try:
                async with AsyncExitStack() as stack:
                    consumer = new_consumer(
                        self._connection,
                        contact=self.contact,
                        group_id=None,
                        enable_auto_commit=False,
                        auto_offset_reset="earliest",  # retention may drop the records that are sought
                        max_partition_fetch_bytes=topics.SNAPSHOTS.max_message_bytes,
                        isolation_level="read_committed",
                    )
                    stack.push_async_callback(consumer.stop)
                    await consumer.start()
                    failures = 0
                    await self._follow(consumer)
            except (KafkaError, OSError) as error:
                if failures % LOGGED_RETRIES == 0:
                    log.warning("following the topics: %r; tried again every %g s", error, RETRY_PAUSE_S)
                failures += 1
                await asyncio.sleep(RETRY_PAUSE_S)

    def _places(self, topic: topics.Topic) -> list[TopicPartition]:
        return [TopicPartition(topic.name, number) for number in range(topic.partitions or self._partitions)]

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        recent = {place: kept for name, kept in RECENT.items() for place in self._places(topics.BY_NAME[name])}
        places = [*(place for topic in WHOLE for place in self._places(topic)), *recent]
        consumer.assign(places)
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        for place in places:
            begin = begins[place]
            if place in recent:
                share = recent[place] // len(self._places(topics.BY_NAME[place.topic]))
                begin = max(begin, ends[place] - share)
            consumer.seek(place, self._next.get(place, begin))
        while True:
            fetched = await consumer.getmany(timeout_ms=200, max_records=MAX_BATCH)
            for place, records in fetched.items():
                for record in records:
                    self._take(record)
                self._next[place] = records[-1].offset + 1
            if not self.is_caught_up:
                await self._note_caught_up(consumer, ends)
            await asyncio.sleep(0)

    async def _note_caught_up(self, consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> Any:
        for place, end in ends.items():
            if await consumer.position(place) < end:
                return
        self._caught_up.set()
