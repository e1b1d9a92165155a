"""Transactions whose requests say themselves what belongs to them (KIP-890, Apache Kafka 4.0 and later).

aiokafka's transactional producer asks a coordinator for every partition and for the offsets before it sends anything,
and knows no member of a group. Since KIP-890 brokers add what they are sent to the transaction that it names: records
and offsets leave at once, one more request ends the transaction, and its answer begins the next.

A transactional id names the member of the group that its producer commits for. So any member finds the open
transactions of those that are gone, and ends them: their records would hide what lies behind until the timeout.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    ConcurrentTransactions,
    DuplicateSequenceNumber,
    KafkaError,
    LeaderNotAvailableError,
    for_code,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.api import Request
from aiokafka.structs import TopicPartition

from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.namespace import add_namespace
from stream_coupons.kafka.producer import Placed, wait_for_all
from stream_coupons.kafka.records import Membership
from stream_coupons.kafka.transaction_requests import (
    EndTxn,
    InitProducerId,
    ListTransactions,
    Produce,
    Row,
    TxnOffsetCommit,
    VersionedRequest,
    in_topics,
)

log = logging.getLogger(__name__)

PAUSE_S = 0.002
"""First pause before a request is sent again. A transaction that follows at once may meet the end of the one before."""
FAILED_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
REQUEST_TIMEOUT_S = 10.0
"""Seconds after which a request is sent anew, maybe to another broker. A broker that is gone is replaced before."""
ANY = -1
ALL_REPLICAS = -1
OPEN = "Ongoing"

Answer = TypeVar("Answer")


class TransactionalId(NamedTuple):
    """The parts of a transactional id: no two members of a group have the same one.

    Examples
    --------
    >>> str(TransactionalId("coupons", "users", "faust-a1", "0"))
    'coupons/users/faust-a1/0'
    >>> TransactionalId.parse("coupons/users/faust-a1/0").member_id, TransactionalId.parse("another")
    ('faust-a1', None)
    """

    group_id: str
    agent: str
    member_id: str
    number: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the parts of an id; None if it is no id of ours."""
        parts = text.rsplit("/", 3)
        return cls(*parts) if len(parts) == len(cls._fields) else None

    def __str__(self) -> str:
        return "/".join(self)


