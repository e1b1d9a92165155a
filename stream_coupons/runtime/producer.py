"""Send and know that it was appended: every send of a batch is awaited before anything is acknowledged."""

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaProducer
from mode import Service

from stream_coupons.runtime.records import Output


class Sender(Service):  # type: ignore[misc]
    """An idempotent producer: within a partition nothing is lost, doubled or reordered by its own retries."""

    def __init__(self, bootstrap: str, request_timeout_s: float, max_request_bytes: int) -> None:
        super().__init__()
        self._bootstrap = bootstrap
        self._request_timeout_ms = int(request_timeout_s * 1000)
        self._max_request_bytes = max_request_bytes
        self._producer: AIOKafkaProducer | None = None

    async def on_start(self) -> None:
        """Connect."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
            max_request_size=self._max_request_bytes,
            max_batch_size=256 * 1024,
            request_timeout_ms=self._request_timeout_ms,
        )
        await self._producer.start()

    async def on_stop(self) -> None:
        """Flush and disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def send_all(self, outputs: Iterable[Output]) -> None:
        """Send in order and wait until the broker has all of it.

        Raises
        ------
        KafkaError
            If any could not be appended; others may have been.
        """
        if self._producer is None:
            raise RuntimeError("the sender was not started")
        appended = [
            await self._producer.send(
                output.topic,
                value=output.value,
                key=output.key,
                partition=output.partition,
                headers=output.headers,
            )
            for output in outputs
        ]
        if appended:
            await asyncio.gather(*appended)
