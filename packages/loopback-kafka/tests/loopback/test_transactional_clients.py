"""Transactions as clients use them, on every broker: three libraries, and the requests of KIP-890 one by one."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import confluent_kafka
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition as AioPartition
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.protocol.producer import AddPartitionsToTxnRequest, InitProducerIdRequest
from kafka.structs import OffsetAndMetadata

from loopback_kafka import BrokerProcess
from loopback_kafka.protocol import ErrorCode
from loopback_kafka.record_batches import read_header

from .clients import DEADLINE_S, create_topic, end_offsets, librdkafka, until
from .committed import batches
from .wire import (
    READ_COMMITTED,
    WireProducer,
    ask,
    committed_keys,
    committed_offset,
    connect,
    fetch,
    join,
)

pytestmark = pytest.mark.kafka

OK = ErrorCode.NONE


# ------------------------------------------------------------ three libraries

Values = list[bytes | None]
Transact = Callable[[str, str, list[tuple[list[bytes], bool]]], None]
"""Runs transactions over (values, is committed) in turn, all to partition 0; a committed one commits their number."""


def _aiokafka_transact(bootstrap: str, topic: str, transactions: list[tuple[list[bytes], bool]]) -> None:
    async def run() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic)
        async with producer, asyncio.timeout(DEADLINE_S):
            for values, is_commit in transactions:
                await producer.begin_transaction()
                for value in values:
                    await producer.send_and_wait(topic, value, partition=0)
                await producer.send_offsets_to_transaction({AioPartition(topic, 0): len(values)}, topic)
                await (producer.commit_transaction() if is_commit else producer.abort_transaction())

    asyncio.run(run())


def _kafka_python_transact(bootstrap: str, topic: str, transactions: list[tuple[list[bytes], bool]]) -> None:
    with closing(KafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic)) as producer:
        producer.init_transactions()
        for values, is_commit in transactions:
            producer.begin_transaction()
            for value in values:
                producer.send(topic, value, partition=0).get(DEADLINE_S)
            offsets = {TopicPartition(topic, 0): OffsetAndMetadata(len(values), "", -1)}
            producer.send_offsets_to_transaction(offsets, topic)
            if is_commit:
                producer.commit_transaction()
            else:
                producer.abort_transaction()


def _librdkafka_transact(bootstrap: str, topic: str, transactions: list[tuple[list[bytes], bool]]) -> None:
    producer = confluent_kafka.Producer(librdkafka(bootstrap, {"transactional.id": topic}))
    consumer = confluent_kafka.Consumer(librdkafka(bootstrap, {"group.id": topic}))
    with closing(consumer):
        producer.init_transactions(DEADLINE_S)
        for values, is_commit in transactions:
            producer.begin_transaction()
            for value in values:
                producer.produce(topic, value, partition=0)
            offsets = [confluent_kafka.TopicPartition(topic, 0, len(values))]
            producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), DEADLINE_S)
            if is_commit:
                producer.commit_transaction(DEADLINE_S)
            else:
                producer.flush(DEADLINE_S)
                producer.abort_transaction(DEADLINE_S)


def _aiokafka_read(bootstrap: str, topic: str, end: int) -> Values:
    async def run() -> Values:
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
        partition, found = AioPartition(topic, 0), []
        async with consumer, asyncio.timeout(DEADLINE_S):
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            while await consumer.position(partition) < end:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    found += [record.value for record in records]
        return found

    return asyncio.run(run())


def _kafka_python_read(bootstrap: str, topic: str, end: int) -> Values:
    partition, found = TopicPartition(topic, 0), []
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    with closing(consumer):
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        while consumer.position(partition) < end:
            for records in consumer.poll(timeout_ms=100).values():
                found += [record.value for record in records]
    return found


def _librdkafka_read(bootstrap: str, topic: str, end: int) -> Values:
    options = {"group.id": f"{topic}-r", "isolation.level": "read_committed", "enable.partition.eof": True}
    consumer = confluent_kafka.Consumer(librdkafka(bootstrap, options))
    found = []
    with closing(consumer):
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        while not (message := until(lambda: consumer.poll(0.1), f"a message or the end at {end}")).error():
            found.append(message.value())
    return found


WRITERS = [_aiokafka_transact, _kafka_python_transact, _librdkafka_transact]
READERS = [_aiokafka_read, _kafka_python_read, _librdkafka_read]


@pytest.mark.parametrize("transact", WRITERS, ids=["aiokafka", "kafka-python", "librdkafka"])
def test_committed_transactions_are_all_that_anybody_reads(
    broker: BrokerProcess, unique: str, transact: Transact
) -> None:
    create_topic(broker.bootstrap, unique)
    transactions = [([b"a", b"b"], True), ([b"lost"], False), ([b"c"], True), ([b"lost", b"lost"], False)]
    transact(broker.bootstrap, unique, transactions)
    end = end_offsets(broker.bootstrap, unique)[0]
    for read in READERS:
        assert read(broker.bootstrap, unique, end) == [b"a", b"b", b"c"]
    with connect(broker.bootstrap) as connection:
        assert committed_offset(connection, unique, unique, require_stable=True) == (0, 1)


def test_a_transaction_that_its_producer_left_is_aborted_by_the_next(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique)

    async def leave_open() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=unique)
        await producer.start()
        await producer.begin_transaction()
        await producer.send_and_wait(unique, b"left", partition=0)
        await producer.client.close()
        await producer.stop()

    asyncio.run(leave_open())
    _librdkafka_transact(broker.bootstrap, unique, [([b"a"], True)])
    assert _aiokafka_read(broker.bootstrap, unique, end_offsets(broker.bootstrap, unique)[0]) == [b"a"]


# ------------------------------------------------------------ requests one by one


@contextmanager
def producer_of(broker: BrokerProcess, name: str, timeout_ms: int = 60_000) -> Iterator[tuple[Any, WireProducer]]:
    with connect(broker.bootstrap) as connection:
        producer = WireProducer(connection, name)
        assert producer.init(timeout_ms) is OK
        yield connection, producer


def test_a_transaction_is_invisible_until_it_is_committed(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique)
    with producer_of(broker, unique) as (connection, producer):
        join(connection, unique)
        assert producer.append(unique, b"a", b"b") is OK
        assert producer.append(unique, b"c") is OK
        row = fetch(connection, unique, READ_COMMITTED)
        assert (row.last_stable_offset, row.high_watermark, bytes(row.records or b"")) == (0, 3, b"")
        assert len(batches(bytes(fetch(connection, unique, isolation_level=0).records))) == 2
        first = producer.ref
        assert producer.end() is OK
        assert producer.ref == (first.producer_id, first.epoch + 1)
        until(lambda: committed_keys(connection, unique) == [b"a", b"b", b"c"], "the transaction is seen")
        *_, marker = batches(bytes(fetch(connection, unique, READ_COMMITTED).records))
        header = read_header(marker)
        assert (header.is_control, header.is_transactional, header.base_offset, header.count) == (True, True, 3, 1)
        assert (header.producer_id, header.producer_epoch) == producer.ref, "the next epoch fences what comes late"


def test_an_aborted_transaction_is_named_to_readers(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique)
    with producer_of(broker, unique) as (connection, producer):
        lost = producer.ref
        producer.append(unique, b"lost")
        assert producer.end(is_commit=False) is OK
        producer.append(unique, b"a")
        assert producer.end() is OK
        until(lambda: committed_keys(connection, unique) == [b"a"], "the second transaction is seen")
        row = fetch(connection, unique, READ_COMMITTED)
        assert [(one.producer_id, one.first_offset) for one in row.aborted_transactions] == [(lost.producer_id, 0)]


def test_a_producer_that_was_replaced_is_fenced(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique)
    with producer_of(broker, unique) as (connection, former):
        join(connection, unique)
        former.append(unique, b"lost")
        with producer_of(broker, unique) as (_, present):
            assert former.append(unique, b"late") is ErrorCode.INVALID_PRODUCER_EPOCH
            assert former.add_offset(unique, unique, 1) is ErrorCode.INVALID_PRODUCER_EPOCH
            assert former.end() is ErrorCode.PRODUCER_FENCED
            assert present.append(unique, b"a") is OK
            assert present.end() is OK
        until(lambda: committed_keys(connection, unique) == [b"a"], "the transaction is seen")


def test_offsets_are_pending_until_the_end(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique)
    with producer_of(broker, unique) as (connection, producer):
        member = join(connection, unique)
        assert producer.add_offset(unique, unique, 5, member) is OK
        assert committed_offset(connection, unique, unique, require_stable=True)[0] == ErrorCode.UNSTABLE_OFFSET_COMMIT
        assert committed_offset(connection, unique, unique, require_stable=False) == (0, -1)
        assert producer.end() is OK
        until(lambda: committed_offset(connection, unique, unique, require_stable=True) == (0, 5), "the offset is seen")
        producer.add_offset(unique, unique, 6, member)
        assert producer.end(is_commit=False) is OK
        until(lambda: committed_offset(connection, unique, unique, require_stable=True) == (0, 5), "it stays")


def test_only_present_members_commit_offsets(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique)
    with producer_of(broker, unique) as (connection, producer):
        former = join(connection, unique, instance="i")
        present = join(connection, unique, instance="i")
        assert former[0] != present[0]
        for member, instance, error in (
            (former, "i", ErrorCode.FENCED_INSTANCE_ID),
            (former, None, ErrorCode.UNKNOWN_MEMBER_ID),
            ((present[0], present[1] + 1), "i", ErrorCode.ILLEGAL_GENERATION),
            (present, "i", OK),
            (("", -1), None, OK),
        ):
            assert producer.add_offset(unique, unique, 1, member, instance) is error, (member, instance)
        assert producer.end() is OK


def test_an_end_whose_answer_was_lost_is_asked_for_again(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique)
    with producer_of(broker, unique) as (_, producer):
        producer.append(unique, b"a")
        asked = producer.ref
        assert producer.end() is OK
        answered, producer.ref = producer.ref, asked
        assert producer.end() is OK
        assert producer.ref == answered
        producer.ref = asked
        assert producer.end(is_commit=False) is not OK


def test_partitions_of_several_transactions_are_checked_at_once(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique, partitions=2)
    with producer_of(broker, unique) as (connection, producer):
        producer.append(unique, b"a")
        asked = AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction
        transaction = asked(
            version=4,
            transactional_id=unique,
            producer_id=producer.ref.producer_id,
            producer_epoch=producer.ref.epoch,
            verify_only=True,
            topics=[asked.AddPartitionsToTxnTopic(version=4, name=unique, partitions=[0, 1])],
        )
        answer = ask(connection, AddPartitionsToTxnRequest(version=4, transactions=[transaction]))
        (topic,) = answer.results_by_transaction[0].topic_results
        codes = {row.partition_index: row.partition_error_code for row in topic.results_by_partition}
        assert codes == {0: OK, 1: ErrorCode.TRANSACTION_ABORTABLE}


def test_an_empty_transactional_id_is_refused(broker: BrokerProcess) -> None:
    with connect(broker.bootstrap) as connection:
        request = InitProducerIdRequest(
            version=4, transactional_id="", transaction_timeout_ms=1000, producer_id=-1, producer_epoch=-1
        )
        assert ask(connection, request).error_code == ErrorCode.INVALID_REQUEST
