"""The accounts of a catalogue, and their owner: what a price and a risk follow, and when there are none."""

import math
import random
from typing import Any

import numpy as np
import pytest

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.core.money import leases
from stream_coupons.core.money.accounts import Accounts, Limit, campaign_of, money_of, units_of
from stream_coupons.core.money.holds import QUANTILE_Z
from stream_coupons.core.money.leases import KNOWN_AFTER
from stream_coupons.core.money.price import LEAST_UPDATE_S, PRICES
from stream_coupons.testing import campaign, coupon
from tests.core.builders import AT, DAY_S, HOUR_S, OwnedAccount, as_read, restarted

MONEY = money_of("c1")
MONTH: dict[str, Any] = {"valid_from": AT, "valid_until": AT + 30 * DAY_S}


def limit_of(**terms: Any) -> Limit:
    """The budget of a coupon."""
    return Accounts([coupon(**({"budget_minor": 100_000} | MONTH | terms))]).limit(MONEY)


class TestLimits:
    def test_a_coupon_draws_on_its_stock_its_budget_and_that_of_its_campaign(self) -> None:
        terms = coupon(campaign_id="k1", stock=5, redeem_within_s=1000.0, **MONTH)
        shared = campaign(budget_minor=900, starts_at=AT, ends_at=AT + DAY_S, budget_curve="front_loaded")
        other = coupon("c2", campaign_id="k1", max_discount_minor=300, redeem_within_s=3000.0)
        stock, own, of_campaign = Catalogue([terms, other], campaigns=[shared]).accounts.of(terms)
        assert (stock.account_id, stock.most, stock.quantum, stock.is_stock) == (units_of("c1"), 5, 1, True)
        assert (own.account_id, own.most, own.is_priced) == (MONEY, None, False)
        assert of_campaign == Limit(
            900, 300, campaign_of("k1"), "quantile", "front_loaded", AT, AT + DAY_S, lag_s=0.4 * 2000.0,
            least=100, max_overspend_ratio=0.05,
        )  # fmt: skip
        assert (own.least, own.max_overspend_ratio, stock.max_overspend_ratio) == (100, 0.05, 0.0)

    @pytest.mark.parametrize(
        ("terms", "worst"),
        [
            ({}, 945),
            ({"max_overspend_ratio": 1.5}, 2250),
            ({"max_overspend_ratio": 1.5, "budget_hold": "maximum"}, 900),
            ({"budget_minor": None}, None),
        ],
    )
    def test_the_worst_case_of_a_budget_is_bounded(self, terms: dict[str, Any], worst: int | None) -> None:
        assert limit_of(**({"budget_minor": 900} | terms)).worst == worst

    @pytest.mark.parametrize("account_id", [units_of("gone"), money_of("gone"), campaign_of("gone")])
    def test_of_what_is_not_in_the_catalogue_nothing_may_be_drawn(self, account_id: str) -> None:
        assert Accounts([coupon()]).limit(account_id).most == 0
        [*_, shared] = Accounts().of(coupon()), Accounts([coupon(campaign_id="gone")]).of(coupon(campaign_id="gone"))[2]
        assert (shared.most, shared.hold) == (0, "maximum")

    @pytest.mark.parametrize(
        ("terms", "is_priced"),
        [
            ({}, True),
            ({"valid_until": END_OF_TIME}, False),
            ({"budget_curve": "none"}, False),
            ({"budget_minor": None}, False),
            ({"budget_curve": "by_traffic"}, True),
        ],
    )
    def test_a_price_needs_a_budget_a_curve_and_an_end(self, terms: dict[str, Any], is_priced: bool) -> None:
        assert limit_of(**terms).is_priced is is_priced

    def test_a_campaign_bounds_the_time_of_its_coupons(self) -> None:
        times = {"valid_from": AT, "valid_until": AT + 9 * DAY_S}
        coupons = [coupon("c1", campaign_id="k1", **times), coupon("c2", campaign_id="gone", **times), coupon("c3")]
        inside = campaign(starts_at=AT + DAY_S, ends_at=AT + 20 * DAY_S)
        known = Catalogue(coupons, campaigns=[inside]).by_id
        found = [(known[each].valid_from, known[each].valid_until) for each in ("c1", "c2")]
        assert found == [(AT + DAY_S, AT + 9 * DAY_S), (AT, AT + 9 * DAY_S)]
        assert known["c3"] is coupons[2]


