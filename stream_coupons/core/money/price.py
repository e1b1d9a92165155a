r"""The price of a budget: what a minor unit of its money must bring, so that the best uses of scarce money win.

A decision values a coupon at value - price * expected cost, with one price for each budget that the coupon draws on:
the dual variable of that budget's constraint [1]_. Partitions report by how much decisions would draw on the budget at
each of a few fixed prices. These totals add up over partitions, and their owner solves for the price at which the
expected demand until a near horizon takes spending to its target curve. Nothing is integrated, so nothing winds up.

References
----------
.. [1] Balseiro, S., Lu, H., and Mirrokni, V. (2020). Dual mirror descent for online allocation problems. ICML.
"""

import math
from functools import lru_cache

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stream_coupons.core.messages.catalogue import BudgetCurve, BudgetHold

Floats = NDArray[np.float64]

PRICES: Floats = np.geomspace(0.02, 20.0, 32)
"""Prices at which demand is reported: value over expected cost, ascending. At the last one a spent budget stays."""
HALF_LIFE_S = 2 * 86400.0
"""Age at which reported demand counts half: two days average out the hours of the day."""
LEAST_KEPT = 0.05
"""Share of the known demand that is kept after any gap, however long."""
LEAST_HORIZON = 0.05
"""Share of a campaign over which a deviation from the curve is corrected where the budget pays many redemptions."""
LAST_HORIZON = 0.001
"""Share of a campaign below which the horizon does not shrink at its end."""
CHASED_NOISE = 2.0
"""Deviations from the curve are corrected over this many times the share of the budget that is noise."""
QUANTILE_Z = 1.645
"""Standard deviations that a quantile hold adds to the expected cost of all that is open: 95 %."""
UPDATES = 500
"""Updates of the price in a campaign that is neither short nor long."""
LEAST_UPDATE_S, MOST_UPDATE_S = 10.0, 3600.0
WEEK_HOURS = 168
HOUR_S = 3600.0
PRIOR_S = 900.0
"""Seconds of mean traffic that each hour of the week starts with."""
HOUR_WEIGHT_S = 8 * HOUR_S
"""Seconds of one hour of the week, seen in other weeks, after which older ones fade."""


class Traffic(Struct, frozen=True, array_like=True):
    """Decisions by hour of the week (UTC, Thursday first as the epoch begins), learnt online.

    An hour of the week extrapolates to the rest of a campaign; the cumulative share that was observed does not.

    Attributes
    ----------
    decisions, seconds : tuple of float
        Decisions and time seen in each hour of the week, of length 168.
    """

    decisions: tuple[float, ...] = (0.0,) * WEEK_HOURS
    seconds: tuple[float, ...] = (0.0,) * WEEK_HOURS

    def note(self, since: float, until: float, decisions: float) -> "Traffic":
        """Return the traffic with the decisions of an interval spread over its hours; one above a week is left out.

        Parameters
        ----------
        since, until : float
            UTC epoch seconds.
        decisions : float
            Number of decisions in the interval.

        Examples
        --------
        >>> traffic = Traffic().note(0.0, 3600.0, 60.0)
        >>> traffic.decisions[0], traffic.seconds[0]
        (60.0, 3600.0)
        """
        if not 0.0 < until - since <= WEEK_HOURS * HOUR_S:
            return self
        counts, seconds = list(self.decisions), list(self.seconds)
        per_second = decisions / (until - since)
        for hour in range(int(since / HOUR_S), math.ceil(until / HOUR_S)):
            passed = min(until, (hour + 1) * HOUR_S) - max(since, hour * HOUR_S)
            fading = max(0.0, 1.0 - passed / HOUR_WEIGHT_S)
            row = hour % WEEK_HOURS
            counts[row] = fading * counts[row] + passed * per_second
            seconds[row] = fading * seconds[row] + passed
        return Traffic(tuple(counts), tuple(seconds))

    def between(self, since: float, until: float) -> float:
        """Return the seconds of an interval weighted by the traffic of their hours, over a week's mean.

        An hour that was never seen weighs 1, so that without history these are plain seconds.

        Parameters
        ----------
        since, until : float
            UTC epoch seconds.

        Examples
        --------
        >>> Traffic().between(3600.0, 5400.0)
        1800.0
        """
        cumulative = _cumulative(self)
        (first, last), hours = np.divmod((since / HOUR_S, until / HOUR_S), WEEK_HOURS)
        before, after = np.interp(hours, _HOURS, cumulative)
        return float((last - first) * cumulative[-1] + after - before)


