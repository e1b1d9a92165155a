"""The loop between Faust and an agent's step: take a batch, apply, save, send, acknowledge.

Order is the guarantee: the new states are in the changelog before any output is sent, outputs are appended before the
input is acknowledged, and only acknowledged input is committed. A crash anywhere replays input whose states say that
it was applied, and their outboxes hold what it led to.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Generic, Protocol, TypeVar

from faust.types import TP
from mode import Service

from stream_coupons.runtime.batch import Batches, Result
from stream_coupons.runtime.consumer import is_current
from stream_coupons.runtime.producer import Sender
from stream_coupons.runtime.records import merge
from stream_coupons.runtime.tables import StateTable

State = TypeVar("State")


class Observer(Protocol):
    """Told of every batch; it makes metrics of that."""

    def __call__(self, agent: str, result: Result, seconds: float) -> None:
        """A batch was applied, sent and acknowledged."""


class Lane(Service, Generic[State]):  # type: ignore[misc]
    """Applies an agent's chunks one batch at a time; small batches when idle, large ones when behind."""

    def __init__(
        self,
        batches: Batches[State],
        table: StateTable,
        sender: Sender,
        observe: Observer,
        max_records: int,
    ) -> None:
        super().__init__()
        self._batches = batches
        self._table = table
        self._sender = sender
        self._observe = observe
        self._max_records = max_records
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=64)
        self.name = batches.step.name

    @property
    def is_ready(self) -> bool:
        """Whether state is recovered."""
        return self._table.is_recovered

    @property
    def label(self) -> str:
        """Name in logs."""
        return f"Lane: {self.name}"

    async def consume(self, events: AsyncIterator[Any]) -> None:
        """Body of the Faust agent: hand every chunk to the loop."""
        async for event in events:
            await self._queue.put(event)

    @Service.task  # type: ignore[untyped-decorator]
    async def _run(self) -> None:
        while not self.should_stop:
            chunks = await self._take()
            await self._table.wait_recovered()
            chunks = [chunk for chunk in chunks if is_current(chunk)]
            if chunks:
                await self._process(chunks)

    async def _take(self) -> list[Any]:
        chunks = [await self._queue.get()]
        size = len(chunks[0].value)
        while size < self._max_records and not self._queue.empty():
            chunks.append(self._queue.get_nowait())
            size += len(chunks[-1].value)
        return chunks

    async def _process(self, chunks: list[Any]) -> None:
        started = time.perf_counter()
        records = merge([chunk.value for chunk in chunks])
        consumer = chunks[0].app.consumer

        def committed(partition: int) -> dict[str, int]:
            offsets = ((topic, consumer.committed(TP(topic, partition))) for topic in self._batches.step.topics)
            return {topic: offset for topic, offset in offsets if offset is not None}

        result = self._batches.apply(records, committed)
        await self._sender.deliver(self.name, self._table.changes(result.states, result.partitions))
        self._table.save(result.states)
        await self._sender.deliver(self.name, result.outputs)
        for chunk in chunks:
            chunk.message.ack(consumer)
        self._observe(self.name, result, time.perf_counter() - started)
