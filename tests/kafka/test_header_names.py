"""Whoever of ours reads a topic gets past records with headers whose names are no UTF-8, which a broker takes."""

import asyncio
from typing import Any

import pytest

from loopback.clients import NoText, create_topic
from loopback_kafka import BrokerProcess
from stream_coupons.kafka.clients import Publisher, Reader, first_records
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.follower import Follower, RecordHandlers
from stream_coupons.kafka.topics import Cleanup, Topic
from stream_coupons.runtime.cells import in_memory
from stream_coupons.runtime.changelog import KafkaChangelog

pytestmark = pytest.mark.kafka

VALUES = [str(number).encode() for number in range(7)]
BAD = (1, 2, 4, 6)
NAME = "tr\\xff\\xfe trace"


@pytest.fixture
def topic(broker: BrokerProcess, unique: str) -> Topic:
    """Records with keys of their own, some of them with such a header, in batches of two."""
    topic = Topic(unique, None, "a number", "numbers", cleanup=Cleanup.COMPACT)
    create_topic(broker.bootstrap, unique, **topic.configs())
    with Publisher(Connection(broker.bootstrap), 1) as publisher:
        for number, value in enumerate(VALUES):
            headers = [("origin", b"a:0:0:0"), (NoText("trace"), b"1")] if number in BAD else []
            publisher.send_bytes(topic, b"key-" + value, value, 0, headers)
            if number % 2:
                publisher.flush()
    return topic


def test_a_follower_takes_every_record(broker: BrokerProcess, topic: Topic) -> None:
    async def follow() -> list[bytes]:
        taken: list[bytes] = []
        follower: Follower[bytes] = Follower(
            Connection(broker.bootstrap), topic.name, 2**14, RecordHandlers(lambda _, value: value, taken.append)
        )
        await follower.start()
        try:
            await asyncio.wait_for(follower.wait_caught_up(), 10.0)
        finally:
            await follower.stop()
        return taken

    assert asyncio.run(follow()) == VALUES


def test_a_changelog_is_read_to_its_end(broker: BrokerProcess, topic: Topic) -> None:
    changelog = KafkaChangelog(Connection(broker.bootstrap), topic.name, in_memory, lambda: pytest.fail("skipped"))
    cells = asyncio.run(asyncio.wait_for(changelog.read([0]), 10.0))
    assert dict(cells[0].items()) == {f"key-{value.decode()}": value for value in VALUES}


def test_those_outside_of_the_workers_see_every_record_with_its_headers(broker: BrokerProcess, topic: Topic) -> None:
    connection = Connection(broker.bootstrap)
    with Reader(connection, [topic.name], from_beginning=True) as reader:
        read = list(reader.read_to_end())
    for records in (read, first_records(connection, topic, 1, len(VALUES))):
        assert [one.value for one in records] == VALUES
        assert [headers_of(one) for one in records] == [
            [("origin", b"a:0:0:0"), (NAME, b"1")] if number in BAD else [] for number in range(len(VALUES))
        ]


def headers_of(record: Any) -> list[tuple[str, bytes]]:
    return list(record.headers or ())
