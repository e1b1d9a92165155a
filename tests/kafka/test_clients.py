"""What stands outside the workers loses nothing that the broker failed to append."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import KafkaConnectionError

from loopback_kafka.log import PartitionLog
from loopback_kafka.protocol import ErrorCode
from loopback_kafka.sequences import AppendRefused
from loopback_kafka.server import BrokerServer
from stream_coupons.core.errors import BrokerAway
from stream_coupons.kafka import admin, clients, topics
from stream_coupons.kafka.clients import NotAppended, Publisher, Reader
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.settings import KafkaSettings

pytestmark = pytest.mark.process

PARTITIONS = 2
VALUES = [f"record-{number}".encode() for number in range(20)]
UNNAMED = -1
"""UNKNOWN_SERVER_ERROR: this broker never answers so, Apache Kafka does amid a full disk."""


class Disk:
    """Fails some appends, before or after they are in the log, from record 10 on."""

    def __init__(self, failures: int, code: int, *, is_written: bool) -> None:
        self.failures = failures
        self.code = code
        self.is_written = is_written
        self.append = PartitionLog.append

    def __call__(self, log: PartitionLog, records: bytes, *limits: Any) -> int:
        if not (self.failures and VALUES[10] in records):
            return self.append(log, records, *limits)
        self.failures -= 1
        if self.is_written:
            self.append(log, records, *limits)
        raise AppendRefused(self.code, "the disk failed")  # type: ignore[arg-type]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The embedded broker in a thread of this process."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = BrokerServer(folder)
    try:
        port = asyncio.run_coroutine_threadsafe(server.start(), loop).result(10.0)
        yield f"127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10.0)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def bootstrap(tmp_path: Path) -> Iterator[str]:
    with served(tmp_path) as bootstrap:
        settings = KafkaSettings(bootstrap=bootstrap, partitions=PARTITIONS)
        with admin.admin_client(Connection(bootstrap)) as client:
            admin.apply(client, settings)
        yield bootstrap


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "FIRST_PAUSE_S", 0.001)


def publish(bootstrap: str) -> Publisher:
    with Publisher(Connection(bootstrap), PARTITIONS) as publisher:
        for value in VALUES:
            publisher.send_bytes(topics.BROWSE, b"k", value)
    return publisher


def published(bootstrap: str) -> list[bytes]:
    with Reader(Connection(bootstrap), [topics.BROWSE.name], from_beginning=True) as reader:
        return [record.value for record in reader.read_to_end()]


@pytest.mark.parametrize("is_written", [False, True], ids=["lost", "written"])
def test_what_the_broker_failed_to_append_is_sent_again(
    bootstrap: str, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    disk = Disk(3, UNNAMED, is_written=is_written)
    monkeypatch.setattr(PartitionLog, "append", lambda *request: disk(*request))
    publisher = publish(bootstrap)
    assert disk.failures == 0
    found = published(bootstrap)
    assert list(dict.fromkeys(found)) == VALUES
    assert publisher.appended == len(VALUES)
    assert publisher.sent_again >= 3
    copies = len(found) - len(VALUES)
    assert 0 < copies <= publisher.sent_again if is_written else copies == 0


@pytest.mark.parametrize("code", [UNNAMED, ErrorCode.INVALID_RECORD])
def test_what_the_broker_never_appends_is_told(bootstrap: str, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    disk = Disk(1000, code, is_written=False)
    monkeypatch.setattr(PartitionLog, "append", lambda *request: disk(*request))
    with pytest.raises(NotAppended, match=r"records were not appended"):
        publish(bootstrap)
    tries = 1000 - disk.failures
    assert tries == (clients.ATTEMPTS if code == UNNAMED else 1)


def test_a_reader_continues_at_offsets_and_skips_other_partitions(bootstrap: str) -> None:
    with Publisher(Connection(bootstrap), PARTITIONS) as publisher:
        for number in range(10):
            publisher.send_bytes(topics.BROWSE, b"k", b"%d" % number, number % PARTITIONS)
    with Reader(Connection(bootstrap), [topics.BROWSE.name], from_beginning=True) as reader:
        reader.seek({(topics.BROWSE.name, 1): 3})
        assert [(record.partition, record.value) for record in reader.read_to_end()] == [(1, b"7"), (1, b"9")]


def test_a_reader_whose_broker_sends_nothing_more_notes_that_it_waits_and_then_gives_up(
    bootstrap: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger=clients.WAITING.name)  # a worker's log in this process raises it
    monkeypatch.setattr(clients, "NOTED_AFTER_S", 0.05)
    monkeypatch.setattr(clients, "AWAY_AFTER_S", 0.2)
    publish(bootstrap)
    with Reader(Connection(bootstrap), [topics.BROWSE.name], from_beginning=True) as reader:
        monkeypatch.setattr(reader, "poll", list)
        with pytest.raises(BrokerAway, match="has sent no record for"):
            list(reader.read_to_end())
    assert caplog.messages.count(f"waiting for records from Kafka at {bootstrap}") == 1


@pytest.mark.parametrize("asked_for", ["partitions_for_topic", "end_offsets"])
def test_a_reader_that_one_of_several_brokers_refuses_says_that_it_is_away(
    bootstrap: str, monkeypatch: pytest.MonkeyPatch, asked_for: str
) -> None:
    """A worker that starts waits then; it ended by the error of kafka-python."""

    def refuse(*_: Any) -> None:
        raise KafkaConnectionError("111 ECONNREFUSED")

    publish(bootstrap)
    monkeypatch.setattr(clients.LenientConsumer, asked_for, refuse)
    with (
        pytest.raises(BrokerAway, match=rf"the broker at {bootstrap} does not answer \(.*ECONNREFUSED"),
        Reader(Connection(bootstrap), [topics.BROWSE.name], from_beginning=True) as reader,
    ):
        list(reader.read_to_end())
