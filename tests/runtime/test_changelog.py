"""A changelog of a real broker is read to its end, and past what strangers wrote into it."""

import asyncio
import logging
from pathlib import Path

import pytest
from aiokafka.errors import KafkaTimeoutError

from loopback.clients import create_topic
from loopback_kafka import BrokerProcess
from stream_coupons.kafka import follower
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.contact import retry
from stream_coupons.kafka.topics import Cleanup, Topic
from stream_coupons.runtime.cells import in_memory
from stream_coupons.runtime.changelog import KafkaChangelog
from stream_coupons.runtime.rocks import RocksStores

pytestmark = pytest.mark.kafka


def test_the_latest_cell_of_a_key_is_read_and_what_has_no_text_for_a_key_is_skipped(
    broker: BrokerProcess, unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic = Topic(unique, None, "the table's", "cells", cleanup=Cleanup.COMPACT)
    create_topic(broker.bootstrap, unique, 2, **topic.configs())
    with Publisher(Connection(broker.bootstrap), 2) as publisher:
        for key, value in (
            (b"ann", b"1"),
            (b"bob", b"2"),
            (b"\xff\xfe", b"x"),
            ("\N{SNOWMAN}".encode(), b"3"),
            (b"\xff\xfe", None),
            (b"bob", None),
            (b"ann", b"4"),
        ):
            publisher.send_bytes(topic, key, value, 1)
    skipped: list[None] = []
    changelog = KafkaChangelog(Connection(broker.bootstrap), unique, in_memory, lambda: skipped.append(None))
    with caplog.at_level(logging.ERROR):
        cells = asyncio.run(changelog.read([0, 1]))
    assert {partition: dict(found.items()) for partition, found in cells.items()} == {
        0: {},
        1: {"ann": b"4", "\N{SNOWMAN}": b"3"},
    }
    assert len(skipped) == 2
    assert [record.message.split(": ")[0] for record in caplog.records if record.levelno == logging.ERROR] == [
        f"{unique}:1:2",
        f"{unique}:1:4",
    ]
    assert asyncio.run(changelog.place_of(1, "ann")) == f"{unique}:1:6"
    assert asyncio.run(changelog.read([])) == {}


def test_a_partition_without_a_leader_is_read_once_it_has_one_also_onto_a_disk(
    broker: BrokerProcess, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A topic that is still to be created has no leaders. No one answers in time, which is no reason to end."""
    monkeypatch.setattr(follower, "ENDS_WITHIN_S", 3.0)
    topic = Topic(unique, None, "the table's", "cells", cleanup=Cleanup.COMPACT)
    stores, failures, found = RocksStores(tmp_path, 1), list[type[BaseException]](), dict[str, bytes]()
    changelog = KafkaChangelog(Connection(broker.bootstrap), unique, stores.of("users"), lambda: None)

    def lead() -> None:
        create_topic(broker.bootstrap, unique, 1, **topic.configs())
        with Publisher(Connection(broker.bootstrap), 1) as publisher:
            publisher.send_bytes(topic, b"ann", b"1", 0)

    async def attempt() -> None:
        try:
            [cells] = (await changelog.read([0])).values()
        except BaseException as failure:
            failures.append(type(failure))
            monkeypatch.setattr(follower, "ENDS_WITHIN_S", 60.0)
            await asyncio.to_thread(lead)
            raise
        found.update(cells.items())

    asyncio.run(retry("the cells", attempt, lambda: len(failures) < 2))
    stores.close()
    assert failures == [KafkaTimeoutError]
    assert found == {"ann": b"1"}
