"""Readers on a broker: the partition of one key."""

import pytest

from loopback.clients import KAFKA_PYTHON, create_topic
from loopback.test_clients import pairs
from loopback_kafka import BrokerProcess
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.connection import Connection

pytestmark = pytest.mark.kafka


def test_a_reader_of_a_key_reads_its_partition_only(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique, partitions=4)
    KAFKA_PYTHON.produce(broker.bootstrap, unique, pairs(20), False)
    with Reader(Connection(broker.bootstrap), [unique], from_beginning=True, key=b"k3") as reader:
        found = [*reader.read_to_end()]
    assert {one.partition for one in found} == {topics.partition_for(b"k3", 4)}
    assert [one.value for one in found if one.key == b"k3"] == [b"v3", b"v13"]
