r"""The incremental margin of a coupon by parts: what giving it adds to the shop's margin.

A coupon given is redeemed with probability r, and its shopper orders in its scope without using it with probability n.
Without the coupon the shopper would order with probability a. So it adds the margin of redeemed and of unused orders,
less that of the orders anyway, and takes its discount off the redeemed ones:

.. math:: \Delta = k\,m\,(r\,v_r + n\,v_n - a\,v_a) - r\,d

with v the expected value of all orders in scope of shoppers who redeem, and of others, m their margin ratio, d the
discount, and k the share of the additional orders that are not taken from other orders. Those who order often bring
more than one order, with a coupon or without: see `OrderTimes`.

Each part is the model's prediction for this shopper and coupon, times a ratio of the coupon: what came of the shoppers
who got it, over what was predicted for them. Those who get a coupon are not like others, since its value selects them,
and a regression on noisy predictions never finds the effect of that selection (Fuller 1987: Measurement error models).
A ratio converges on it, coupon by coupon.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.rules import PolicyRules

USES_RATIO = 0.6
"""Share of the orders in a coupon's scope that would be placed anyway, on which the coupon is used, before learning."""
KEPT_RATIO = 0.95
"""Share of the additional orders in a coupon's scope that add to those of the whole shop, before learning."""
MISSED = NUMERIC.index("threshold_missed")
PARTS = ("redeemed", "unused", "anyway", "redeemed_value", "own_value", "discount")
"""Parts that have a ratio: P(redeem), P(order without using the coupon), P(order without the coupon), the values of
redeemed and of other orders, and the discount."""
REDEEMED, UNUSED, ANYWAY, REDEEMED_VALUE, OWN_VALUE, DISCOUNT = range(len(PARTS))
DOUBTED = (REDEEMED, UNUSED, ANYWAY, REDEEMED_VALUE)
"""Parts whose ratios leave a coupon's value in doubt."""
OWN_SHARE = 0.7
"""Part of the deviation of a coupon's unused orders that is one of its orders anyway; the rest is one of their use."""
USUAL_ORDERS = 0.07
"""Prior standard deviation of what a coupon adds to the margin, in orders in its scope."""
MIN_CHANCE = 1e-9
MAX_CHANCE = 0.97
"""Largest probability of a redemption or an order, corrected by its ratio."""


def uses_of(numeric: Floats, uses_ratio: float) -> Any:
    """Return the share of the orders that would be placed anyway on which each row's coupon is used.

    Orders below a minimum spend do not use it.

    Parameters
    ----------
    numeric : array, shape (..., len(NUMERIC))
        Numeric features of one row or of many.
    uses_ratio : float
        The share for a coupon that may be used on any order in its scope.

    Returns
    -------
    float or array
        A number, or one for each row.
    """
    return uses_ratio * np.exp(-numeric[..., MISSED])


class OrderTimes(NamedTuple):
    """Expected number of orders in a coupon's window and scope, of three kinds of shopper; arrays of shape (n,).

    Orders that would be placed anyway come at random times, so that their number has a Poisson distribution, whose mean
    follows from P(order). The coupon is used on the first of some, and once.

    Attributes
    ----------
    anyway, unused, redeemed : array
        Of those who order without having the coupon, who have it and order without ever using it, and who use it.
    """

    anyway: Any
    unused: Any
    redeemed: Any

    @classmethod
    def of(cls, redeem: Any, anyway: Any, uses: Any) -> "OrderTimes":
        """Return them for n pairs of a shopper and a coupon.

        Parameters
        ----------
        redeem, anyway : array, shape (n,), or number
            P(redeem), and P(order) without the coupon.
        uses : array, shape (n,), or number
            P(use | order) of those who would order without the coupon.
        """
        anyway = np.clip(anyway, MIN_CHANCE, MAX_CHANCE)
        used = uses * anyway
        orders, never = -np.log1p(-anyway), 1.0 - used
        of_unused = never * (orders + np.log1p(-used))
        others = np.maximum(orders - used - of_unused, 0.0) / np.maximum(np.maximum(redeem, used), MIN_CHANCE)
        return cls(orders / anyway, np.maximum(of_unused / np.maximum(anyway - used, MIN_CHANCE), 1.0), 1.0 + others)


class Prediction(NamedTuple):
    """The models' predictions for n pairs of a shopper and a coupon; arrays of shape (n,).

    Attributes
    ----------
    redeem, anyway : array
        P(redeem), and P(order in scope without the coupon).
    uses : array
        Share of the orders anyway that use the coupon.
    order_minor, discount_minor : array
        Expected value of an order in scope, and E(discount | redeem), minor units.
    margin_ratio : array
        Margin on such an order.
    """

    redeem: Floats
    anyway: Floats
    uses: Floats
    order_minor: Floats
    discount_minor: Floats
    margin_ratio: Floats


