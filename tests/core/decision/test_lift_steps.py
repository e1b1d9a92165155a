"""Steps of live lift: which shoppers enrol, and which money counts as their outcome."""

from dataclasses import replace
from typing import Any

import pytest

from stream_coupons.core.decision import pipeline
from stream_coupons.core.decision.erasure import erase
from stream_coupons.core.decision.lift_steps import report
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.effects import Effects
from stream_coupons.core.measurement.lift_sums import MARGIN, ORDERS, LiftSums
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.learning import LiftBrake
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.rules import ShopRules
from stream_coupons.core.shopper.outcomes import Followed, FollowedOutcomes
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.testing import coupon, item
from tests.core.builders import (
    AT,
    DAY_S,
    browse,
    erasure,
    feedback,
    knowledge,
    of_type,
    order,
    purses,
    rules,
    see,
)

TEA = coupon("tea", categories=["tea"], margin_ratio=0.5, discount_minor=90, max_discount_minor=90)
GREEN, SALT = item("green", category="tea", price_minor=400), item("salt", price_minor=100, quantity=2.0)
POLICY = {"margin_ratio": 0.2, "cost_minor": 3.0, "min_value_minor": -1e6}


class Case:
    """One shopper and the sums of their partition."""

    def __init__(self, **policy: Any) -> None:
        self.known = knowledge(TEA, rules=rules(**(POLICY | policy)))
        self.shopper = Shopper()
        self.shared = purses()
        self.wallet = Wallet(self.shared, 0, 1)
        self.said: list[Any] = []

    def see(self, event: Any) -> list[Any]:
        effects = see(self.shopper, event, self.known, self.wallet)
        return self._take(effects, is_booked=isinstance(event, type(browse())))

    def hear(self, kind: str, at: float, **about: Any) -> None:
        [issue] = of_type(self.said, CouponIssue)
        self._take(pipeline.feedback(self.shopper, feedback(kind, issue.issue_id, at, **about), self.known))

    def wait(self, at: float) -> None:
        self._take(pipeline.pass_time("u", self.shopper, at, self.known))

    def _take(self, effects: Effects, *, is_booked: bool = False) -> list[Any]:
        if not is_booked:  # what a decision brings is booked by it
            self.wallet.settle((), effects.totals)
        self.said += effects.messages
        return effects.messages

    @property
    def followed(self) -> Followed:
        assert self.shopper.outcomes is not None
        assert self.shopper.outcomes.whole is not None
        return self.shopper.outcomes.whole

    @property
    def sums(self) -> LiftSums:
        [sums] = [one for _, one in self.shared.items() if isinstance(one, LiftSums)]
        return sums

    @property
    def brought(self) -> tuple[float, int]:
        """Margin and orders of the followed shopper, by their state."""
        row = self.followed.row
        return row[MARGIN] / 100, row[ORDERS]

    def is_consistent(self) -> bool:
        """True if the sums are those of this shopper's row alone."""
        alone = LiftSums()
        one = self.followed
        alone.add(pipeline.lift_steps.LiftChange(one.domain, one.period, one.cell, None, one.row))
        return self.sums.cells == alone.cells


def test_orders_count_by_margin_less_the_sending_and_the_discount_of_coupons() -> None:
    case = Case()
    case.see(order("o0", AT - DAY_S, GREEN))
    assert [*case.shared.items()] == [], "nobody is followed before the first decision"
    case.see(browse("b1", AT, GREEN))
    assert case.brought == (-3.0, 0)
    case.see(order("o1", AT + 60, GREEN, SALT))
    case.see(order("o1", AT + 60, GREEN, SALT))
    assert case.brought == (-3.0 + 0.5 * 400 + 0.2 * 200, 1)
    case.hear("purchase", AT + 60, discount_minor=80)
    assert case.brought == (pytest.approx(157.0), 1)
    case.hear("refund", AT + 90, discount_minor=30)
    assert case.brought == (pytest.approx(207.0), 1)
    assert case.sums.buyers == 1
    assert case.is_consistent()


def test_only_money_in_the_currency_of_the_series_counts() -> None:
    """600 yen are no 6 euros; an unnamed currency is neither."""
    case = Case(shop=ShopRules(currencies={"ecommerce": "EUR", "books": "EUR", "japan": "JPY"}))
    case.see(browse("b1", AT, GREEN))
    for domain, brought in (("japan", -3.0), ("somewhere", -3.0), ("books", 77.0), ("ecommerce", 277.0)):
        case.see(order(f"o-{domain}", AT + 60, GREEN, domain=domain))
        assert case.brought[0] == brought, domain
    assert case.brought[1] == 2
    assert case.is_consistent()