class Owner:
    """An account under reports of one partition, which asks for so much in each hour."""

    def __init__(self, limit: Limit, hourly_minor: float) -> None:
        self.limit = limit
        self.hourly_minor = hourly_minor
        """Expected cost of what decisions would draw in an hour; half of it is worth twice its cost, and none more."""
        self.account = OwnedAccount()
        self.demand = np.zeros(len(PRICES))
        self.spent = 0
        self.prices: list[float] = []

    def pass_hours(self, count: int, spends_ratio: float = 1.0) -> None:
        """Report every hour; what is worth its price is spent."""
        for _ in range(count):
            at = AT + (len(self.prices) + 1) * HOUR_S
            price = self.account.state.price.value
            asked = self.hourly_minor * ((PRICES < 1.0) / 2 + (PRICES < 2.0) / 2)
            self.demand += asked
            self.spent += int(spends_ratio * self.hourly_minor * ((price < 1.0) / 2 + (price < 2.0) / 2))
            self.report(at)
            self.prices.append(self.account.state.price.value)

    def report(self, at: float, **about: Any) -> list[Lease]:
        """Report totals."""
        known: dict[str, Any] = {"version": 0, "granted": 0, "closed": KNOWN_AFTER, "demand": self.demand.tolist()}
        spent = {"drawn": self.spent, "spent": self.spent}
        said = LeaseReport(account_id=self.limit.account_id, partition=0, at=at, **(known | spent | about))
        return [as_read(lease) for lease in self.account.take(said, self.limit, 4)]


class TestPrice:
    def test_it_rises_when_demand_exceeds_the_curve_and_falls_to_nothing_when_it_does_not(self) -> None:
        owner = Owner(limit_of(), hourly_minor=400.0)  # 138 an hour are due
        owner.pass_hours(48)
        assert 1.0 <= owner.prices[-1] <= 2.0, "half of the demand is dropped"
        owner.hourly_minor = 20.0
        owner.pass_hours(14 * 24)
        assert owner.prices[-1] == 0.0

    def test_it_stays_at_nothing_where_the_budget_covers_all(self) -> None:
        owner = Owner(limit_of(), hourly_minor=100.0)
        owner.pass_hours(10 * 24)
        assert set(owner.prices) == {0.0}

    def test_without_an_end_there_is_none(self) -> None:
        owner = Owner(limit_of(valid_until=END_OF_TIME), hourly_minor=10_000.0)
        owner.pass_hours(48)
        assert set(owner.prices) == {0.0}
        assert {lease.price for lease in owner.report(AT + 100 * HOUR_S, asks=True)} == {0.0}

    def test_partitions_hear_of_it_when_it_has_moved_and_only_then(self) -> None:
        owner = Owner(limit_of(), hourly_minor=400.0)
        owner.pass_hours(72)
        before = owner.account.state.told[0]
        owner.demand += 400.0 * (PRICES < 2.0)
        told = owner.report(AT + 73 * HOUR_S)
        is_moved = abs(owner.account.state.price.value - before) > leases.NOTICED_CHANGE * before
        assert [lease.partition for lease in told if lease.partition] == ([1, 2, 3] if is_moved else [])
        owner.spent = 90_000
        told = owner.report(AT + 75 * HOUR_S)
        assert {(lease.partition, lease.price) for lease in told} == {
            (n, owner.account.state.price.value) for n in range(4)
        }
        again = owner.report(AT + 75 * HOUR_S + 1.0, version=10**6)
        assert again == [], "too soon for another one"

    @pytest.mark.parametrize("hold", ["quantile", "maximum"])
    def test_a_restart_between_any_two_reports_changes_no_lease(self, hold: str) -> None:
        told: list[list[Lease]] = []
        for restarts in (False, True):
            owner, chance, leased = Owner(limit_of(budget_hold=hold), hourly_minor=400.0), random.Random(3), []
            for hour in range(300):
                owner.demand += chance.random() * 400.0 * (PRICES < 2.0)
                owner.spent += chance.randrange(200)
                line = (1e4 * chance.random(), 0.0)
                leased += owner.report(AT + hour * HOUR_S, expected=line, variance=line, asks=chance.random() < 0.3)
                owner.account = restarted(owner.account) if restarts else owner.account
            told.append(leased)
        assert told[0] == told[1]
        assert len({lease.price for lease in told[0]}) > 5
        assert len({lease.risk for lease in told[0]}) > (5 if hold == "quantile" else 0)


