"""Costs to be expected of open coupons, and the amounts that they hold of their budgets until they are used or over."""

import math

from msgspec import Struct

from stream_coupons.core.messages.catalogue import BudgetHold

QUANTILE_Z = 1.645
"""Standard deviations that a quantile hold adds to the expected cost of all that is open: 95 %."""


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

        Examples
        --------
        >>> [Falling().added(8.0, 0.0, 100.0).at(seconds) for seconds in (0.0, 50.0, 200.0)]
        [8.0, 4.0, 0.0]
        """
        per_second = amount / max(ends_at - issued_at, 1.0)
        return Falling(self.level + per_second * ends_at, self.slope + per_second)

    def plus(self, other: "Falling", sign: int) -> "Falling":
        """Return the sum with another sum added or subtracted.

        Parameters
        ----------
        other : Falling
            The other sum.
        sign : int
            1 to add it, -1 to subtract it.
        """
        return Falling(self.level + sign * other.level, self.slope + sign * other.slope)

    def at(self, at: float) -> float:
        """Return the rest of the sum at a time in UTC epoch seconds, not below 0."""
        return max(0.0, self.level - self.slope * at)
