"""Twelve campaigns of shops: the file is good, each is played, and `explain` names the reason for those left out."""

from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.ops.catalogue_files import COUPONS, ParsedFile, read_entries
from stream_coupons.testing import LocalPipeline, ManualClock, browse, item, order, plain_settings

FILE = Path(__file__).parents[2] / "examples" / "campaigns.yaml"
FRIDAY = datetime.fromisoformat("2098-10-10T18:00+00:00").timestamp()  # a Friday in the evening, in the shop's zone
TUESDAY = FRIDAY - 3 * 86400.0
DAY_S = 86400.0


def parsed() -> ParsedFile:
    return read_entries(COUPONS, FILE.read_bytes(), FILE.name, TUESDAY)


class Case(NamedTuple):
    """A campaign, the coupon that a shopper gets, what they look at, and what keeps another shopper from it."""

    campaign: str
    coupon: str
    at: float
    looked_at: dict[str, Any]
    context: dict[str, str]
    other: dict[str, Any]
    """Change of `at`, `context` or `orders` by which a shopper gets no coupon."""
    orders: int = 0
    """Orders of the shopper, the last of them `since` days before."""
    since: float = 1.0
    domain: str = "ecommerce"


TEA = {"category": "tea", "price_minor": 450}
CASES = [
    Case("welcome", "welcome-10", TUESDAY, TEA, {}, {"orders": 1}),
    Case("free-delivery", "delivery-35", TUESDAY, TEA, {}, {"again": True}, orders=1),
    Case("tea-weeks", "tea-2-1", TUESDAY, TEA, {}, {"at": datetime(2026, 1, 5).timestamp()}),
    Case("win-back", "back-", TUESDAY, TEA, {}, {"context": {"segments": "staff"}}, orders=2, since=70.0),
    Case("skin-care-gift", "skin-gift", TUESDAY, {"category": "skin-care"}, {}, {"again": True}),
    Case(
        "happy-hour", "snacks-20", FRIDAY, {"category": "snacks"}, {"channel": "app"}, {"context": {"channel": "web"}}
    ),
    Case("black-weekend", "black-", TUESDAY, {"category": "coffee"}, {}, {"again": True}),
    Case("students", "students-8", TUESDAY, TEA, {"segments": "newsletter,student"}, {"context": {}}),
    Case("travel-insurance", "insurance-20", TUESDAY, {"category": "travel"}, {}, {"looks": "loans"}, domain="finance"),
    Case(
        "second-card", "card-free-year", TUESDAY, {"category": "cards"}, {}, {"orders": 1}, orders=2, domain="finance"
    ),
    Case("early-bird", "city-8", TUESDAY, {"category": "city"}, {}, {"at": FRIDAY}, domain="travel"),
    Case("breakfast", "hotel-breakfast", TUESDAY, {"category": "hotel"}, {}, {"again": True}, domain="travel"),
]


def given(case: Case, **other: Any) -> list[str]:
    """The coupons that a shopper gets who looks at something once, or twice."""
    known, at = parsed(), other.get("at", case.at)
    coupons: list[Coupon] = [one for one in known.coupons.values() if one.campaign_id == case.campaign]
    campaigns: list[Campaign] = [known.campaigns[case.campaign]]
    clock = ManualClock(at - 80 * DAY_S)
    shop = LocalPipeline(plain_settings(), coupons, campaigns=campaigns, clock=clock)
    what = item("i1", **{**case.looked_at, **({"category": other["looks"]} if "looks" in other else {})})
    with shop.without_coupons():
        for number in range(other.get("orders", case.orders)):
            clock.now = at - case.since * DAY_S - number * 3600.0
            shop.publish(order("ann", what, at=clock.now, domain=case.domain, event_id=f"o{number}"))
        clock.now = at - 60.0
        shop.publish(browse("ann", what, at=clock.now, domain=case.domain, event_id="before"))
    found = []
    for visit in range(2 if other.get("again") else 1):
        clock.now = at + visit
        context = other.get("context", case.context)
        shop.publish(browse("ann", what, at=clock.now, domain=case.domain, context=context, event_id=f"b{visit}"))
        found = [issue.coupon_id for issue in shop.messages(CouponIssue)][visit:]
    return found


def test_the_file_is_good_and_has_a_case_for_each_campaign() -> None:
    found = parsed()
    assert (found.faults, found.warnings) == ([], [])
    assert list(found.campaigns) == [case.campaign for case in CASES]
    assert {coupon.campaign_id for coupon in found.coupons.values()} == set(found.campaigns)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.campaign)
def test_a_campaign_reaches_those_whom_it_is_for_and_nobody_else(case: Case) -> None:
    [coupon] = given(case)
    assert coupon.startswith(case.coupon)
    assert given(case, **case.other) == []
