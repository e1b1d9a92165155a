r"""The incremental margin of a coupon: what giving it adds to the shop's margin.

The coupon changes the probability of an order in its scope, and takes its discount off the orders on which it is used:

.. math:: \Delta = v\,(k\,m\,\Delta_{order} - d\,P(\text{redeem})), \quad
   \Delta_{order} = \sum_j w_j z_j + \delta_i

with v the expected value of an order in scope, m its margin ratio, d the discount over v, and k the share of the
additional orders that are not taken from other orders. The effect on orders is linear in some terms, so that the
weight of each is learnt from outcomes: orders of shoppers who were given a coupon, less those of shoppers who were
not. The first term is a structural model: a redemption is an order, but for those that would have been placed anyway,
on a share u of which the coupon is used. That share is learnt, too: in one shop it is a third, in another nearly all.
The third term grows with the interest in the coupon of those who would not order, but less than in proportion. The
other terms are what a structural model leaves out, and :math:`\delta` is the deviation of one coupon from what its
terms say. Weights may have any sign.
"""

from collections.abc import Iterable
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
"""Share of the additional orders in a coupon's scope that add to those of the whole shop. About a third of what a
promotion sells is pulled forward, and a third taken from other products (van Heerde, Leeflang, and Wittink 2004:
Decomposing the sales promotion bump with store data. Marketing Science 23(3)); a part of both is seen in the outcomes
that the effect is learnt from."""
NUMBERS = ("discount_pull", "redeem_rate", "click_rate", "whole_shop", "weekly_exposure", "threshold_missed")
"""Numeric features that terms are made of."""
MISSED = NUMERIC.index("threshold_missed")
COLUMNS = np.array([NUMERIC.index(name) for name in NUMBERS])
TERMS = (
    "persuaded",
    "order_anyway",
    "interest",
    "constant",
    "depth",
    "redeem_rate",
    "click_rate",
    "depth*redeem_rate",
    "depth*click_rate",
    "whole_shop",
    "exposure",
)
"""Terms of the effect on orders, in the order of `Chances.terms`."""


class Chances(NamedTuple):
    """Inputs of the terms of n pairs of a shopper and a coupon; arrays of shape (n,).

    Attributes
    ----------
    redeem : array
        P(redeem).
    anyway : array
        P(order in scope without a coupon).
    numbers : array, shape (n, len(NUMBERS))
        Numeric features.
    """

    redeem: Floats
    anyway: Floats
    numbers: Floats

    def terms(self, uses_ratio: float) -> Floats:
        """Return the terms of the effect, shape (n, len(TERMS)).

        Parameters
        ----------
        uses_ratio : float
            Share of the orders that would be placed anyway, on which the coupon is used.
        """
        terms: Floats = np.empty((len(self.redeem), len(TERMS)))
        each = terms_of(self.redeem, self.anyway, self.numbers.T, uses_ratio)
        for number, term in enumerate(each):
            terms[:, number] = term
        return terms


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


def terms_of(redeem: Any, anyway: Any, numbers: Iterable[Any], uses_ratio: float) -> tuple[Any, ...]:
    """Return the terms of the effect, in order: numbers for one pair, arrays for many; the constant is a number.

    Parameters
    ----------
    redeem, anyway : float or array
        P(redeem) and P(order in scope without a coupon).
    numbers : iterable of float or of array
        Numeric features, in the order of `NUMBERS`.
    uses_ratio : float
        Share of the orders that would be placed anyway, on which the coupon is used.
    """
    pull, redeems, clicks, whole, exposure, missed = numbers
    of_rates = (redeems, clicks, pull * redeems, pull * clicks)
    interest = np.sqrt(np.maximum(redeem * (1.0 - anyway), 0.0))
    return redeem - uses_ratio * np.exp(-missed) * anyway, anyway, interest, 1.0, pull, *of_rates, whole, exposure


@dataclass(frozen=True, slots=True)
class IncrementalOrders:
    """Effect of coupons on orders: what a decision needs of the model.

    Attributes
    ----------
    weights : array, shape (len(TERMS),)
        Posterior means.
    places : array of int, shape (coupons,)
        Hashed features of the coupons with outcomes, ascending.
    deviations : array, shape (coupons,)
        Posterior mean of each one's deviation, additional orders an issue.
    uses_ratio : float
        Share of the orders that would be placed anyway, on which the coupon is used.
    """

    weights: Floats
    places: NDArray[np.int64]
    deviations: Floats
    uses_ratio: float = USES_RATIO

    def of(self, chances: Chances, coupons: NDArray[np.integer]) -> Floats:
        """Return the change of P(order in scope) by giving each coupon, shape (n,).

        Parameters
        ----------
        chances : Chances
            Inputs of the terms.
        coupons : array of int, shape (n,)
            Hashed feature of each pair's coupon, without its group.
        """
        # Sums of numpy, not of BLAS: a row does not depend on the others, to the last bit.
        orders: Floats = np.add.reduce(chances.terms(self.uses_ratio) * self.weights, axis=1)
        if len(self.places):
            at = self.places.searchsorted(coupons)
            is_known = self.places.take(at, mode="clip") == coupons
            orders = orders + np.where(is_known, self.deviations.take(at, mode="clip"), 0.0)
        return orders


STRUCTURAL = IncrementalOrders(np.array([1.0] + [0.0] * (len(TERMS) - 1)), np.zeros(0, np.int64), np.zeros(0))
"""The structural model alone."""


def values(
    orders: Floats,
    redeem: Floats,
    order_minor: Floats,
    margin_ratio: Floats,
    discount_minor: Floats,
    rules: PolicyRules,
) -> Floats:
    """Return the value of giving each coupon over giving none, minor units, shape (n,).

    value = kept * additional orders * margin - P(redeem) * (discount - worth) - cost_weight * cost

    NO_COUPON has the value 0 by this definition.

    Parameters
    ----------
    orders : array, shape (n,)
        Change of P(order in scope) by the coupon.
    redeem : array, shape (n,)
        P(redeem).
    order_minor, discount_minor : array, shape (n,)
        Expected value of an order in scope, and E(discount | redeem), minor units.
    margin_ratio : array, shape (n,)
        Margin on such an order.
    rules : PolicyRules
        Cost of sending, and worth of a redemption.
    """
    worth: Floats = (
        KEPT_RATIO * orders * margin_ratio * order_minor
        - redeem * (discount_minor - rules.redemption_worth_minor)
        - rules.cost_weight * rules.cost_minor
    )
    return worth
