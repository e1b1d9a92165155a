"""learner: owns the models (one partition of training-examples, keyed by domain).

Its state is its output: a snapshot holds the weights, the optimizer and the offset up to which it learnt. Examples are
acknowledged when a snapshot that covers them is appended, so a restart goes on from the last snapshot and learns every
example once.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from mode import Service

from stream_coupons import topics
from stream_coupons.agents.wire import dead_letter, output
from stream_coupons.codec import Decoder
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.events import ModelSnapshot
from stream_coupons.core.reasons import Rejection
from stream_coupons.metrics import Metrics
from stream_coupons.models.learner import Trainer
from stream_coupons.runtime.consumer import is_current
from stream_coupons.runtime.producer import Sender
from stream_coupons.runtime.records import Output, Record, origin_of
from stream_coupons.settings import LearningSettings

log = logging.getLogger(__name__)


class Learner(Service):  # type: ignore[misc]
    """Training examples in; snapshots out, at most one a domain every `publish_every_s`."""

    def __init__(
        self,
        settings: LearningSettings,
        sender: Sender,
        metrics: Metrics,
        latest: Callable[[], Awaitable[dict[str, ModelSnapshot]]],
    ) -> None:
        super().__init__()
        self._settings = settings
        self._sender = sender
        self._metrics = metrics
        self._latest = latest
        self._decode = Decoder(topics.EXAMPLES)
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=64)
        self._trainer: Trainer | None = None
        self._generation: int | None = None
        self._unacknowledged: list[Any] = []
        self._letters: list[Output] = []

    async def consume(self, events: AsyncIterator[Any]) -> None:
        """Body of the Faust agent: hand every chunk to the loop."""
        async for event in events:
            await self._queue.put(event)

    @Service.task  # type: ignore[untyped-decorator]
    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        publish_at = loop.time() + self._settings.publish_every_s
        while not self.should_stop:
            try:
                wait_s = max(publish_at - loop.time(), 0.0)
                chunk = await asyncio.wait_for(self._queue.get(), wait_s)
            except TimeoutError:
                await self._publish()
                publish_at = loop.time() + self._settings.publish_every_s
            else:
                await self._take(chunk)

    async def _take(self, chunk: Any) -> None:
        if not is_current(chunk):
            return
        if self._trainer is None or self._generation != chunk.message.generation_id:
            self._forget()
            self._trainer = await self._resume()
            self._generation = chunk.message.generation_id
        for place, record in enumerate(chunk.value):
            self._learn(self._trainer, record)
            if place % 100 == 99:
                await asyncio.sleep(0)
        self._unacknowledged.append(chunk)

    def _forget(self) -> None:
        """Drop what was learnt since the last snapshot: it is delivered again, here or elsewhere."""
        self._trainer = None
        self._unacknowledged.clear()
        self._letters.clear()

    async def _resume(self) -> Trainer:
        trainer = Trainer(self._settings.learning_rate, self._settings.l2)
        trainer.restore(await self._latest())
        log.info("learning goes on: %s", {name: model.offset for name, model in trainer.models.items()})
        return trainer

    def _learn(self, trainer: Trainer, record: Record) -> None:
        try:
            if record.key is None:
                raise BadMessage(Rejection.NO_KEY, "key is null: training examples are keyed by domain")
            example = self._decode(record.value)
            is_new = trainer.learn(example, record.offset, origin_of(record))
        except BadMessage as bad:
            self._letters.append(dead_letter(record, bad.reason, bad.detail))
            self._metrics.dead_letters.labels(record.topic, bad.reason).inc()
            return
        if not is_new:
            self._metrics.duplicates.labels(record.topic).inc()
            return
        self._metrics.records.labels(record.topic).inc()
        self._metrics.examples.labels(example.domain, example.head).inc()

    async def _publish(self) -> None:
        if self._trainer is None or not self._unacknowledged:
            return
        if not is_current(self._unacknowledged[-1]):
            # The partition may be another worker's by now: a snapshot of ours would undo what that one learnt.
            self._forget()
            return
        snapshots = self._trainer.snapshots()
        outputs = [output(snapshot, 1).output for snapshot in snapshots]
        await self._sender.deliver("learner", [*outputs, *self._letters])
        self._letters.clear()
        for chunk in self._unacknowledged:
            chunk.message.ack(chunk.app.consumer)
        self._unacknowledged.clear()
        for snapshot in snapshots:
            self._report(snapshot)

    def _report(self, snapshot: ModelSnapshot) -> None:
        for head, quality in snapshot.quality.items():
            self._metrics.model_log_loss.labels(snapshot.domain, head).set(quality.log_loss)
            self._metrics.model_base_log_loss.labels(snapshot.domain, head).set(quality.base_log_loss)
            if quality.roc_auc is not None:
                self._metrics.model_roc_auc.labels(snapshot.domain, head).set(quality.roc_auc)
