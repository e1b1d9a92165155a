"""A shop loads its history before it begins: profiles are built, and nobody is given a coupon that has ended."""

import time
from pathlib import Path

import msgspec
import pytest

from loopback_kafka import BrokerProcess
from stream_coupons.kafka import topics
from stream_coupons.testing import browse, item
from stream_coupons_lab.demo.system import LocalSystem

from .builders import DAY_S, IDLE_WITHIN_S, coupon, distinct_issues, settings, total, violations

pytestmark = pytest.mark.kafka

SHOPPERS, VISITS, STOCK = 20, 3, 5


@pytest.mark.slow
def test_a_history_leads_to_no_coupon_and_takes_no_stock_of_the_present(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    live = settings()
    live = msgspec.structs.replace(live, worker=msgspec.structs.replace(live.worker, tick_every_s=0.5))
    system = LocalSystem(empty_broker, live, tmp_path, workers=1)
    system.prepare([coupon("c1", stock=STOCK)])
    now = time.time()
    with system, system.publisher() as publisher:
        system.wait_ready()
        for visit in range(VISITS):
            for number in range(SHOPPERS):
                at = now - (400 - 100 * visit) * DAY_S
                publisher.send(topics.BROWSE, browse(f"u{number}", item("A"), at=at))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        assert distinct_issues(system) == {}
        assert total(system, "decisions_total", outcome="timed_out") == SHOPPERS * VISITS
        for number in range(SHOPPERS):
            publisher.send(topics.BROWSE, browse(f"u{number}", item("A"), at=time.time()))
            publisher.flush()
            system.wait_idle(IDLE_WITHIN_S)
        assert len(distinct_issues(system)) == STOCK
        assert violations(system) == []
