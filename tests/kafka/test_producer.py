"""Sending: awaited, repeated while it fails, given up in the end, never half believed; not without a lease."""

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from loopback.clients import create_topic
from loopback_kafka import open_broker
from loopback_kafka.record_batches import codec_of, read_header
from stream_coupons.kafka import overdue, producer, topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.producer import ATTEMPTS, ZSTD, LeaseExpired, Sender, new_producer
from stream_coupons.kafka.records import Output
from stream_coupons.kafka.topics import MIB
from stream_coupons.runtime.steps import Result

OUTPUTS = [Output("t", partition, b"k", str(partition).encode()) for partition in range(3)]
BATCH_BYTES = 1000
ANSWERS_AFTER = 2
"""Failures after which a broker answers that does not at first."""


class Client:
    """Writes requests."""

    def __init__(self) -> None:
        self.written: list[object] = []

    cluster = SimpleNamespace(leader_for_partition=lambda _: 0)

    async def ready(self, node_id: int) -> bool:  # noqa: ARG002
        return True

    async def send(self, node_id: int, request: object) -> None:  # noqa: ARG002
        self.written.append(request)


class Producer:
    """A connection to a broker that appends what is sent, but not record 1 while it refuses.

    An earlier batch is under way, so that all of it goes through the queue.
    """

    _message_accumulator = SimpleNamespace(_batches={}, _pending_batches={"earlier"})

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

    def run(self, outputs: list[Output] = OUTPUTS, batch_bytes: int = BATCH_BYTES) -> Sender:
        async def deliver() -> Sender:
            self.sender = Sender("users", self.connect, self.fail, self.late_after_s, lambda: self.is_held)
            await self.sender.deliver(outputs, batch_bytes)
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
    monkeypatch.setattr(overdue, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
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


def test_up_to_the_bytes_asked_for_the_records_of_a_partition_are_one_batch() -> None:
    outputs = [Output("t", n % 2, b"k", bytes([n]) * 600) for n in range(12)]
    sending = Sending(refusals=0)
    sending.run(outputs, 6 * 700)
    assert sending.batches == [("t", 0, 6), ("t", 1, 6)]
    cut = Sending(refusals=0)
    cut.run(outputs, 4 * 700)
    assert cut.batches == [("t", 0, 4), ("t", 0, 2), ("t", 1, 4), ("t", 1, 2)]
    assert cut.appended == sending.appended


CELLS = st.dictionaries(st.text(min_size=1, max_size=80), st.none() | st.integers(0, 20_000), min_size=1, max_size=80)


@settings(max_examples=60, derandomize=True)
@given(CELLS)
def test_cells_that_say_that_they_fit_are_one_batch(sizes: dict[str, int | None]) -> None:
    result = Result(0, cells={key: None if size is None else b"0" * size for key, size in sizes.items()})
    sending = Sending(refusals=0)
    changes = [Output("t", 0, key.encode(), data) for key, data in result.cells.items()]
    sending.run(changes, result.changed_bytes)
    assert sending.batches == [("t", 0, len(sizes))]


class Unlucky:
    """The client of a producer, whose produce requests fail in turn: before or after the broker has appended them."""

    def __init__(self, client: Any, failures: list[str]) -> None:
        self.client, self.failures, self.requests = client, failures, 0
        self.send, client.send = client.send, self.fail

    async def fail(self, node: int, request: object, **about: Any) -> Any:
        if not isinstance(request, ProduceRequest):
            return await self.send(node, request, **about)
        self.requests += 1
        failure = self.failures.pop(0) if self.failures else ""
        if failure == "lost":
            raise KafkaConnectionError
        answer = await self.send(node, request, **about)
        if failure == "unanswered":
            raise RequestTimedOutError
        return self.altered(answer, failure) if failure else answer

    @staticmethod
    def altered(answer: Any, failure: str) -> Any:
        """The answer with an error for the first partition in it."""
        code = {"refused": MessageSizeTooLargeError.errno, "moved": NotLeaderForPartitionError.errno}[failure]
        (topic, [first, *others]), *more = answer.topics
        answer.topics = [(topic, [(first[0], code, *first[2:]), *others]), *more]
        return answer


FAILURES = ["", "lost", "unanswered", "moved"]


@pytest.mark.process
def test_each_delivery_is_one_request_and_whatever_fails_each_record_is_appended_once(tmp_path: Path) -> None:
    numbers = range(24)

    async def deliver(connection: Connection) -> int:
        made: list[Any] = []

        def connect() -> Any:
            made.append(new_producer(connection, 10.0, 32 * MIB))
            return made[-1]

        sender = Sender("users", connect, print, 60.0)
        await sender.start()
        await sender.deliver([Output("t", partition, b"k", b"first") for partition in range(3)])
        client = Unlucky(made[0].client, FAILURES * (len(numbers) // len(FAILURES)))
        for number in numbers:
            await sender.deliver([Output("t", partition, b"k", b"%d" % number) for partition in range(3)])
            assert sender.is_able
        assert len(made) == 1
        await sender.stop()
        return client.requests

    with open_broker("embedded", tmp_path) as broker:
        create_topic(broker.bootstrap, "t", 3)
        requests = asyncio.run(deliver(Connection(broker.bootstrap)))
        with Reader(Connection(broker.bootstrap), ["t"], from_beginning=True) as reader:
            found = [(record.partition, record.value) for record in reader.read_to_end()]
    values = [b"first", *(b"%d" % number for number in numbers)]
    assert [[value for place, value in found if place == partition] for partition in range(3)] == [values] * 3
    failing = len(numbers) * (len(FAILURES) - 1) // len(FAILURES)
    assert requests == len(numbers) + failing, "each that failed was sent once more"


@pytest.mark.process
def test_a_record_that_the_broker_refuses_is_sent_again_by_a_new_producer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "FIRST_PAUSE_S", 0.0)
    failed: list[str] = []

    async def deliver(connection: Connection) -> int:
        made: list[Any] = []

        def connect() -> Any:
            made.append(new_producer(connection, 10.0, 32 * MIB))
            return made[-1]

        sender = Sender("users", connect, failed.append, 60.0)
        await sender.start()
        await sender.deliver(OUTPUTS)
        Unlucky(made[0].client, ["refused"])
        await sender.deliver(OUTPUTS)
        await sender.stop()
        return len(made)

    with open_broker("embedded", tmp_path) as broker:
        create_topic(broker.bootstrap, "t", 3)
        assert asyncio.run(deliver(Connection(broker.bootstrap))) == 2
    assert failed == ["users"]


@pytest.mark.process
def test_what_a_worker_that_ends_could_not_send_is_neither_sent_later_nor_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its delivery is cancelled while it has no lease; the lease is back before the sender stops."""

    async def deliver(connection: Connection) -> None:
        is_held, was_refused = True, asyncio.Event()

        def holds() -> bool:
            if not is_held:
                was_refused.set()
            return is_held

        sender = Sender("users", lambda: new_producer(connection, 10.0, 32 * MIB), print, 60.0, holds)
        await sender.start()
        await sender.deliver([Output("t", 0, b"k", b"first")])
        is_held = False
        sending = asyncio.ensure_future(sender.deliver([Output("t", 0, b"k", b"late")]))
        await was_refused.wait()
        sending.cancel()
        await asyncio.wait([sending])
        is_held = True
        await sender.stop()

    with open_broker("embedded", tmp_path) as broker:
        create_topic(broker.bootstrap, "t", 1)
        asyncio.run(deliver(Connection(broker.bootstrap)))
        with Reader(Connection(broker.bootstrap), ["t"], from_beginning=True) as reader:
            assert [record.value for record in reader.read_to_end()] == [b"first"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.process
def test_the_changes_of_a_partition_are_one_batch_in_the_log_of_a_broker(tmp_path: Path) -> None:
    changes = [Output("cells", n % 2, b"k%d" % n, b"0" * 4000) for n in range(400)]
    with open_broker("embedded", tmp_path) as broker:
        create_topic(broker.bootstrap, "cells", 2, **topics.changelog("users").configs())

        async def deliver() -> None:
            connection = Connection(broker.bootstrap)
            sender = Sender("users", lambda: new_producer(connection, 10.0, 32 * MIB), print, 60.0)
            await sender.start()
            await sender.deliver(changes, topics.changelog("users").max_message_bytes, ZSTD)
            await sender.stop()

        asyncio.run(deliver())
    logs = sorted(tmp_path.glob("**/cells-*/*.log"))
    found = [list(batches_of(path.read_bytes())) for path in logs]
    assert found == [[200], [200]]
    assert [codec_of(path.read_bytes()) for path in logs] == [ZSTD, ZSTD]


def batches_of(data: bytes) -> Iterator[int]:
    """How many records each batch of a log has."""
    while data:
        header = read_header(data)
        yield header.count
        data = data[header.size :]


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