class TransactionalProducer:
    """Commits one transaction after the other: records and offsets, all of it or nothing.

    While no broker answers, requests are sent again and again. The broker aborts a transaction that takes too long, and
    then refuses what comes of it.

    Parameters
    ----------
    connection : Connection
        How the brokers are reached.
    transactional_id : TransactionalId
        Its group is the one whose offsets are committed. Who owns partitions is known to the group: it refuses the
        offsets of a former member, and nothing is committed of a transaction that was refused anything (KIP-447).
    timeout_s : float
        Time after which the broker aborts a transaction that was begun.
    """

    def __init__(self, connection: Connection, transactional_id: TransactionalId, timeout_s: float) -> None:
        self._parts = transactional_id
        self._id = str(transactional_id)
        self._group_id = transactional_id.group_id
        self._timeout_s = timeout_s
        self._connection = connection
        self._client: Any = None
        self._producer = (ANY, ANY)
        self._sequences: defaultdict[TopicPartition, int] = defaultdict(int)
        self._coordinators: dict[Any, int] = {}

    async def start(self) -> None:
        """Connect, and abort what a producer of this id has left open.

        Raises
        ------
        KafkaError
        """
        await self.stop()
        self._client = AIOKafkaClient(**self._connection.options(), request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000))
        add_namespace(self._client, self._connection.namespace)
        await self._client.bootstrap()
        self._take(await self._repeat(partial(self._begin, self._id)))

    async def stop(self) -> None:
        """Disconnect."""
        if self._client is not None:
            await self._client.close()

    async def commit(
        self, batches: Collection[Placed], offsets: Mapping[TopicPartition, int], membership: Membership
    ) -> None:
        """Append batches and commit offsets, as a member of the group; return when all of it is decided.

        Parameters
        ----------
        batches : collection
            Transactional batches that are not built; those of a partition are appended in their order.
        offsets : mapping
            The next offset to read, by input partition.
        membership : Membership
            The member that commits.

        Raises
        ------
        KafkaError
            If something was refused. Whether the transaction was committed may be unknown then.
        """
        if not batches and not offsets:
            return
        rounds: list[dict[TopicPartition, bytes]] = []
        place: defaultdict[TopicPartition, int] = defaultdict(int)
        for tp, batch in batches:
            if place[tp] == len(rounds):
                rounds.append({})
            rounds[place[tp]][tp] = self._numbered(tp, batch)
            place[tp] += 1
        await wait_for_all([self._append(rounds), self._commit_offsets(offsets, membership)])
        self._take(await self._repeat(self._end))

    async def abort_orphans(self) -> None:
        """Abort the open transactions of this agent whose producers are no members of the group any more.

        If this one's is none either, it aborts none: the group goes on without it.

        Raises
        ------
        KafkaError
            If a broker refuses to say, or to abort.
        """
        open_ids = await self._repeat(self._open_ids)
        # Later than the transactions: it has every member that may have begun one.
        members = await self._repeat(self._members) if open_ids else ()
        for found in open_ids if self._parts.member_id in members else ():
            if found.member_id not in members:
                log.info("aborting the transaction that %s left open", found)
                await self._repeat(partial(self._begin, str(found)))

    def _numbered(self, tp: TopicPartition, batch: BatchBuilder) -> bytes:
        batch._set_producer_state(*self._producer, self._sequences[tp])
        self._sequences[tp] += batch.record_count()
        return bytes(batch._build())

    async def _append(self, rounds: Sequence[Mapping[TopicPartition, bytes]]) -> None:
        def request(rows: Mapping[TopicPartition, bytes]) -> Request[Any]:
            topics = in_topics(rows, lambda data: (data,))
            return VersionedRequest(Produce, self._id, ALL_REPLICAS, int(REQUEST_TIMEOUT_S * 1000), topics)

        for rows in rounds:
            await self._send(rows, self._leader, request)

    async def _commit_offsets(self, offsets: Mapping[TopicPartition, int], membership: Membership) -> None:
        def request(rows: Mapping[TopicPartition, int]) -> Request[Any]:
            topics = in_topics(rows, lambda offset: (offset, ANY, ""))
            member = membership.generation, membership.member_id, None
            return VersionedRequest(TxnOffsetCommit, self._id, self._group_id, *self._producer, *member, topics)

        async def coordinator(_: TopicPartition) -> int:
            return await self._coordinator(CoordinationType.GROUP, self._group_id)

        # By the same connection as records: a broker processes what comes by one in turn. If it had both at once to add
        # to the transaction, one of them would wait there for tens of milliseconds.
        await self._send(offsets, coordinator, request)

    async def _send(
        self,
        rows: Mapping[TopicPartition, Row],
        node_of: Callable[[TopicPartition], Awaitable[int]],
        request: Callable[[Mapping[TopicPartition, Row]], Request[Any]],
    ) -> None:
        """Send rows to their brokers, those that could not be taken once more, until all are."""
        left, began = dict(rows), time.monotonic()
        while left:
            by_node: defaultdict[int, dict[TopicPartition, Row]] = defaultdict(dict)
            error: type[KafkaError] = KafkaError
            try:
                for tp, row in left.items():
                    by_node[await node_of(tp)][tp] = row
                answers = await asyncio.gather(
                    *(self._client.send(node, request(rows)) for node, rows in by_node.items())
                )
            except KafkaError as failed:
                _raise_unless_retriable(type(failed), failed)
            else:
                for answer in answers:
                    for topic, partitions, _ in answer.topics:
                        for partition, code, *_ in partitions:
                            if code == 0 or (error := for_code(code)) is DuplicateSequenceNumber:
                                left.pop(TopicPartition(topic, partition), None)
                            else:
                                _raise_unless_retriable(error, error(f"{topic}:{partition}"))
            if left:
                await self._pause(error, began)

    async def _pause(self, error: type[KafkaError], began: float) -> None:
        """Wait before the next attempt, the longer the more attempts failed; look for leaders and coordinators anew."""
        waited_s = time.monotonic() - began
        if error is ConcurrentTransactions:  # it ends in milliseconds, unless brokers are missing
            await asyncio.sleep(min(max(PAUSE_S, waited_s / 10), FAILED_PAUSE_S))
            return
        self._coordinators.clear()
        await self._client.force_metadata_update()
        await asyncio.sleep(min(max(FAILED_PAUSE_S, waited_s), LONGEST_PAUSE_S))

    async def _repeat(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return the result of the first attempt that succeeds."""
        began = time.monotonic()
        while True:
            try:
                return await attempt()
            except KafkaError as failure:
                _raise_unless_retriable(type(failure), failure)
                await self._pause(type(failure), began)

    async def _begin(self, transactional_id: str) -> Any:
        """Begin as the producer of an id, which aborts the transaction that another one has left open."""
        request = VersionedRequest(InitProducerId, transactional_id, int(self._timeout_s * 1000), ANY, ANY)
        return await self._ask(CoordinationType.TRANSACTION, transactional_id, request)

    async def _end(self) -> Any:
        request = VersionedRequest(EndTxn, self._id, *self._producer, True)
        return await self._ask(CoordinationType.TRANSACTION, self._id, request)

    async def _ask(self, kind: Any, key: str, request: Request[Any]) -> Any:
        answer = await self._client.send(await self._coordinator(kind, key), request)
        if answer.error_code:
            raise for_code(answer.error_code)(key)
        return answer

    def _take(self, answer: Any) -> None:
        """Use the producer id and epoch of an answer from now on."""
        if self._producer != (answer.producer_id, answer.producer_epoch):
            self._producer = answer.producer_id, answer.producer_epoch
            self._sequences.clear()

    async def _open_ids(self) -> list[TransactionalId]:
        """Return the ids of this agent, on all brokers, whose transactions are open."""
        requests = [
            self._client.send(broker.nodeId, VersionedRequest(ListTransactions, [OPEN], []))
            for broker in self._client.cluster.brokers()
        ]
        found = []
        for answer in await asyncio.gather(*requests):
            if answer.error_code:
                raise for_code(answer.error_code)(self._id)
            found += [TransactionalId.parse(transactional_id) for transactional_id, *_ in answer.transactions]
        return [one for one in found if one is not None and one[:2] == self._parts[:2]]

    async def _members(self) -> frozenset[str]:
        """Return the ids of the group's members."""
        node = await self._coordinator(CoordinationType.GROUP, self._group_id)
        [group] = (await self._client.send(node, DescribeGroupsRequest([self._group_id]))).groups
        if group[0]:
            raise for_code(group[0])(self._group_id)
        return frozenset(member_id for member_id, *_ in group[5])

    async def _leader(self, tp: TopicPartition) -> int:
        await self._client._wait_on_metadata(tp.topic)
        node = self._client.cluster.leader_for_partition(tp)
        if node is None or node == ANY:
            raise LeaderNotAvailableError(f"{tp.topic}:{tp.partition}")
        return int(node)

    async def _coordinator(self, kind: Any, key: str) -> int:
        if (kind, key) not in self._coordinators:
            self._coordinators[kind, key] = await self._client.coordinator_lookup(kind, key)
        return self._coordinators[kind, key]


def _raise_unless_retriable(error: type[KafkaError], failure: KafkaError) -> None:
    if not error.retriable and error is not ConcurrentTransactions:
        raise failure
