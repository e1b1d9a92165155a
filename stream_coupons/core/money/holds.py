"""Costs to be expected of open coupons, and the amounts that they hold of their budgets until they are used or over."""

import math

from msgspec import Struct

from stream_coupons.core.messages.catalogue import BudgetHold

QUANTILE_Z = 1.645
"""Standard deviations that a quantile hold adds to the expected cost of all that is open: 95 %."""


def cost_of(redeems: float, discount_minor: float) -> tuple[float, float]:
    """Return expectation and variance of what an open coupon costs.

    A redemption takes off its mean discount, so that the cost is a Bernoulli variable times a constant.

    Parameters
    ----------
    redeems : float
        P(redeem).
    discount_minor : float
        E(discount | redeem).

    >>> cost_of(0.5, 100.0)
    (50.0, 2500.0)
    """
    return redeems * discount_minor, redeems * (1.0 - redeems) * discount_minor**2


def risk_of(variance: float, z: float) -> float:
    """Return z over the standard deviation of what is open; infinite if nothing is.

    Parameters
    ----------
    variance : float
        Of the cost of all open coupons of an account.
    z : float
        Quantile of the standard normal distribution: 1.64 for 95 %.
    """
    return z / math.sqrt(variance) if variance > 0.0 else math.inf


def hold_of(hold: BudgetHold, most_minor: float, redeems: float, discount_minor: float, risk: float) -> float:
    """Return what an open coupon holds of each of its budgets, minor units.

    Parameters
    ----------
    hold : BudgetHold
        `maximum` is the most that it can cost. `quantile` is its share of a quantile of all that is open: expectation
        plus `risk` times variance, at the most the same. With `risk_of` the sum over all open coupons is about their
        expectation plus z standard deviations.
    most_minor : float
        The most that one redemption can cost.

    >>> hold_of("maximum", 100.0, 0.1, 60.0, risk=0.01), hold_of("quantile", 100.0, 0.1, 60.0, risk=0.01)
    (100.0, 9.24)
    """
    expected, variance = cost_of(redeems, discount_minor)
    if hold == "maximum" or (math.isinf(risk) and variance > 0.0):
        return most_minor
    return min(most_minor, expected + (risk * variance if variance > 0.0 else 0.0))


class Falling(Struct, frozen=True, array_like=True):
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

    def added(self, amount: float, issued_at: float, ends_at: float) -> "Falling":
        """Return the sum with an amount added.

        Parameters
        ----------
        amount : float
            Of one coupon; the negative one removes it, whatever is left of it.
        issued_at, ends_at : float
            UTC epoch seconds.
        """
        per_second = amount / max(ends_at - issued_at, 1.0)
        return Falling(self.level + per_second * ends_at, self.slope + per_second)

    def at(self, at: float) -> float:
        """Return what is left at a time, not below 0."""
        return max(0.0, self.level - self.slope * at)