class CouponWorth(NamedTuple):
    """The value of n pairs of a shopper and a coupon, and its parts; arrays of shape (n,).

    Attributes
    ----------
    value_minor : array
        Value over giving none, minor units.
    redeem, anyway : array
        P(redeem) and P(order in scope without the coupon) of shoppers who get it.
    discount_minor : array
        E(discount | redeem), minor units.
    spread_minor : array
        Standard deviation of the value, as the ratios of the coupon are known to few digits only, minor units.
    """

    value_minor: Floats
    redeem: Floats
    anyway: Floats
    discount_minor: Floats
    spread_minor: Floats


@dataclass(frozen=True, slots=True)
class IncrementalMargin:
    """Ratios of the parts of each coupon's value: what a decision needs of the model.

    Attributes
    ----------
    places : array of int, shape (coupons,)
        Hashed features of the coupons with outcomes, ascending.
    ratios : array, shape (coupons + 1, len(PARTS))
        Ratio of each part; the last row is that of a coupon without outcomes.
    spreads : array, shape (coupons + 1, len(DOUBTED))
        Standard deviation of the logarithm of the ratios of `DOUBTED`, each given those before it.
    uses_ratio : float
        Share of the orders that would be placed anyway, on which a coupon is used.
    kept_ratio : float
        Share of the additional orders in a coupon's scope that add to those of the whole shop.
    is_first_week : bool
        True while the outcomes that are known span less than a week.
    """

    places: NDArray[np.int64]
    ratios: Floats
    spreads: Floats
    uses_ratio: float = USES_RATIO
    kept_ratio: float = KEPT_RATIO
    is_first_week: bool = False

    def of(self, known: Prediction, coupons: NDArray[np.integer], rules: PolicyRules) -> CouponWorth:
        """Return the value of giving each coupon over giving none.

        added = kept * margin * (P(redeem) * value + P(unused) * value - P(order anyway) * value)
        - P(redeem) * discount, each part times its ratio; value = believed * added + P(redeem) * worth
        - cost_weight * cost, where believed = usual^2 / (usual^2 + doubt^2) is a prior at zero.

        NO_COUPON has the value 0 by this definition.

        Parameters
        ----------
        known : Prediction
            Predictions of n pairs.
        coupons : array of int, shape (n,)
            Hashed feature of each pair's coupon, without its group.
        rules : PolicyRules
            Cost of sending, and worth of a redemption.
        """
        rows: NDArray[np.intp] = np.full(len(coupons), len(self.places))
        if len(self.places):
            at = self.places.searchsorted(coupons)
            rows = np.where(self.places.take(at, mode="clip") == coupons, at, rows)
        ratio, spread = self.ratios.take(rows, axis=0).T, self.spreads.take(rows, axis=0).T
        redeem = np.minimum(known.redeem * ratio[REDEEMED], MAX_CHANCE)
        anyway = np.minimum(known.anyway * ratio[ANYWAY], MAX_CHANCE)
        times = OrderTimes.of(known.redeem, known.anyway, known.uses)
        unused = np.minimum((1.0 - known.uses) * known.anyway * ratio[UNUSED], MAX_CHANCE) * times.unused
        without = anyway * times.anyway
        discount_minor = known.discount_minor * ratio[DISCOUNT]
        of_order = self.kept_ratio * known.margin_ratio * known.order_minor
        redeemed, own = redeem * times.redeemed * of_order * ratio[REDEEMED_VALUE], of_order * ratio[OWN_VALUE]
        cost = redeem * discount_minor
        added = redeemed + (unused - without) * own - cost
        slopes = np.array([redeemed - cost, (unused - OWN_SHARE * without) * own, without * own, redeemed])
        doubt, usual = ((slopes * spread) ** 2).sum(axis=0), (USUAL_ORDERS * of_order) ** 2
        believed = usual / np.maximum(usual + doubt, MIN_CHANCE)
        value = believed * added + redeem * rules.redemption_worth_minor - rules.cost_weight * rules.cost_minor
        return CouponWorth(value, redeem, anyway, discount_minor, np.sqrt(believed * doubt))


STRUCTURAL = IncrementalMargin(np.zeros(0, np.int64), np.ones((1, len(PARTS))), np.zeros((1, len(DOUBTED))))
"""The predictions alone."""
