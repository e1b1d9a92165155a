"""Brokers to run against: an embedded one for demonstration and tests, and Apache Kafka."""

from loopback_kafka.apache import ApacheKafka, apache_kafka_missing
from loopback_kafka.cluster import ApacheKafkaCluster
from loopback_kafka.embedded import EmbeddedBroker
from loopback_kafka.errors import (
    BrokerDataError,
    BrokerError,
    BrokerFailed,
    BrokerUnavailable,
)
from loopback_kafka.factory import Engine, open_broker
from loopback_kafka.process import BrokerProcess

__all__ = [
    "ApacheKafka",
    "ApacheKafkaCluster",
    "BrokerDataError",
    "BrokerError",
    "BrokerFailed",
    "BrokerProcess",
    "BrokerUnavailable",
    "EmbeddedBroker",
    "Engine",
    "apache_kafka_missing",
    "open_broker",
]
