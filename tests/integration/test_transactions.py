"""Transactions of our own requests on a broker: all of one or nothing, and nothing of who is no member any more."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalGenerationError
from kafka.admin import NewTopic

from loopback_kafka import BrokerProcess
from stream_coupons.kafka import admin
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.producer import in_batches
from stream_coupons.kafka.records import Membership, Output
from stream_coupons.kafka.transactions import TransactionalId, TransactionalProducer

pytestmark = pytest.mark.kafka
TIMEOUT_S = 10.0
USED = TransactionalId("g", "users", "m", "0")


def in_group(
    broker: BrokerProcess, run: Callable[[AIOKafkaConsumer, Membership, TransactionalProducer], Awaitable[Any]]
) -> Any:
    """Run with a consumer of the input in group g, its membership, and a producer."""
    connection = Connection(bootstrap=broker.bootstrap)
    with admin.admin_client(connection) as client:
        client.create_topics([NewTopic(name, num_partitions=2, replication_factor=1) for name in ("in", "out")])

    async def whole() -> Any:
        producer = TransactionalProducer(connection, USED, TIMEOUT_S)
        consumer = AIOKafkaConsumer("in", bootstrap_servers=broker.bootstrap, group_id="g", enable_auto_commit=False)
        async with consumer:
            await consumer.getmany(timeout_ms=1)  # it is assigned its partitions
            await producer.start()
            try:
                coordinator = consumer._coordinator
                return await run(consumer, Membership(coordinator.member_id, coordinator.generation), producer)
            finally:
                await producer.stop()

    return asyncio.run(whole())


async def committed_values(broker: BrokerProcess, count: int) -> list[bytes]:
    """Return the committed values, sorted; wait until there are `count` at least."""
    async with AIOKafkaConsumer(
        "out", bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    ) as reader:
        found: list[bytes] = []
        async with asyncio.timeout(60):
            while (records := await reader.getmany(timeout_ms=1500)) or len(found) < count:
                found += [record.value for of_partition in records.values() for record in of_partition]
        return sorted(found)


def test_a_former_member_of_the_group_commits_nothing(empty_broker: BrokerProcess) -> None:
    async def run(consumer: AIOKafkaConsumer, membership: Membership, producer: TransactionalProducer) -> Any:
        def batches(value: bytes) -> Any:
            return in_batches([Output("out", n, b"k", value) for n in (0, 1)], 1000, is_transactional=True)

        place = TopicPartition("in", 0)
        for turn in (1, 2, 3):
            await producer.commit(batches(b"%d" % turn), {place: turn}, membership)
        former = membership._replace(generation=membership.generation - 1)
        with pytest.raises(IllegalGenerationError):
            await producer.commit(batches(b"never"), {place: 9}, former)
        successor = TransactionalProducer(producer._connection, USED, TIMEOUT_S)
        await successor.start()
        await successor.commit(batches(b"4"), {place: 4}, membership)
        await successor.stop()
        # In this order: offsets are those of the last transaction only when its markers are written.
        return await committed_values(empty_broker, 8), await consumer.committed(place)

    assert in_group(empty_broker, run) == ([b"1", b"1", b"2", b"2", b"3", b"3", b"4", b"4"], 4)


def test_a_member_ends_at_once_what_one_that_is_gone_has_left_open_and_nothing_else(
    empty_broker: BrokerProcess,
) -> None:
    def batches(value: bytes) -> Any:
        return in_batches([Output("out", 0, b"k", value)], 1000, is_transactional=True)

    async def leave_open(producer: TransactionalProducer, value: bytes, membership: Membership) -> None:
        """Begin a transaction, and lose the process before its end."""
        is_begun = asyncio.Event()

        async def end() -> Any:
            is_begun.set()
            await asyncio.Event().wait()

        await producer.start()
        producer._end = end  # type: ignore[method-assign]
        committing = asyncio.ensure_future(producer.commit(batches(value), {TopicPartition("in", 0): 1}, membership))
        await is_begun.wait()
        committing.cancel()

    async def run(_: AIOKafkaConsumer, membership: Membership, producer: TransactionalProducer) -> Any:
        def new_producer(agent: str, member_id: str, number: str) -> TransactionalProducer:
            return TransactionalProducer(producer._connection, TransactionalId("g", agent, member_id, number), 60.0)

        mine, other_of_mine = (new_producer("users", membership.member_id, number) for number in ("0", "1"))
        gone, of_another_agent = new_producer("users", "gone", "0"), new_producer("budgets", "gone", "0")
        await leave_open(other_of_mine, b"mine", membership)
        await leave_open(gone, b"never", membership)
        await leave_open(of_another_agent, b"not by me", membership)
        await mine.start()
        await mine.abort_orphans()
        found = [str(one) for one in await mine._open_ids()], [one.agent for one in await of_another_agent._open_ids()]
        for one in (mine, other_of_mine, gone, of_another_agent):
            await one.stop()
        return found, membership.member_id

    (of_users, of_budgets), member_id = in_group(empty_broker, run)
    assert of_users == [f"g/users/{member_id}/1"]
    assert of_budgets == ["budgets"]
