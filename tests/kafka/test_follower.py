"""A follower of a real topic: what it took is brought into use when all was read, and then not for each record anew."""

import asyncio
import time
from itertools import pairwise

import pytest
from aiokafka import AIOKafkaProducer

from loopback.clients import create_topic
from loopback_kafka import BrokerProcess
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.follower import SETTLING_RATIO, Follower, RecordHandlers
from stream_coupons.kafka.topics import Cleanup, Topic

pytestmark = pytest.mark.kafka
AT_FIRST = 200
CHANGES = 30


def test_what_was_taken_is_brought_into_use_at_the_end_and_then_together_for_a_share_of_the_time(
    broker: BrokerProcess, unique: str
) -> None:
    topic = Topic(unique, None, "a number", "numbers", cleanup=Cleanup.COMPACT)
    create_topic(broker.bootstrap, unique, **topic.configs())

    def publish(first: int, end: int) -> None:
        with Publisher(Connection(broker.bootstrap), 1) as publisher:
            for number in range(first, end):
                publisher.send_bytes(topic, b"key", str(number).encode() * 100)

    async def follow() -> None:
        taken: list[bytes] = []
        settling: asyncio.Queue[int] = asyncio.Queue()
        times: list[tuple[float, float]] = []
        go_on = asyncio.Event()

        async def settle() -> None:
            started = time.monotonic()
            settling.put_nowait(len(taken))
            await go_on.wait()
            times.append((started, time.monotonic()))

        follower: Follower[bytes] = Follower(
            Connection(broker.bootstrap), unique, 2**14, RecordHandlers(lambda _, value: value, taken.append, settle)
        )
        await follower.start()
        try:
            assert await settling.get() == AT_FIRST
            assert not follower.is_caught_up
            go_on.set()
            await follower.wait_caught_up()
            go_on.clear()
            await asyncio.to_thread(publish, AT_FIRST, AT_FIRST + 1)
            assert await settling.get() == AT_FIRST + 1
            await asyncio.to_thread(publish, AT_FIRST + 1, AT_FIRST + 1 + CHANGES)
            go_on.set()
            calls = 1
            while await settling.get() < AT_FIRST + 1 + CHANGES:
                calls += 1
        finally:
            await follower.stop()
            # To stop does not wait for its client, which is closed by a task.
            if others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others, timeout=10)
        # The client may have fetched some of the changes when the first of them was written, and the others then.
        assert calls <= CHANGES // 5
        for (started, ended), (again, _) in pairwise(times[1:]):
            assert ended - started <= SETTLING_RATIO * (again - started)

    publish(0, AT_FIRST)
    asyncio.run(follow())


def test_a_follower_that_waits_for_open_transactions_has_caught_up_behind_them(
    broker: BrokerProcess, unique: str
) -> None:
    topic = Topic(unique, None, "a number", "numbers", cleanup=Cleanup.COMPACT)
    create_topic(broker.bootstrap, unique, **topic.configs())

    async def follow() -> tuple[bool, list[bytes]]:
        taken: list[bytes] = []
        follower: Follower[bytes] = Follower(
            Connection(broker.bootstrap), unique, 2**14, RecordHandlers(lambda _, value: value, taken.append)
        )
        follower.waits_for_open = True
        async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=unique) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(unique, b"open", b"key")
            await follower.start()
            waiting = asyncio.create_task(follower.wait_caught_up())
            await asyncio.wait([waiting], timeout=2.0)
            has_waited = not waiting.done()
            await producer.commit_transaction()
            await waiting
        await follower.stop()
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=10)
        return has_waited, taken

    assert asyncio.run(follow()) == (True, [b"open"])
