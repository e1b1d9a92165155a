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

import numpy as np
from msgspec import Struct

from stream_coupons.core.messages.catalogue import BudgetCurve
from stream_coupons.core.money.traffic import Floats, Traffic

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
UPDATES = 500
"""Updates of the price in a campaign that is neither short nor long."""
LEAST_UPDATE_S, MOST_UPDATE_S = 10.0, 3600.0


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
