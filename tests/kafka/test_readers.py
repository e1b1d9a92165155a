"""Readers on a broker: the partition of one key, and events in envelopes."""

import pytest

from loopback.clients import KAFKA_PYTHON, create_topic
from loopback.test_clients import pairs
from loopback_kafka import BrokerProcess
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.connection import Connection, Format

pytestmark = pytest.mark.kafka


def test_a_reader_of_a_key_reads_its_partition_only(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique, partitions=4)
    KAFKA_PYTHON.produce(broker.bootstrap, unique, pairs(20), False)
    with Reader(Connection(broker.bootstrap), [unique], from_beginning=True, key=b"k3") as reader:
        found = [*reader.read_to_end()]
    assert {one.partition for one in found} == {topics.partition_for(b"k3", 4)}
    assert [one.value for one in found if one.key == b"k3"] == [b"v3", b"v13"]


def test_a_reader_gives_the_event_within_an_envelope_and_what_is_none_as_it_is(
    broker: BrokerProcess, unique: str
) -> None:
    create_topic(broker.bootstrap, unique, partitions=1)
    envelope = b'{"op": "c", "after": {"event_id": "e1", "item": null}}'
    KAFKA_PYTHON.produce(broker.bootstrap, unique, [(b"k", envelope), (b"k", b"{")], False)
    connection = Connection(broker.bootstrap, formats={unique: Format.DEBEZIUM})
    with Reader(connection, [unique], from_beginning=True) as reader:
        assert [one.value for one in reader.read_to_end()] == [b'{"event_id":"e1"}', b"{"]
