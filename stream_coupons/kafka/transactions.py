"""Transactions whose requests say themselves what belongs to them (KIP-890, Apache Kafka 4.0 and later).

aiokafka's transactional producer asks a coordinator for every partition and for the offsets before it sends anything,
and knows no member of a group. Since KIP-890 brokers add what they are sent to the transaction that it names: records
and offsets leave at once, one more request ends the transaction, and its answer begins the next.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    ConcurrentTransactions,
    DuplicateSequenceNumber,
    KafkaError,
    LeaderNotAvailableError,
    for_code,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.api import Request
from aiokafka.structs import TopicPartition

from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.producer import Placed, wait_for_all
from stream_coupons.kafka.records import Membership
from stream_coupons.kafka.transaction_requests import (
    EndTxn,
    InitProducerId,
    Produce,
    Row,
    TxnOffsetCommit,
    VersionedRequest,
    in_topics,
)

log = logging.getLogger(__name__)

PAUSE_S = 0.002
"""Pause before a request is sent again. A transaction that follows at once may meet the end of the one before."""
FAILED_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
ANY = -1
ALL_REPLICAS = -1


class TransactionalProducer:
    """Commits one transaction after the other: records and offsets, all of it or nothing.

    While no broker answers, requests are sent again and again. The broker aborts a transaction that takes too long, and
    then refuses what comes of it.

    Parameters
    ----------
    connection : Connection
        How the brokers are reached.
    transactional_id : str
        Of this process alone. Who owns partitions is known to the group: it refuses the offsets of a former member, and
        nothing is committed of a transaction that was refused anything (KIP-447).
    group_id : str
        Whose offsets are committed.
    timeout_s : float
        Time after which the broker aborts a transaction that was begun.
    """

    def __init__(self, connection: Connection, transactional_id: str, group_id: str, timeout_s: float) -> None:
        self._id = transactional_id
        self._group_id = group_id
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
        self._client = AIOKafkaClient(**self._connection.options(), request_timeout_ms=int(self._timeout_s * 1000))
        await self._client.bootstrap()
        ask = partial(VersionedRequest, InitProducerId, self._id, int(self._timeout_s * 1000), ANY, ANY)
        await self._take_producer(ask)

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
        await self._take_producer(lambda: VersionedRequest(EndTxn, self._id, *self._producer, True))

    def _numbered(self, tp: TopicPartition, batch: BatchBuilder) -> bytes:
        batch._set_producer_state(*self._producer, self._sequences[tp])
        self._sequences[tp] += batch.record_count()
        return bytes(batch._build())

    async def _append(self, rounds: Sequence[Mapping[TopicPartition, bytes]]) -> None:
        def request(rows: Mapping[TopicPartition, bytes]) -> Request[Any]:
            topics = in_topics(rows, lambda data: (data,))
            return VersionedRequest(Produce, self._id, ALL_REPLICAS, int(self._timeout_s * 1000), topics)

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
        left, pauses = dict(rows), _pauses()
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
                await self._pause(error, pauses)

    async def _pause(self, error: type[KafkaError], pauses: Iterator[float]) -> None:
        """Wait before the next attempt; leaders and coordinators are looked for anew in it."""
        if error is ConcurrentTransactions:
            await asyncio.sleep(PAUSE_S)
            return
        self._coordinators.clear()
        await self._client.force_metadata_update()
        await asyncio.sleep(next(pauses))

    async def _take_producer(self, ask: Callable[[], Request[Any]]) -> None:
        """Ask the coordinator of the transaction until it answers with the producer's id and epoch from now on."""
        pauses = _pauses()
        while True:
            try:
                answer = await self._client.send(await self._coordinator(CoordinationType.TRANSACTION, self._id), ask())
                error = for_code(answer.error_code)
            except KafkaError as failed:
                _raise_unless_retriable(type(failed), failed)
                error = type(failed)
            else:
                if answer.error_code == 0:
                    break
                _raise_unless_retriable(error, error(self._id))
            await self._pause(error, pauses)
        if self._producer != (answer.producer_id, answer.producer_epoch):
            self._producer = answer.producer_id, answer.producer_epoch
            self._sequences.clear()

    async def _leader(self, tp: TopicPartition) -> int:
        await self._client._wait_on_metadata(tp.topic)
        node = self._client.cluster.leader_for_partition(tp)
        if node is None or node == ANY:
            raise LeaderNotAvailableError(f"{tp.topic}:{tp.partition}")
        return int(node)

    async def _coordinator(self, kind: Any, key: str) -> int:
        if kind not in self._coordinators:
            self._coordinators[kind] = await self._client.coordinator_lookup(kind, key)
        return self._coordinators[kind]


def _pauses() -> Iterator[float]:
    """Return the seconds to wait before each further attempt."""
    pause_s = FAILED_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _raise_unless_retriable(error: type[KafkaError], failure: KafkaError) -> None:
    if not error.retriable and error is not ConcurrentTransactions:
        raise failure
