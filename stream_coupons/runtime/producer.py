"""Send and know that it was appended: every send of a batch is awaited before anything is acknowledged."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.produce import ProduceRequest
from mode import Service

from stream_coupons.connection import Connection
from stream_coupons.runtime.records import Output

log = logging.getLogger(__name__)

ATTEMPTS = 8
FIRST_PAUSE_S = 0.2
BATCH_BYTES = 256 * 1024
STOPS_WITHIN_S = 20.0


class LeaseExpired(KafkaError):  # type: ignore[misc]
    """The group has not been heard from for a session: somebody else may own what we would write for."""

    retriable = True


def new_producer(
    connection: Connection, request_timeout_s: float, max_request_bytes: int, **options: Any
) -> AIOKafkaProducer:
    """An idempotent producer: within a partition nothing is lost, doubled or reordered by its own retries."""
    return AIOKafkaProducer(
        **connection.options(),
        acks="all",
        enable_idempotence=True,
        max_request_size=max_request_bytes,
        max_batch_size=BATCH_BYTES,
        request_timeout_ms=int(request_timeout_s * 1000),
        **options,
    )


async def send_all(producer: AIOKafkaProducer, outputs: Sequence[Output], whole_bytes: int = 0) -> list[Awaitable[Any]]:
    """Hand records to a producer, in order within each partition; each answer must be awaited.

    A batch at a time: aiokafka's own way, a record at a time, makes a future and a task switch of each. Up to
    `whole_bytes` of a partition are one batch, which a broker appends as a whole or not at all.
    """
    by_place: defaultdict[tuple[str, int], list[Output]] = defaultdict(list)
    for output in outputs:
        by_place[output.topic, output.partition].append(output)
    return [
        await producer.send_batch(batch, topic, partition=partition)
        for (topic, partition), records in by_place.items()
        for batch in _batched(producer, records, whole_bytes)
    ]


def _batched(producer: AIOKafkaProducer, outputs: Sequence[Output], whole_bytes: int) -> Iterator[BatchBuilder]:
    """Records of one partition, in order, in as few batches as hold them."""

    def new_batch() -> BatchBuilder:
        return BatchBuilder(whole_bytes, 0) if whole_bytes else producer.create_batch()

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


async def _send_and_wait(producer: AIOKafkaProducer, outputs: Sequence[Output], whole_bytes: int) -> None:
    await wait_for_all(await send_all(producer, outputs, whole_bytes))


class Sender(Service):  # type: ignore[misc]
    """Appends records for one agent, trying again for a while.

    Parameters
    ----------
    name : str
        Who sends.
    connect : callable
        Makes a producer that is not started.
    on_failure : callable
        Told for whom an attempt failed.
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
        """Whether the last attempt succeeded, or the one under way is not late."""
        self._connect = connect
        self._on_failure = on_failure
        self._late_after_s = late_after_s
        self._is_held = is_held
        self._producer: Any = None
        self._connecting = asyncio.Lock()

    async def on_start(self) -> None:
        """Connect."""
        await self._connected()

    async def on_stop(self) -> None:
        """Flush and disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def deliver(self, outputs: Sequence[Output], whole_bytes: int = 0) -> None:
        """Send in order until the broker has all of it, again and again for a while; then give up.

        Nothing is acknowledged meanwhile, so nothing is lost by giving up and letting the supervisor start a new
        process. What an attempt appended before it failed is appended again: the same bytes. `whole_bytes` is as for
        `send_all`.

        Raises
        ------
        KafkaError
            If any could not be appended in any attempt; others may have been.
        TimeoutError
            If a producer does not come to an end: no other may be begun then.
        """
        pause_s = FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1):
            producer = await self._connected()
            try:
                await self._attempt(producer, outputs, whole_bytes)
            except KafkaError as error:
                self._fail()
                log.error("%s: attempt %d to send %d records: %r", self.name, attempt, len(outputs), error)
                await self._disconnect(producer)
                if attempt == ATTEMPTS:
                    raise
                await self.sleep(pause_s)
                pause_s *= 2
            else:
                self.is_able = True
                return

    async def _attempt(self, producer: AIOKafkaProducer, outputs: Sequence[Output], whole_bytes: int) -> None:
        """Send and wait, however long it takes; that it is late is counted, and logged at doubling intervals."""
        began, said_s = time.monotonic(), 0.0
        sending = asyncio.ensure_future(_send_and_wait(producer, outputs, whole_bytes))
        try:
            while not (await asyncio.wait([sending], timeout=self._late_after_s))[0]:
                self._fail()
                late_s = time.monotonic() - began
                if late_s >= 2 * said_s:
                    log.error("%s: %d records have waited for the broker for %.0f s", self.name, len(outputs), late_s)
                    said_s = late_s
            sending.result()
        finally:
            sending.cancel()

    def _fail(self) -> None:
        self.is_able = False
        self._on_failure(self.name)

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                producer = self._connect()
                _hold_back(producer, self._is_held)
                await producer.start()
                self._producer = producer
            return self._producer

    async def _disconnect(self, producer: AIOKafkaProducer) -> None:
        """Leave a producer whose record was refused: its next one would lack that one's sequence number.

        Not before it has come to an end: what it sent late would lie behind what its successor sends.
        """
        if self._producer is producer:
            self._producer = None
            await asyncio.wait_for(producer.stop(), STOPS_WITHIN_S)


def _hold_back(producer: AIOKafkaProducer, is_held: Callable[[], bool]) -> None:
    """Look at the lease right before a produce request is written, as late as that can be done."""
    client = producer.client
    send = client.send

    async def send_if_held(node_id: Any, request: Any, **about: Any) -> Any:
        if isinstance(request, ProduceRequest):
            await client.ready(node_id)
            if not is_held():
                raise LeaseExpired
        return await send(node_id, request, **about)

    client.send = send_if_held
