"""A Faust table that is written by the lane: Faust recovers it, we await every write of its changelog."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import faust
from faust.types import TP

from stream_coupons.runtime.records import Output


def _derive_nothing(_cells: Mapping[bytes, bytes], _owned: set[int]) -> None:
    """What a table without views makes of being recovered."""


class StateTable(faust.Table):  # type: ignore[misc]
    """State by key as bytes. Writes go to the changelog first and to memory when the broker has them."""

    def __init__(self, app: Any, name: str, partitions: int, **options: Any) -> None:
        super().__init__(
            app, name=name, partitions=partitions, key_type=bytes, value_type=bytes, default=None, **options
        )
        self._recovered = asyncio.Event()
        self.when_recovered: Callable[[Mapping[bytes, bytes], set[int]], None] = _derive_nothing

    def load(self, key: str) -> bytes | None:
        """Bytes of a key's cell; None when there is none."""
        data: bytes | None = self.data.get(key.encode())
        return data

    def changes(self, states: Mapping[str, bytes], partitions: Mapping[str, int]) -> list[Output]:
        """The changelog records of new states."""
        topic = self.changelog_topic.get_topic_name()
        return [Output(topic, partitions[key], key.encode(), data) for key, data in states.items()]

    def save(self, states: Mapping[str, bytes]) -> None:
        """Take new states, whose changelog records the broker has, into memory."""
        self.data.update({key.encode(): data for key, data in states.items()})

    async def on_rebalance(self, *args: Any, **kwargs: Any) -> None:
        """State may be behind its changelog from here on until it is recovered."""
        self._recovered.clear()
        await super().on_rebalance(*args, **kwargs)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """State is what the changelog says: derive what is derived from it."""
        await super().on_recovery_completed(active_tps, standby_tps)
        self.when_recovered(self.data.data, {tp.partition for tp in active_tps})
        self._recovered.set()

    @property
    def is_recovered(self) -> bool:
        """Whether state is what the changelog says."""
        return self._recovered.is_set()

    async def wait_recovered(self) -> None:
        """Wait until state is recovered."""
        await self._recovered.wait()
