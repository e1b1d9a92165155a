"""What was fetched but cannot be handed on is fetched again, whatever was committed."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from stream_coupons.runtime import consumer
from stream_coupons.runtime.consumer import BatchConsumer

NEVER_COMMITTED, COMMITTED = TP("coupon-feedback", 0), TP("coupon-feedback", 1)


class Stopped(BatchConsumer):
    """A consumer whose flow was stopped while it fetched, over positions in memory."""

    should_stop = False
    flow_active = False

    def __init__(self, fetched: dict[TP, list[int]], committed: dict[TP, int]) -> None:
        self.app = SimpleNamespace(consumer_generation_id=1, rebalancing=True)
        self.fetched = {tp: [SimpleNamespace(offset=offset) for offset in offsets] for tp, offsets in fetched.items()}
        self.positions = {tp: offsets[-1] + 1 for tp, offsets in fetched.items()}
        self.committed_offsets = committed

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:  # noqa: ARG002, ASYNC109
        return self.fetched, None

    async def perform_seek(self) -> None:
        """As aiokafka does: a partition without a committed offset stays where it is."""
        self.positions |= {tp: offset for tp, offset in self.committed_offsets.items() if offset > 0}

    def assignment(self) -> set[TP]:
        return set(self.positions)

    async def position(self, tp: TP) -> int:
        return self.positions[tp]

    async def seek(self, tp: TP, offset: int) -> None:
        self.positions[tp] = offset

    async def sleep(self, _n: float, **_: Any) -> None:
        """Take no time."""


def test_a_stopped_flow_skips_no_record_of_a_partition_that_was_never_committed() -> None:
    stopped = Stopped({NEVER_COMMITTED: [0, 1, 2], COMMITTED: [7, 8]}, {COMMITTED: 5})

    async def get() -> list[Any]:
        return [each async for each in stopped.getmany(0.0)]

    assert asyncio.run(get()) == []
    assert stopped.positions == {NEVER_COMMITTED: 0, COMMITTED: 5}, "never forward of what is committed"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "FETCH_AGAIN_PAUSE_S", 0.0)
