"""The holdout of a campaign: who is left out, who is followed from when, and what the measured lift says."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.core.decision import lift_steps
from stream_coupons.core.decision.campaign_holdout import is_left_out
from stream_coupons.core.decision.live_lift import LiveLift, measure
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.measurement.lift_sums import MARGIN, ORDERS, LiftSums
from stream_coupons.core.measurement.totals import book
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.learning import LiftBrake
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.shopper.outcomes import MAX_CAMPAIGNS, Followed
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.testing import coupon, item
from tests.core.builders import AT, DAY_S, browse, knowledge, of_type, order, purses, restarted, rules, see

IDS = st.text(min_size=1, max_size=20)
RATIO = 0.4
END = AT + 10 * DAY_S
TEA = coupon("tea", categories=["tea"], campaign_id="spring", discount_minor=90, max_discount_minor=90)
SALT = coupon("salt", categories=["salt"], discount_minor=90, max_discount_minor=90)
GREEN = item("green", category="tea", price_minor=400)
POLICY = {"min_value_minor": -1e6, "cost_minor": 3.0, "margin_ratio": 0.5, "exploration_ratio": 0.5}


def known_with(ratio: float = RATIO, **policy: Any) -> Knowledge:
    spring = Campaign(campaign_id="spring", holdout_ratio=ratio, ends_at=END)
    return knowledge(TEA, SALT, campaigns=[spring], rules=rules(**(POLICY | policy)))


def one_of(*, left_out: bool) -> str:
    return next(f"u{n}" for n in range(99) if is_left_out(f"u{n}", "spring", RATIO, PUBLIC_KEY) == left_out)


@given(IDS, IDS, st.floats(0, 0.9), st.floats(0, 0.9))
def test_a_greater_ratio_leaves_out_the_same_shoppers_and_more(user: str, name: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert is_left_out(user, name, low, PUBLIC_KEY) <= is_left_out(user, name, high, PUBLIC_KEY)
    assert not is_left_out(user, name, 0.0, PUBLIC_KEY)


def test_two_campaigns_leave_out_independently() -> None:
    out = np.array(
        [[is_left_out(f"u{n}", name, 0.3, PUBLIC_KEY) for name in ("spring", "autumn")] for n in range(4000)]
    )
    assert out.mean(axis=0) == pytest.approx([0.3, 0.3], abs=0.03)
    assert out.all(axis=1).mean() == pytest.approx(0.09, abs=0.02)


class Case:
    """Some shoppers of one partition and their totals."""

    def __init__(self, known: Knowledge) -> None:
        self.known, self.shared = known, purses()
        self.shoppers: dict[str, Shopper] = {}
        self.sent: list[Any] = []

    def see(self, event: Any) -> None:
        wallet, shopper = Wallet(self.shared, 0, 1), self.shoppers.setdefault(event.user_id, Shopper())
        effects = see(shopper, event, self.known, wallet)
        if not any(noun == "decision" for noun, _ in effects.facts):
            book(self.shared, effects.totals)  # those of a decision are booked by it
        self.sent += effects.messages

    def followed(self, user: str) -> list[Followed]:
        outcomes = self.shoppers[user].outcomes
        return [] if outcomes is None else outcomes.campaigns

    @property
    def sums(self) -> LiftSums:
        [found] = [one for _, one in self.shared.items() if isinstance(one, LiftSums) and one.campaign_id]
        return found


@pytest.mark.parametrize("left_out", [True, False])
def test_a_left_out_shopper_gets_other_coupons_with_exact_propensities(left_out: bool) -> None:
    case, user = Case(known_with()), one_of(left_out=left_out)
    case.see(browse("b", AT, GREEN, user=user))
    [decision], [issue] = of_type(case.sent, LoggedDecision), of_type(case.sent, CouponIssue)
    assert decision.arms == (["salt"] if left_out else ["salt", "tea"])
    assert issue.coupon_id in decision.arms
    assert issue.propensity == (1.0 if left_out else pytest.approx(0.75) if decision.drawn is None else 0.25)
    [one] = case.followed(user)
    assert (one.domain, one.campaign_id, one.at, one.cell % 2) == ("ecommerce", "spring", AT, left_out)


@pytest.mark.parametrize("left_out", [True, False])
def test_both_arms_are_followed_in_the_same_way_until_the_last_window_of_the_campaign_closes(left_out: bool) -> None:
    case, user = Case(known_with()), one_of(left_out=left_out)
    case.see(order("before", AT - DAY_S, GREEN, user=user))
    case.see(browse("b", AT, GREEN, user=user))
    case.see(order("since", AT + DAY_S, GREEN, user=user))
    case.see(order("late", END + TEA.redeem_within_s, GREEN, user=user))
    [one] = case.followed(user)
    assert (one.row[MARGIN], one.row[ORDERS]) == (100 * (0.3 * 400 - 3), 1)
    assert one.known[2:] == (round(0.3 * 400 / 8 * 100), round(1e4 / 8))
    alone = LiftSums()
    alone.add(lift_steps.LiftChange("ecommerce", 0, one.cell, None, one.row))
    assert case.sums.cells == alone.cells
    assert restarted(case.shoppers[user]).outcomes == case.shoppers[user].outcomes


def test_a_shopper_whose_only_coupons_are_of_the_campaign_is_followed_though_nothing_is_left_to_decide() -> None:
    spring = Campaign(campaign_id="spring", holdout_ratio=RATIO)
    case, user = Case(knowledge(TEA, campaigns=[spring], rules=rules(**POLICY))), one_of(left_out=True)
    effects = see(Shopper(), browse("b", AT, GREEN, user=user), case.known)
    assert ("decision", "no_candidate") in effects.facts
    assert [change.key for change in effects.totals] == ["campaign-lift:6:springecommerce"]


def test_shoppers_whom_the_domain_gives_none_are_in_neither_arm() -> None:
    of_holdout = Case(known_with(holdout_ratio=1.0))
    braked = Case(known_with())
    braked.known = replace(braked.known, brakes={"ecommerce": LiftBrake(period=1, given_ratio=0.0)})
    for case in (of_holdout, braked):
        for left_out in (True, False):
            user = one_of(left_out=left_out)
            case.see(browse("b", AT, GREEN, user=user))
            assert case.followed(user) == []


def test_a_campaign_without_a_holdout_is_not_followed() -> None:
    case = Case(known_with(ratio=0.0))
    case.see(browse("b", AT, GREEN))
    assert case.followed("u") == []


def enrolled(shopper: Shopper, campaign_id: str, known: Knowledge, at: float = AT) -> None:
    moment = Moment("u", shopper, at, {}, None)
    lift_steps.enrol_for_campaign(moment, "shop", campaign_id, known.catalogue, Effects(), is_without=False)


def test_a_shopper_is_followed_for_eight_campaigns_and_the_oldest_that_is_over_goes_first() -> None:
    campaigns = [
        Campaign(campaign_id=f"k{n}", holdout_ratio=0.1, ends_at=AT + (DAY_S if n in (3, 5) else 99 * DAY_S))
        for n in range(MAX_CAMPAIGNS + 4)
    ]
    known, shopper = knowledge(campaigns=campaigns), Shopper()
    names = [one.campaign_id for one in campaigns]
    for name in names[: MAX_CAMPAIGNS + 1]:
        enrolled(shopper, name, known)
    assert shopper.outcomes is not None
    assert [one.campaign_id for one in shopper.outcomes.campaigns] == names[:MAX_CAMPAIGNS]
    for name in names[MAX_CAMPAIGNS:]:
        enrolled(shopper, name, known, AT + 2 * DAY_S)
    left = [name for name in names[:MAX_CAMPAIGNS] if name not in ("k3", "k5")]
    assert [one.campaign_id for one in shopper.outcomes.campaigns] == [*left, "k9", "k10"]
    assert [shopper.outcomes.knows(name) for name in ("k3", "k8", "k11")] == [True, True, True]


class Arms:
    """Shoppers of a campaign in one partition, who come and order by chance, and what is reported of them."""

    def __init__(self, seed: int, effect: float = 0.0, every_s: float = 600.0) -> None:
        self.rng, self.shared, self.count = np.random.default_rng(seed), purses(), 0
        self.known, self.seed, self.effect, self.every_s = known_with(), seed, effect, every_s

    def come(self, count: int) -> LiveLift:
        """Let shoppers come, each with orders of heavy-tailed prices before and after; return the lift at this look."""
        for _ in range(count):
            user, shopper, effects = f"s{self.seed}-{self.count}", Shopper(), Effects()
            self.count += 1
            rate, at = self.rng.gamma(1.0, 2.0), AT + self.every_s * self.count
            self._order(shopper, rate, at - DAY_S, effects)
            is_without = is_left_out(user, "spring", RATIO, PUBLIC_KEY)
            moment = Moment(user, shopper, at, {}, None)
            lift_steps.enrol_for_campaign(
                moment, "ecommerce", "spring", self.known.catalogue, effects, is_without=is_without
            )
            self._order(shopper, rate * (1.0 if is_without else 1.0 + self.effect), at + DAY_S, effects)
            book(self.shared, effects.totals)
        [(_, sums)] = self.shared.items()
        report = lift_steps.report(sums, 0, AT, self.known.catalogue.campaigns)
        assert report.holdout_ratio == RATIO
        return measure([report], RATIO)

    def _order(self, shopper: Shopper, rate: float, at: float, effects: Effects) -> None:
        for number in range(self.rng.poisson(rate)):
            what = item("green", category="tea", price_minor=int(400 * self.rng.lognormal(0.0, 1.0)))
            event = order(f"o{number}", at + number, what)
            lift_steps.note_order(shopper, event, self.known.catalogue, self.known.rules, effects)


@pytest.mark.long
@pytest.mark.parametrize("every_s", [1.0, 600.0])
def test_few_of_many_campaigns_without_an_effect_ever_exclude_zero(every_s: float) -> None:
    excluded, looked = 0, 0
    for seed in range(40):
        arms = Arms(seed, every_s=every_s)
        lifts = [arms.come(15) for _ in range(12)]
        looked += any(one.low <= one.mid for one in lifts)
        excluded += any(one.low > 0 or one.high < 0 for one in lifts)
        assert not lifts[-1].is_mismatch
    assert looked == 40, "all have intervals in the end"
    assert excluded <= 4  # of a share of at most 5 %


@pytest.mark.long
def test_a_campaign_that_doubles_the_orders_is_shown_to_earn() -> None:
    lift = Arms(seed=1, effect=1.0).come(400)
    assert lift.low > 0
    truth = 2.0 * 0.3 * 400 * np.exp(0.5)  # twice the orders, each of mean margin
    assert lift.low < truth < lift.high
