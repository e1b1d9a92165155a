"""What must survive the death of a broker, on every broker."""

import asyncio
import os
import signal
import time
from contextlib import closing

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from loopback_kafka import BrokerProcess

from .clients import AIOKAFKA, DEADLINE_S, KAFKA_PYTHON, LIBRDKAFKA, create_topic, end_offsets

pytestmark = pytest.mark.kafka


def numbered(count: int) -> list[tuple[bytes, bytes]]:
    return [(b"k%d" % i, b"v%d" % i) for i in range(count)]


def test_messages_topics_and_commits_survive_a_kill(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique, partitions=2, cleanup_policy="compact")
    AIOKAFKA.produce(broker.bootstrap, unique, numbered(100), True)
    LIBRDKAFKA.consume(broker.bootstrap, unique, unique, 100)
    before = end_offsets(broker.bootstrap, unique, 2)
    address = broker.bootstrap

    broker.kill()
    assert not broker.is_running
    broker.start()

    assert broker.bootstrap == address
    assert end_offsets(broker.bootstrap, unique, 2) == before
    found = KAFKA_PYTHON.consume(broker.bootstrap, unique, f"{unique}-other", 100)
    assert sorted((m.key, m.value) for m in found) == sorted(numbered(100))
    KAFKA_PYTHON.produce(broker.bootstrap, unique, [(b"k", b"later")], False)
    (message,) = LIBRDKAFKA.consume(broker.bootstrap, unique, unique, 1)
    assert message.value == b"later"


def test_a_producer_goes_on_over_a_kill_without_losing_or_doubling(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique)

    async def run() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, enable_idempotence=True, retry_backoff_ms=50)
        async with producer, asyncio.timeout(DEADLINE_S):
            for value in range(50):
                await producer.send_and_wait(unique, b"%d" % value)
            waiting = [await producer.send(unique, b"%d" % value) for value in range(50, 100)]
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)
            await asyncio.gather(*waiting)

    asyncio.run(run())
    found = AIOKAFKA.consume(broker.bootstrap, unique, unique, 100)
    assert [m.value for m in found] == [b"%d" % value for value in range(100)]
    assert end_offsets(broker.bootstrap, unique) == {0: 100}


def test_a_group_goes_on_over_a_kill(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique)
    AIOKAFKA.produce(broker.bootstrap, unique, numbered(10), False)

    async def commit_again(consumer: AIOKafkaConsumer) -> None:
        """Commit as soon as the group has formed anew.

        aiokafka never returns from stop() while it looks for the coordinator, so a test must not
        close the consumer before.
        """
        while True:
            try:
                return await consumer.commit()
            except KafkaError:
                await consumer.getmany(timeout_ms=50)

    async def run() -> None:
        consumer = AIOKafkaConsumer(
            unique,
            bootstrap_servers=broker.bootstrap,
            group_id=unique,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=6000,
            heartbeat_interval_ms=200,
            retry_backoff_ms=50,
        )
        async with consumer, asyncio.timeout(DEADLINE_S):
            for number in range(10):
                assert (await consumer.getone()).offset == number
            await consumer.commit()
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)
            await asyncio.to_thread(AIOKAFKA.produce, broker.bootstrap, unique, [(b"k", b"later")], False)
            assert (await consumer.getone()).value == b"later"
            await commit_again(consumer)

    asyncio.run(run())


def test_a_deleted_topic_stays_deleted(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique)
    with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap)) as admin:
        admin.delete_topics([unique])
    broker.stop()
    broker.start()
    with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap)) as admin:
        assert unique not in admin.list_topics()


def test_the_last_value_of_every_key_outlives_compaction(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique, cleanup_policy="compact", segment_bytes=str(1 << 20))
    values = [(b"k%d" % (i % 7), b"%d-" % i + b"x" * 1000) for i in range(3000)]
    AIOKAFKA.produce(broker.bootstrap, unique, [*values, (b"k0", None)], True)
    broker.stop()
    broker.start()
    partition = TopicPartition(unique, 0)
    table: dict[bytes, bytes] = {}
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
    with closing(consumer):
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        while consumer.position(partition) < len(values) + 1:
            for record in consumer.poll(timeout_ms=500).get(partition, []):
                table[record.key] = record.value
    assert table == {**dict(values), b"k0": None}
    assert end_offsets(broker.bootstrap, unique) == {0: len(values) + 1}


def test_a_broker_that_ended_by_itself_is_started_again(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique, partitions=1)
    KAFKA_PYTHON.produce(broker.bootstrap, unique, numbered(10), False)
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)
    while broker.is_running:
        time.sleep(0.05)
    broker.start()
    assert len(KAFKA_PYTHON.consume(broker.bootstrap, unique, unique, 10)) == 10
