"""Send and know that it was appended: every send of a batch is awaited before anything is acknowledged."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import DuplicateSequenceNumber, KafkaError, NoError, RequestTimedOutError, for_code
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import TopicPartition
from mode import Service

from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.contact import connect
from stream_coupons.kafka.namespace import add_namespace
from stream_coupons.kafka.overdue import report_overdue
from stream_coupons.kafka.records import Output

log = logging.getLogger(__name__)

ATTEMPTS = 8
FIRST_PAUSE_S = 0.2
BATCH_BYTES = 256 * 1024
STOPS_WITHIN_S = 20.0
LEAVES_WITHIN_S = 1.0
"""Longest wait for the tasks of a producer whose connections are closed."""
UNCOMPRESSED, ZSTD = 0, 4
"""Codecs of a batch. Cells are compressed, to some 60 %; the rest is small, and clients of others may lack zstd."""
APPENDED = frozenset({NoError, DuplicateSequenceNumber})
"""Errors in an answer that mean that the broker has the batch."""

Placed = tuple[TopicPartition, BatchBuilder]
"""A record batch and its partition."""


class LeaseExpired(KafkaError):  # type: ignore[misc]
    """The group may have gone on without this worker: somebody else may own what we would write for."""

    retriable = True


def new_producer(connection: Connection, request_timeout_s: float, max_request_bytes: int) -> AIOKafkaProducer:
    """Return an idempotent producer: within a partition its own retries lose, double and reorder nothing.

    Parameters
    ----------
    connection : Connection
        How the brokers are reached.
    request_timeout_s : float
        Seconds until a request without an answer has failed.
    max_request_bytes : int
        The longest request.
    """
    producer = AIOKafkaProducer(
        **connection.options(),
        acks="all",
        enable_idempotence=True,
        max_request_size=max_request_bytes,
        max_batch_size=BATCH_BYTES,
        request_timeout_ms=int(request_timeout_s * 1000),
    )
    add_namespace(producer.client, connection.namespace)
    return producer


def in_batches(
    outputs: Sequence[Output], max_bytes: int, codec: int = UNCOMPRESSED, *, is_transactional: bool = False
) -> list[Placed]:
    """Return records as batches: those of a partition, in order, in as few as hold them.

    A broker appends a batch as a whole or not at all. aiokafka's own way, a record at a time, makes a future and a task
    switch of each.

    Parameters
    ----------
    outputs : sequence of Output
        The records.
    max_bytes : int
        The longest batch, before compression; one longer record is a batch by itself.
    codec : int
        How batches are compressed.
    is_transactional : bool
        Whether the batches are of a transaction.
    """
    by_place: defaultdict[TopicPartition, list[Output]] = defaultdict(list)
    for output in outputs:
        by_place[TopicPartition(output.topic, output.partition)].append(output)
    new_batch = partial(BatchBuilder, max_bytes, codec, is_transactional=is_transactional)
    return [(tp, batch) for tp, records in by_place.items() for batch in _batched(records, new_batch)]


def _batched(outputs: Sequence[Output], new_batch: Callable[[], BatchBuilder]) -> Iterator[BatchBuilder]:
    batch = new_batch()
    for output in outputs:
        record = {"timestamp": None, "key": output.key, "value": output.value, "headers": output.headers}
        if batch.append(**record) is None:
            yield batch
            batch = new_batch()
            batch.append(**record)
    batch.close()
    yield batch


async def wait_for_all(answers: Sequence[Awaitable[Any]]) -> None:
    """Wait until all answers are there, and raise the first failure among them."""
    for answer in await asyncio.gather(*answers, return_exceptions=True):
        if isinstance(answer, BaseException):
            raise answer


async def _send_and_wait(producer: AIOKafkaProducer, batches: Sequence[Placed]) -> None:
    by_leader = _by_leader(producer, batches)
    if by_leader is None:
        await wait_for_all(
            [await producer.send_batch(batch, tp.topic, partition=tp.partition) for tp, batch in batches]
        )
    elif len(by_leader) == 1:
        [(node, of_node)] = by_leader.items()
        await _request(producer, node, of_node)
    else:
        await wait_for_all([_request(producer, node, of_node) for node, of_node in by_leader.items()])


def _by_leader(producer: AIOKafkaProducer, batches: Sequence[Placed]) -> dict[int, dict[TopicPartition, Any]] | None:
    """Return what each broker is sent in one request.

    None if aiokafka's queue has to order it: earlier batches are under way, a partition has several, or a leader is
    unknown.
    """
    queue, leader_of = producer._message_accumulator, producer.client.cluster.leader_for_partition
    by_leader: dict[int, dict[TopicPartition, Any]] = {}
    if queue._batches or queue._pending_batches or queue._closed or queue._exception is not None:
        return None
    for tp, batch in batches:
        node = leader_of(tp)
        of_node = by_leader.setdefault(-1 if node is None else node, {})
        if tp in of_node:
            return None
        of_node[tp] = batch
    return None if -1 in by_leader else by_leader


async def _request(producer: AIOKafkaProducer, node: int, batches: Mapping[TopicPartition, Any]) -> None:
    """Send a produce request at once, without the tasks and futures of aiokafka's queue: half of its CPU time.

    What fails goes to that queue, with its sequence numbers: it is sent again until the broker has it, once.
    """
    numbers = producer._txn_manager
    rows: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
    for tp, batch in batches.items():
        batch._set_producer_state(numbers.producer_id, numbers.producer_epoch, numbers.sequence_number(tp))
        numbers.increment_sequence_number(tp, batch.record_count())
        rows[tp.topic].append((tp.partition, batch._build()))
    request = ProduceRequest(
        transactional_id=None, required_acks=-1, timeout=producer._request_timeout_ms, topics=list(rows.items())
    )
    try:
        answer = await producer.client.send(node, request)
    except KafkaError as error:
        if not error.retriable:
            raise
        answered = {}
    else:
        answered = {TopicPartition(topic, row[0]): for_code(row[1]) for topic, found in answer.topics for row in found}
    waiting = []
    for tp, batch in batches.items():
        error_type = answered.get(tp, RequestTimedOutError)
        if error_type not in APPENDED:
            waiting.append(_again(producer, tp, batch) if error_type.retriable else _failed(error_type()))
    await wait_for_all(waiting)


async def _failed(error: KafkaError) -> None:
    raise error


def _again(producer: AIOKafkaProducer, tp: TopicPartition, batch: BatchBuilder) -> Awaitable[Any]:
    """Put a batch that has its sequence number into aiokafka's queue, which does not expect it to be cancelled."""
    queue = producer._message_accumulator
    queued = queue._append_batch(batch, tp)
    queued._retry_count = 1
    queued.future.add_done_callback(lambda _: queue._pending_batches.discard(queued))
    return asyncio.shield(queued.future)


