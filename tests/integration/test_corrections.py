"""A purchase is reported again with another amount, refunded or cancelled: the last report counts."""

from pathlib import Path
from typing import Any

import pytest

from loopback_kafka import BrokerProcess
from stream_coupons.core.money.accounts import money_of
from stream_coupons.kafka import topics
from stream_coupons.testing import browse, feedback
from stream_coupons_lab.demo.system import LocalSystem
from tests.faults.trial import purses

from .builders import (
    AT,
    DAY_S,
    IDLE_WITHIN_S,
    coupon,
    distinct_issues,
    send_ticks,
    settings,
    total,
    violations,
)

pytestmark = pytest.mark.kafka

MOST = 200
BUDGET = 2_000
SHOPPERS = 40
COUPON = coupon("c", max_discount_minor=MOST, discount_minor=MOST, budget_minor=BUDGET, redeem_within_s=DAY_S)


def test_amounts_that_are_reported_late_do_not_pass_the_budget(empty_broker: BrokerProcess, tmp_path: Path) -> None:
    system = LocalSystem(empty_broker, settings(max_issues_per_window=1), tmp_path, workers=2)
    system.prepare([COUPON])
    with system, system.publisher() as publisher:
        system.wait_ready()

        def tell(kind: Any, after_s: float, amount: int | None) -> None:
            for issue in distinct_issues(system).values():
                event = feedback(issue, kind, at=issue.issued_at + after_s, discount_minor=amount)
                publisher.send(topics.FEEDBACK, event)
            publisher.flush()
            system.wait_idle(IDLE_WITHIN_S)

        for visit in range(3):
            for number in range(SHOPPERS):
                publisher.send(topics.BROWSE, browse(f"shopper-{number}", at=AT + 60 * visit))
            publisher.flush()
            system.wait_idle(IDLE_WITHIN_S)
            tell("purchase", 60 * visit + 1, 0)
        issues = distinct_issues(system)
        assert 0 < len(issues) <= BUDGET // MOST, "who says that a purchase cost nothing frees no money"

        tell("purchase", 300, MOST)
        assert purses(system, money_of("c")).spent == MOST * len(issues)
        tell("purchase", 200, 50)  # older than what is known
        tell("refund", 400, 80)
        money = purses(system, money_of("c"))
        assert money.spent - money.refunded == 80 * len(issues)
        tell("cancel", 500, None)
        money = purses(system, money_of("c"))
        assert money.spent == money.refunded
        assert money.drawn - money.freed == MOST * len(issues), "a coupon whose order was cancelled can be used again"
        tell("purchase", 600, 150)
        assert total(system, "overruns_total") == 0

        send_ticks(system, publisher, AT + 3 * DAY_S)
        system.wait_idle(IDLE_WITHIN_S)
        send_ticks(system, publisher, AT + 3 * DAY_S + 1)
        system.wait_idle(IDLE_WITHIN_S)
        money = purses(system, money_of("c"))
        assert money.drawn - money.freed == money.spent - money.refunded == 150 * len(issues)
        assert violations(system) == []
