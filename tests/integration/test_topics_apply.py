"""`topics apply` makes a broker's topics what the registry says, or says how they differ and changes nothing."""

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from kafka.admin import NewPartitions, NewTopic

from loopback_kafka import BrokerProcess
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.money.accounts import units_of
from stream_coupons.core.money.holdings import Account, Holding, HoldingSums, key_of
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.runtime.cells import Cell, CellCodec, StateCodec
from stream_coupons.runtime.steps import SHARED_PREFIX
from stream_coupons.secret import ALLOW_PUBLIC
from stream_coupons.worker.homes import check_homes

from .builders import wait_until

pytestmark = pytest.mark.kafka

PARTITIONS = 3


def settings_for(broker: BrokerProcess, partitions: int = PARTITIONS) -> KafkaSettings:
    return KafkaSettings(bootstrap=broker.bootstrap, partitions=partitions)


def run_apply(broker: BrokerProcess, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run(broker, PARTITIONS, "topics", "apply", *arguments)


def run(broker: BrokerProcess, partitions: int, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "stream_coupons", *arguments, "--bootstrap", broker.bootstrap]
    environ = {
        "STREAM_COUPONS_KAFKA__PARTITIONS": str(partitions),
        "NO_COLOR": "1",
        "COLUMNS": "200",
        ALLOW_PUBLIC: "1",
    }
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environ)


def our_topics(client: Any) -> set[str]:
    return set(client.list_topics()) & topics.BY_NAME.keys()


def test_apply_creates_all_topics_once_and_check_agrees(empty_broker: BrokerProcess) -> None:
    missing = run_apply(empty_broker, "--check")
    assert missing.returncode != 0
    assert missing.stderr.endswith("has none of the topics. Run `stream-coupons topics apply`.\n")
    assert "kafka.partitions" not in missing.stderr, "that would not help"

    with admin.admin_client(Connection(empty_broker.bootstrap)) as client:
        assert our_topics(client) == set(), "--check created something"
        first = admin.apply(client, settings_for(empty_broker))
        assert not any(state.exists for state in first)
        assert our_topics(client) == topics.BY_NAME.keys()
        second = admin.apply(client, settings_for(empty_broker), check_only=True)
        assert all(state.exists and not state.differences for state in second)

    again = run_apply(empty_broker)
    assert again.returncode == 0, again.stderr
    assert f"{len(topics.ALL)} topics ready (0 created)" in again.stdout
    assert run_apply(empty_broker, "--check").returncode == 0


def test_another_number_of_partitions_than_the_topics_have_is_refused(module_broker: BrokerProcess) -> None:
    with admin.admin_client(Connection(module_broker.bootstrap)) as client:
        admin.apply(client, settings_for(module_broker))
        for check_only in (False, True):
            with pytest.raises(BadConfig) as refused:
                admin.apply(client, settings_for(module_broker, PARTITIONS + 2), check_only=check_only)
            for topic in topics.ALL:
                line = f"{topic.name} has {PARTITIONS} partitions, expected {PARTITIONS + 2}"
                assert (line in str(refused.value)) == (topic.partitions is None)
        assert all(not state.differences for state in admin.compare(client, settings_for(module_broker)))


def test_a_topic_of_other_settings_is_refused_and_nothing_is_created(empty_broker: BrokerProcess) -> None:
    wrong = msgspec.structs.replace(settings_for(empty_broker), partitions=1)
    configs = {**topics.CART.configs(), "retention.ms": "1000"}
    with admin.admin_client(Connection(empty_broker.bootstrap)) as client:
        client.create_topics([NewTopic("cart-events", num_partitions=1, replication_factor=1, topic_configs=configs)])
        client.wait_for_topics(["cart-events"])
        with pytest.raises(BadConfig, match=r"cart-events retention.ms is 1000, expected 604800000"):
            admin.apply(client, wrong)
        assert our_topics(client) == {"cart-events"}

    refused = run_apply(empty_broker)
    output = refused.stdout + refused.stderr
    assert refused.returncode != 0
    assert f"cart-events has 1 partitions, expected {PARTITIONS}" in output
    assert "cart-events retention.ms is 1000, expected 604800000" in output
    assert "Traceback" not in output


SHOPPERS = [f"shopper-{number}".encode() for number in range(200)]
USERS = topics.changelog("users")


def test_no_worker_starts_over_states_that_are_not_where_their_keys_belong_any_more(
    empty_broker: BrokerProcess,
) -> None:
    before, after = settings_for(empty_broker, 2), settings_for(empty_broker, 4)
    cell = CellCodec(Shopper).encode(Cell(None, Shopper()))
    with (
        admin.admin_client(Connection(empty_broker.bootstrap)) as client,
        Publisher(Connection(empty_broker.bootstrap), 2) as publisher,
    ):
        admin.apply(client, before)
        check_homes(before)
        for key in SHOPPERS:
            publisher.send_bytes(USERS, key, cell)
        for number, value in enumerate((cell, b"garbage", b"", None)):  # of strangers
            key = b"stranger-%d" % number
            publisher.send_bytes(USERS, key, value, 1 - topics.partition_for(key, 2))
            publisher.send_bytes(topics.changelog("accounts"), b"\xff%d" % number, b"garbage", number % 2)
            # What a partition's shoppers share belongs to no key's partition.
            publisher.send_bytes(USERS, f"{SHARED_PREFIX}units:{number}".encode(), cell, number % 2)
        publisher.flush()
        check_homes(before)

        grown = [topic.name for topic in topics.ALL if topic.partitions is None]
        client.create_partitions({name: NewPartitions(4) for name in grown})
        wait_until(lambda: all(len(one["partitions"]) == 4 for one in client.describe_topics(grown)), "4 partitions")
        with pytest.raises(BadConfig, match="must never be given more, states would not follow their keys"):
            admin.apply(client, before)
        admin.apply(client, after, check_only=True)
        with pytest.raises(BadConfig, match=r"stream-coupons-users-changelog: \d+ of the \d+ states looked at belong"):
            check_homes(after)


def test_one_sold_out_coupon_that_moved_keeps_a_worker_from_starting(empty_broker: BrokerProcess) -> None:
    accounts = [units_of(f"coupon-{number}").encode() for number in range(20)]
    account = next(key for key in accounts if topics.partition_for(key, 2) != topics.partition_for(key, 4))
    sold_out = Account(sums=HoldingSums(drawn=1))
    with (
        admin.admin_client(Connection(empty_broker.bootstrap)) as client,
        Publisher(Connection(empty_broker.bootstrap), 2) as publisher,
    ):
        admin.apply(client, settings_for(empty_broker, 4))
        publisher.send_bytes(topics.changelog("accounts"), account, CellCodec(Account).encode(Cell(None, sold_out)))
        holding, home = StateCodec(Holding).encode(Holding(drawn=1)), topics.partition_for(account, 2)
        key = f"{SHARED_PREFIX}{key_of(account.decode(), 0)}".encode()
        publisher.send_bytes(topics.changelog("accounts"), key, holding, home)
        publisher.flush()
    refused = run(empty_broker, 4, "worker", "--metrics-port", "0")
    assert refused.returncode == 2
    assert (
        "error: stream-coupons-accounts-changelog: 2 of the 2 states looked at belong to other part" in refused.stderr
    )
    assert "Traceback" not in refused.stderr
