"""`catalog audience`: the catalogue and the states that the topics hold, counted."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from lab.decided import busy_shop, order_later, whole_log
from loopback_kafka import BrokerProcess
from stream_coupons.kafka.settings import KafkaSettings

from .conftest import Run
from .test_verify import put

RunBroker = Callable[[], AbstractContextManager[BrokerProcess]]


@pytest.fixture(scope="module")
def idle(run_broker: RunBroker) -> Iterator[str]:
    """A system of two shoppers, of whom one has ordered."""
    shop = busy_shop(KafkaSettings().partitions)
    order_later(shop, "ann")
    with run_broker() as broker:
        put(broker.bootstrap, whole_log(shop))
        yield broker.bootstrap


@pytest.mark.kafka
def test_shoppers_who_qualify_are_counted_with_the_reasons_of_the_others(run: Run, idle: str, tmp_path: Path) -> None:
    ruled = {
        "coupon_id": "vip-tea",
        "discount_percent": 10.0,
        "max_discount_minor": 500,
        "stock": 5,
        "eligible_if": "shopper.orders >= 1 && 'vip' in shopper.segments",
    }
    (tmp_path / "ruled.json").write_text(json.dumps([ruled]))
    assert run("catalog", "push", tmp_path / "ruled.json", "-b", idle).exit_code == 0
    found = json.loads(run("catalog", "audience", "vip-tea", "-b", idle, "--json").stdout)
    assert (found["shoppers"], found["qualify"]) == (2, 1)
    assert found["against"] == {"shopper.orders >= 1": 1}
    text = run("catalog", "audience", "vip-tea", "-b", idle).stdout
    assert "1 of 2 shoppers (50.0%) qualify for vip-tea" in text
    assert "depends on the trigger, taken for true: 'vip' in shopper.segments" in text


@pytest.mark.kafka
def test_a_coupon_that_is_not_there_is_refused_with_the_one_that_was_meant(run: Run, idle: str) -> None:
    result = run("catalog", "audience", "teas", "-b", idle)
    assert result.exit_code == 2
    assert "coupon 'teas' is not in the catalogue, expected tea?" in result.stderr
