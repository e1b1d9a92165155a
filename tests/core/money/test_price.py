"""The price of a budget: never negative, restored from its state, and it takes spending to its curve."""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.messages.catalogue import BudgetCurve
from stream_coupons.core.money.holds import Falling, cost_of
from stream_coupons.core.money.price import PRICES, Budget, Price, ReportedTotals, demand_of, share_due, solve, update
from stream_coupons.core.money.traffic import Traffic
from tests.core.builders import AT, DAY_S, HOUR_S

fast = settings(max_examples=60, derandomize=True)
ratios = st.floats(0.0, 1.0)
money = st.floats(0.0, 1e7)
curves = st.sampled_from(["even", "front_loaded", "by_traffic"])
demands = st.lists(st.floats(0.0, 1e6), min_size=len(PRICES), max_size=len(PRICES)).map(
    lambda steps: tuple(np.cumsum(steps)[::-1].tolist())
)


@st.composite
def traffics(draw: st.DrawFn) -> Traffic:
    """Any traffic that was noted in up to a fortnight."""
    traffic, at = Traffic(), AT
    for passed, decisions in draw(st.lists(st.tuples(st.floats(1.0, 5 * DAY_S), st.integers(0, 1000)), max_size=6)):
        traffic = traffic.note(at, at + passed, decisions)
        at += passed
    return traffic


