"""learner: owns the models (one partition of training-examples, keyed by domain).

Its state is its output: a snapshot holds the weights, the optimizer and the offset up to which it learnt. Examples are
acknowledged when a snapshot that covers them is appended, so a restart goes on from the last snapshot and learns every
example once.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from aiokafka.structs import TopicPartition
from mode import Service
from msgspec.structs import replace

from stream_coupons.agents.guardrails import Action, Guard
from stream_coupons.agents.keyed import output, sender_of, sources
from stream_coupons.agents.learner_pace import Pace
from stream_coupons.core.decision.brake import LiftReader
from stream_coupons.core.decision.scoring import NO_BRAKE
from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.core.errors import BadMessage, SnapshotMismatch
from stream_coupons.core.messages.learning import LiftBrake, ModelSnapshot
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.contact import retry
from stream_coupons.kafka.dead_letters import dead_letter
from stream_coupons.kafka.records import Output, Record, check_whole
from stream_coupons.models.rules import LearningRules
from stream_coupons.observability.metrics import Metrics
from stream_coupons.observability.quality import report_lift, report_model, report_news
from stream_coupons.observability.top_coupons import TopCoupons
from stream_coupons.runtime.delivery import Delivery, TransactionUndone
from stream_coupons.runtime.inbox import NOTHING, Inbox, Ownership
from stream_coupons.runtime.source import Chunk, Host
from stream_coupons.settings import Settings

if TYPE_CHECKING:
    from stream_coupons.models.learner import Trainer

log = logging.getLogger(__name__)

READS = (topics.EXAMPLES,)
PARTITION = 0
MAX_EXAMPLES = 1000
"""Taken at a time: some 0.4 s of work if all are learnt. A fetch takes some 70 ms, in which 10,000/s bring 700."""
YIELD_EVERY = 10
"""Examples learnt between two turns of the event loop: some 10 ms of work."""
EARLY_RATIO = 0.2
"""Part of `publish_every_s` after which snapshots that change decisions come early."""
PACKING_RATIO = 0.01
"""Largest share of the time that goes into packing early snapshots: those of large models come later."""
LOOK_EVERY_S = 0.5
"""Longest wait for examples before it looks whether a rebalance has begun, which waits for all acknowledgements."""
ASKED_WAIT_S = 0.05
"""Longest wait for examples that were appended before `publish_soon` was called."""


Latest = tuple[Mapping[str, ModelSnapshot], Mapping[str, AbstractSet[str]]]
"""The snapshots that have learnt most, and the keys of all snapshots of this release, by domain."""


class Learner(Service):  # type: ignore[misc]
    """Training examples in; snapshots out, one a domain every `publish_every_s`, or earlier if it changes decisions.

    When it falls behind the end of its log it learns all that happened and a weighted sample of the rest (`sampling`).
    """

    name = "learner"

    def __init__(
        self,
        settings: Settings,
        delivery: Delivery,
        metrics: Metrics,
        latest: Callable[[], Awaitable[Latest]],
        app: Host,
        key: DrawKey = PUBLIC_KEY,
    ) -> None:
        super().__init__()
        self.inbox = Inbox()
        self.taken = 0
        """Records read so far, good or bad: work that is done, though not acknowledged yet."""
        self._settings, self._key = settings.learning, key
        self.lift = LiftReader(settings.policy)
        self.results = TopCoupons()
        self.guard = Guard(settings.shop)
        self.knows_lift = False
        """True once all totals of lift that were there at the start are taken."""
        self._late_after_s = settings.kafka.produce_timeout_s
        self._publish_at = self._early_at = math.inf
        self._pace = Pace(self._settings.publish_every_s)
        self._partitions = settings.kafka.partitions
        self._delivery = delivery
        self._metrics = metrics
        self._latest = latest
        self._app = app
        self._decode = Decoder(topics.EXAMPLES)
        self._owned = NOTHING
        self._trainer: Trainer | None = None
        self._writer = ""
        self._superseded: dict[str, AbstractSet[str]] = {}
        """Keys of the snapshots of former owners, by domain, until this one has published its own."""
        self._unacknowledged: list[tuple[Any, list[Chunk]]] = []
        self._letters: list[Output] = []
        self._is_asked = False
        self._asked_for: dict[str, int] = {}

    @property
    def is_ready(self) -> bool:
        """True if its assignment is in effect, with the models loaded if it owns them."""
        return self._owned is self.inbox.ownership and self._owned is not NOTHING

    @property
    def domains(self) -> int:
        """Domains whose models it learns."""
        return 0 if self._trainer is None else len(self._trainer.models)

    @property
    def is_starved(self) -> bool:
        """True if it has too little of the CPU, or of the broker.

        Publication of unacknowledged examples is overdue by more than a produce request may take, or lag grows though
        the sample is as small as it may be.
        """
        is_late = bool(self._unacknowledged) and time.monotonic() > self._publish_at + self._late_after_s
        return is_late or self._pace.is_overrun

    def publish_soon(self) -> None:
        """Learn all examples that are in the log now, then publish at once, whatever `publish_every_s` is.

        For callers that step simulated time: it must not depend on a clock which model decides. Call it in the thread
        of the event loop. A learner that does not own the models ignores it.
        """
        if self._trainer is not None:
            self._is_asked = True
            self._asked_for = {}
            self.inbox.wake()

    async def _has_learnt_what_was_asked(self) -> bool:
        if not self._is_asked:
            return False
        names, consumer = [topic.name for topic in READS], self._app.consumer
        if not self._asked_for:
            self._asked_for = await consumer.ends(names, PARTITION)
        taken = consumer.taken(names, PARTITION)
        return all(taken[name] >= end for name, end in self._asked_for.items())

    @Service.task  # type: ignore[untyped-decorator]
    async def _run(self) -> None:
        self._plan(0.0)
        while not self.should_stop:
            await self._turn()

    async def _turn(self) -> None:
        """Learn what has come, and publish if it is time, if that was asked, or if a rebalance waits for it."""
        began_at = time.monotonic()
        wait_s = ASKED_WAIT_S if self._is_asked else min(self._publish_at - began_at, LOOK_EVERY_S)
        messages = await self.inbox.get(MAX_EXAMPLES, max(wait_s, 0.0))
        waited_s = time.monotonic() - began_at
        self._pace.wait(waited_s, in_vain=not messages and waited_s >= LOOK_EVERY_S)
        if self._owned is not self.inbox.ownership:
            self._give_up(messages)
            await self._own()
        else:
            for message in messages:
                await self._take(message)
            if self._trainer is not None:
                self._metrics.lag_seconds.labels(topics.EXAMPLES.name).set(self._pace.lag_s)
        try:
            if self._is_due() or await self._has_learnt_what_was_asked():
                self._is_asked = False
                await self._publish()
            if self.is_ready and self._trainer is not None and (actions := self.guard.due()):
                await self._stop_campaigns(actions)
        except TransactionUndone:
            self.inbox.leave()

    def _is_due(self) -> bool:
        now = time.monotonic()
        is_early = now >= self._early_at and self._trainer is not None and self._trainer.is_telling
        return now >= self._publish_at or is_early or (self._app.rebalancing and bool(self._unacknowledged))

    def _plan(self, packing_s: float) -> None:
        """Set the times of the next snapshots, of which packing the last ones took so much CPU time."""
        now, every_s = time.monotonic(), self._settings.publish_every_s
        self._publish_at = now + every_s
        self._early_at = now + max(every_s * EARLY_RATIO, packing_s / PACKING_RATIO)

    async def _own(self) -> None:
        """Go on from the last snapshot, or from the models in hand if nobody else can have owned them since.

        What was learnt and not published is delivered again; models in hand have learnt it, and count it as copies.
        """
        ownership = self.inbox.ownership
        self._is_asked = False
        self._give_up([message for message, _ in self._unacknowledged])
        self._unacknowledged.clear()
        self._letters.clear()
        if PARTITION not in ownership.keeps(self._owned):
            self._trainer = None
        self._owned = NOTHING
        if PARTITION in ownership.partitions:
            await retry(
                "learning cannot go on",
                lambda: self._take_over(ownership),
                lambda: ownership is self.inbox.ownership and not self.should_stop,
            )
        else:
            self._begin(ownership)

    def _give_up(self, messages: Sequence[Any]) -> None:
        """Let a rebalance go on without these messages: it waits for all, and the next owner fetches them again."""
        for message in messages:
            self._app.consumer.acknowledge(message, [])

    async def _take_over(self, ownership: Ownership) -> None:
        await self._delivery.join(self.name, ownership.membership)
        if self._trainer is None:
            self._writer = "{}/{}".format(*ownership.membership)
            self._trainer = await self._resume()
        self._begin(ownership)

    def _begin(self, ownership: Ownership) -> None:
        self._pace.begin()
        self.guard.read_all_again()
        self._metrics.lag_seconds.clear()
        self._owned = ownership

    async def _take(self, message: Any) -> None:
        if self._trainer is None:
            self._give_up([message])
            return
        chunks, steps = self._app.consumer.take(message), 0
        for record in (record for chunk in chunks for record in chunk.records):
            steps += self._learn(self._trainer, record)
            self.taken += 1
            if steps == YIELD_EVERY:
                await asyncio.sleep(0)
                steps = 0
        await asyncio.sleep(0)
        for chunk in chunks:
            self._pace.take(chunk.records[-1].appended_at)
        report_news(self._trainer.news(), self._metrics)
        if chunks:
            self._unacknowledged.append((message, chunks))
        else:
            self._give_up([message])

    async def _resume(self) -> "Trainer":
        trainer = await asyncio.to_thread(_new_trainer, self._settings, self._key)
        latest, series = await self._latest()
        self._superseded = dict(series)
        for domain, snapshot in latest.items():
            self.lift.brakes[domain] = snapshot.brake
            try:
                trainer.restore({domain: snapshot})
            except SnapshotMismatch as bad:
                # It can be served from, but not learnt on with: without learning, all others would stand still, too.
                self._metrics.snapshots_refused.inc()
                log.error("learning of %s starts anew: %s", domain, bad)
        for model in trainer.models.values():
            # Sources that an earlier version kept for a foreign topic would stay in every snapshot.
            believed = model.origins.keys() & sources(self._partitions)
            model.origins = {source: model.origins[source] for source in sorted(believed)}
        offsets = ", ".join(f"{name} from offset {model.offset}" for name, model in trainer.models.items())
        log.info("learning goes on: %s", offsets or "no model yet")
        return trainer

    def _learn(self, trainer: "Trainer", record: Record) -> bool:
        """Return True if the record is learnt, and not refused, known or left out."""
        try:
            check_whole(record)
            if record.key is None:
                raise BadMessage(Rejection.NO_KEY, f"key is null: {record.topic} is keyed by domain")
            lesson, origin = self._decode(record.value), sender_of(record, self._partitions)
            if not lesson.is_lesson:
                self._metrics.records.labels(record.topic).inc()
                return False
            sample = trainer.draw(lesson)
            is_new = trainer.learn(lesson, record.offset, origin, sample=sample)
        except BadMessage as bad:
            self._letters.append(dead_letter(record, bad.reason, bad.detail))
            self._metrics.dead_letters.labels(record.topic, bad.reason).inc()
            return False
        if not is_new:
            self._metrics.duplicates.labels(record.topic).inc()
            return False
        self._metrics.records.labels(record.topic).inc()
        counter = self._metrics.examples if sample.weight else self._metrics.left_out
        counter.labels(lesson.domain, lesson.head).inc()
        return sample.weight > 0

    async def _publish(self) -> None:
        """Append the snapshots, then acknowledge what they cover."""
        self._plan(0.0)
        if self._trainer is None or not self._unacknowledged:
            return
        if self.knows_lift:
            for domain in self.lift.update():
                self._trainer.touch(domain)
            report_lift(self.lift, self._metrics)
            self.results.report(self._metrics)
        self._trainer.thin(self._pace.step(self._trainer.thinning))
        # In another thread, and meanwhile nothing is learnt: packing takes some tens of milliseconds.
        brakes = dict(self.lift.brakes)
        snapshots, outputs, packing_s = await asyncio.to_thread(_packed, self._trainer, brakes, self._writer)
        outputs += [*self._withdrawals(snapshots), *self._letters]
        offsets = {
            TopicPartition(chunk.tp.topic, PARTITION): chunk.end
            for _, chunks in self._unacknowledged
            for chunk in chunks
        }
        await self._delivery.deliver(self.name, [], outputs, offsets)
        for message, chunks in self._unacknowledged:
            self._app.consumer.acknowledge(message, chunks, is_committed=self._delivery.is_transactional)
        self._unacknowledged.clear()
        self._letters.clear()
        for snapshot in snapshots:
            report_model(self._trainer.models[snapshot.domain], self._metrics)
        self._plan(packing_s)

    def _withdrawals(self, snapshots: Sequence[ModelSnapshot]) -> Iterator[Output]:
        """Yield the records that delete the snapshots of former owners of these domains.

        All of those learners lost the models before this one took them over. So the record of one of them, appended
        late, deletes nothing of its successors.
        """
        for snapshot in snapshots:
            for series in sorted(self._superseded.pop(snapshot.domain, frozenset()) - {snapshot.series}):
                yield Output(topics.SNAPSHOTS.name, PARTITION, series.encode(), None)

    async def _stop_campaigns(self, actions: Sequence[Action]) -> None:
        """Append the change of each campaign, then its record, as the present owner of the models."""
        committed = self._app.consumer.committed([topics.EXAMPLES.name], PARTITION)
        offsets = {TopicPartition(name, PARTITION): offset for name, offset in committed.items()}
        for action in actions:
            change = action.change
            await self._delivery.deliver(self.name, [output(change, 1)], [action.record()], offsets)
            self.guard.settle(action)
            self._metrics.guardrail_actions.labels(change.campaign_id, action.metric, change.verb).inc()


def _new_trainer(rules: LearningRules, key: DrawKey) -> "Trainer":
    # River takes over a second, and 150 MB, to import: a learner that stands by needs neither.
    from stream_coupons.models.learner import Trainer

    return Trainer(rules, key=key)


def _packed(
    trainer: "Trainer", brakes: Mapping[str, LiftBrake], writer: str
) -> tuple[list[ModelSnapshot], list[Output], float]:
    """Return the snapshots of what was learnt, their records, and the CPU seconds of this thread that both took."""
    began = time.thread_time()
    snapshots = [replace(one, brake=brakes.get(one.domain, NO_BRAKE), writer=writer) for one in trainer.snapshots()]
    outputs = [output(snapshot, 1) for snapshot in snapshots]
    return snapshots, outputs, time.thread_time() - began
