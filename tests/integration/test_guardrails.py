"""A running system holds a campaign by itself, states why, and leaves it running once an operator resumes it."""

import json
from itertools import count
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loopback_kafka import BrokerProcess
from stream_coupons.cli.main import app
from stream_coupons.kafka import topics
from stream_coupons.kafka.settings import Guarantee
from stream_coupons.testing import browse, feedback, item
from stream_coupons_lab.demo.system import LocalSystem

from .builders import AT, IDLE_WITHIN_S, coupon, distinct_issues, send_ticks, settings, total, violations, wait_until

pytestmark = pytest.mark.kafka

GUARDRAILS = [
    {"metric": "redemption_ratio", "limit": 0.2},
    {"metric": "spend_a_day", "limit": 1500, "action": "pause"},
]


class Shop:
    """A worker with its learner, an operator, and shoppers who use every coupon at once."""

    def __init__(self, system: LocalSystem) -> None:
        self.system, self.number = system, count()

    def operate(self, *args: str) -> str:
        result = CliRunner().invoke(app, [*args, "-b", self.system.settings.kafka.bootstrap])
        assert result.exit_code == 0, result.output
        return result.output

    def state(self) -> str:
        [one] = json.loads(self.operate("campaigns", "list", "--json"))
        return str(one["state"])

    def sell(self, shoppers: int) -> None:
        """Let shoppers come, each of whom takes 1.00 off an order, and report it."""
        users = {f"u{next(self.number)}" for _ in range(shoppers)}
        with self.system.publisher() as publisher:
            for user in sorted(users):
                publisher.send(topics.BROWSE, browse(user, item("A"), at=AT))
        self.system.wait_idle(IDLE_WITHIN_S)
        issues = [one for one in distinct_issues(self.system).values() if one.user_id in users]
        assert {one.coupon_id for one in issues} == {"best"}
        with self.system.publisher() as publisher:
            for issue in issues:
                publisher.send(topics.FEEDBACK, feedback(issue, "purchase", at=AT + 5, discount_minor=100))
        self.system.wait_idle(IDLE_WITHIN_S)
        with self.system.publisher() as publisher:
            send_ticks(self.system, publisher, AT + 60.0 * next(self.number))

    def is_given(self, coupon_id: str) -> bool:
        """Let one shopper come who buys nothing; return True if it is given this coupon."""
        user = f"v{next(self.number)}"
        with self.system.publisher() as publisher:
            publisher.send(topics.BROWSE, browse(user, item("A"), at=AT))
        self.system.wait_idle(IDLE_WITHIN_S)
        return (user, coupon_id) in {(one.user_id, one.coupon_id) for one in distinct_issues(self.system).values()}


@pytest.mark.parametrize("guarantee", [Guarantee.AT_LEAST_ONCE, Guarantee.EXACTLY_ONCE])
def test_a_campaign_is_held_by_itself_and_a_resume_is_respected(
    empty_broker: BrokerProcess, tmp_path: Path, guarantee: Guarantee
) -> None:
    system = LocalSystem(empty_broker, settings(guarantee=guarantee, totals_every_s=0.0), tmp_path, workers=1)
    system.prepare([coupon("own", items=["A"], margin_ratio=0.2)])
    best = {"coupon_id": "best", "campaign_id": "spring", "items": ["A"], "margin_ratio": 0.9, "stock": 1000}
    best |= {"discount_percent": 10.0, "max_discount_minor": 100, "budget_hold": "maximum"}
    file = tmp_path / "catalog.json"
    file.write_text(json.dumps({"campaigns": [{"campaign_id": "spring", "guardrails": GUARDRAILS}], "coupons": [best]}))
    shop = Shop(system)
    shop.operate("catalog", "push", str(file))
    with system:
        system.wait_ready()
        assert total(system, "catalogue_coupons") == 2
        shop.sell(10)
        wait_until(lambda: shop.state() == "held", "it is held")
        shop.operate("campaigns", "resume", "spring", "--reason", "the ratio is meant to be high")
        wait_until(lambda: shop.is_given("best"), "the worker has read it")
        for shoppers in (3, 5):  # 13.00, and 18.00: the ratio is beyond its limit all the time
            shop.sell(shoppers)
        wait_until(lambda: shop.state() == "paused", "it is paused")
        found = json.loads(shop.operate("campaigns", "history", "spring", "--json"))
        assert [(one["change"]["verb"], one["in_effect"]) for one in found] == [
            ("push", True), ("hold", True), ("resume", True), ("pause", True),
        ]  # fmt: skip
        held, paused = found[1]["change"], found[3]["change"]
        assert (held["by"], held["guardrail"]) == ("guardrail", GUARDRAILS[0])
        assert held["reason"].startswith("redemption_ratio in ecommerce is 100.0 %, at least 58.3 %")
        assert paused["reason"] == "spend_a_day in ecommerce is 1,800, above the limit of 1,500"
        assert "held" in shop.operate("campaigns", "history", "spring")
        system.wait_idle(IDLE_WITHIN_S)
        assert total(system, "guardrail_actions_total", campaign="spring") == 2
        assert violations(system) == []
