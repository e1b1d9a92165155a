"""Events at a steady rate: how long until each one's answer is read.

Publisher and reader share a process and its monotonic clock. What they and the broker cost without the engine is
measured the same way on a plain topic, whose records are their own answers: the floor.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as Partition
from aiokafka.errors import KafkaError
from msgspec import Struct, field

from benchmarks.load.pace import on_schedule, percentile
from benchmarks.load.throughput import WARM_UP_RATIO, Show
from benchmarks.load.workload import Send
from stream_coupons.kafka.clients import NotAppended
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.consumer import new_consumer

SHOW_EVERY_S = 0.5
GIVE_UP_AFTER_S = 20.0
"""Without any answer, once all is sent."""


class Timing(Struct):
    """Due time and arrival time of each answer, by its name, on the monotonic clock.

    Attributes
    ----------
    measured_from : float or None
        End of the warm-up on the monotonic clock; None if the warm-up is the first tenth of the answers.
    epoch_s : float
        Offset from the monotonic clock to epoch seconds.
    """

    due: dict[str, float] = field(default_factory=dict)
    came: dict[str, float] = field(default_factory=dict)
    measured_from: float | None = None
    epoch_s: float = 0.0
    repeated: int = 0
    late_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    wall_s: float = 0.0

    def measured(self) -> list[str]:
        """Return the names of the answers that count: those that were due after the warm-up."""
        awaited = sorted(self.due, key=self.due.__getitem__)
        if self.measured_from is None:
            return awaited[int(len(awaited) * WARM_UP_RATIO) :]
        return [name for name in awaited if self.due[name] >= self.measured_from]


class Latency(Struct, frozen=True, kw_only=True):
    """Exact percentiles of all answers after the warm-up, in milliseconds from when the event was due.

    Attributes
    ----------
    awaited : int
        Answers that had to come, those of the warm-up among them.
    pending : int
        Answers that did not because an earlier decision for the same shopper was still on its way.
    missing : int
        Answers that did not come for no reason.
    repeated : int
        Second copies of an answer.
    p50_ms, p90_ms, p99_ms, p999_ms, max_ms : float or None
        None if no answer came, or if the rate was more than the workers could do.
    sent_late_max_ms : float
        Maximum delay of the publisher behind its schedule; the latencies contain it.
    client_cpu_ratio : float
        CPU of publisher and reader, as a share of one core.
    """

    rate: float
    events: int
    awaited: int
    pending: int
    missing: int
    repeated: int
    measured: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    max_ms: float | None
    sent_late_p99_ms: float
    sent_late_max_ms: float
    client_cpu_ratio: float


class Client:
    """Sends on schedule and reads the answers.

    Parameters
    ----------
    answers : str
        The topic they come in.
    name_of : callable
        Name of an answer from its value.
    """

    def __init__(self, connection: Connection, answers: str, partitions: int, name_of: Callable[[bytes], str]) -> None:
        self._connection = connection
        self._answers = [Partition(answers, number) for number in range(partitions)]
        self._name_of = name_of

    def measure(self, sends: Sequence[Send], rate: float, show: Show, mark: Callable[[], None] | None = None) -> Timing:
        """Send all at the rate and wait for the answers.

        Parameters
        ----------
        mark : callable
            Called in another thread when the warm-up has been sent, and again when all has. What was due before the
            first call returned is warm-up too, so that reading counters is not taken for latency.

        Raises
        ------
        NotAppended
        """
        # What was made before is not looked through again: collecting it would be taken for latency.
        gc.collect()
        gc.freeze()
        try:
            return asyncio.run(self._measure(sends, rate, show, mark))
        except KafkaError as error:
            raise NotAppended(f"the broker failed under the load: {error!r}") from error
        finally:
            gc.unfreeze()

    async def _measure(self, sends: Sequence[Send], rate: float, show: Show, mark: Callable[[], None] | None) -> Timing:
        timing = Timing(epoch_s=time.time() - time.monotonic())
        async with (
            AIOKafkaProducer(**self._connection.options(), acks="all", enable_idempotence=True) as producer,
            new_consumer(self._connection, enable_auto_commit=False, isolation_level="read_committed") as consumer,
        ):
            consumer.assign(self._answers)
            await consumer.seek_to_end(*self._answers)
            for place in self._answers:
                await consumer.position(place)
            for topic in {send.topic for send in sends}:
                await producer.partitions_for(topic)  # so that the first event does not wait for it
            began, cpu_began = time.monotonic(), time.process_time()
            reading = asyncio.create_task(self._read(consumer, timing))
            showing = asyncio.create_task(_show(began, len(sends) / rate, show))
            try:
                await self._send(producer, sends, rate, timing, mark)
                await self._wait(reading, timing)
            finally:
                for task in (reading, showing):
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task
            timing.wall_s, timing.cpu_s = time.monotonic() - began, time.process_time() - cpu_began
        return timing

    async def _send(
        self,
        producer: AIOKafkaProducer,
        sends: Sequence[Send],
        rate: float,
        timing: Timing,
        mark: Callable[[], None] | None,
    ) -> None:
        acknowledged, warming = [], int(len(sends) * WARM_UP_RATIO)
        marking: asyncio.Task[None] | None = None
        async for number, due in on_schedule(len(sends), rate, time.monotonic() + 0.1):
            if mark is not None and number == warming:
                marking = asyncio.create_task(_end_warm_up(mark, timing))
            send = sends[number]
            if send.waits_for:
                timing.due[send.waits_for] = due
            timing.late_s.append(time.monotonic() - due)
            acknowledged.append(await producer.send(send.topic, send.value, key=send.key, partition=send.partition))
        if mark is not None and marking is not None:
            await marking
            await asyncio.to_thread(mark)
        await asyncio.gather(*acknowledged)

    async def _read(self, consumer: AIOKafkaConsumer, timing: Timing) -> None:
        while True:
            fetched = await consumer.getmany(timeout_ms=200)
            now = time.monotonic()
            for records in fetched.values():
                for record in records:
                    name = self._name_of(record.value)
                    if name in timing.came:
                        timing.repeated += 1
                    else:
                        timing.came[name] = now

    async def _wait(self, reading: asyncio.Task[None], timing: Timing) -> None:
        """Until every answer is there, or none has come for long."""
        begins_at = time.monotonic()
        while len(timing.came) < len(timing.due) and not reading.done():
            latest = max(timing.came.values(), default=begins_at)
            if time.monotonic() - max(latest, begins_at) > GIVE_UP_AFTER_S:
                return
            await asyncio.wait([reading], timeout=0.05)
        if reading.done():
            reading.result()


async def _end_warm_up(mark: Callable[[], None], timing: Timing) -> None:
    await asyncio.to_thread(mark)
    timing.measured_from = time.monotonic()


async def _show(began: float, seconds: float, show: Show) -> None:
    while True:
        show(min((time.monotonic() - began) / seconds, 1.0))
        await asyncio.sleep(SHOW_EVERY_S)


def summary(timing: Timing, rate: float, events: int, pending: int = 0, *, is_saturated: bool = False) -> Latency:
    """Return what was measured, without the warm-up.

    Parameters
    ----------
    pending : int
        Answers that are excused.
    is_saturated : bool
        True if workers fell behind meanwhile. Percentiles would depend on the duration of the load: there are none.
    """
    counted = timing.measured()
    found = [(timing.came[name] - timing.due[name]) * 1000.0 for name in counted if name in timing.came]
    late = timing.late_s or [0.0]

    def at(ratio: float) -> float | None:
        return round(percentile(found, ratio), 2) if found and not is_saturated else None

    return Latency(
        rate=rate,
        events=events,
        awaited=len(timing.due),
        pending=pending,
        missing=max(sum(name not in timing.came for name in timing.due) - pending, 0),
        repeated=timing.repeated,
        measured=len(found),
        p50_ms=at(0.5),
        p90_ms=at(0.9),
        p99_ms=at(0.99),
        p999_ms=at(0.999),
        max_ms=at(1.0),
        sent_late_p99_ms=round(percentile(late, 0.99) * 1000.0, 2),
        sent_late_max_ms=round(max(late) * 1000.0, 2),
        client_cpu_ratio=round(timing.cpu_s / max(timing.wall_s, 1e-3), 3),
    )
