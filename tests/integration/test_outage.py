"""After an outage longer than any grace, time comes no further than the backlog: what was in time is not late."""

import time
from pathlib import Path

import msgspec
import pytest

from loopback_kafka import BrokerProcess
from stream_coupons.core.rules import AttributionRules
from stream_coupons.kafka import topics
from stream_coupons.settings import Settings
from stream_coupons.testing import browse, feedback, item
from stream_coupons_lab.demo.system import LocalSystem

from .builders import IDLE_WITHIN_S, coupon, messages, records, settings, total, violations, wait_until

pytestmark = pytest.mark.kafka

WINDOW_S, GRACE_S = 15.0, 1.0
SEEN = 10_000
"""Impressions that wait before the purchase: fifty fetches, and many ticks."""


def hurried() -> Settings:
    usual = settings()
    return msgspec.structs.replace(
        usual,
        kafka=msgspec.structs.replace(usual.kafka, partitions=1),
        worker=msgspec.structs.replace(usual.worker, tick_every_s=0.05, batch_records=200),
        attribution=AttributionRules(grace_s=GRACE_S),
    )


@pytest.mark.slow
def test_a_tick_does_not_overtake_a_purchase_that_waits_in_the_backlog(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    system = LocalSystem(empty_broker, hurried(), tmp_path, workers=1)
    system.prepare([coupon("c1", budget_minor=100, redeem_within_s=WINDOW_S)])
    with system, system.publisher() as publisher:
        system.wait_ready()

        def is_given() -> bool:
            publisher.send(topics.BROWSE, browse("ann", item("A"), at=time.time()))  # the first ones ask for the money
            publisher.flush()
            return bool(messages(system, topics.ISSUES))

        wait_until(is_given, "ann's coupon")
        [issue] = messages(system, topics.ISSUES)
        system.workers[0].process.terminate()
        system.workers[0].process.wait(IDLE_WITHIN_S)

        for number in range(SEEN):
            publisher.send(topics.FEEDBACK, feedback(issue, "impression", at=time.time(), event_id=f"seen-{number}"))
        publisher.send(topics.FEEDBACK, feedback(issue, "purchase", at=time.time(), discount_minor=100))
        publisher.flush()
        assert time.time() < issue.expires_at, "the machine is too slow for this test"
        wait_until(lambda: time.time() > issue.expires_at + GRACE_S, "the end of the window and its grace")
        system.restart(0)
        system.wait_ready()
        system.wait_idle(IDLE_WITHIN_S)
        wait_until(lambda: total(system, "coupons_ended_total") == 1, "what became of it")
        assert total(system, "coupons_ended_total", outcome="redeemed") == 1
        assert records(system, "dead-letters") == []

        publisher.send(topics.BROWSE, browse("bob", item("A"), at=time.time()))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        assert messages(system, topics.ISSUES) == [issue], "the budget is spent"
        assert total(system, "replays_total") == 0
        assert violations(system) == []
