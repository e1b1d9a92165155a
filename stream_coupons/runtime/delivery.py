"""Delivery of a batch's effects to the broker, and its guarantees.

At least once: cells, then outputs, then (later) offsets. The cells of a batch and partition, and their shared states,
are one record batch, which a broker appends as a whole. A crash in between replays the input. Its cell then
records that it was applied, and its outbox holds the bytes to send again. A lease holds back a worker that the
group may have gone on without: it is checked right before each write (`kafka.membership_lease`).

Exactly once: one transaction per turn of an agent over the cells, outputs and offsets of all its partitions. The
offsets are committed as a member of the group: nothing is committed for a former member. The next owner of a
partition reads its changelog to the end, also behind open transactions, and so waits until they are decided.

Either way, nothing is acknowledged before it is delivered. A worker whose transaction the broker has aborted gives the
batch up and joins its group again. Any other failed delivery ends the worker, and the next process repeats the work.
"""

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from aiokafka.errors import (
    IllegalGenerationError,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    TransactionCoordinatorFenced,
    UnknownError,
    UnknownMemberIdError,
    UnknownProducerId,
)
from aiokafka.structs import TopicPartition
from mode import Service

from stream_coupons.kafka.overdue import report_overdue
from stream_coupons.kafka.producer import BATCH_BYTES, ZSTD, Sender, in_batches, wait_for_all
from stream_coupons.kafka.records import Membership, Output

if TYPE_CHECKING:  # only workers with exactly-once delivery import it
    from stream_coupons.kafka.transactions import TransactionalId, TransactionalProducer

log = logging.getLogger(__name__)

PAUSE_S = 5.0
PRODUCERS = 2
"""Producers per agent, used in turn. A broker completes a transaction after its response. A producer that begins the
next transaction before that waits for some 20 ms (`add.partitions.to.txn.retry.backoff.ms`)."""

UNDONE = (
    IllegalGenerationError,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    TransactionCoordinatorFenced,
    UnknownError,
    UnknownMemberIdError,
    UnknownProducerId,
)
"""Errors of a transaction that the broker has aborted, or that a former member wants to commit, and of brokers amid a
fault. aiokafka calls codes that it does not know unknown, as that of a transaction to be aborted. An error that does
not pass stalls the agent, which ends the worker."""

Offsets = Mapping[TopicPartition, int]
"""The next offset to read of each input partition."""


class TransactionUndone(Exception):
    """The broker has aborted the transaction of a batch, or refuses it: its records are to be read again."""


class Delivery(Protocol):
    """Delivers the results of batches with one guarantee."""

    is_transactional: bool
    whole_bytes: int
    """Largest total bytes of a partition's changes that are appended all or none."""

    @property
    def is_able(self) -> bool:
        """True if recent deliveries have succeeded."""

    async def join(self, agent: str, membership: Membership) -> None:
        """Deliver for an agent as this member of its group from now on.

        Parameters
        ----------
        agent : str
            Name of the agent.
        membership : Membership
            The member, and its generation.
        """

    async def deliver(self, agent: str, changes: Sequence[Output], outputs: Sequence[Output], offsets: Offsets) -> None:
        """Return when all changelog records and outputs are appended.

        Parameters
        ----------
        agent : str
            Name of the agent.
        changes, outputs : sequence of Output
            Records of the changelog, and of other topics.
        offsets : mapping of TopicPartition to int
            The next offset to read of each input partition.

        Raises
        ------
        KafkaError
            If not all is appended: any part of it may be then.
        TransactionUndone
            If the broker has aborted the transaction.
        """


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
        """True if the last attempts to send succeeded, and none is late."""
        return all(sender.is_able for sender in self._senders.values())

    async def join(self, agent: str, membership: Membership) -> None:
        """Do nothing: the lease of a paused worker has run out when its partitions are reassigned."""

    async def deliver(
        self,
        agent: str,
        changes: Sequence[Output],
        outputs: Sequence[Output],
        offsets: Offsets,  # noqa: ARG002 - the consumer commits them later
    ) -> None:
        """Append all cells, then all outputs."""
        await self._senders[agent].deliver(changes, self.whole_bytes, ZSTD)
        await self._senders[agent].deliver(outputs)


