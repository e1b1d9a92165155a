"""Campaigns with what they have spent."""

from typing import Any

import pytest

from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.money.holdings import Account, HoldingSums
from stream_coupons.core.money.holds import Falling
from stream_coupons.core.money.price import Price
from stream_coupons.ops.campaign_states import states_of

NOW = 1_767_348_000.0
DAY_S = 86400.0


def terms(coupon_id: str, campaign_id: str | None) -> Coupon:
    return Coupon(coupon_id=coupon_id, max_discount_minor=100, discount_minor=100, campaign_id=campaign_id)


def test_a_campaign_is_listed_with_what_it_spent_against_its_curve() -> None:
    spring = Campaign(campaign_id="spring", starts_at=NOW, ends_at=NOW + 10 * DAY_S, budget_minor=1000)
    sums = HoldingSums(drawn=460, spent=260, expected=Falling(42.5, 0.0))
    account = Account(sums=sums, opened_at=NOW - DAY_S, price=Price(value=0.75, at=NOW))
    coupons = [terms("a", "spring"), terms("b", None), terms("c", "spring"), terms("d", "autumn")]
    [one] = states_of([spring], coupons, {"campaign:spring": account, "money:a": Account()}, NOW + 4 * DAY_S)
    assert (one.campaign, one.coupons, one.state) == (spring, ["a", "c"], "running")
    assert (one.spent_minor, one.held_minor, one.expected_minor) == (260, 200, 42.5)
    assert (one.share_used, one.share_due, one.price) == (0.26, 0.4, 0.75)


@pytest.mark.parametrize(("spent", "state"), [(700, "running"), (901, "spent")])
def test_a_campaign_whose_budget_pays_for_no_coupon_any_more_is_spent(spent: int, state: str) -> None:
    accounts = {"campaign:spring": Account(sums=HoldingSums(drawn=spent, spent=spent))}
    spring = Campaign(campaign_id="spring", budget_minor=1000)
    coupons = [terms("a", "spring"), terms("b", None)]
    assert [one.state for one in states_of([spring], coupons, accounts, NOW)] == [state]


def test_what_began_late_is_due_from_its_first_coupon() -> None:
    spring = Campaign(campaign_id="spring", starts_at=NOW, ends_at=NOW + 10 * DAY_S, budget_minor=1000)
    accounts = {"campaign:spring": Account(opened_at=NOW + 5 * DAY_S)}
    [late] = states_of([spring], [], accounts, NOW + 6 * DAY_S)
    [untouched] = states_of([spring], [], {}, NOW + 6 * DAY_S)
    assert (late.share_due, untouched.share_due) == (0.2, 0.0)


def test_a_campaign_without_budget_or_end_is_not_steered() -> None:
    free, endless = Campaign(campaign_id="free"), Campaign(campaign_id="endless", budget_minor=10)
    found = states_of([free, endless], [], {}, NOW)
    assert [(one.share_used, one.share_due) for one in found] == [(None, None), (0.0, None)]


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "running"),
        ({"starts_at": NOW + 1.0}, "not begun"),
        ({"state": "paused"}, "paused"),
        ({"ends_at": NOW, "state": "paused"}, "over"),
    ],
)
def test_a_campaign_says_whether_its_coupons_are_issued(fields: dict[str, Any], state: str) -> None:
    [one] = states_of([Campaign(campaign_id="spring", **fields)], [], {}, NOW)
    assert one.state == state
