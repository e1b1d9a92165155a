"""Decisions under budgets: value less price decides, demand says what other prices would do, a pause gives nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision import pipeline
from stream_coupons.core.decision.incremental import KEPT_RATIO, USES_RATIO
from stream_coupons.core.decision.pipeline import take_in
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.decision.table import Trigger
from stream_coupons.core.effects import Effects
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.leases import LeaseReport
from stream_coupons.core.money.accounts import campaign_of, money_of, units_of
from stream_coupons.core.money.price import PRICES
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.runtime.steps import SharedStates
from stream_coupons.testing import campaign
from tests.core.builders import AT, DAY_S, FixedScorer, browse, decided, feedback, knowledge, of_type, rules, see
from tests.core.builders import repeatable as coupon

WORTH = KEPT_RATIO * (0.5 - USES_RATIO * 0.1) * 0.3 * 2000 - 2.0
"""Of a coupon, but for what it takes off in half of all cases."""
K1, K2 = campaign_of("k1"), campaign_of("k2")
MONTH: dict[str, Any] = {"starts_at": AT - DAY_S, "ends_at": AT + 30 * DAY_S}
RICH = 10**6


class Case:
    """Shoppers of one partition, its purses, and what decisions brought about."""

    def __init__(self, coupons: Sequence[Coupon], campaigns: Sequence[Campaign] = (), **policy: Any) -> None:
        self.known = knowledge(*coupons, campaigns=campaigns, rules=rules(**policy))
        self.purses: SharedStates[Purse] = SharedStates({}, Purse)
        self.shopper = Shopper()
        self.said: list[Any] = []
        self.number = 0

    def put(self, account_id: str, **about: Any) -> None:
        """Fill a purse."""
        self.purses.changed[account_id] = Purse(**({"granted": RICH, "size": 1} | about))

    def see(self, at: float = AT) -> str:
        """Decide on a trigger; the result."""
        self.number += 1
        effects = see(self.shopper, browse(f"t{self.number}", at), self.known, self.wallet)
        self.said += effects.messages
        [outcome] = [kind for noun, kind in effects.facts if noun == "decision"]
        return outcome

    @property
    def wallet(self) -> Wallet:
        return Wallet(self.purses, 0, 1)

    def change_to(self, coupons: Sequence[Coupon], campaigns: Sequence[Campaign] = ()) -> None:
        """Let the catalogue be another one."""
        self.known = Knowledge(self.known.rules, Catalogue(coupons, campaigns=campaigns), {}, FixedScorer())

    def issues(self) -> list[CouponIssue]:
        return of_type(self.said, CouponIssue)

    def records(self) -> list[LoggedDecision]:
        return of_type(self.said, LoggedDecision)

    def demand(self, account_id: str) -> tuple[float, ...]:
        """Demand by price that a purse has counted; empty if none."""
        purse = self.purses.get(account_id)
        return () if purse is None else purse.demand


BEST = coupon("a", discount_minor=80, campaign_id="k1")
OTHER = coupon("b")
"""It is worth less, by half of 20, and draws on no budget."""


@pytest.mark.parametrize(("price", "given"), [(0.0, "a"), (0.2, "a"), (0.3, "b"), (20.0, "b")])
def test_value_less_price_decides(price: float, given: str) -> None:
    case = Case([BEST, OTHER], [campaign(budget_minor=1000, **MONTH)])
    case.put(K1, price=price)
    assert case.see() == "given"
    [issue], [record] = case.issues(), case.records()
    assert issue.coupon_id == given
    assert record.arms == ["a", "b"]
    assert record.values_minor == pytest.approx([WORTH - 40.0, WORTH - 50.0])
    assert record.prices_minor == ([] if price == 0.0 else pytest.approx([price * 40.0, 0.0]))
    assert record.best == "ab".index(given)
    assert issue.price_minor == (pytest.approx(price * 40.0) if given == "a" else 0.0)
    assert issue.value_minor == pytest.approx(WORTH - (40.0 if given == "a" else 50.0))


def test_what_is_not_worth_its_price_is_not_given_and_draws_nothing() -> None:
    case = Case([BEST], [campaign(budget_minor=1000, **MONTH)], min_value_minor=0.0)
    case.put(K1, price=20.0)
    assert case.see() == NoCoupon.NOT_WORTH_IT
    assert (case.issues(), case.purses.get(units_of("a")), case.records()[0].best) == ([], None, None)


def test_prices_of_a_coupons_own_budget_and_of_its_campaign_add() -> None:
    own = coupon("a", campaign_id="k1", budget_minor=RICH, valid_until=AT + DAY_S)
    case = Case([own], [campaign(budget_minor=RICH, **MONTH)])
    case.put(K1, price=0.5)
    case.put(money_of("a"), price=0.25)
    assert case.see() == "given"
    assert case.issues()[0].price_minor == pytest.approx(0.75 * 50.0)


@pytest.mark.parametrize("terms", [{"ends_at": 4_102_444_800.0}, {"budget_curve": "none"}, {"budget_minor": None}])
def test_a_price_counts_only_where_the_campaign_has_a_budget_a_curve_and_an_end(terms: dict[str, Any]) -> None:
    case = Case([BEST, OTHER], [campaign(**({"budget_minor": 1000} | MONTH | terms))])
    case.put(K1, price=20.0)
    case.see()
    assert [(issue.coupon_id, issue.price_minor) for issue in case.issues()] == [("a", 0.0)]
    assert case.demand(K1) == ()


@pytest.mark.parametrize(
    ("hold", "risk", "held"), [("quantile", None, 100), ("quantile", 0.01, 56), ("maximum", 0.01, 100)]
)
def test_an_issue_says_what_is_held_for_it_and_of_which_campaign_it_is(
    hold: str, risk: float | None, held: int
) -> None:
    case = Case([BEST], [campaign(budget_minor=RICH, budget_hold=hold, **MONTH)])
    case.put(K1, risk=risk)
    case.see()
    [issue] = case.issues()
    assert (issue.held_minor, issue.campaign_id, issue.max_discount_minor) == (held, "k1", 100)
    opened = case.shopper.issue(issue.issue_id)
    assert (opened.held_minor, opened.most_minor, opened.campaign_id) == (held, 100, "k1")
    assert (opened.expected_minor, opened.variance, opened.is_falling) == (40.0, 1600.0, held < 100)
    for account_id in (K1, money_of("a")):
        purse = case.purses.get(account_id)
        assert purse is not None
        assert (purse.drawn, purse.expected.at(AT), purse.falling_held) == (held, 40.0, held if held < 100 else 0)


# ------------------------------------------------------------ demand

amounts = st.integers(20, 100)
coupons = st.lists(st.tuples(amounts, st.sampled_from(["k1", "k2", None])), min_size=1, max_size=5)


@settings(max_examples=40, derandomize=True)
@given(coupons, st.floats(0.0, 3.0), st.sampled_from([-100.0, 0.0, 60.0]))
def test_demand_is_what_the_decision_would_cost_each_budget_at_any_price(
    each: list[tuple[int, str | None]], price: float, least_value: float
) -> None:
    terms = [
        coupon(f"c{n}", discount_minor=amount, campaign_id=which, typical_price_minor=1900 + 20 * n)
        for n, (amount, which) in enumerate(each)
    ]
    both = [campaign("k1", budget_minor=RICH, **MONTH), campaign("k2", budget_minor=RICH, **MONTH)]
    costs = {one.coupon_id: 0.5 * (one.discount_minor or 0) for one in terms}

    def decided(price_of_first: float) -> Case:
        case = Case(terms, both, min_value_minor=least_value)
        case.put(K1, price=price_of_first)
        case.put(K2, price=0.7)
        case.see()
        return case

    demand = decided(price).demand(K1) or (0.0,) * len(PRICES)
    for at, asked in list(zip(PRICES.tolist(), demand, strict=True))[::3]:
        given = [issue for issue in decided(at).issues() if issue.campaign_id == "k1"]
        assert asked == pytest.approx(sum(costs[issue.coupon_id] for issue in given))


def test_demand_adds_up_over_decisions_and_is_reported() -> None:
    case = Case([BEST], [campaign(budget_minor=RICH, **MONTH)])
    case.put(K1)
    for _ in range(3):
        case.see()
    [report] = [each for each in of_type(case.wallet.tell(AT + 10).messages, LeaseReport) if each.account_id == K1]
    assert report.demand == [3 * 40.0] * len(PRICES), "without a least value, any price is paid"


def counted(case: Case) -> bool:
    """Whether a decision has counted demand for the campaign."""
    case.see()
    return any(case.demand(K1))


def test_demand_of_what_has_no_money_is_counted_and_of_what_has_no_stock_is_not() -> None:
    poor = campaign(budget_minor=50, **MONTH)
    assert counted(Case([BEST, OTHER], [poor])), "it is what sets the price of money"
    assert counted(Case([BEST], [poor]))
    sold_out = coupon("a", discount_minor=80, campaign_id="k1", stock=0)
    assert not counted(Case([sold_out, OTHER], [poor]))
    assert not counted(Case([sold_out], [poor]))


def test_demand_of_the_holdout_is_not_counted() -> None:
    terms, shared = [BEST, OTHER], [campaign(budget_minor=RICH, **MONTH)]
    assert counted(Case(terms, shared))
    assert not counted(Case(terms, shared, holdout_ratio=1.0))


def test_demand_is_of_the_one_coupon_that_would_be_given() -> None:
    worse = coupon("c", campaign_id="k1", discount_minor=95)
    case = Case([BEST, worse], [campaign(budget_minor=RICH, **MONTH)])
    case.see()
    assert set(case.demand(K1)) == {40.0}
    assert case.demand(money_of("a")) == (), "it has no budget of its own"


def test_a_coupon_that_no_price_could_make_the_best_has_no_demand() -> None:
    worse = coupon("c", campaign_id="k1", discount_minor=100, max_discount_minor=100, typical_price_minor=500)
    case = Case([worse, OTHER], [campaign(budget_minor=RICH, **MONTH)])
    assert not counted(case)
    assert case.purses.get(K1) is None


def test_decisions_together_count_the_demand_of_each_alone() -> None:
    terms, shared = [BEST, OTHER], [campaign(budget_minor=300, **MONTH)]
    demands = []
    for size in (1, 6):
        case = Case(terms, shared)
        undecided: list[Trigger] = []
        for n in range(6):
            taken = take_in(f"u{n}", Shopper(), browse("t", AT + n, user=f"u{n}"), case.known)
            assert isinstance(taken, Trigger)
            undecided.append(taken)
        effects: list[Effects] = []
        for first in range(0, 6, size):
            effects += decided(undecided[first : first + size], case.known, case.wallet)
        given = [[issue.coupon_id for issue in of_type(each.messages, CouponIssue)] for each in effects]
        demands.append((given, case.demand(K1)))
    assert demands[0] == demands[1]
    assert demands[0][0] == [["a"]] * 3 + [["b"]] * 3
    assert np.array(demands[0][1]).max() == 6 * 40.0


# ------------------------------------------------------------ campaigns: time, pause, and what is not known


def test_coupons_of_a_campaign_share_its_budget() -> None:
    terms = [coupon(name, campaign_id="k1", discount_minor=80 + n) for n, name in enumerate("abc")]
    case = Case(terms, [campaign(budget_minor=250, budget_hold="maximum")])
    assert [case.see(AT + n) for n in range(3)] == ["given", "given", NoCoupon.SOLD_OUT]
    first, second = case.issues()
    bought = pipeline.feedback(
        case.shopper, feedback("purchase", first.issue_id, AT + 9, discount_minor=40), case.known
    )
    case.wallet.settle(bought.bookings)
    assert case.see(AT + 10) == NoCoupon.SOLD_OUT, "more of it may be reported"
    over = pipeline.pass_time("u", case.shopper, AT + 8 * DAY_S + 1, case.known)
    case.wallet.settle(over.bookings)
    purse = case.purses.get(K1)
    assert purse is not None
    assert (purse.available, purse.spent, second.campaign_id) == (210, 40, "k1")
    assert case.see(AT + 9 * DAY_S) == "given"


@pytest.mark.parametrize("pauses_campaign", [True, False])
def test_a_pause_gives_nothing_takes_feedback_and_ends(pauses_campaign: bool) -> None:
    def catalogue(paused: bool) -> tuple[list[Coupon], list[Campaign]]:
        terms = coupon("a", campaign_id="k1", paused=paused and not pauses_campaign)
        return [terms], [campaign(budget_minor=1000, state="paused" if paused and pauses_campaign else "running")]

    case = Case(*catalogue(False))
    assert case.see() == "given"
    case.change_to(*catalogue(True))
    assert case.see(AT + 1) == NoCoupon.NO_CANDIDATE
    [issue] = case.issues()
    bought = pipeline.feedback(case.shopper, feedback("purchase", issue.issue_id, AT + 2), case.known)
    case.wallet.settle(bought.bookings)
    purse = case.purses.get(K1)
    assert purse is not None
    assert (purse.spent, purse.wanted) == (100, 0)
    case.change_to(*catalogue(False))
    assert case.see(AT + 3) == "given"


@pytest.mark.parametrize(
    ("days", "outcome"),
    [(-2, NoCoupon.NO_CANDIDATE), (-1, "given"), (29.9, "given"), (30, NoCoupon.NO_CANDIDATE)],
)
def test_coupons_are_given_while_their_campaign_lasts(days: float, outcome: str) -> None:
    assert Case([BEST], [campaign(**MONTH)]).see(AT + days * DAY_S) == outcome


def test_while_its_campaign_is_unknown_a_coupon_is_not_given() -> None:
    case = Case([BEST])
    assert case.see() == NoCoupon.SOLD_OUT
    assert case.issues() == []
    case.change_to([BEST], [campaign()])
    assert case.see(AT + 1) == "given"


def test_a_campaign_without_a_budget_bounds_no_money() -> None:
    case = Case([BEST], [campaign()])
    assert [case.see(AT + n) for n in range(20)] == ["given"] * 20
    assert {issue.held_minor for issue in case.issues()} == {100}
