"""Membership of groups, as clients see it, on every broker."""

import asyncio
import subprocess
import sys
from contextlib import closing

import confluent_kafka
import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka.admin import AdminClient
from kafka import KafkaAdminClient

from loopback_kafka import BrokerProcess

from .clients import AIOKAFKA, DEADLINE_S, LIBRDKAFKA, create_topic, librdkafka

pytestmark = pytest.mark.kafka

SESSION_MS = 1000

MEMBER = """
import sys, confluent_kafka
bootstrap, topic, session_ms = sys.argv[1:]
consumer = confluent_kafka.Consumer({
    "bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest",
    "session.timeout.ms": int(session_ms), "heartbeat.interval.ms": int(session_ms) // 5,
})
consumer.subscribe([topic], on_assign=lambda _, parts: print(len(parts), flush=True))
while True:
    consumer.poll(0.1)
"""
"""A member of a group in a process of its own, which prints how many partitions it gets."""


def member_process(broker: BrokerProcess, topic: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", MEMBER, broker.bootstrap, topic, str(SESSION_MS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


async def assigned(consumer: AIOKafkaConsumer, partitions: int) -> None:
    """Poll until the consumer has this many partitions."""
    async with asyncio.timeout(DEADLINE_S):
        while len(consumer.assignment()) != partitions:
            await consumer.getmany(timeout_ms=20)


def consumer_of(broker: BrokerProcess, topic: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        topic,
        bootstrap_servers=broker.bootstrap,
        group_id=topic,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=SESSION_MS // 5,
        rebalance_timeout_ms=10_000,
    )


def test_two_members_split_the_partitions_and_one_takes_over(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique, partitions=4)

    async def run() -> None:
        async with consumer_of(broker, unique) as first:
            await assigned(first, 4)
            async with consumer_of(broker, unique) as second:
                await asyncio.gather(assigned(first, 2), assigned(second, 2))
                assert not first.assignment() & second.assignment()
            await assigned(first, 4)

    asyncio.run(run())


def test_a_killed_member_is_evicted_and_its_partitions_go_to_the_other(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique, partitions=4)
    AIOKAFKA.produce(broker.bootstrap, unique, [(b"%d" % i, b"v") for i in range(40)], False)
    member = member_process(broker, unique)

    async def run() -> None:
        async with consumer_of(broker, unique) as survivor:
            await assigned(survivor, 2)
            member.kill()
            member.wait()
            await assigned(survivor, 4)
            await survivor.seek_to_beginning()
            found = 0
            async with asyncio.timeout(DEADLINE_S):
                while found < 40:
                    batches = (await survivor.getmany(timeout_ms=200)).values()
                    found += sum(len(batch) for batch in batches)

    try:
        assert member.stdout is not None
        assert member.stdout.readline() == "4\n"
        asyncio.run(run())
    finally:
        member.kill()
        member.wait()
        member.stdout.close()


def test_groups_are_listed_described_and_deleted(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique, partitions=2)
    LIBRDKAFKA.produce(broker.bootstrap, unique, [(b"k", b"v")], False)
    LIBRDKAFKA.consume(broker.bootstrap, unique, unique, 1)
    admin = AdminClient(librdkafka(broker.bootstrap, {}))
    listed = admin.list_consumer_groups().result(DEADLINE_S).valid
    assert unique in {group.group_id for group in listed}

    consumer = confluent_kafka.Consumer(librdkafka(broker.bootstrap, {"group.id": unique, "client.id": "the-client"}))
    consumer.subscribe([unique])
    while not consumer.assignment():
        consumer.poll(0.1)
    (described,) = admin.describe_consumer_groups([unique]).values()
    group = described.result(DEADLINE_S)
    assert group.state.name == "STABLE"
    assert [member.client_id for member in group.members] == ["the-client"]
    assert len(group.members[0].assignment.topic_partitions) == 2

    (deletion,) = admin.delete_consumer_groups([unique]).values()
    with pytest.raises(confluent_kafka.KafkaException, match="NON_EMPTY_GROUP"):
        deletion.result(DEADLINE_S)
    consumer.close()
    (deletion,) = admin.delete_consumer_groups([unique]).values()
    deletion.result(DEADLINE_S)
    with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap)) as python_admin:
        assert unique not in {row["group_id"] for row in python_admin.list_groups()}
