"""Send and know that it was appended: every send of a batch is awaited before anything is acknowledged."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from mode import Service

from stream_coupons.runtime.records import Output

log = logging.getLogger(__name__)

ATTEMPTS = 8
FIRST_PAUSE_S = 0.2


class Sender(Service):  # type: ignore[misc]
    """An idempotent producer: within a partition nothing is lost, doubled or reordered by its own retries.

    Parameters
    ----------
    on_failure : callable
        Told for whom an attempt failed.
    """

    def __init__(
        self, bootstrap: str, request_timeout_s: float, max_request_bytes: int, on_failure: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.is_able = True
        self._on_failure = on_failure
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

    async def deliver(self, sender: str, outputs: Sequence[Output]) -> None:
        """Send in order until the broker has all of it, again and again for a while; then give up.

        Nothing is acknowledged meanwhile, so nothing is lost by giving up and letting the supervisor start a new
        process. What an attempt appended before it failed is appended again: the same bytes.

        Raises
        ------
        KafkaError
            If any could not be appended in any attempt; others may have been.
        """
        pause_s = FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._send(outputs)
            except KafkaError as error:
                self.is_able = False
                self._on_failure(sender)
                log.error("%s: attempt %d to send %d records: %r", sender, attempt, len(outputs), error)
                if attempt == ATTEMPTS:
                    raise
                await self.sleep(pause_s)
                pause_s *= 2
            else:
                self.is_able = True
                return

    async def _send(self, outputs: Sequence[Output]) -> None:
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