class TestRisk:
    def test_it_is_not_known_until_something_is_open_and_comes_soon_then(self) -> None:
        owner = Owner(limit_of(), hourly_minor=0.0)
        first = owner.report(AT, asks=True)
        assert [lease.risk for lease in first] == [None]
        variance = (2500.0, 0.0)
        assert owner.report(AT + 1.0, drawn=100, variance=variance, version=10**6) == [], "too soon"
        told = owner.report(AT + LEAST_UPDATE_S, drawn=200, variance=variance, closed=KNOWN_AFTER)
        assert {(lease.partition, lease.risk) for lease in told} == {(0, QUANTILE_Z / 50.0)}, "none else was heard of"
        closed = owner.report(AT + DAY_S, drawn=200, freed=200)
        assert {lease.risk for lease in closed} == {None}

    def test_it_is_not_known_before_coupons_of_the_account_are_over_and_follows_each_doubling_of_them(self) -> None:
        owner, risks = Owner(limit_of(), hourly_minor=0.0), dict[int, float | None]()
        for closed in range(100):
            owner.report(AT + 0.1 * closed, closed=closed, variance=(100.0 + closed, 0.0))
            risks[closed] = owner.account.state.told[1]
        changes = [closed for closed in range(1, 100) if risks[closed] != risks[closed - 1]]
        assert changes == [KNOWN_AFTER, 2 * KNOWN_AFTER, 4 * KNOWN_AFTER, 8 * KNOWN_AFTER]
        assert risks[99] == QUANTILE_Z / math.sqrt(100.0 + changes[-1])

    def test_there_is_none_where_each_holds_the_most(self) -> None:
        owner = Owner(limit_of(budget_hold="maximum"), hourly_minor=0.0)
        for hour in range(3):
            told = owner.report(AT + hour * HOUR_S, drawn=100, variance=(2500.0, 0.0), asks=True)
            assert {lease.risk for lease in told} == {None}

    def test_a_variance_that_is_rounding_has_none(self) -> None:
        owner = Owner(limit_of(), hourly_minor=0.0)
        owner.report(AT)
        told = owner.report(AT + HOUR_S, drawn=100, variance=(1e-13, 0.0), asks=True)
        assert {lease.risk for lease in told} == {None}

    def test_a_budget_that_pays_for_no_coupon_any_more_is_spent_until_money_comes_back(self) -> None:
        owner, told = Owner(limit_of(budget_minor=1000), hourly_minor=0.0), list[bool]()
        for n, (spent, refunded) in enumerate([(900, 0), (901, 0), (1040, 0), (1040, 140)]):
            found = owner.report(AT + n, drawn=spent, spent=spent, refunded=refunded, freed=refunded, asks=True)
            told += [lease.is_spent for lease in found[:1]]
        assert told == [False, True, True, False]

    def test_an_account_without_a_limit_has_neither_risk_nor_price(self) -> None:
        owner = Owner(limit_of(budget_minor=None), hourly_minor=400.0)
        owner.pass_hours(24)
        assert owner.report(AT + 2 * DAY_S, variance=(2500.0, 0.0), asks=True) == []