class Sender(Service):  # type: ignore[misc]
    """Appends records for one agent, trying again for a while.

    Parameters
    ----------
    name : str
        The agent that sends.
    connect : callable
        Makes a producer that is not started.
    on_failure : callable
        Called with the agent's name when an attempt failed.
    late_after_s : float
        An attempt that takes so long counts as failed, and once more each time that it has taken as long again. It goes
        on all the same: aiokafka's idempotent producer never gives up a record, and another one that sent it beside
        this one could double or overtake it.
    is_held : callable
        Whether the group still counts on this worker; no produce request leaves while it does not.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], AIOKafkaProducer],
        on_failure: Callable[[str], None],
        late_after_s: float,
        is_held: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__()
        self.name = name
        self.is_able = True
        """True if the last attempt succeeded, or the one under way is not late."""
        self._connect = connect
        self._on_failure = on_failure
        self._late_after_s = late_after_s
        self._is_held = is_held
        self._producer: Any = None
        self._new_producer: Any = None
        self._connecting = asyncio.Lock()

    async def on_start(self) -> None:
        """Connect."""
        await self._connected()

    async def on_stop(self) -> None:
        """Flush and disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def deliver(
        self, outputs: Sequence[Output], batch_bytes: int = BATCH_BYTES, codec: int = UNCOMPRESSED
    ) -> None:
        """Send in order until the broker has all of it, again and again for a while; then give up.

        Nothing is acknowledged meanwhile, so nothing is lost by giving up and letting the supervisor start a new
        process. What an attempt appended before it failed is appended again: the same bytes.

        Parameters
        ----------
        outputs : sequence of Output
            The records.
        batch_bytes : int
            Up to so many bytes of a partition are one batch, which a broker appends as a whole or not at all.
        codec : int
            How batches are compressed.

        Raises
        ------
        KafkaError
            If any could not be appended in any attempt; others may have been.
        TimeoutError
            If a producer does not come to an end: no other may be begun then.
        """
        pause_s = FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1) if outputs else ():
            producer = self._producer or await self._connected()
            try:
                with report_overdue(self.name, len(outputs), self._late_after_s, self._fail):
                    await _send_and_wait(producer, in_batches(outputs, batch_bytes, codec))
            except asyncio.CancelledError:
                await self._abandon(producer)
                raise
            except KafkaError as error:
                self._fail(self.name)
                log.error("%s: attempt %d to send %d records: %r", self.name, attempt, len(outputs), error)
                await self._disconnect(producer)
                if attempt == ATTEMPTS:
                    raise
                await self.sleep(pause_s)
                pause_s *= 2
            else:
                self.is_able = True
                return

    def _fail(self, agent: str) -> None:
        self.is_able = False
        self._on_failure(agent)

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                await connect(self._start_producer, lambda: self._new_producer.stop())
            return self._producer

    async def _start_producer(self) -> None:
        self._new_producer = producer = self._connect()
        _hold_back(producer, lambda: producer is self._producer and self._is_held())
        await producer.start()
        self._producer = producer

    async def _abandon(self, producer: AIOKafkaProducer) -> None:
        """Leave a producer at once, as this process ends: its queue is neither sent later nor waited for."""
        self._producer = None
        await producer.client.close()
        ends = producer._sender.close(), producer.stop()
        await asyncio.wait([asyncio.ensure_future(end) for end in ends], timeout=LEAVES_WITHIN_S)

    async def _disconnect(self, producer: AIOKafkaProducer) -> None:
        """Leave a producer whose record was refused: its next one would lack that one's sequence number.

        Not before it has come to an end: what it sent late would lie behind what its successor sends.
        """
        if self._producer is producer:
            await asyncio.wait_for(producer.stop(), STOPS_WITHIN_S)
            self._producer = None


def _hold_back(producer: AIOKafkaProducer, is_held: Callable[[], bool]) -> None:
    """Check the lease right before a produce request is written, as late as that can be done."""
    client = producer.client
    send = client.send

    async def send_if_held(node_id: Any, request: Any, **about: Any) -> Any:
        if isinstance(request, ProduceRequest):
            await client.ready(node_id)
            if not is_held():
                raise LeaseExpired
        return await send(node_id, request, **about)

    client.send = send_if_held