class ExactlyOnce(Service):  # type: ignore[misc]
    """A transaction per delivery: all of it, or none.

    After an error it may be unknown whether a commit took place. So an agent that is to go on joins again: that aborts
    what is left open, and then what was committed is read.

    Parameters
    ----------
    group_id : str
        Group whose offsets are committed.
    connect : callable
        Makes a producer of a transactional id, not started.
    on_failure : callable
        Called with the agent's name when a transaction failed or is overdue.
    late_after_s : float
        Seconds after which an open transaction is overdue, and again each time that it has been open as long again.
    """

    is_transactional = True
    whole_bytes = sys.maxsize

    def __init__(
        self,
        group_id: str,
        connect: Callable[["TransactionalId"], "TransactionalProducer"],
        on_failure: Callable[[str], None],
        late_after_s: float,
    ) -> None:
        super().__init__()
        self._group_id = group_id
        self._connect = connect
        self._on_failure = on_failure
        self._producers: dict[str, deque[TransactionalProducer]] = {}
        self._memberships: dict[str, Membership] = {}
        self._late_after_s = late_after_s
        self._unable: set[str] = set()
        """Agents whose present transaction is overdue, or has failed so that the worker ends."""
        self._connected: dict[str, str] = {}
        """Members that the producers of agents are connected for, by agent."""

    @property
    def is_able(self) -> bool:
        """True if no transaction is overdue, or has failed. One that was aborted is over, once it is given up."""
        return not self._unable

    async def on_stop(self) -> None:
        """Disconnect."""
        await asyncio.gather(*(self._disconnect(agent) for agent in list(self._producers)))

    async def join(self, agent: str, membership: Membership) -> None:
        """Commit as this member: the broker refuses the offsets of one that is not the group's present one.

        What former members have left open is aborted. The states that it holds back can be read then.
        """
        from stream_coupons.kafka.transactions import TransactionalId

        self._memberships[agent] = membership
        member_id = membership.member_id
        if self._connected.get(agent) != member_id:
            await self._disconnect(agent)
            ids = [TransactionalId(self._group_id, agent, member_id, str(number)) for number in range(PRODUCERS)]
            self._producers[agent] = deque(map(self._connect, ids))
            await wait_for_all([producer.start() for producer in self._producers[agent]])
            self._connected[agent] = member_id
        await self._producers[agent][0].abort_orphans()

    async def deliver(self, agent: str, changes: Sequence[Output], outputs: Sequence[Output], offsets: Offsets) -> None:
        """Commit a transaction.

        Raises
        ------
        TransactionUndone
            If the broker has aborted the transaction, or knows no such member any more.
        KafkaError
            If a record or an offset was refused; after a pause in which the worker is not ready, so that whoever looks
            sees it, and a supervisor does not start it anew at once.
        """
        batches = in_batches(changes, BATCH_BYTES, ZSTD, is_transactional=True)
        batches += in_batches(outputs, BATCH_BYTES, is_transactional=True)
        producers = self._producers[agent]
        producers.rotate()
        try:
            with report_overdue(agent, len(changes) + len(outputs), self._late_after_s, self._fail):
                await producers[0].commit(batches, offsets, self._memberships[agent])
        except UNDONE as error:
            self._fail(agent)
            log.warning("%s: a transaction was aborted, its records are read again: %r", agent, error)
            await self._disconnect(agent)
            # Nothing waits to be written any more. The agent may become one that stands by, and never write again.
            self._unable.discard(agent)
            raise TransactionUndone from error
        except Exception as error:
            self._fail(agent)
            log.error("%s: a transaction failed: %r", agent, error)
            await self.sleep(PAUSE_S)
            raise
        self._unable.discard(agent)

    async def _disconnect(self, agent: str) -> None:
        """Disconnect the producers of an agent; when they start again, the broker aborts what they left open."""
        self._connected.pop(agent, None)
        await asyncio.gather(*(producer.stop() for producer in self._producers.pop(agent, ())))

    def _fail(self, agent: str) -> None:
        self._unable.add(agent)
        self._on_failure(agent)
