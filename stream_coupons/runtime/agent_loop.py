"""The loop between the consumer and an agent's step: own partitions, take a batch, apply, deliver, save, acknowledge.

Order is the guarantee: new cells are in the changelog before any output is sent, or with them in a transaction; outputs
are appended before the input is acknowledged; and only acknowledged input is committed.
"""

import logging
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from aiokafka.structs import TopicPartition
from mode import Service

from stream_coupons.kafka.contact import retry
from stream_coupons.kafka.records import Output, Record, merge
from stream_coupons.runtime.batch import BatchProcessor, Work
from stream_coupons.runtime.changelog import Changelog
from stream_coupons.runtime.circuit_breaker import CircuitBreaker
from stream_coupons.runtime.delivery import Delivery, TransactionUndone
from stream_coupons.runtime.inbox import NOTHING, Inbox, Ownership
from stream_coupons.runtime.shard import UnreadableCell
from stream_coupons.runtime.source import Chunk, Host
from stream_coupons.runtime.steps import Result

log = logging.getLogger(__name__)

State = TypeVar("State")

MAX_STEPS = 500
"""Most steps of a partition that are applied and delivered at a time: records, and keys for which a tick passes. A tick
may close the windows of ten thousand keys; the event loop would hang meanwhile, and all their cells be in memory."""
MEND_PAUSE_S = 10.0
"""Longest pause before a changelog that an operator repairs is read again."""


class Observer(Protocol):
    """Makes metrics of every batch."""

    def __call__(self, agent: str, results: list[Result], seconds: float, records: Iterable[Sequence[Record]]) -> None:
        """Take note of batches, one a partition, that were applied, delivered and acknowledged together."""


def in_words(partitions: Collection[int]) -> str:
    """Return partitions as text, consecutive ones as a range.

    Examples
    --------
    >>> in_words({0, 1, 2, 3, 7}), in_words({5}), in_words(())
    ('partitions 0-3, 7', 'partition 5', 'no partitions')
    """
    runs: list[list[int]] = []
    for partition in sorted(partitions):
        if runs and runs[-1][-1] == partition - 1:
            runs[-1][1:] = [partition]
        else:
            runs.append([partition])
    text = ", ".join("-".join(map(str, run)) for run in runs)
    return f"partition{'s' * (len(partitions) > 1)} {text}" if runs else "no partitions"


class LogReplaced(Exception):
    """An input's log ends before records that were applied: it is another one, whose records would count as replays."""

    def __init__(self, tp: TopicPartition, reached: int, end: int) -> None:
        super().__init__(
            f"{tp.topic}:{tp.partition} ends at offset {end}, but was applied up to {reached}: it was created anew, or "
            "lost its end. What comes below would count as a replay and not be applied. Stop its senders; append "
            "records without a key (they are refused; slowly, unless worker.max_bad_ratio is 1) until it ends at "
            f"{reached}; then send again what has come since it was created. Or begin without states: with all topics "
            "created anew"
        )


