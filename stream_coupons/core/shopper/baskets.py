r"""The value and the pieces of a shopper's orders as distributions, for coupons that ask for a minimum.

The value of an order in a coupon's scope is log-normal. Its median is drawn from the coupon's typical price towards
the median of the shopper's own orders, its spread from the usual one towards the shopper's own, as orders come. Some
shoppers whose order would lie just below a threshold raise it to the threshold: promotions with a threshold make
orders larger (Lewis, Singh, and Fay 2006: An empirical study of the impact of nonlinear shipping and handling fees on
purchase incidence and expenditure decisions. Marketing Science 25(1)).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]

USUAL_SIGMA = 0.6
"""Standard deviation of the natural logarithm of the values of one shopper's orders, before any is known."""
MEDIAN_STRENGTH, SIGMA_STRENGTH = 1.0, 4.0
"""Orders as which the coupon's typical price counts, and the usual spread."""
NEAR_RATIO = 0.75
"""Share of a threshold from which on an order counts as just below it."""
PULL = 0.25
"""Share of the orders just below a threshold that a coupon raises to it."""
LEAST_SIGMA = 0.05
USUAL_PIECES, PIECES_STRENGTH = 2.0, 1.0
"""Mean pieces of an order before any is known, and the number of orders that it counts as."""
MAX_PIECES = 1000.0


class Baskets(Struct, array_like=True, frozen=True):
    """Decayed moments of the natural logarithm of the value of a shopper's orders, minor units."""

    weight: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    pieces: float = 0.0
    """Decayed sum of the pieces."""

    def added(self, value_minor: float, pieces: float, faded: float, new: float) -> "Baskets":
        """Return the moments with one more order.

        Parameters
        ----------
        value_minor, pieces : float
            Value, minor units, and number of the order's items.
        faded, new : float
            Factors of the moments so far, and weight of the order.

        Examples
        --------
        >>> Baskets().added(1000.0, 2.0, 1.0, 1.0).weight
        1.0
        """
        log = math.log(max(value_minor, 1.0))
        return Baskets(
            self.weight * faded + new,
            self.total * faded + new * log,
            self.squares * faded + new * log * log,
            self.pieces * faded + new * min(pieces, MAX_PIECES),
        )


NO_ORDERS = Baskets()
"""The moments before the first order."""


