"""Sending: awaited, repeated while it fails, given up in the end, and never half believed."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from stream_coupons.runtime import producer
from stream_coupons.runtime.producer import ATTEMPTS, Sender
from stream_coupons.runtime.records import Output

OUTPUTS = [Output("t", 0, b"k", str(n).encode()) for n in range(3)]


class Broker:
    """Appends what is sent, but for the first `refusals` times that the second record comes."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.appended: list[bytes] = []

    async def send(self, topic: str, *, value: bytes, **about: Any) -> Awaitable[None]:  # noqa: ARG002
        async def append() -> None:
            if value == b"1" and self.refusals:
                self.refusals -= 1
                raise KafkaConnectionError
            self.appended.append(value)

        return asyncio.ensure_future(append())


class Sending:
    """A sender on such a broker, and what it told of failures."""

    def __init__(self, refusals: int) -> None:
        self.failed: list[tuple[str, bool]] = []
        self.broker = Broker(refusals)
        self.sender = Sender("nowhere:1", 1.0, 1000, lambda who: self.failed.append((who, self.sender.is_able)))
        self.sender._producer = self.broker

    def run(self) -> None:
        asyncio.run(self.sender.deliver("users", OUTPUTS))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "FIRST_PAUSE_S", 0.0)


def test_what_fails_is_sent_again_with_the_same_bytes_until_all_of_it_is_there() -> None:
    sending = Sending(refusals=2)
    sending.run()
    assert sending.broker.appended[-3:] == [b"0", b"1", b"2"]
    assert set(sending.broker.appended) == {b"0", b"1", b"2"}
    assert sending.failed == [("users", False)] * 2
    assert sending.sender.is_able


def test_after_many_attempts_it_gives_up_and_is_not_ready() -> None:
    sending = Sending(refusals=ATTEMPTS)
    with pytest.raises(KafkaConnectionError):
        sending.run()
    assert len(sending.failed) == ATTEMPTS
    assert not sending.sender.is_able


def test_nothing_to_send_is_sent() -> None:
    sending = Sending(refusals=0)
    asyncio.run(sending.sender.deliver("users", []))
    assert (sending.broker.appended, sending.failed) == ([], [])