_HOURS = np.arange(WEEK_HOURS + 1.0)


@lru_cache(maxsize=4)
def _cumulative(traffic: Traffic) -> Floats:
    """Return the weighted seconds since the start of the week at each of its hours, shape (169,)."""
    counts, seconds = np.array(traffic.decisions), np.array(traffic.seconds)
    mean = counts.sum() / seconds.sum() if counts.any() else 1.0
    weights = (counts / mean + PRIOR_S) / (seconds + PRIOR_S)
    return np.concatenate(([0.0], np.cumsum(weights / weights.mean() * HOUR_S)))


class Budget(Struct, frozen=True, array_like=True):
    """Terms of one account: of a campaign, or of a coupon without one. An account without an end has no price.

    Attributes
    ----------
    amount_minor : float
        Money, minor units.
    starts_at, ends_at : float
        UTC epoch seconds, ascending.
    curve : BudgetCurve
        How much of it should be spent by when; see `share_due`.
    lag_s : float
        Mean time from an issue to its redemption: so far ahead of the curve money is committed.
    """

    amount_minor: float
    starts_at: float
    ends_at: float
    curve: BudgetCurve = "even"
    lag_s: float = 0.0


class ReportedTotals(Struct, frozen=True, array_like=True):
    """Reported of an account, added up over partitions; money in minor units.

    Attributes
    ----------
    spent_minor : float
        Of all redemptions.
    expected_minor, variance : float
        Of the cost of all open coupons.
    demand : tuple of float
        Sums of `demand_of` over all decisions, by price of `PRICES`: totals that only grow. Empty before the first.
    """

    spent_minor: float = 0.0
    expected_minor: float = 0.0
    variance: float = 0.0
    demand: tuple[float, ...] = ()


class Price(Struct, frozen=True, array_like=True):
    """The price of a budget, and what it was computed from: the state of an account's owner.

    Attributes
    ----------
    value : float
        The price: value per minor unit of expected cost, 0 to `PRICES[-1]`.
    at : float or None
        UTC epoch seconds of the last update; None before the first.
    demand, seconds : tuple of float, float
        Recent demand by price, and the time weighted by traffic in which it came; older ones faded.
    seen : tuple of float
        The totals of demand at the last update.
    lump_minor : float
        Variance over expectation of what is open: about the cost of one redemption.
    """

    value: float = 0.0
    at: float | None = None
    demand: tuple[float, ...] = ()
    seconds: float = 0.0
    seen: tuple[float, ...] = ()
    lump_minor: float = 0.0


def share_due(budget: Budget, at: float, traffic: Traffic) -> float:
    """Return the share of a budget that should be spent by a time, 0 to 1.

    Parameters
    ----------
    budget : Budget
        Terms of the account.
    at : float
        UTC epoch seconds.
    traffic : Traffic
        Decisions by hour of the week.

    Notes
    -----
    `even` is a straight line. `front_loaded` starts at twice the mean rate and falls evenly to none, so that half is
    spent after .29 of the time. `by_traffic` follows the decisions to be expected: the same chance at every hour.

    Examples
    --------
    >>> [share_due(Budget(100.0, 0.0, 10.0, curve), 5.0, Traffic()) for curve in ("even", "front_loaded")]
    [0.5, 0.75]
    """
    at = min(max(at, budget.starts_at), budget.ends_at)
    if budget.curve == "by_traffic":
        return traffic.between(budget.starts_at, at) / traffic.between(budget.starts_at, budget.ends_at)
    passed = (at - budget.starts_at) / (budget.ends_at - budget.starts_at)
    return passed * (2.0 - passed) if budget.curve == "front_loaded" else passed