def test_a_discount_in_another_currency_than_the_series_does_not_count() -> None:
    case = Case(shop=ShopRules(currencies={"japan": "JPY"}))
    case.see(browse("b1", AT, GREEN))
    case.followed.domain = "japan"
    before, closed = case.brought, case.sums.closed
    case.hear("purchase", AT + 60, discount_minor=80)
    case.wait(AT + 30 * DAY_S)
    assert (case.brought, case.sums.closed) == (before, closed)


def test_what_was_known_at_the_first_decision_stays() -> None:
    case = Case()
    case.see(order("o0", AT - DAY_S, GREEN))
    case.see(browse("b1", AT, GREEN))
    [issue] = of_type(case.said, CouponIssue)
    known = case.followed.known
    assert known == (int(AT), round(100 * round(issue.value_minor, 2)), round(200 / 8 * 100), round(1e4 / 8))
    case.see(order("late", AT - 60, GREEN))
    assert (case.brought, case.followed.known) == ((-3.0, 0), known)
    assert case.is_consistent()


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_the_holdout_is_followed_from_the_same_decision(ratio: float) -> None:
    case = Case(holdout_ratio=ratio)
    case.see(browse("b1", AT, GREEN))
    case.see(order("o1", AT + 60, GREEN))
    assert case.followed.cell % 2 == ratio
    assert case.brought == (200.0 - 3.0 * (1 - ratio), 1)


def test_predicted_values_close_with_the_window() -> None:
    case = Case()
    case.see(browse("b1", AT, GREEN))
    [issue] = of_type(case.said, CouponIssue)
    assert (case.sums.predicted, case.sums.closed) == (round(1000 * issue.value_minor), 0)
    case.wait(AT + 30 * DAY_S)
    assert case.sums.closed == case.sums.predicted
    assert case.is_consistent()


def test_an_erased_shopper_is_followed_no_longer_and_what_they_brought_stays() -> None:
    case = Case()
    case.see(browse("b1", AT, GREEN))
    case.see(order("o1", AT + 60, GREEN))
    before = case.sums.cells
    erase("u", case.shopper, erasure(at=AT + 90))
    case.see(order("o2", AT + 120, GREEN))
    case.wait(AT + 30 * DAY_S)
    assert case.sums.cells == before
    assert case.shopper.outcomes == FollowedOutcomes(first_order_at=AT + 120, all_margin=20_000, all_orders=1)


def braked(case: Case, **about: Any) -> Knowledge:
    return replace(case.known, brakes={"ecommerce": LiftBrake(**about)})


def test_whom_the_brake_leaves_out_gets_nothing_asks_for_nothing_and_is_a_control() -> None:
    case = Case()
    case.known = braked(case, period=1, given_ratio=0.0)
    case.see(browse("b1", AT, GREEN))
    [decision] = of_type(case.said, LoggedDecision)
    assert (decision.result, decision.propensity, decision.is_holdout) == ("lift_below_zero", None, False)
    assert of_type(case.said, CouponIssue) == []
    assert [control.coupon_id for control in case.shopper.controls.values()] == ["tea"]
    assert (case.followed.cell % 2, case.followed.period) == (1, 1)


def test_shoppers_are_followed_anew_in_a_later_period_but_not_the_holdout_of_a_braked_one() -> None:
    for ratio, period in ((0.0, 1), (1.0, 0)):
        case = Case(holdout_ratio=ratio)
        case.see(browse("b1", AT, GREEN))
        case.see(order("o1", AT + 60, GREEN))
        case.known = braked(case, period=1, given_ratio=0.0)
        case.see(browse("b2", AT + 9 * DAY_S, GREEN))
        assert case.followed.period == period
        assert (case.brought[1], case.sums.period) == ((0, 1) if period else (1, 0))


def test_values_are_multiplied_and_what_was_predicted_is_remembered() -> None:
    plain, reduced = Case(), Case()
    reduced.known = braked(reduced, value_ratio=0.5)
    for case in (plain, reduced):
        case.see(browse("b1", AT, GREEN))
    [full], [half] = (of_type(case.said, CouponIssue) for case in (plain, reduced))
    assert half.value_minor == pytest.approx(full.value_minor / 2, abs=1e-3)
    assert reduced.sums.predicted == pytest.approx(plain.sums.predicted, abs=2)


def test_totals_are_reported_when_they_changed_and_no_more_often_than_asked() -> None:
    sums = LiftSums(domain="shop", version=3, told=2, told_at=AT)
    assert not sums.is_due(AT + 29, 30.0)
    assert sums.is_due(AT + 30, 30.0)
    assert report(sums, 4, AT + 30, {}).series == "shop|4"
    assert not sums.is_due(AT + 90, 30.0)
    assert sums.is_due(AT + 30, 30.0), "a repeated tick repeats them"
