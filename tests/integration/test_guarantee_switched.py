"""Workers that promise at least once after others promised exactly once: what was aborted never was."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from loopback_kafka import BrokerProcess
from stream_coupons.agents.users import Users
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.records import Record
from stream_coupons.runtime.batch import BatchProcessor
from stream_coupons.runtime.cells import MemoryCells, in_memory
from stream_coupons.runtime.changelog import KafkaChangelog
from stream_coupons.testing import browse, item
from stream_coupons_lab.demo.system import LocalSystem
from tests.core.builders import knowledge

from .builders import IDLE_WITHIN_S, coupon, distinct_issues, records, settings, violations

pytestmark = pytest.mark.kafka

USER, CHANGELOG = "u1", topics.changelog("users").name
PARTITION = topics.partition_for(USER.encode(), settings().kafka.partitions)


@asynccontextmanager
async def transaction(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    """What users has under way for a partition; it is aborted at the end."""
    name = f"{settings().kafka.group_id}-users-{PARTITION}"
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=name) as producer:
        await producer.begin_transaction()
        yield producer
        await producer.abort_transaction()


def cells_after(system: LocalSystem, record: Record) -> dict[str, bytes]:
    """The cells that users would save for its first record."""
    known = knowledge(coupon("c1"), rules=system.settings.rules(PUBLIC_KEY))
    users = Users(lambda: known, system.settings.kafka.partitions)
    batches = BatchProcessor(users, topics.TICKS.name, topics.partition_for, users.partitions, keeps_outputs=False)
    batches.adopt(record.partition, MemoryCells({}))
    return batches.apply(record.partition, [record], {}).cells


def test_a_cell_of_an_aborted_transaction_is_no_state(empty_broker: BrokerProcess, tmp_path: Path) -> None:
    system = LocalSystem(empty_broker, settings(), tmp_path, workers=1)
    system.prepare([coupon("c1")])
    with system.publisher() as publisher:
        publisher.send(topics.BROWSE, browse(USER, item("A"), event_id="t1"))
    [one] = records(system, topics.BROWSE.name)
    cells = cells_after(system, Record(one.topic, one.partition, one.offset, one.timestamp, one.key, one.value))

    async def begin_and_abort() -> None:
        async with transaction(empty_broker.bootstrap) as producer:
            await producer.send_and_wait(CHANGELOG, cells[USER], USER.encode(), PARTITION)

    asyncio.run(begin_and_abort())
    with system:
        system.wait_ready()
        system.wait_idle(IDLE_WITHIN_S)
        assert [issue.trigger_id for issue in distinct_issues(system).values()] == ["t1"]
        assert violations(system) == []


def test_a_cell_behind_an_open_transaction_is_waited_for(empty_broker: BrokerProcess) -> None:
    bootstrap = empty_broker.bootstrap
    with admin.admin_client(Connection(bootstrap)) as client:
        admin.apply(client, settings().kafka)

    async def read() -> bytes | None:
        async with transaction(bootstrap) as open_one, AIOKafkaProducer(bootstrap_servers=bootstrap) as plain:
            await open_one.send_and_wait(CHANGELOG, b"aborted", USER.encode(), PARTITION)
            await plain.send_and_wait(CHANGELOG, b"ours", USER.encode(), PARTITION)
            changelog = KafkaChangelog(
                Connection(bootstrap), CHANGELOG, in_memory, lambda: pytest.fail("none is a stranger's")
            )
            reading = asyncio.create_task(changelog.read([PARTITION]))
            await asyncio.wait([reading], timeout=2.0)
            assert not reading.done()
        return (await reading)[PARTITION].get(USER)

    assert asyncio.run(read()) == b"ours"
