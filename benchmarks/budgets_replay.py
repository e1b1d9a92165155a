"""Replays of recorded decision moments under budgets, and the bound on what any policy can earn on them.

A policy sees calibrated predictions: the expected value of a coupon, P(redeem) and the mean discount. It never sees
which coupons will be redeemed, or later moments. A redemption takes off the mean discount; it comes at w u^1.5 days
after the issue, with w the redemption window and u uniform, so that most come early.
"""

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import CouponSet, Floats
from stream_coupons.core.messages.catalogue import BudgetHold, Coupon
from stream_coupons.core.money.holds import QUANTILE_Z, Falling, cost_of, hold_of, risk_of
from stream_coupons.core.money.price import PRICES, Budget, Price, ReportedTotals, demand_of, update
from stream_coupons.core.money.traffic import Traffic
from stream_coupons.core.rules import PolicyRules

from .moments import Moments

DAY_S = 86400.0
WINDOW_DAYS = 2.0
GRACE_DAYS = 1 / 24
LAG_S = 0.4 * WINDOW_DAYS * DAY_S
"""Mean time from an issue to a redemption: the mean of u^1.5 is .4."""
EVEN_PACING_START_RATIO = 0.1
UPDATE_DAYS = 1 / 24
"""Between two updates of a price: an owner updates it far more often."""
WEEK_DAYS = 7.0
NEVER = -1e12
BOUND_STEPS = 600
CENTS_PER_EXCESS = 40.0
"""First step of the price of a coupon for a shopper who would get it once too often, minor units."""

Ints = NDArray[np.int64]


def most_off(coupon: Coupon) -> int:
    """The most that one redemption takes off, minor units.

    >>> most_off(Coupon(coupon_id="c", discount_minor=150, max_discount_minor=500))
    150
    """
    most = coupon.max_discount_minor
    return most if coupon.discount_minor is None else min(coupon.discount_minor, most)


def outside_of(net: Floats) -> Floats:
    """Return for each account the best that a decision has without it, shape (A,), not below 0: giving nothing.

    Parameters
    ----------
    net : array, shape (A,)
        Best value of each account's coupons at current prices, minor units.
    """
    best = int(np.argmax(net))
    outside = np.full(len(net), max(0.0, float(net[best])))
    outside[best] = max([0.0, *net[:best].tolist(), *net[best + 1 :].tolist()])
    return outside


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How budgets are spent.

    Attributes
    ----------
    hold : BudgetHold or "expected"
        What an open coupon holds; "expected" is its expected cost.
    is_priced : bool
        Whether budgets have a price.
    is_paced : bool
        Whether money is released evenly, a tenth at once.
    is_falling : bool
        Whether expectations, and holds below the most, fall over the window; see `Falling`.
    max_overspend_ratio : float
        As of a coupon or a campaign.
    """

    about: str
    hold: BudgetHold | Literal["expected"]
    is_priced: bool = True
    is_paced: bool = False
    is_falling: bool = False
    max_overspend_ratio: float = math.inf


POLICIES: Mapping[str, Policy] = {
    "today": Policy(about="hold the most, even pacing", hold="maximum", is_priced=False, is_paced=True),
    "maximum": Policy(about="hold the most, price", hold="maximum"),
    "first_come": Policy(about="hold a 95 % quantile, first come", hold="quantile", is_priced=False),
    "quantile": Policy(about="hold a 95 % quantile, price", hold="quantile"),
    "falling": Policy(about="hold a 95 % quantile that falls over the window, price", hold="quantile", is_falling=True),
    **{
        f"bounded_{name}": Policy(
            about=f"the same, spending at most {1.0 + ratio:g} times the budget in the worst case",
            hold="quantile",
            is_falling=True,
            max_overspend_ratio=ratio,
        )
        for name, ratio in (("5", 0.05), ("100", 1.0), ("400", 4.0))
    },
    "expected": Policy(about="hold the expected cost, price", hold="expected"),
}


class Case(msgspec.Struct, frozen=True):
    """Budgets of one size: of each coupon or of all together, a share of what greedy decisions would spend."""

    is_shared: bool
    ratio: float

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"{'one shared budget' if self.is_shared else 'coupon budgets'}, {self.ratio:.0%}"


CASES = tuple(Case(is_shared, ratio) for is_shared in (False, True) for ratio in (0.2, 0.5))


@dataclass(frozen=True, slots=True)
class Problem:
    """Recorded moments as arrays over K coupons, with budgets.

    Attributes
    ----------
    day : array, shape (D,)
        Of the moments.
    shopper : list of int, length D
        Of the moments.
    values, costs, redeems : array, shape (D, K)
        Expected incremental margin less the cost of sending, expected discount, and P(redeem). The value is -1e12 where
        a coupon is no candidate.
    most_minor : array, shape (K,)
        The most that a redemption costs.
    most_per_shopper : array, shape (K,)
        Infinite without a cap.
    account : array of int, shape (K,)
        The budget that each coupon draws on.
    amounts : array, shape (A,)
        The budgets, minor units.
    """

    day: Floats
    shopper: list[int]
    values: Floats
    costs: Floats
    redeems: Floats
    most_minor: Floats
    most_per_shopper: Floats
    account: Ints
    amounts: Floats
    days: float
    rules: PolicyRules
    seed: int


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a policy; money in minor units.

    Attributes
    ----------
    value : float
        Expected incremental margin less the cost of sending.
    issues : int
        Coupons given.
    used, overspent : float
        Money spent, and spent beyond each budget, over the sum of all budgets.
    curve_error : float
        Mean over days, after the first fifth, of the distance between the share spent and the share of time passed.
    large_used : float
        Used of budgets that pay at least five redemptions.
    """

    value: float
    issues: int
    used: float
    overspent: float
    curve_error: float
    large_used: float


