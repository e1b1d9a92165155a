"""What a Faust agent hands to a loop of ours: the partitions that it owns, and the chunks of these."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from stream_coupons.runtime.consumer import Membership

CAPACITY = 64
"""Chunks; when there are more, Faust's own buffers fill up, and then nothing more is fetched."""


class Ownership(NamedTuple):
    """Partitions that this worker owns as a member of its group."""

    partitions: frozenset[int]
    membership: Membership

    def keeps(self, before: "Ownership") -> frozenset[int]:
        """Partitions that nobody else can have owned since: owned before, by the same member, one generation ago.

        Generations alone would not do: a coordinator that lost its memory begins anew with the first.
        """
        (member, generation), (was, earlier) = self.membership, before.membership
        return self.partitions & before.partitions if (member, generation) == (was, earlier + 1) else frozenset()


NOTHING = Ownership(frozenset(), Membership("", -2))


class Inbox:
    """Ownership and chunks, in the order in which they came."""

    def __init__(self) -> None:
        self.ownership = NOTHING
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=CAPACITY)
        self._is_told = asyncio.Event()

    async def consume(self, events: AsyncIterator[Any]) -> None:
        """Body of the Faust agent: pass every chunk on."""
        async for event in events:
            await self._queue.put(event.message)

    def assign(self, partitions: frozenset[int], membership: Membership) -> None:
        """Tell which partitions are owned from now on."""
        self.ownership = Ownership(partitions, membership)
        self._is_told.set()

    async def get(self, limit: int, timeout_s: float | None = None) -> list[Any]:
        """Messages with chunks, up to about `limit` records; none when ownership changed or the time is up."""
        if self._is_told.is_set():
            self._is_told.clear()
            return []
        if self._queue.empty():
            getting = asyncio.ensure_future(self._queue.get())
            telling = asyncio.ensure_future(self._is_told.wait())
            done, _ = await asyncio.wait({getting, telling}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            telling.cancel()
            if getting not in done:
                getting.cancel()
                return []
            messages = [getting.result()]
        else:
            messages = [self._queue.get_nowait()]
        size = len(messages[0].value.records)
        while size < limit and not self._queue.empty():
            messages.append(self._queue.get_nowait())
            size += len(messages[-1].value.records)
        return messages
