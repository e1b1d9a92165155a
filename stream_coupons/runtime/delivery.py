"""How the effects of a batch reach the broker, and what is promised of it.

At least once: cells, then outputs, then (later) offsets. The cells of a batch and partition, and what they share, are
one record batch, which a broker appends as a whole. A crash in between replays the input; its cell then
says that it was applied, and its outbox holds the bytes to send again. A worker that was paused beyond its session is
held back by its lease: right before each write it looks whether the group still counts on it.

Exactly once: one transaction per batch and partition over cells, outputs and offsets, under a transactional id
per agent and partition. Whoever takes a partition over initialises its producer first; that ends the transaction of
whoever had it before and fences him for good.

Either way, what cannot be delivered ends the worker: nothing was acknowledged, so the next process does it again.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import aiokafka.producer.sender
from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition
from mode import Service

from stream_coupons.runtime.producer import Sender, send_all, wait_for_all
from stream_coupons.runtime.records import Output

log = logging.getLogger(__name__)

Place = tuple[str, int]
"""Agent and partition."""

RETRY_PAUSE_MS = 10
NEXT_TRANSACTION_PAUSE_S = 0.002
"""aiokafka's own, 100 and 20 ms, make a transaction of 6 to 9 ms one of 33 (p50), and one in ten 130."""

PAUSE_S = 5.0
LATE_AFTER_S = 10.0
"""A delivery that takes longer makes the worker not ready."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a batch of one partition brings about.

    Attributes
    ----------
    changes : sequence of Output
        Changelog records.
    offsets : mapping
        The next offset to read, by input topic.
    """

    partition: int
    changes: Sequence[Output]
    outputs: Sequence[Output]
    offsets: Mapping[str, int]


class Delivery(Protocol):
    """Delivers parcels with one guarantee."""

    is_transactional: bool
    whole_bytes: int
    """How long the changes of a parcel may be together, for all of them to be appended or none."""

    @property
    def is_able(self) -> bool:
        """Whether what was to be delivered lately could be."""

    async def take_over(self, agent: str, partitions: Collection[int]) -> None:
        """Shut out whoever delivered for these partitions before."""

    async def release(self, agent: str, partitions: Collection[int]) -> None:
        """Deliver no more for these partitions."""

    async def deliver(self, agent: str, parcels: Sequence[Parcel]) -> None:
        """Return when all of it is appended, or raise: then any part of it may be."""


class AtLeastOnce:
    """Cells before outputs, each awaited; offsets are committed behind.

    Parameters
    ----------
    senders : mapping
        By agent. Each has its own producer: aiokafka has one request under way to a broker at a time, and agents would
        wait for each other's.
    whole_bytes : int
        The longest record batch that a changelog takes.
    """

    is_transactional = False

    def __init__(self, senders: Mapping[str, Sender], whole_bytes: int) -> None:
        self._senders = senders
        self.whole_bytes = whole_bytes

    @property
    def is_able(self) -> bool:
        """Whether the last attempts to send succeeded, and none is late."""
        return all(sender.is_able for sender in self._senders.values())

    async def take_over(self, agent: str, partitions: Collection[int]) -> None:
        """Nothing: the lease of whoever was paused has run out when his partitions are given away."""

    async def release(self, agent: str, partitions: Collection[int]) -> None:
        """Nothing."""

    async def deliver(self, agent: str, parcels: Sequence[Parcel]) -> None:
        """Append all cells, then all outputs."""
        changes = [change for parcel in parcels for change in parcel.changes]
        await self._senders[agent].deliver(changes, self.whole_bytes)
        await self._senders[agent].deliver([output for parcel in parcels for output in parcel.outputs])


class ExactlyOnce(Service):  # type: ignore[misc]
    """A transaction per parcel.

    Within a transaction aiokafka asks again until the broker answers, and fails when it was fenced or refused. No such
    error is survived here: whether a commit took place may be unknown then, and who was fenced must not come back with
    what he knows. The next process reads what was committed.

    Parameters
    ----------
    connect : callable
        Makes a producer, not started, with a transactional id.
    group : str
        The consumer group whose offsets are part of the transactions, and the prefix of transactional ids.
    on_failure : callable
        Told for which agent a transaction failed.
    """

    is_transactional = True
    whole_bytes = sys.maxsize

    def __init__(
        self, connect: Callable[[str], AIOKafkaProducer], group: str, on_failure: Callable[[str], None]
    ) -> None:
        super().__init__()
        # Kafka writes the markers of a transaction after it has answered; a next one that comes sooner is told to wait.
        aiokafka.producer.sender.BACKOFF_OVERRIDE = NEXT_TRANSACTION_PAUSE_S
        self._connect = connect
        self._group = group
        self._on_failure = on_failure
        self._producers: dict[Place, AIOKafkaProducer] = {}
        self._began: dict[Place, float] = {}
        self._has_failed = False

    @property
    def is_able(self) -> bool:
        """Whether no transaction has failed or been under way for long."""
        is_late = any(time.monotonic() - began >= LATE_AFTER_S for began in list(self._began.values()))
        return not self._has_failed and not is_late

    async def on_stop(self) -> None:
        """Disconnect."""
        for agent, partition in list(self._producers):
            await self.release(agent, [partition])

    async def take_over(self, agent: str, partitions: Collection[int]) -> None:
        """Fence the producers that had these partitions, and wait until their transactions have ended."""
        await asyncio.gather(*(self._take_over_one(agent, partition) for partition in partitions))

    async def _take_over_one(self, agent: str, partition: int) -> None:
        await self.release(agent, [partition])
        producer = self._connect(f"{self._group}-{agent}-{partition}")
        await producer.start()
        self._producers[agent, partition] = producer

    async def release(self, agent: str, partitions: Collection[int]) -> None:
        """Disconnect the producers of these partitions."""
        stopping = [self._producers.pop((agent, partition), None) for partition in partitions]
        await asyncio.gather(*(producer.stop() for producer in stopping if producer is not None))

    async def deliver(self, agent: str, parcels: Sequence[Parcel]) -> None:
        """Commit a transaction per parcel.

        Raises
        ------
        KafkaError
            If one was fenced, or a record was refused; after a pause in which the worker is not ready, so that whoever
            looks sees it, and a supervisor does not start it anew at once.
        """
        try:
            await wait_for_all([self._commit(agent, parcel) for parcel in parcels])
        except Exception as error:
            self._has_failed = True
            self._on_failure(agent)
            log.error("%s: a transaction failed: %r", agent, error)
            await self.sleep(PAUSE_S)
            raise

    async def _commit(self, agent: str, parcel: Parcel) -> None:
        place = (agent, parcel.partition)
        producer = self._producers[place]
        self._began[place] = time.monotonic()
        await producer.begin_transaction()
        answers = await send_all(producer, [*parcel.changes, *parcel.outputs])
        offsets = {TopicPartition(topic, parcel.partition): offset for topic, offset in parcel.offsets.items()}
        answers.append(producer.send_offsets_to_transaction(offsets, self._group))
        # Every answer is looked at: aiokafka would commit a transaction of which a record was refused.
        await wait_for_all(answers)
        await producer.commit_transaction()
        del self._began[place]
