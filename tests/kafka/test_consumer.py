"""The consumer reports each answer about its group membership, with the time at which the request was sent."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IllegalGenerationError, NoError, RebalanceInProgressError
from aiokafka.protocol.group import HeartbeatRequest, LeaveGroupRequest, SyncGroupRequest

from stream_coupons.kafka.consumer import SessionClient

ANSWERED_AFTER_S = 0.01


def heard(request: Any, error: Any) -> list[tuple[float, Any]]:
    """Return what is heard when a request is answered with an error: times and errors."""
    found: list[tuple[float, Any]] = []

    async def send(node: int, sent: Any, group: int) -> Any:
        assert (node, sent, group) == (1, request, 2)
        await asyncio.sleep(ANSWERED_AFTER_S)
        return SimpleNamespace(error_code=error.errno)

    client = SessionClient(SimpleNamespace(send=send), lambda at, answered: found.append((at, answered)))
    asyncio.run(client.send(1, request, group=2))
    return found


@pytest.mark.parametrize("error", [NoError, RebalanceInProgressError, IllegalGenerationError])
@pytest.mark.parametrize(
    "request_", [HeartbeatRequest("group", 1, "member"), SyncGroupRequest("group", 1, "member", None, [])]
)
def test_an_answer_counts_from_when_it_was_asked_for(request_: Any, error: Any) -> None:
    [(asked_at, answered)] = heard(request_, error)
    assert answered is error
    assert time.monotonic() - asked_at >= ANSWERED_AFTER_S


def test_other_requests_do_not_count() -> None:
    assert heard(LeaveGroupRequest("group", "member"), NoError) == []