def cost_of(redeems: float, discount_minor: float) -> tuple[float, float]:
    """Return expectation and variance of the cost of an open coupon, minor units and minor units squared.

    A redemption takes off its mean discount, so that the cost is a Bernoulli variable times a constant.

    Parameters
    ----------
    redeems : float
        P(redeem).
    discount_minor : float
        E(discount | redeem).

    Examples
    --------
    >>> cost_of(0.5, 100.0)
    (50.0, 2500.0)
    """
    return redeems * discount_minor, redeems * (1.0 - redeems) * discount_minor**2


def risk_of(variance: float, z: float) -> float:
    """Return z over the standard deviation of the cost of open coupons; infinite if none is open.

    Parameters
    ----------
    variance : float
        Of the cost of all open coupons of an account, minor units squared.
    z : float
        Quantile of the standard normal distribution: 1.64 for 95 %.

    Examples
    --------
    >>> risk_of(100.0, 2.0), risk_of(0.0, 2.0)
    (0.2, inf)
    """
    return z / math.sqrt(variance) if variance > 0.0 else math.inf


def hold_of(hold: BudgetHold, most_minor: float, redeems: float, discount_minor: float, risk: float) -> float:
    """Return the hold of an open coupon in each of its budgets, minor units.

    Parameters
    ----------
    hold : BudgetHold
        `maximum` is the most that it can cost. `quantile` is its share of a quantile of all that is open: expectation
        plus `risk` times variance, at the most the same. With `risk_of` the sum over all open coupons is about their
        expectation plus z standard deviations.
    most_minor : float
        The most that one redemption can cost.
    redeems, discount_minor : float
        P(redeem) and E(discount | redeem).
    risk : float
        Output of `risk_of`.

    Examples
    --------
    >>> hold_of("maximum", 100.0, 0.1, 60.0, risk=0.01), hold_of("quantile", 100.0, 0.1, 60.0, risk=0.01)
    (100.0, 9.24)
    """
    expected, variance = cost_of(redeems, discount_minor)
    if hold == "maximum" or (math.isinf(risk) and variance > 0.0):
        return most_minor
    return min(most_minor, expected + (risk * variance if variance > 0.0 else 0.0))


class Falling(Struct, array_like=True):
    """Sum of amounts, each of which falls evenly to nothing between the issue of a coupon and its end.

    A coupon that was not used in half of its window will be used with about half of the probability. The sum is a line,
    so totals of partitions add up, and time passes without a record for each coupon. It is cautious where most
    redemptions come early. Holds of the most should not fall: a budget that pays one redemption would be overspent.

    Attributes
    ----------
    level, slope : float
        The sum is level - slope * at, as long as each coupon is removed by its end.
    """

    level: float = 0.0
    slope: float = 0.0

    def add(self, amount: float, issued_at: float, ends_at: float) -> None:
        """Add an amount in place; parameters as of `Falling.added`."""
        per_second = amount / max(ends_at - issued_at, 1.0)
        self.level += per_second * ends_at
        self.slope += per_second

    def added(self, amount: float, issued_at: float, ends_at: float) -> "Falling":
        """Return the sum with an amount added.

        Parameters
        ----------
        amount : float
            Of one coupon; the negative one removes it, whatever is left of it.
        issued_at, ends_at : float
            UTC epoch seconds.

        Examples
        --------
        >>> [Falling().added(8.0, 0.0, 100.0).at(seconds) for seconds in (0.0, 50.0, 200.0)]
        [8.0, 4.0, 0.0]
        """
        sum_ = Falling(self.level, self.slope)
        sum_.add(amount, issued_at, ends_at)
        return sum_

    def at(self, at: float) -> float:
        """Return the rest of the sum at a time in UTC epoch seconds, not below 0."""
        return max(0.0, self.level - self.slope * at)


