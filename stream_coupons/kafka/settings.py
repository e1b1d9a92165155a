"""Kafka settings: addresses of the brokers, timeouts, and the guarantee for appended records."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from stream_coupons.core.rules import Positive, Size
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.namespace import check_namespace


class Guarantee(StrEnum):
    """Delivery guarantee for records that workers append."""

    AT_LEAST_ONCE = "at_least_once"
    """Copies, with identical bytes, may arrive after a fault. For brokers without transactions, and least latency."""
    EXACTLY_ONCE = "exactly_once"
    """Consumers with `read_committed` see no copy at all. Needs Apache Kafka 4.0 or later."""


InstanceId = Annotated[str, Meta(pattern="^[A-Za-z0-9._-]*$", max_length=249)]
"""A `group.instance.id` of Kafka; empty for a dynamic member."""


class KafkaSettings(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Addresses, topics, timeouts and guarantee of the workers' Kafka clients."""

    group_id: str = "stream-coupons"
    instance_id: InstanceId = ""
    guarantee: Guarantee = Guarantee.AT_LEAST_ONCE
    partitions: Size = 4
    replication: Size = 1
    session_timeout_s: Positive = 10.0
    heartbeat_interval_s: Positive = 0.5
    rebalance_timeout_s: Positive = 20.0
    request_timeout_s: Positive = 45.0
    produce_timeout_s: Positive = 20.0
    transaction_timeout_s: Positive = 30.0
    commit_interval_s: Positive = 1.0

    @property
    def learner_group_id(self) -> str:
        """Consumer group of the learners: apart from `group_id`, so that neither's rebalance stops the other."""
        return f"{self.group_id}-learner"

    @property
    def group_ids(self) -> tuple[str, str]:
        """Both consumer groups of a system."""
        return self.group_id, self.learner_group_id

    def __post_init__(self) -> None:
        check_namespace(self.namespace)
        for address in self.bootstrap.split(","):
            host, colon, port = address.rpartition(":")
            is_port = port.isdecimal() and 0 < int(port) < 2**16
            # An IPv6 address without a port: it ends in a bracket, or has colons and no brackets.
            if not address.strip() or (colon and not (is_port and host) and not port.endswith("]") and ":" not in host):
                raise ValueError(f"bootstrap: {address!r}, expected host:port[,host:port], the port from 1 to 65535")