@dataclass(frozen=True, slots=True)
class OrderValues:
    """Log-normal values of the orders of n pairs of a shopper and a coupon.

    Attributes
    ----------
    mean, sigma : array, shape (n,)
        Mean and standard deviation of the natural logarithm of the value, minor units.
    """

    mean: Floats
    sigma: Floats

    @classmethod
    def of(
        cls, baskets: Sequence[Baskets], owner: NDArray[np.intp], typical_minor: Floats, own: Floats
    ) -> "OrderValues":
        """Return the values of orders in the scope of coupons.

        Parameters
        ----------
        baskets : sequence of Baskets
            One of each shopper.
        owner : array of int, shape (n,)
            Index of each row's shopper.
        typical_minor : array, shape (n,)
            Typical value of an order in the coupon's scope, minor units.
        own : array, shape (n,)
            1 where the shopper's orders lie in the scope, else 0.
        """
        moments = np.array([(each.weight, each.total, each.squares) for each in baskets], np.float64)[owner]
        weight, total, squares = moments.T
        typical = np.log(np.maximum(typical_minor, 1.0))
        used = weight * own
        mean = (own * total + MEDIAN_STRENGTH * typical) / (used + MEDIAN_STRENGTH)
        scatter = np.maximum(squares - total * total / np.maximum(weight, 1e-9), 0.0)
        variance = (scatter + SIGMA_STRENGTH * USUAL_SIGMA**2) / (weight + SIGMA_STRENGTH)
        return cls(mean, np.maximum(np.sqrt(variance), LEAST_SIGMA))

    def below(self, value_minor: Floats) -> Floats:
        """Return P(value < `value_minor`); 0 for 0, 1 for infinity."""
        found: Floats = normal_cdf(self._standard(value_minor))
        return found

    def mean_below(self, value_minor: Floats) -> Floats:
        """Return E(value; value < `value_minor`), minor units."""
        found: Floats = np.exp(self.mean + 0.5 * self.sigma**2) * normal_cdf(self._standard(value_minor) - self.sigma)
        return found

    def _standard(self, value_minor: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            return np.asarray((np.log(value_minor) - self.mean) / self.sigma)

    def near(self, threshold_minor: Floats) -> Floats:
        """Return P(value lies just below a threshold, and a coupon raises it to the threshold)."""
        return PULL * (self.below(threshold_minor) - self.below(NEAR_RATIO * threshold_minor))

    def reached(self, threshold_minor: Floats) -> Floats:
        """Return P(value of the order of a holder of the coupon >= threshold)."""
        return 1.0 - self.below(threshold_minor) + self.near(threshold_minor)

    def raised_minor(self, threshold_minor: Floats) -> Floats:
        """Return what a threshold adds to the value of an order on average, minor units."""
        lower = NEAR_RATIO * threshold_minor
        part = self.below(threshold_minor) - self.below(lower)
        return PULL * (threshold_minor * part - self.mean_below(threshold_minor) + self.mean_below(lower))

    def discount_minor(self, terms: Floats, threshold_minor: Floats) -> Floats:
        """Return E(discount | the threshold is reached), minor units.

        Parameters
        ----------
        terms : array, shape (3, n)
            Percentage, amount and maximum of each discount.
        threshold_minor : array, shape (n,)
            Minimum spend, minor units.
        """
        percent, fixed_minor, most_minor = terms
        with np.errstate(divide="ignore", invalid="ignore"):
            cap = np.where(percent > 0.0, (most_minor - fixed_minor) * 100.0 / percent, np.inf)
        cap = np.where((percent <= 0.0) & (fixed_minor > most_minor), 0.0, cap)
        top = np.maximum(cap, threshold_minor)
        within = self.below(top) - self.below(threshold_minor)
        linear = percent / 100.0 * (self.mean_below(top) - self.mean_below(threshold_minor)) + fixed_minor * within
        at_threshold = np.minimum(threshold_minor * percent / 100.0 + fixed_minor, most_minor)
        paid = linear + most_minor * (1.0 - self.below(top)) + at_threshold * self.near(threshold_minor)
        found: Floats = paid / np.maximum(self.reached(threshold_minor), 1e-9)
        return found


def pieces_reached(baskets: Sequence[Baskets], owner: NDArray[np.intp], own: Floats, least: Floats) -> Floats:
    """Return P(pieces of the order of a holder of the coupon >= minimum), shape (n,).

    Pieces are geometric. Some whose order lacks one piece add it.

    Parameters
    ----------
    baskets, owner, own
        As of `OrderValues.of`.
    least : array, shape (n,)
        Minimum pieces; 1 for any order.
    """
    weight, pieces = np.array([(each.weight, each.pieces) for each in baskets], np.float64)[owner].T
    mean = (own * pieces + PIECES_STRENGTH * USUAL_PIECES) / (own * weight + PIECES_STRENGTH)
    further = 1.0 - 1.0 / np.maximum(mean, 1.0)
    reached = further ** (least - 1.0)
    lacking = further ** np.maximum(least - 2.0, 0.0) - reached
    found: Floats = reached + PULL * lacking
    return found


def normal_cdf(x: Floats) -> Floats:
    """Return the standard normal distribution function, within 3e-4.

    Parameters
    ----------
    x : array
        Of any shape.

    Notes
    -----
    Page, E. 1977: Approximations to the cumulative normal function and its inverse for use on a pocket calculator.
    Applied Statistics 26(1). numpy has no error function.

    Examples
    --------
    >>> normal_cdf(np.array([-np.inf, 0.0, 1.645])).round(3).tolist()
    [0.0, 0.5, 0.95]
    """
    bounded = np.clip(x, -8.0, 8.0)
    found: Floats = 0.5 * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (bounded + 0.044715 * bounded**3)))
    return found
