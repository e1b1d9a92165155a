"""Readers on a broker: a record by its offset, and the partition of one key."""

import pytest

from loopback.clients import KAFKA_PYTHON, create_topic
from loopback.test_clients import pairs
from loopback_kafka import BrokerProcess
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Fetcher, Reader
from stream_coupons.kafka.connection import Connection

pytestmark = pytest.mark.kafka


def test_a_record_is_fetched_by_its_place(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique, partitions=2)
    KAFKA_PYTHON.produce(broker.bootstrap, unique, pairs(20), False)
    with Reader(Connection(broker.bootstrap), [unique], from_beginning=True) as reader:
        wanted = {(one.partition, one.offset): one.value for one in reader.read_to_end()}
    assert len(wanted) == 20
    with Fetcher(Connection(broker.bootstrap)) as fetcher:
        for (partition, offset), value in [*wanted.items()][::5]:
            assert fetcher.fetch(unique, partition, offset).value == value  # type: ignore[union-attr]
        for topic, partition, offset in ((unique, 0, 20), (unique, 0, -1), (unique, 2, 0), (f"no-{unique}", 0, 0)):
            assert fetcher.fetch(topic, partition, offset) is None


def test_a_reader_of_a_key_reads_its_partition_only(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique, partitions=4)
    KAFKA_PYTHON.produce(broker.bootstrap, unique, pairs(20), False)
    with Reader(Connection(broker.bootstrap), [unique], from_beginning=True, key=b"k3") as reader:
        found = [*reader.read_to_end()]
    assert {one.partition for one in found} == {topics.partition_for(b"k3", 4)}
    assert [one.value for one in found if one.key == b"k3"] == [b"v3", b"v13"]
