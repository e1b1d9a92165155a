"""A staged campaign changes no byte of any decision, and the record states where its coupons would have been given."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision, StagedCoupon
from stream_coupons.kafka import topics
from stream_coupons.testing import START, LocalPipeline, browse, campaign, cart, coupon, item, order, plain_settings
from tests.core.builders import DAY_S

LIVE = [
    coupon("tea-5", categories=["tea"], discount_percent=5, max_discount_minor=200, stock=40, attributes={"b": "x"}),
    coupon("ham-5", categories=["ham"], discount_percent=5, max_discount_minor=200, budget_minor=4000, priority=1),
    coupon("shop", discount_percent=2, max_discount_minor=100),
]
RIVAL: dict[str, Any] = {
    "campaign_id": "spring",
    "categories": ["tea"],
    "discount_percent": 10,
    "max_discount_minor": 900,
    "typical_price_minor": 9000,
    "margin_ratio": 0.6,
    "attributes": {"a": "new", "c": 3.0},
    "vector": [0.5, 0.25, -1.0],
    "kind": "rival",
}
SPRING = {"budget_minor": 50_000, "ends_at": START + 90 * DAY_S, "caps": []}
POLICY: dict[str, Any] = {
    "holdout_ratio": 0.1,
    "control_ratio": 0.1,
    "exploration_ratio": 0.2,
    "max_candidates": 2,
    "watched_ratio": 1.0,
    "cooldown_s": 3600.0,
}


def played(coupons: Sequence[Coupon], campaigns: Sequence[Campaign]) -> LocalPipeline:
    """Three days of 40 shoppers."""
    shop = LocalPipeline(plain_settings(**POLICY), coupons, campaigns=campaigns, partitions=2)
    for day in range(3):
        for number in range(40):
            user, at = f"u{number}", START + day * DAY_S + number * 60.0
            of = item(f"{number % 7}", category=("tea", "ham", "ink")[(number + day) % 3], price_minor=1500)
            shop.publish(browse(user, of, at=at), cart(user, of, at=at + 30))
            if number % 4 == day:
                shop.publish(order(user, of, at=at + 90))
        shop.tick(START + (day + 1) * DAY_S - 1)
    return shop


def without_staged(shop: LocalPipeline) -> list[Any]:
    """Every output, but for the field `staged` of decisions."""
    found = []
    for one in shop.outputs:
        value = one.value
        if one.topic == topics.DECISIONS.name and value is not None:
            fields = msgspec.json.decode(value)
            fields.pop("staged", None)
            value = msgspec.json.encode(fields)
        found.append((one.topic, one.key, value, one.headers))
    return found


def test_a_staged_campaign_changes_no_output() -> None:
    spring = campaign("spring", state="staged", **SPRING)
    staged = [coupon("rival", **RIVAL), coupon("a-rival", **(RIVAL | {"priority": 2, "not_while_held": "none"}))]
    alone, beside = played(LIVE, []), played([*LIVE, *staged], [spring])
    assert without_staged(alone) == without_staged(beside)
    logged = [one for one in beside.outputs if one.topic == topics.DECISIONS.name]
    decisions = [msgspec.json.decode(one.value or b"", type=LoggedDecision) for one in logged]
    named = [one for one in decisions if one.staged is not None]
    assert len(named) > 20
    assert {one.staged.coupon_id for one in named if one.staged} == {"a-rival"}, "its priority is higher"
    assert {one.result for one in named} <= {"given", "not_worth_it", "control"}
    assert all(one.drawn is None for one in named), "exploration decided the others"
    assert beside.facts["staged", "spring"] == len(named)
    assert "staged" not in {noun for noun, _ in alone.facts}


@pytest.mark.parametrize("state", ["draft", "approved"])
def test_campaigns_before_their_launch_change_no_output(state: Any) -> None:
    spring = campaign("spring", state=state, **SPRING)
    beside = played([*LIVE, coupon("rival", **RIVAL)], [spring])
    assert without_staged(played(LIVE, [])) == without_staged(beside)
    assert "staged" not in {noun for noun, _ in beside.facts}


def test_the_value_on_record_is_that_of_the_running_campaign() -> None:
    """The first decision of a shopper, staged and running."""

    def first(state: Any) -> LoggedDecision:
        shop = LocalPipeline(
            plain_settings(exploration_ratio=0.0), [LIVE[2], coupon("rival", **RIVAL)],
            campaigns=[campaign("spring", state=state, **SPRING)],
        )  # fmt: skip
        found: list[LoggedDecision] = []
        shop.listen(LoggedDecision, found.append)
        shop.publish(browse("ann", item("green", category="tea", price_minor=1500)))
        [decision] = found
        return decision

    running, staged = first("running"), first("staged")
    assert running.coupon_id == "rival"
    value = dict(zip(running.arms, running.values_minor, strict=True))["rival"]
    assert staged.staged == StagedCoupon("rival", value)
    assert "rival" not in staged.arms
    assert staged.propensity == 1.0


def test_a_staged_coupon_that_is_not_the_best_is_not_on_record() -> None:
    poor = coupon("poor", campaign_id="spring", categories=["tea"], discount_percent=90, max_discount_minor=5000)
    shop = LocalPipeline(plain_settings(), [LIVE[0], poor], campaigns=[campaign("spring", state="staged")])
    shop.publish(browse("ann", item("green", category="tea", price_minor=1500)))
    assert [one.coupon_id for one in shop.messages(CouponIssue)] == ["tea-5"]
    assert [one.staged for one in shop.messages(LoggedDecision)] == [None]