def problem_of(moments: Moments, catalogue: list[Coupon], rules: PolicyRules, days: float, seed: int) -> Problem:
    """Return a problem without limits on money: one account of an infinite amount."""
    coupons = CouponSet(catalogue, rules.typical_price_minor).coupons
    return Problem(
        day=moments.day,
        shopper=moments.shopper.tolist(),
        values=moments.dense(moments.margin_minor - rules.cost_minor, NEVER, len(coupons)),
        costs=moments.dense(moments.discount_minor, 0.0, len(coupons)),
        redeems=moments.dense(moments.redeems, 0.0, len(coupons)),
        most_minor=np.array([float(most_off(coupon)) for coupon in coupons]),
        most_per_shopper=np.array(
            [min((cap.n for cap in coupon.caps if cap.per == "life"), default=math.inf) for coupon in coupons]
        ),
        account=np.zeros(len(coupons), np.int64),
        amounts=np.array([math.inf]),
        days=days,
        rules=rules,
        seed=seed,
    )


def with_budgets(problem: Problem, case: Case, greedy_costs: Floats) -> Problem:
    """Return the problem with budgets; one of a single coupon pays at least one redemption."""
    if case.is_shared:
        account, amounts = np.zeros(len(greedy_costs), np.int64), np.array([greedy_costs.sum() * case.ratio])
    else:
        account = np.arange(len(greedy_costs))
        amounts = np.maximum(greedy_costs * case.ratio, problem.most_minor)
    return replace(problem, account=account, amounts=amounts)


class Caps:
    """Coupons that shoppers had, against the caps of the product."""

    def __init__(self, problem: Problem) -> None:
        self._most, self._rules = problem.most_per_shopper, problem.rules
        self._recent: defaultdict[int, list[float]] = defaultdict(list)
        self._counts: dict[int, Floats] = {}

    def is_over(self, shopper: int, day: float) -> bool:
        """Return whether the shopper may get no coupon now."""
        since = day - self._rules.issue_window_s / DAY_S
        recent = self._recent[shopper] = [issued for issued in self._recent[shopper] if issued > since]
        return len(recent) >= self._rules.max_issues_per_window

    def allowed(self, shopper: int, values: Floats) -> Floats:
        """Return the values with those of coupons struck that the shopper had as often as they may."""
        counts = self._counts.get(shopper)
        return values if counts is None else np.where(counts < self._most, values, NEVER)

    def add(self, shopper: int, day: float, coupon: int) -> None:
        """Count a coupon."""
        self._recent[shopper].append(day)
        self._counts.setdefault(shopper, np.zeros(len(self._most)))[coupon] += 1


