"""The last units and the last money of a coupon, wanted by shoppers of every partition; then all workers restart."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback_kafka import BrokerProcess
from stream_coupons.core.caps import Cap
from stream_coupons.core.money.purses import ASK_AGAIN_S
from stream_coupons.kafka import topics
from stream_coupons.testing import browse
from stream_coupons_lab.demo.system import LocalSystem

from .builders import (
    AT,
    DAY_S,
    IDLE_WITHIN_S,
    coupon,
    distinct_issues,
    records,
    settings,
    total,
    violations,
)

pytestmark = pytest.mark.kafka

LEFT = 5
SHOPPERS = 60
WAVES = 6
GRACE_S = 30.0
"""Seconds that deploy/docker-compose.yml grants a worker to stop."""

COUPONS = [
    coupon("last-units", domain="goods", stock=LEFT, exclusion_group="last"),
    coupon("last-money", domain="travel", budget_minor=LEFT * 100 + 99, exclusion_group="last"),
]


def shoppers(domain: str) -> list[str]:
    return [f"{domain}-{number}" for number in range(SHOPPERS)]


@pytest.fixture(scope="module")
def system(module_broker: BrokerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    """A system in which every shopper has asked once; at most one coupon a shopper."""
    folder: Path = tmp_path_factory.mktemp("workers")
    system = LocalSystem(
        module_broker, settings(max_issues_per_window=9, caps=[Cap(per="life", n=1)]), folder, workers=2
    )
    system.prepare(COUPONS)
    with system:
        system.wait_ready()
        everybody_browses(system, AT)
        yield system


def everybody_browses(system: LocalSystem, at: float) -> None:
    """In waves, each when a partition may ask for more again."""
    with system.publisher() as publisher:
        for wave in range(WAVES):
            for domain in ("goods", "travel"):
                for user_id in shoppers(domain)[wave::WAVES]:
                    then = at + wave * ASK_AGAIN_S
                    publisher.send(topics.BROWSE, browse(user_id, at=then, domain=domain))
            publisher.flush()
            system.wait_idle(IDLE_WITHIN_S)


def issued(system: LocalSystem) -> Counter[str]:
    return Counter(issue.coupon_id for issue in distinct_issues(system).values())


def test_the_last_of_stock_and_budget_is_issued_exactly(system: LocalSystem) -> None:
    partitions = {record.partition for record in records(system, "browse-events")}
    assert partitions == set(range(system.settings.kafka.partitions)), "the shoppers are not of every partition"
    assert issued(system) == {"last-units": LEFT, "last-money": LEFT}
    assert total(system, "decisions_total", outcome="sold_out") == 2 * (SHOPPERS - LEFT)
    assert violations(system) == []


def test_after_a_restart_of_all_workers_caps_and_limits_hold_and_old_input_is_not_read_again(
    system: LocalSystem,
) -> None:
    before = records(system, "coupon-issues")
    for worker in system.workers:
        worker.process.terminate()
    assert [worker.process.wait(GRACE_S) for worker in system.workers] == [0, 0]
    for index in range(len(system.workers)):
        system.restart(index)
    system.wait_ready()
    system.wait_idle(IDLE_WITHIN_S)
    assert total(system, "records_total", topic="browse-events") == 0
    assert total(system, "replays_total") == 0
    assert len(records(system, "coupon-issues")) == len(before)

    everybody_browses(system, AT + DAY_S)
    assert issued(system) == {"last-units": LEFT, "last-money": LEFT}
    assert total(system, "decisions_total", outcome="frequency_cap") == 2 * LEFT
    assert total(system, "decisions_total", outcome="sold_out") == 2 * (SHOPPERS - LEFT)

    everybody_browses(system, AT)
    assert total(system, "duplicates_total", topic="browse-events") == 2 * SHOPPERS
    assert issued(system) == {"last-units": LEFT, "last-money": LEFT}
    assert violations(system) == []