def demand_of(values: Floats, costs: Floats, outside: Floats) -> Floats:
    """Return the expected cost of a decision to each of A accounts at each price, shape (A, `len(PRICES)`).

    Parameters
    ----------
    values, costs : array, shape (A, n)
        Value before the account's own price, and expected cost, of the coupons that the decision may give; a value of
        -inf marks none.
    outside : array, shape (A,)
        The best value of the decision without the account, or of giving nothing.

    Examples
    --------
    >>> values, costs = np.array([[30.0]]), np.array([[10.0]])
    >>> [demand] = demand_of(values, costs, np.array([0.0]))  # 10 at every price below 3
    >>> bool((demand == np.where(PRICES < 3.0, 10.0, 0.0)).all())
    True
    """
    net = values[..., None] - costs[..., None] * PRICES
    account, price = np.arange(len(net))[:, None], np.arange(len(PRICES))
    best = net.argmax(axis=1)
    return np.where(net[account, best, price] > outside[:, None], costs[account, best], 0.0)


def update(
    price: Price, totals: ReportedTotals, budget: Budget, traffic: Traffic, at: float, cost_ratio: float = 1.0
) -> Price:
    """Return the price that takes spending to the target curve, by the demand that was reported.

    What is spent and expected is to meet the curve at the end of a horizon. That is short where the budget pays many
    redemptions. Where it pays few, chance moves spending by more than any price, and the horizon is as long as the
    share of the budget that is noise. Updates may come at any interval, and none at or before the last one counts. The
    first only notes the time and the totals.

    Parameters
    ----------
    price : Price
        The previous one; `Price()` at first.
    totals : ReportedTotals
        Reported until now.
    budget : Budget
        Terms of the account.
    traffic : Traffic
        Decisions by hour of the week.
    at : float
        UTC epoch seconds.
    cost_ratio : float
        Observed over expected cost, by which demand is multiplied.
    """
    if price.at is None:
        return Price(at=at, seen=totals.demand, lump_minor=price.lump_minor)
    if at <= price.at:
        return price
    kept = max(0.5 ** ((at - price.at) / HALF_LIFE_S), LEAST_KEPT)
    demand = kept * _padded(price.demand) + np.maximum(0.0, _padded(totals.demand) - _padded(price.seen))
    seconds = kept * price.seconds + traffic.between(price.at, at)
    expected = totals.expected_minor
    lump = totals.variance / expected if expected > 0.0 else price.lump_minor
    need, horizon = _needed(totals, budget, traffic, at, lump)
    value = solve(cost_ratio * demand / max(seconds, 1.0) * traffic.between(at, at + horizon), need)
    return Price(value, at, tuple(demand.tolist()), seconds, totals.demand, lump)


def _needed(
    totals: ReportedTotals, budget: Budget, traffic: Traffic, at: float, lump_minor: float
) -> tuple[float, float]:
    """Return the money to be committed until a horizon, and the horizon in seconds."""
    length, left = budget.ends_at - budget.starts_at, budget.ends_at - at
    noise = math.sqrt(lump_minor / max(budget.amount_minor, 1.0))
    horizon = max(LAST_HORIZON, min(max(LEAST_HORIZON, CHASED_NOISE * noise), left / length)) * length
    due = budget.amount_minor * share_due(budget, at + horizon + budget.lag_s, traffic)
    return due - totals.spent_minor - totals.expected_minor, horizon


def solve(demand: Floats, need: float) -> float:
    """Return the price at which demand meets the need, between `PRICES` by their logarithms.

    Parameters
    ----------
    demand : array, shape (`len(PRICES)`,)
        By price; not increasing.
    need : float
        Money to be committed, minor units. The price is 0 if it is all of the demand, and `PRICES[-1]` if it is none.

    Examples
    --------
    >>> demand = np.linspace(100.0, 0.0, len(PRICES))
    >>> [round(solve(demand, need), 2) for need in (120.0, 50.0, 0.0)]
    [0.0, 0.63, 20.0]
    """
    if need <= 0.0:
        return float(PRICES[-1])
    if demand[0] <= need:
        return 0.0
    above = int(np.argmax(demand <= need)) if demand[-1] <= need else len(demand)
    if above == len(demand):
        return float(PRICES[-1])
    share = (demand[above - 1] - need) / (demand[above - 1] - demand[above])
    return float(PRICES[above - 1] * (PRICES[above] / PRICES[above - 1]) ** share)


def _padded(totals: tuple[float, ...]) -> Floats:
    return np.array(totals) if totals else np.zeros(len(PRICES))