def greedy(problem: Problem) -> tuple[float, Floats]:
    """Return the value of giving the best coupon at every moment within the caps, and the expected cost by coupon."""
    caps, value, costs = Caps(problem), 0.0, np.zeros(len(problem.most_minor))
    for row, (day, shopper) in enumerate(zip(problem.day.tolist(), problem.shopper, strict=True)):
        if caps.is_over(shopper, day):
            continue
        values = caps.allowed(shopper, problem.values[row])
        best = int(np.argmax(values))
        if values[best] > 0.0:
            caps.add(shopper, day, best)
            value += float(values[best])
            costs[best] += problem.costs[row, best]
    return value, costs


@dataclass(slots=True)
class Standing:
    """Sum of amounts that stay until they are removed; the other kind is `Falling`."""

    sum: float = 0.0

    def added(self, amount: float, issued_at: float, ends_at: float) -> "Standing":  # noqa: ARG002 - as of `Falling`
        """Return the sum with an amount added; the negative one removes it."""
        return Standing(self.sum + amount)

    def at(self, at: float) -> float:  # noqa: ARG002 - as of `Falling`
        """Return the sum."""
        return max(0.0, self.sum)


@dataclass(slots=True)
class Account:
    """Money of one budget, and its price."""

    terms: Budget
    held: Standing
    falling: Falling
    expected: Falling | Standing
    variance: Falling | Standing
    spent: float = 0.0
    worst: float = 0.0
    """Spending if each open coupon took the most that it can."""
    risk: float = math.inf
    price: Price = field(default_factory=Price)

    @classmethod
    def opened(cls, amount: float, days: float, *, is_falling: bool) -> "Account":
        """Return the account of a budget."""
        terms = Budget(amount, 0.0, days * DAY_S, lag_s=LAG_S)
        kind = Falling if is_falling else Standing
        return cls(terms, Standing(), Falling(), kind(), kind())

    def held_at(self, day: float) -> float:
        """Return what all open coupons hold."""
        return self.held.at(day) + self.falling.at(day)

    def book(self, opened: "Open", sign: float) -> None:
        """Add hold, expectation and variance of an open coupon, or take them out."""
        ends = opened.issued + WINDOW_DAYS + GRACE_DAYS
        span = opened.issued, ends
        if opened.is_falling:
            self.falling = self.falling.added(sign * opened.hold, *span)
        else:
            self.held = self.held.added(sign * opened.hold, *span)
        self.expected = self.expected.added(sign * opened.expected, *span)
        self.variance = self.variance.added(sign * opened.variance, *span)


@dataclass(frozen=True, slots=True, order=True)
class Open:
    """An open coupon; days since the start, money in minor units.

    Attributes
    ----------
    closes : float
        When it is redeemed, or can no longer be.
    moment, account : int
        Which decision, and which budget.
    issued : float
        When it was given.
    cost : float
        Of its redemption; 0 if it is not redeemed.
    hold, expected, variance : float
        Booked in the account.
    is_falling : bool
        Whether the hold falls.
    """

    closes: float
    moment: int
    account: int = field(compare=False)
    issued: float = field(compare=False)
    cost: float = field(compare=False)
    hold: float = field(compare=False)
    expected: float = field(compare=False)
    variance: float = field(compare=False)
    is_falling: bool = field(compare=False)


