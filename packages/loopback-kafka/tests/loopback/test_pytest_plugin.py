"""The fixture that the package gives to pytest."""

from contextlib import closing

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from loopback_kafka import BrokerProcess

from .clients import create_topic

pytestmark = pytest.mark.process


def test_the_fixture_is_a_broker_that_keeps_records(loopback_kafka: BrokerProcess, unique: str) -> None:
    create_topic(loopback_kafka.bootstrap, unique)
    with closing(KafkaProducer(bootstrap_servers=loopback_kafka.bootstrap)) as producer:
        producer.send(unique, b"kept").get(timeout=10)
    with closing(KafkaConsumer(bootstrap_servers=loopback_kafka.bootstrap, auto_offset_reset="earliest")) as consumer:
        consumer.assign([TopicPartition(unique, 0)])
        assert next(consumer).value == b"kept"
