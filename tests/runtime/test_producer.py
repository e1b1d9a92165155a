"""Sending: awaited, repeated while it fails, given up in the end, never half believed; not without a lease."""

import asyncio
import itertools
import sys
from collections.abc import Awaitable
from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.memory_records import MemoryRecords

from stream_coupons.runtime import producer
from stream_coupons.runtime.producer import ATTEMPTS, LeaseExpired, Sender
from stream_coupons.runtime.records import Output

OUTPUTS = [Output("t", partition, b"k", str(partition).encode()) for partition in range(3)]
BATCH_BYTES = 1000
ANSWERS_AFTER = 2
"""Failures after which a broker answers that does not at first."""


class Client:
    """Writes requests."""

    def __init__(self) -> None:
        self.written: list[object] = []

    async def ready(self, node_id: int) -> bool:  # noqa: ARG002
        return True

    async def send(self, node_id: int, request: object) -> None:  # noqa: ARG002
        self.written.append(request)


class Producer:
    """A connection to a broker that appends what is sent, but not record 1 while it refuses."""

    def __init__(self, broker: "Sending") -> None:
        self.broker = broker
        self.client = Client()
        self.has_failed = False

    async def start(self) -> None:
        """Connect."""

    async def stop(self) -> None:
        self.broker.left += 1

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(BATCH_BYTES, 0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> Awaitable[None]:
        assert not self.has_failed, "its sequence has a gap"
        values = [record.value for record in MemoryRecords(bytes(batch._build())).next_batch()]

        async def append() -> None:
            await self.broker.answers.wait()
            if b"1" in values and self.broker.refusals:
                self.broker.refusals -= 1
                self.has_failed = True
                raise KafkaConnectionError
            self.broker.appended += values
            self.broker.batches.append((topic, partition, len(values)))

        return asyncio.ensure_future(append())


class Sending:
    """A sender, its broker, and what it told of failures."""

    def __init__(self, refusals: int, late_after_s: float = 60.0) -> None:
        self.refusals = refusals
        self.late_after_s = late_after_s
        self.left = 0
        self.appended: list[bytes] = []
        self.batches: list[tuple[str, int, int]] = []
        self.failed: list[tuple[str, bool]] = []
        self.is_held = True
        self.answers = asyncio.Event()
        self.answers.set()
        self.producers: list[Producer] = []

    def connect(self) -> Producer:
        self.producers.append(Producer(self))
        return self.producers[-1]

    def run(self, outputs: list[Output] = OUTPUTS) -> Sender:
        async def deliver() -> Sender:
            self.sender = Sender("users", self.connect, self.fail, self.late_after_s, lambda: self.is_held)
            await self.sender.deliver(outputs)
            return self.sender

        return asyncio.run(deliver())

    def fail(self, who: str) -> None:
        self.failed.append((who, self.sender.is_able))
        if len(self.failed) == ANSWERS_AFTER:
            self.answers.set()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "FIRST_PAUSE_S", 0.0)


def test_what_fails_is_sent_again_with_the_same_bytes_by_a_new_producer_until_all_of_it_is_there() -> None:
    sending = Sending(refusals=2)
    assert sending.run().is_able
    assert sending.appended[-3:] == [b"0", b"1", b"2"]
    assert set(sending.appended) == {b"0", b"1", b"2"}
    assert sending.failed == [("users", False)] * 2
    assert (len(sending.producers), sending.left) == (3, 2)


def test_after_many_attempts_it_gives_up_and_is_not_ready() -> None:
    sending = Sending(refusals=ATTEMPTS)
    with pytest.raises(KafkaConnectionError):
        sending.run()
    assert len(sending.failed) == ATTEMPTS
    assert not sending.sender.is_able


def test_who_waits_for_an_answer_for_long_is_not_ready_until_it_comes_and_sends_nothing_beside() -> None:
    sending = Sending(refusals=0, late_after_s=0.01)
    sending.answers.clear()
    assert sending.run().is_able
    assert len(sending.failed) >= ANSWERS_AFTER
    assert set(sending.failed) == {("users", False)}
    assert sending.appended == [b"0", b"1", b"2"]
    assert len(sending.producers) == 1


def test_the_longer_an_answer_does_not_come_the_more_rarely_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(producer, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    monkeypatch.setattr(sys.modules[__name__], "ANSWERS_AFTER", 10)
    sending = Sending(refusals=0, late_after_s=0.01)
    sending.answers.clear()
    sending.run()
    assert len(sending.failed) >= 10
    said = [message.split()[-2] for message in caplog.messages if "have waited for the broker" in message]
    assert said[:4] == ["1", "2", "4", "8"]


def test_nothing_to_send_is_sent() -> None:
    sending = Sending(refusals=0)
    sending.run([])
    assert (sending.appended, sending.failed) == ([], [])


def test_records_of_a_partition_go_in_order_in_few_batches_however_large_they_are() -> None:
    values = [bytes([n]) * size for n, size in enumerate([100, 100, 5000, 600, 600, 600])]
    sending = Sending(refusals=0)
    sending.run([Output("t", n % 2, b"k", value) for n, value in enumerate(values)])
    assert sending.appended == values[::2] + values[1::2]
    assert sending.batches == [("t", 0, 1), ("t", 0, 1), ("t", 0, 1), ("t", 1, 2), ("t", 1, 1)]


def test_no_record_leaves_without_a_lease_but_other_requests_do() -> None:
    sending = Sending(refusals=0)
    sending.run()
    client = sending.producers[0].client
    produce = ProduceRequest(transactional_id=None, required_acks=-1, timeout=1, topics=[])
    ask = MetadataRequest([])
    asyncio.run(client.send(1, produce))
    sending.is_held = False
    with pytest.raises(LeaseExpired) as expired:
        asyncio.run(client.send(1, produce))
    assert expired.value.retriable, "aiokafka tries again: the group may be heard from once more"
    asyncio.run(client.send(1, ask))
    assert client.written == [produce, ask]