def restored(price: Price) -> Price:
    """The price after a restart of its owner."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(price), type=Price)


class TestCurves:
    @fast
    @given(curves, traffics(), st.floats(60.0, 90 * DAY_S), ratios, ratios)
    def test_a_curve_rises_from_nothing_to_all(
        self, curve: BudgetCurve, traffic: Traffic, length: float, one: float, other: float
    ) -> None:
        budget = Budget(1.0, AT, AT + length, curve)
        earlier, later = sorted((one, other))
        shares = [share_due(budget, AT + part * length, traffic) for part in (-1.0, 0.0, earlier, later, 1.0, 2.0)]
        assert shares[:2] == [0.0, 0.0]
        assert shares[4:] == pytest.approx([1.0, 1.0])
        assert shares[2] <= shares[3] + 1e-6

    def test_front_loaded_is_ahead_of_even(self) -> None:
        even, front = (Budget(1.0, 0.0, 10.0, curve) for curve in ("even", "front_loaded"))
        assert share_due(even, 3.0, Traffic()) == 0.3
        assert share_due(front, 3.0, Traffic()) == pytest.approx(0.51)

    def test_by_traffic_follows_the_hours_that_were_seen(self) -> None:
        traffic = Traffic()
        for hour in range(14 * 24):
            traffic = traffic.note(hour * HOUR_S, (hour + 1) * HOUR_S, 90 if 12 <= hour % 24 < 18 else 10)
        budget = Budget(1.0, 0.0, 7 * DAY_S, "by_traffic")
        due = [share_due(budget, DAY_S + hour * HOUR_S, traffic) for hour in (0, 12, 18, 24)]
        assert due[0] == pytest.approx(1 / 7)
        assert due[3] == pytest.approx(2 / 7)
        assert (due[2] - due[1]) * 7 == pytest.approx(0.75, abs=0.15)

    def test_traffic_without_history_is_time(self) -> None:
        assert Traffic().between(AT, AT + 5000.0) == pytest.approx(5000.0)
        assert Traffic().note(AT, AT + 30 * DAY_S, 10**6) == Traffic()


class TestDemand:
    @fast
    @given(st.lists(st.tuples(st.floats(-500.0, 500.0), st.floats(0.1, 500.0)), min_size=1, max_size=8), money)
    def test_it_is_what_a_decision_at_that_price_would_choose(
        self, coupons: list[tuple[float, float]], outside: float
    ) -> None:
        values, costs = np.array(coupons).T
        demand = demand_of(values[None], costs[None], np.array([outside]))[0]
        for price, cost in zip(PRICES.tolist(), demand.tolist(), strict=True):
            net = values - price * costs
            assert cost == (costs[net.argmax()] if net.max() > outside else 0.0)
        assert (np.diff(demand) <= 1e-9).all()

    def test_accounts_compete_at_current_prices(self) -> None:
        values, costs = np.array([[50.0], [40.0]]), np.array([[10.0], [10.0]])
        bought = demand_of(values, costs, outside=np.array([35.0, 30.0])) > 0.0
        assert bought[0].tolist() == (PRICES < 1.5).tolist()
        assert bought[1].tolist() == (PRICES < 1.0).tolist()

    def test_prices_of_several_budgets_add(self) -> None:
        value, cost, other = 100.0, 10.0, 4.0
        bought = demand_of(np.array([[value - other * cost]]), np.array([[cost]]), np.zeros(1))[0] > 0.0
        assert bought.tolist() == [value - (other + price) * cost > 0.0 for price in PRICES.tolist()]

    @fast
    @given(demands, st.floats(-1e6, 1e8))
    def test_the_price_meets_the_need_where_it_can(self, demand: tuple[float, ...], need: float) -> None:
        price = solve(np.array(demand), need)
        assert 0.0 <= price <= PRICES[-1]
        if 0.0 < price < PRICES[-1]:
            above = int(np.searchsorted(PRICES, price, side="left"))
            assert demand[min(above, len(demand) - 1)] <= need * (1 + 1e-9) + 1e-9


reports = st.builds(ReportedTotals, money, money, money, st.one_of(st.just(()), demands))


class TestUpdate:
    @fast
    @given(
        st.lists(st.tuples(st.floats(-DAY_S, 40 * DAY_S), reports), min_size=1, max_size=8),
        curves,
        traffics(),
        st.floats(1.0, 1e7),
        st.floats(60.0, 60 * DAY_S),
    )
    def test_a_price_is_never_negative_and_the_same_moment_changes_nothing(
        self,
        updates: list[tuple[float, ReportedTotals]],
        curve: BudgetCurve,
        traffic: Traffic,
        amount: float,
        length: float,
    ) -> None:
        budget, price = Budget(amount, AT, AT + length, curve, lag_s=length / 20), Price()
        for passed, totals in updates:
            price = update(price, totals, budget, traffic, AT + passed)
            assert 0.0 <= price.value <= PRICES[-1]
            assert price.at is not None
            assert update(price, totals, budget, traffic, price.at) is price
            assert update(price, ReportedTotals(), budget, traffic, price.at - 1.0) is price
            assert restored(price) == price

    @fast
    @given(demands, money, st.floats(1.0, 1e6))
    def test_more_spent_is_never_cheaper(self, demand: tuple[float, ...], spent: float, more: float) -> None:
        budget, begun = (
            Budget(1e7, AT, AT + 20 * DAY_S),
            update(Price(), ReportedTotals(), Budget(1e7, AT, AT + 1), Traffic(), AT),
        )
        prices = [
            update(begun, ReportedTotals(spent_minor=each, demand=demand), budget, Traffic(), AT + DAY_S).value
            for each in (spent, spent + more)
        ]
        assert prices[0] <= prices[1]

    def test_it_starts_without_history_and_costs_nothing_without_demand(self) -> None:
        budget = Budget(1000.0, AT, AT + 10 * DAY_S)
        first = update(Price(), ReportedTotals(demand=(5.0,) * len(PRICES)), budget, Traffic(), AT)
        assert first.value == 0.0
        assert update(first, ReportedTotals(demand=(5.0,) * len(PRICES)), budget, Traffic(), AT + 1.0).value == 0.0

    def test_an_update_a_moment_later_is_finite(self) -> None:
        budget = Budget(1000.0, AT, AT + 10 * DAY_S)
        begun = update(Price(), ReportedTotals(), budget, Traffic(), AT)
        later = update(
            begun, ReportedTotals(demand=(9.0,) * len(PRICES)), budget, Traffic(), math.nextafter(AT, math.inf)
        )
        assert 0.0 <= later.value <= PRICES[-1]

    def test_a_spent_budget_costs_the_most(self) -> None:
        budget = Budget(1000.0, AT, AT + 10 * DAY_S)
        begun = update(Price(), ReportedTotals(), budget, Traffic(), AT)
        assert update(begun, ReportedTotals(spent_minor=1000.0), budget, Traffic(), AT + DAY_S).value == PRICES[-1]


WINDOW_S = 2 * DAY_S
Rate = Callable[[float], float]


def steady(_at: float) -> float:
    """20 decisions an hour."""
    return 20.0


def by_day(at: float) -> float:
    """As many in the mean, most of them by day."""
    return 35.0 if 8 <= at / HOUR_S % 24 < 20 else 5.0


def always(_at: float) -> bool:
    """Every hour."""
    return True


@dataclass
class Stream:
    """Decisions with one candidate each: value over cost is log-normal, one in ten is redeemed, for 100 minor units."""

    budget: Budget
    rate: Rate = steady
    """Decisions an hour."""
    seed: int = 1
    price: Price = field(default_factory=Price)
    traffic: Traffic = field(default_factory=Traffic)
    expected: Falling = field(default_factory=Falling)
    variance: Falling = field(default_factory=Falling)
    spent: float = 0.0
    spent_at: list[float] = field(default_factory=list)
    prices: list[float] = field(default_factory=list)

    def run(self, is_updated: Callable[[float], bool] = always, *, restarts: bool = False) -> "Stream":
        """Let the campaign pass hour by hour; `is_updated` says at which hours the owner hears and sets a price."""
        rng, demand = np.random.default_rng(self.seed), np.zeros(len(PRICES))
        pending: list[tuple[float, float, float]] = []
        at, since, decisions = self.budget.starts_at, self.budget.starts_at, 0
        while at < self.budget.ends_at:
            while pending and pending[0][0] <= at:
                _, issued, cost = heapq.heappop(pending)
                self._open(-1.0, issued)
                self.spent += cost
            if is_updated(at):
                self.traffic = self.traffic.note(since, at, decisions)
                since, decisions = at, 0
                totals = ReportedTotals(self.spent, self.expected.at(at), self.variance.at(at), tuple(demand.tolist()))
                self.price = update(self.price, totals, self.budget, self.traffic, at)
                self.price = restored(self.price) if restarts else self.price
            self.spent_at.append(self.spent / self.budget.amount_minor)
            self.prices.append(self.price.value)
            for _ in range(rng.poisson(self.rate(at))):
                value = 10.0 * rng.lognormal()
                demand += demand_of(np.array([[value]]), np.array([[10.0]]), np.zeros(1))[0]
                decisions += 1
                if value > self.price.value * 10.0:
                    self._open(1.0, at)
                    is_redeemed = rng.random() < 0.1
                    closes = WINDOW_S * (rng.random() ** 1.5 if is_redeemed else 1.0)
                    heapq.heappush(pending, (at + closes, at, 100.0 * is_redeemed))
            at += HOUR_S
        self.spent_at.append((self.spent + sum(cost for *_, cost in pending)) / self.budget.amount_minor)
        return self

    def _open(self, sign: float, issued: float) -> None:
        (expected, variance), span = cost_of(0.1, 100.0), (issued, issued + WINDOW_S)
        self.expected = self.expected.added(sign * expected, *span)
        self.variance = self.variance.added(sign * variance, *span)

    def errors(self) -> Floats:
        """Share spent less share due, by hour."""
        hours = np.arange(len(self.spent_at)) * HOUR_S + self.budget.starts_at
        return np.array(self.spent_at) - [share_due(self.budget, at, self.traffic) for at in hours]


def campaign(curve: BudgetCurve = "even", days: float = 20.0, amount: float = 20_000.0) -> Budget:
    """A budget that pays 200 redemptions; all that is asked for would take 96,000."""
    return Budget(amount, AT, AT + days * DAY_S, curve, lag_s=0.4 * WINDOW_S)


class TestStream:
    @pytest.mark.parametrize("curve", ["even", "front_loaded", "by_traffic"])
    def test_a_stationary_stream_follows_its_curve_and_uses_the_budget(self, curve: BudgetCurve) -> None:
        stream = Stream(campaign(curve), rate=by_day).run()
        assert np.abs(stream.errors()[4 * 24 :]).mean() < 0.05
        assert stream.spent_at[-1] == pytest.approx(1.0, abs=0.08)

    def test_the_price_settles_near_the_best_constant_one(self) -> None:
        stream = Stream(campaign(), rate=by_day).run()
        settled = np.array(stream.prices[2 * 24 : -3 * 24])
        best = float(np.exp(0.813))  # of log-normal ratios, 20.8 % are above it: 20,000 of 96,000
        assert np.median(settled) == pytest.approx(best, rel=0.15)
        assert np.abs(np.diff(np.log(settled))).mean() < 0.03

    def test_a_small_budget_is_not_driven_by_single_redemptions(self) -> None:
        stream = Stream(campaign(amount=800.0), rate=lambda at: steady(at) / 5).run()
        assert stream.spent_at[-1] <= 1.3
        assert np.mean(stream.prices[2 * 24 : -3 * 24]) > 1.0

    def test_a_burst_is_made_up_for(self) -> None:
        stream = Stream(campaign(), rate=lambda at: 200.0 if 6 <= (at - AT) / DAY_S < 7 else 20.0).run()
        assert np.abs(stream.errors()[12 * 24 :]).mean() < 0.05
        assert stream.spent_at[-1] == pytest.approx(1.0, abs=0.08)

    def test_a_gap_in_the_updates_does_no_harm(self) -> None:
        stream = Stream(campaign()).run(lambda at: not 5 <= (at - AT) / DAY_S < 9)
        assert np.abs(stream.errors()[12 * 24 :]).mean() < 0.05
        assert stream.spent_at[-1] == pytest.approx(1.0, abs=0.08)

    def test_a_price_restored_at_every_step_is_the_same(self) -> None:
        assert Stream(campaign(days=6.0)).run(restarts=True).prices == Stream(campaign(days=6.0)).run().prices

    @settings(derandomize=True, max_examples=5)
    @given(st.integers(0, 10**6))
    def test_updates_at_any_times_lead_to_the_curve(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        stream = Stream(campaign(), seed=seed).run(lambda _: bool(rng.random() < 0.2))
        assert np.abs(stream.errors()[5 * 24 :]).mean() < 0.08
        assert stream.spent_at[-1] == pytest.approx(1.0, abs=0.15)
