"""The consumer reports each answer about its group membership, with the time at which the request was sent."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IllegalGenerationError, NoError, RebalanceInProgressError, UnknownMemberIdError
from aiokafka.protocol.group import HeartbeatRequest, LeaveGroupRequest, SyncGroupRequest

from loopback.clients import create_topic
from loopback_kafka import BrokerProcess
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.consumer import SessionClient, new_consumer

ANSWERED_AFTER_S = 0.01
BEAT = HeartbeatRequest("group", 1, "member")


class Lease:
    """Keeps the answers that it is given; it is held or has run out."""

    def __init__(self, is_held: bool = True) -> None:
        self._is_held = is_held
        self.noted: list[tuple[float, Any]] = []

    def is_held(self, at: float) -> bool:
        assert at <= time.monotonic()
        return self._is_held

    def note(self, sent_at: float, error: Any) -> None:
        self.noted.append((sent_at, error))


def heard(request: Any, *errors: Any, is_held: bool = True) -> list[tuple[float, Any]]:
    """Return what a lease notes when requests are answered with these errors, one after the other: times and errors."""
    return asked(request, *errors, is_held=is_held)[0]


def asked(request: Any, *errors: Any, is_held: bool) -> tuple[list[tuple[float, Any]], list[float]]:
    """Return what a lease notes, and when each request was sent."""
    answers, lease, sent_at = iter(errors), Lease(is_held), list[float]()

    async def send(node: int, sent: Any, group: int) -> Any:
        assert (node, group) == (1, 2)
        assert sent is request or isinstance(sent, SyncGroupRequest)
        sent_at.append(time.monotonic())
        await asyncio.sleep(ANSWERED_AFTER_S)
        return SimpleNamespace(error_code=next(answers).errno)

    client = SessionClient(SimpleNamespace(send=send), lease)  # type: ignore[arg-type]
    asyncio.run(client.send(1, request, group=2))
    assert next(answers, None) is None, "asked once an error"
    return lease.noted, sent_at


@pytest.mark.parametrize("error", [NoError, RebalanceInProgressError, IllegalGenerationError])
@pytest.mark.parametrize("request_", [BEAT, SyncGroupRequest("group", 1, "member", None, [])])
def test_an_answer_counts_from_when_it_was_asked_for(request_: Any, error: Any) -> None:
    [(asked_at, answered)] = heard(request_, error)
    assert answered is error
    assert time.monotonic() - asked_at >= ANSWERED_AFTER_S


@pytest.mark.parametrize("error", [NoError, UnknownMemberIdError])
def test_after_the_lease_has_run_out_a_heartbeat_alone_says_nothing(error: Any) -> None:
    """A coordinator that still loads the group answers each without an error."""
    [(asked_at, answered)], [first, second] = asked(BEAT, NoError, error, is_held=False)
    assert answered is error
    assert first < asked_at <= second, "counts from the second request"


def test_a_coordinator_that_loads_the_group_does_not_renew_a_lease() -> None:
    assert heard(BEAT, NoError, RebalanceInProgressError, is_held=False) == []


def test_other_requests_do_not_count() -> None:
    assert heard(LeaveGroupRequest("group", "member"), NoError) == []


@pytest.mark.kafka
def test_the_end_of_a_partition_is_told_while_a_fetch_waits_for_records(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique, 1)
    tp = TopicPartition(unique, 0)

    async def ask() -> None:
        consumer = new_consumer(Connection(broker.bootstrap), auto_offset_reset="earliest", fetch_max_wait_ms=60_000)
        await consumer.start()
        try:
            consumer.assign([tp])
            assert await consumer.position(tp) == 0
            assert not await consumer.getmany(tp, timeout_ms=500), "the fetch is under way"
            assert await asyncio.wait_for(consumer.end_offsets([tp]), 30.0) == {tp: 0}
        finally:
            await consumer.stop()

    asyncio.run(ask())
