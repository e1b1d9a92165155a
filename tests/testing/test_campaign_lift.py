"""The lift of a campaign in the whole system: what is reported equals a recount of the log, and shows what it earns."""

from collections import defaultdict
from functools import lru_cache

import numpy as np
import pytest

from stream_coupons.core.decision.campaign_holdout import is_left_out
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.measurement.lift_sums import MARGIN, ORDERS, matrices
from stream_coupons.core.measurement.totals import LatestReports
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import OrderEvent
from stream_coupons.core.messages.lift import LiftTotals
from stream_coupons.core.rules import ShopRules
from stream_coupons.ops.campaign_lift import CampaignLift, campaign_lifts, verdict
from stream_coupons.settings import Settings
from stream_coupons.testing import START, LocalPipeline, browse, coupon, feedback, item, order, plain_settings
from tests.core.builders import FixedScorer

pytestmark = pytest.mark.long

SHOPPERS, RATIO, OFF, COST = 260, 0.4, 100, 2.0
TEA, SALT = (item(name, category=name, price_minor=1000) for name in ("tea", "salt"))
SPRING = Campaign(campaign_id="spring", holdout_ratio=RATIO)
COUPONS = [
    coupon("tea-100", categories=["tea"], campaign_id="spring", priority=1, discount_minor=OFF, max_discount_minor=OFF),
    coupon("salt-100", categories=["salt"], discount_minor=OFF, max_discount_minor=OFF),
]


@lru_cache
def played(partitions: int) -> LocalPipeline:
    """Shoppers who come twice; some order anyway, and two orders more with a coupon for tea, at its discount."""
    rng = np.random.default_rng(5)
    policy = plain_settings(totals_every_s=0.0, holdout_ratio=0.1, min_value_minor=-1e6, cost_minor=COST).policy
    shop = LocalPipeline(
        Settings(policy=policy, shop=ShopRules(currencies={"ecommerce": "EUR"})), COUPONS, campaigns=[SPRING],
        scorer=FixedScorer(), partitions=partitions,
    )  # fmt: skip
    given: list[CouponIssue] = []
    shop.listen(CouponIssue, given.append)
    for number in range(SHOPPERS):
        user, at = f"shopper-{number}", START + 3600.0 * number
        shop.publish(browse(user, TEA, at=at))
        if rng.random() < 0.6:
            shop.publish(order(user, SALT, at=at + 5))
        for issue in given:
            if issue.coupon_id == "tea-100":
                shop.publish(feedback(issue, "purchase", at=at + 5, discount_minor=OFF))
                shop.publish(*(order(user, TEA, at=at + 6 + n, event_id=f"{user}-more-{n}") for n in range(2)))
        given.clear()
        if number % 50 == 0:
            shop.tick(at + 10)
    shop.tick(START + 3600.0 * SHOPPERS)
    return shop


def reported(shop: LocalPipeline) -> LatestReports[LiftTotals]:
    latest = LatestReports[LiftTotals]()
    for one in shop.messages(LiftTotals):
        latest.take(one)
    return latest


@pytest.mark.parametrize("partitions", [1, 3])
def test_reported_totals_of_a_campaign_equal_a_recount_of_the_log(partitions: int) -> None:
    shop = played(partitions)
    brought: defaultdict[str, float] = defaultdict(float)
    for one in shop.messages(OrderEvent):
        brought[one.user_id] += 300.0
    for issue in shop.messages(CouponIssue):
        brought[issue.user_id] -= COST + OFF * (issue.coupon_id == "tea-100")
    ordered = {one.user_id for one in shop.messages(OrderEvent)}
    users = [f"shopper-{n}" for n in range(SHOPPERS)]
    counted = [user for user in users if PUBLIC_KEY.uniform("holdout", user) >= 0.1]
    assert 20 < len(counted) < SHOPPERS
    parts = reported(shop).parts(("ecommerce", "spring"))
    assert len(parts) == partitions
    sums = matrices(np.sum([one.products for one in parts], axis=0)).sum(axis=0)
    for arm in (False, True):
        some = [user for user in counted if is_left_out(user, "spring", RATIO, PUBLIC_KEY) == arm]
        assert sums[int(arm), 0, 0] == len(some)
        assert sums[int(arm), 0, MARGIN] == pytest.approx(sum(brought[user] for user in some))
        if arm:
            assert sums[1, 0, ORDERS] == sum(user in ordered for user in some)
            assert not any(issue.campaign_id for issue in shop.messages(CouponIssue) if issue.user_id in some), (
                "none of its coupons"
            )


def test_a_campaign_whose_coupons_bring_orders_is_shown_to_earn_in_the_currency_of_the_domain() -> None:
    [found] = campaign_lifts(reported(played(3)), ShopRules(currencies={"ecommerce": "EUR"}))
    assert isinstance(found, CampaignLift)
    assert (found.campaign_id, found.currency, found.is_mismatch, verdict(found)) == (
        "spring",
        "EUR",
        False,
        "it earns",
    )
    assert found.lift.low < 2 * 300 - OFF - COST < found.lift.high
    assert found.expected_share == RATIO
    assert found.total.value == pytest.approx(found.treated * found.lift.value)
    [of_one_partition] = campaign_lifts(reported(played(1)), ShopRules())
    assert of_one_partition.lift.value == pytest.approx(found.lift.value)
