"""Brokers to run against: an embedded one for demonstration and tests, and Apache Kafka."""

from stream_coupons.broker.apache import ApacheKafka, apache_kafka_missing
from stream_coupons.broker.embedded import EmbeddedBroker
from stream_coupons.broker.errors import (
    BrokerDataError,
    BrokerError,
    BrokerFailed,
    BrokerUnavailable,
)
from stream_coupons.broker.factory import Engine, open_broker
from stream_coupons.broker.process import BrokerProcess

__all__ = [
    "ApacheKafka",
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
