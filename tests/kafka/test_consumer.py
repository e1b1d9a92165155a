"""Only a heartbeat that the coordinator accepts counts, from the moment at which it was sent."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IllegalGenerationError, NoError, RebalanceInProgressError
from aiokafka.protocol.group import HeartbeatRequest, LeaveGroupRequest

from stream_coupons.kafka.consumer import SessionClient

ANSWERED_AFTER_S = 0.01


def heard(request: Any, error: Any) -> list[float]:
    """Return the times heard after a request is answered with an error."""
    found: list[float] = []

    async def send(node: int, sent: Any, group: int) -> Any:
        assert (node, sent, group) == (1, request, 2)
        await asyncio.sleep(ANSWERED_AFTER_S)
        return SimpleNamespace(error_code=error.errno)

    asyncio.run(SessionClient(SimpleNamespace(send=send), found.append).send(1, request, group=2))
    return found


@pytest.mark.parametrize(
    ("error", "is_heard"), [(NoError, True), (RebalanceInProgressError, True), (IllegalGenerationError, False)]
)
def test_an_accepted_heartbeat_counts_from_when_it_was_sent(error: Any, is_heard: bool) -> None:
    times = heard(HeartbeatRequest("group", 1, "member"), error)
    assert len(times) == is_heard
    assert all(time.monotonic() - at >= ANSWERED_AFTER_S for at in times)


def test_other_requests_do_not_count() -> None:
    assert heard(LeaveGroupRequest("group", "member"), NoError) == []