class Replay:
    """One policy on one problem.

    Parameters
    ----------
    draw : int
        Number of the draw of redemptions: the same for all policies.
    """

    def __init__(self, problem: Problem, policy: Policy, draw: int = 0) -> None:
        self._problem, self._policy = problem, policy
        self._accounts = [
            Account.opened(amount, problem.days, is_falling=policy.is_falling) for amount in problem.amounts.tolist()
        ]
        rng = np.random.default_rng([problem.seed, 27, draw])
        self._chance = rng.random(len(problem.day))
        self._delay = WINDOW_DAYS * rng.random(len(problem.day)) ** 1.5
        self._open: list[Open] = []
        self._closing = deque[tuple[float, int, float]]()
        """End of the window, account, and what the coupon can no longer take, of each coupon in order."""
        self._spent_by_day = np.zeros(math.ceil(problem.days + WINDOW_DAYS) + 1)
        self._traffic, self._decisions, self._updated = Traffic(), 0, 0.0
        self._prices = np.zeros(len(self._accounts))
        self._demand = np.zeros((len(self._accounts), len(PRICES)))
        self._rows = [np.flatnonzero(problem.account == number) for number in range(len(self._accounts))]
        self._columns = np.array(self._rows)
        """Coupons of each account: they have the same number of coupons here."""

    def run(self) -> Replayed:
        """Replay all moments in order."""
        problem, caps = self._problem, Caps(self._problem)
        value, issues = 0.0, 0
        for row, (day, shopper) in enumerate(zip(problem.day.tolist(), problem.shopper, strict=True)):
            self._close(day)
            if day >= self._updated + UPDATE_DAYS:
                self._update(day)
            if caps.is_over(shopper, day):
                continue
            values = caps.allowed(shopper, problem.values[row])
            net = values - self._prices[problem.account] * problem.costs[row]
            if self._policy.is_priced:
                self._count(values, problem.costs[row], net)
            for coupon in np.argsort(-net).tolist():
                if net[coupon] <= 0.0:
                    break
                if self._give(row, coupon, day):
                    caps.add(shopper, day, coupon)
                    value, issues = value + float(values[coupon]), issues + 1
                    break
        self._close(math.inf)
        spent = np.array([account.spent for account in self._accounts])
        return result_of(self._problem, value, issues, spent, self._spent_by_day)

    def _close(self, day: float) -> None:
        while self._closing and self._closing[0][0] <= day:
            _, number, rest = self._closing.popleft()
            self._accounts[number].worst -= rest
        while self._open and self._open[0].closes <= day:
            closed = heapq.heappop(self._open)
            account = self._accounts[closed.account]
            account.book(closed, -1.0)
            account.spent += closed.cost
            self._spent_by_day[int(closed.closes)] += closed.cost

    def _count(self, values: Floats, costs: Floats, net: Floats) -> None:
        """Add the demand of a decision, as a partition would."""
        columns = self._columns
        self._demand += demand_of(values[columns], costs[columns], outside_of(net[columns].max(axis=1)))
        self._decisions += 1

    def _update(self, day: float) -> None:
        """Set risks and prices, as the owners of the budgets would."""
        at = day * DAY_S
        self._traffic = self._traffic.note(self._updated * DAY_S, at, self._decisions)
        self._decisions = 0
        for number, account in enumerate(self._accounts):
            variance = account.variance.at(day)
            account.risk = risk_of(variance, QUANTILE_Z)
            if self._policy.is_priced:
                demand = tuple(self._demand[number].tolist())
                totals = ReportedTotals(account.spent, account.expected.at(day), variance, demand)
                account.price = update(account.price, totals, account.terms, self._traffic, at)
                self._prices[number] = account.price.value
        self._updated = day

    def _give(self, row: int, coupon: int, day: float) -> bool:
        """Book a coupon if its account has the money; return whether it has."""
        problem, policy = self._problem, self._policy
        number = int(problem.account[coupon])
        account = self._accounts[number]
        redeems = float(problem.redeems[row, coupon])
        most = float(problem.most_minor[coupon])
        discount = min(most, float(problem.costs[row, coupon]) / redeems) if redeems > 0.0 else 0.0
        expected, variance = cost_of(redeems, discount)
        hold = expected if policy.hold == "expected" else hold_of(policy.hold, most, redeems, discount, account.risk)
        released = min(max(day / problem.days, EVEN_PACING_START_RATIO), 1.0) if policy.is_paced else 1.0
        if account.spent + account.held_at(day) + hold > account.terms.amount_minor * released:
            return False
        if account.worst + most > account.terms.amount_minor * (1.0 + policy.max_overspend_ratio):
            return False
        is_redeemed = self._chance[row] < redeems
        closes = day + (float(self._delay[row]) if is_redeemed else WINDOW_DAYS + GRACE_DAYS)
        is_falling = policy.is_falling and hold < most
        cost = discount if is_redeemed else 0.0
        opened = Open(closes, row, number, day, cost, hold, expected, variance, is_falling)
        account.book(opened, 1.0)
        account.worst += most
        self._closing.append((day + WINDOW_DAYS + GRACE_DAYS, number, most - cost))
        heapq.heappush(self._open, opened)
        return True


