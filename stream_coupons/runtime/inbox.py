"""The queue between an agent of the transport and its loop: the partitions that it owns, and their chunks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from stream_coupons.kafka.records import Membership
from stream_coupons.runtime.source import size

CAPACITY = 4
"""Messages; when there are more, Faust's own buffers fill up, and then nothing more is fetched for the agent."""


class Ownership(NamedTuple):
    """Partitions that this worker owns as a member of its group."""

    partitions: frozenset[int]
    membership: Membership

    def keeps(self, before: "Ownership") -> frozenset[int]:
        """Return the partitions that no other worker can have owned since.

        They were owned before, by the same member, one generation ago. Generations alone would not do: a coordinator
        that lost its memory begins anew with the first.
        """
        (member, generation), (was, earlier) = self.membership, before.membership
        return self.partitions & before.partitions if (member, generation) == (was, earlier + 1) else frozenset()


NOTHING = Ownership(frozenset(), Membership("", -2))


class Inbox:
    """Ownership and messages of chunks, in the order in which they came.

    Attributes
    ----------
    rejoin : callable
        Makes this process join its group again, which assigns partitions anew.
    """

    def __init__(self) -> None:
        self.ownership = NOTHING
        self.rejoin: Callable[[], None] = lambda: None
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=CAPACITY)
        self._is_told = False
        self._has_news = asyncio.Event()

    async def consume(self, events: AsyncIterator[Any]) -> None:
        """Pass the message of every event on, as the body of an agent."""
        async for event in events:
            await self._queue.put(event.message)
            self._has_news.set()

    def assign(self, partitions: frozenset[int], membership: Membership) -> None:
        """Own these partitions from now on.

        Parameters
        ----------
        partitions : frozenset of int
            The partitions.
        membership : Membership
            The member of the group that owns them, and its generation.
        """
        self.ownership = Ownership(partitions, membership)
        self._is_told = True
        self._has_news.set()

    def leave(self) -> None:
        """Own nothing, and join the group again, which assigns partitions anew."""
        self.ownership = NOTHING
        self.rejoin()

    def wake(self) -> None:
        """Let `get` return without waiting for messages."""
        self._has_news.set()

    async def get(self, limit: int, timeout_s: float | None = None) -> list[Any]:
        """Return messages with chunks; none when ownership changed or the time is up.

        Parameters
        ----------
        limit : int
            About the most records in them.
        timeout_s : float, optional
            The longest wait in seconds; without end by default.
        """
        if not self._is_told and self._queue.empty():
            self._has_news.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._has_news.wait()
            except TimeoutError:
                return []
        if self._is_told:
            self._is_told = False
            return []
        messages: list[Any] = []
        records = 0
        while records < limit and not self._queue.empty():
            messages.append(self._queue.get_nowait())
            records += size(messages[-1])
        return messages