class AgentLoop(Service, Generic[State]):  # type: ignore[misc]
    """Applies an agent's chunks one batch at a time; small batches when idle, large ones when behind.

    Parameters
    ----------
    batches : Batches
        Applies the agent's step.
    changelog : Changelog
        Keeps its states.
    delivery : Delivery
        Appends the effects.
    observe : Observer
        Called after every batch.
    breaker : CircuitBreaker
        Counts bad records.
    max_records : int
        About the most records of a batch.
    app : Host
        Its consumer is known only once it has started.
    """

    def __init__(  # noqa: PLR0913 - the parts of the loop, each of them named once, where all is wired
        self,
        batches: BatchProcessor[State],
        changelog: Changelog,
        delivery: Delivery,
        observe: Observer,
        breaker: CircuitBreaker,
        max_records: int,
        app: Host,
    ) -> None:
        super().__init__()
        self.inbox = Inbox()
        self._batches = batches
        self._changelog = changelog
        self._delivery = delivery
        self._observe = observe
        self._breaker = breaker
        self._max_records = max_records
        # A transaction is not cut: if it ended amid a tick, a replay could not number the tick's other outputs.
        self._max_steps = sys.maxsize if delivery.is_transactional else MAX_STEPS
        self._most_steps = self._max_steps
        self._app = app
        self._owned: Ownership = NOTHING
        self._floors: dict[TopicPartition, int] = {}
        self.name = batches.step.name

    @property
    def label(self) -> str:
        """Name in logs."""
        return f"Lane: {self.name}"

    @property
    def is_ready(self) -> bool:
        """True if it has the cells of the partitions that it owns."""
        return self._owned is self.inbox.ownership and self._owned is not NOTHING

    @Service.task  # type: ignore[untyped-decorator]
    async def _run(self) -> None:
        while not self.should_stop:
            await self._turn()

    async def _turn(self) -> None:
        """Process one batch, and keep no message without acknowledging it: Faust waits for all that it knows of."""
        messages = await self.inbox.get(self._max_records)
        try:
            if self._owned is not self.inbox.ownership:
                await self._own(self.inbox.ownership)
            elif self._owned is NOTHING:
                self._give_up(messages)
            else:
                taken = [(message, self._app.consumer.take(message)) for message in messages]
                if any(chunks for _, chunks in taken):
                    await self._process(taken)
        except TransactionUndone:
            self._give_up(messages)
            self._forget(self._batches.owned)
            self.inbox.leave()

    def _give_up(self, messages: list[Any]) -> None:
        """Let a rebalance go on without these messages: they are fetched again by the next owner."""
        for message in messages:
            self._app.consumer.acknowledge(message, [])

    def _forget(self, partitions: Collection[int]) -> None:
        """Drop the states of partitions, and own nothing until an assignment is taken."""
        for partition in partitions:
            self._batches.drop(partition)
        self._owned = NOTHING

    async def _own(self, ownership: Ownership) -> None:
        """Drop partitions, and take over others; try again while no broker answers."""
        self._forget(self._batches.owned - ownership.keeps(self._owned))
        await retry(
            f"{self.name}: states cannot be read",
            lambda: self._take_over(ownership),
            lambda: ownership is self.inbox.ownership is not NOTHING and not self.should_stop,
        )

    async def _take_over(self, ownership: Ownership) -> None:
        """Recover the states of the partitions that are not recovered yet."""
        gained = ownership.partitions - self._batches.owned
        began = time.monotonic()
        await self._delivery.join(self.name, ownership.membership)
        while (count := await self._recover(gained)) is None:
            await self.sleep(MEND_PAUSE_S)
            if self.should_stop or ownership is not self.inbox.ownership:
                return
        # Only now: whoever was shut out may have committed until then what was not known when the partition was given.
        places = [
            TopicPartition(topic, partition)
            for topic in self._batches.step.topics
            for partition in ownership.partitions
        ]
        self._floors = dict(await self._app.consumer.committed_offsets(places))
        for tp, end in (await self._app.consumer.highwaters(*places)).items():
            self._check_log(tp, end)
        unsent = await self._send_unsent(ownership.partitions)
        self._owned = ownership
        took_s = time.monotonic() - began
        restored = f"{count} states restored in {took_s:.2f} s" if count else "nothing to restore"
        again = f", {unsent} outputs sent that their last owner may not have sent" if unsent else ""
        log.info("%s: %s, %s%s", self.name, in_words(ownership.partitions), restored, again)

    async def _send_unsent(self, partitions: Collection[int]) -> int:
        """Send what the last owners of partitions may not have sent; return the count."""
        outputs = [
            output
            for partition in partitions
            for output in self._batches.unsent(
                partition, {topic: offset for (topic, home), offset in self._floors.items() if home == partition}
            )
        ]
        if outputs:
            await self._delivery.deliver(self.name, (), outputs, {})
        for partition in partitions:
            self._batches.sent(partition)
        return len(outputs)

    def _check_log(self, tp: TopicPartition, end: int | None) -> None:
        """See that an input's log, which ends there, is the one that its records were applied from."""
        reached = self._batches.ends(tp.partition).get(tp.topic, 0)
        if end is not None and end < reached:
            raise LogReplaced(tp, reached, end)

    async def _recover(self, partitions: Collection[int]) -> int | None:
        """Read the states of partitions and return their count; None if one of them cannot be read.

        Then this worker stands still, and is not ready. If it ended, the next one to gain the partition would, too, and
        so on: nothing would be done in any partition.
        """
        cells = await self._changelog.read(partitions)
        try:
            return sum(self._batches.adopt(partition, found) for partition, found in cells.items())
        except UnreadableCell as unreadable:
            for partition, found in cells.items():
                if partition in self._batches.owned:
                    self._batches.drop(partition)
                else:
                    found.discard()
            log.error(
                "%s cannot start: %s is no state (%s). Its key is not begun anew, that would forget what was given. "
                "Append its last readable state again, or a null value if there never was any; it is read every %d s",
                *(self.name, await self._changelog.place_of(unreadable.partition, unreadable.key)),
                *(unreadable.__cause__, MEND_PAUSE_S),
            )
            return None

    async def _process(self, taken: list[tuple[Any, list[Chunk]]]) -> None:
        started = time.perf_counter()
        parts: defaultdict[int, list[list[Record]]] = defaultdict(list)
        ends: defaultdict[int, dict[str, int]] = defaultdict(dict)
        consumer = self._app.consumer
        for _, chunks in taken:
            for tp, records, _, end, _ in chunks:
                floor = self._floors.get(tp, 0)
                parts[tp.partition].append([record for record in records if record.offset >= floor])
                ends[tp.partition][tp.topic] = max(end, floor)
                if end < self._batches.ends(tp.partition).get(tp.topic, 0):  # it went back: only replays do
                    self._check_log(tp, consumer.highwater(tp))
        topics = self._batches.step.topics
        work = {partition: (merge(each), consumer.committed(topics, partition)) for partition, each in parts.items()}
        results = await self._apply(work, ends)
        for partition, reached in ends.items():
            self._batches.reach(partition, reached)
        for message, chunks in taken:
            consumer.acknowledge(message, chunks, is_committed=self._delivery.is_transactional)
        self._breaker.watch(results)
        self._observe(self.name, results, time.perf_counter() - started, [records for records, _ in work.values()])

    async def _apply(self, work: Mapping[int, Work], ends: Mapping[int, dict[str, int]]) -> list[Result]:
        """Apply, deliver and save in parts of a bounded number of steps, each short enough to be appended whole."""
        done: list[Result] = []
        while work:
            results = self._batches.apply_all(work, self._most_steps)
            longest = max(result.changed_bytes for result in results)
            if longest > self._delivery.whole_bytes and self._most_steps > 1:
                for result in results:
                    self._batches.give_back(result)
                self._most_steps = max(self._most_steps // 4, 1)
                continue
            await self._deliver(results, ends)
            for result in results:
                self._batches.save(result)
                result.cells, result.live = {}, {}  # the counts are needed longer
            if 4 * longest < self._delivery.whole_bytes:
                self._most_steps = min(2 * self._most_steps, self._max_steps)
            done += results
            work = {one.partition: (one.left, work[one.partition][1]) for one in results if one.left}
        return done

    async def _deliver(self, results: list[Result], ends: Mapping[int, dict[str, int]]) -> None:
        """Deliver new cells, outputs and the offsets that the batches reached."""
        changes = [
            Output(self._changelog.topic, result.partition, key.encode(), data)
            for result in results
            for key, data in result.cells.items()
        ]
        outputs = [output for result in results for output in result.outputs]
        offsets = {
            TopicPartition(topic, result.partition): end
            for result in results
            for topic, end in ends[result.partition].items()
        }
        await self._delivery.deliver(self.name, changes, outputs, offsets)