def result_of(problem: Problem, value: float, issues: int, spent: Floats, spent_by_day: Floats) -> Replayed:
    """Return the result of a policy.

    Parameters
    ----------
    value : float
        Expected incremental margin, minor units.
    spent : array, shape (A,)
        By account, minor units.
    spent_by_day : array, shape (days + 1,)
        Of all accounts; the last entry is what came after the end.
    """
    amounts, days = problem.amounts, int(problem.days)
    shares = np.cumsum(spent_by_day)[:days] / amounts.sum()
    error = np.abs(shares - np.arange(1, days + 1) / problem.days)[int(days / 5) :]
    largest = np.array([problem.most_minor[problem.account == number].max() for number in range(len(amounts))])
    large = amounts >= 5 * largest
    return Replayed(
        value=value,
        issues=issues,
        used=float(spent.sum() / amounts.sum()),
        overspent=float(np.maximum(spent - amounts, 0.0).sum() / amounts.sum()),
        curve_error=float(error.mean()),
        large_used=float(spent[large].sum() / amounts[large].sum()) if large.any() else math.nan,
    )


def bound_of(problem: Problem, steps: int = BOUND_STEPS, *, caps_coupons: bool = True) -> float:
    """Return the most that any policy can earn in expectation, minor units: the dual of a linear programme.

    The programme knows all moments. It gives at most one coupon a moment, three to a shopper in a calendar week, and no
    more of a coupon than its `caps` for life allow, within every budget in expectation. Its dual is minimised by
    subgradient steps; all multipliers give a bound, and the least one is returned.

    Parameters
    ----------
    steps : int
        More make it tighter.
    caps_coupons : bool
        Whether `caps` for life are a constraint. Without it the bound is looser.
    """
    shopper = np.array(problem.shopper)
    week = (problem.day // WEEK_DAYS).astype(np.int64)
    group = shopper * (int(week.max()) + 1) + week
    order = np.argsort(group, kind="stable")
    order = order[problem.values[order].max(axis=1) > 0.0]
    values, costs, group, shopper = problem.values[order], problem.costs[order], group[order], shopper[order]
    rows = np.arange(len(order))
    is_first = np.concatenate(([True], group[1:] != group[:-1]))
    rank = rows - np.maximum.accumulate(np.where(is_first, rows, 0))
    capped = np.flatnonzero(np.isfinite(problem.most_per_shopper) & caps_coupons)
    most, amounts, account = problem.most_per_shopper[capped], problem.amounts, problem.account
    place = np.full(values.shape[1], -1)
    place[capped] = np.arange(len(capped))
    prices = np.full(len(amounts), 0.3)
    repeat_prices = np.zeros((int(shopper.max()) + 1, len(capped)))
    least = math.inf
    for step in range(steps):
        net = values - prices[account] * costs
        net[:, capped] -= repeat_prices[shopper]
        best = net.argmax(axis=1)
        gain = net[rows, best]
        by_gain = np.lexsort((-gain, group))
        taken = by_gain[(rank < problem.rules.max_issues_per_window) & (gain[by_gain] > 0.0)]
        least = min(least, gain[taken].sum() + (prices * amounts).sum() + (repeat_prices * most).sum())
        used = np.bincount(account[best[taken]], costs[taken, best[taken]], len(amounts))
        counts = np.zeros_like(repeat_prices)
        is_capped = place[best[taken]] >= 0
        np.add.at(counts, (shopper[taken][is_capped], place[best[taken]][is_capped]), 1.0)
        size = 1.0 / math.sqrt(1.0 + step / 4)
        prices = np.maximum(prices + 0.25 * size * np.clip((used - amounts) / amounts, -1.0, 1.5), 0.0)
        repeat_prices = np.maximum(repeat_prices + CENTS_PER_EXCESS * size * (counts - most), 0.0)
    return float(least)
