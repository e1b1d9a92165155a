"""The ground truth of a decision: the money that a coupon is expected to bring at the moment it is handed over."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons_lab.simulation.behaviour import Shop
from stream_coupons_lab.simulation.catalogue import discount_of
from stream_coupons_lab.simulation.population import Floats
from stream_coupons_lab.simulation.terms import CouponTerms
from stream_coupons_lab.simulation.truth import Response

OWN_QUANTITIES = ((1, 0.75), (2, 0.20), (3, 0.05))
"""Pieces of a product in an order of the shopper's own, with their probabilities; see `behaviour`."""
EXTRA_QUANTITIES = ((1, 0.8), (2, 0.2))
"""The same for an order that a coupon brought about; see `reactions`."""


@dataclass(frozen=True, slots=True)
class Worth:
    """Expected results of handing over each of K coupons, given alone; money in minor units.

    Attributes
    ----------
    margin_minor : Floats
        Incremental margin: of orders that would not have been placed, less all discounts. Shape (K,), may be negative.
    discount_minor : Floats
        Money given away, shape (K,).
    redeems : Floats
        P(redeem), shape (K,).
    persuades : Floats
        P(the coupon brings about an order that would not have been placed), shape (K,).
    orders : Floats
        P(order in scope without a coupon), shape (K,).
    """

    margin_minor: Floats
    discount_minor: Floats
    redeems: Floats
    persuades: Floats
    orders: Floats


class WorthOfCoupons:
    r"""Turns responses into money.

    .. math:: P(\text{persuaded})\, E[m v - d(v) \mid \text{persuaded}] - P(\text{own order uses it})\, E[d(v)]

    with v the shelf price of what the coupon is used on, m its margin ratio and d its discount. The product is drawn as
    the simulation draws it. The second line that some own orders have is left out.
    """

    def __init__(self, shop: Shop, terms: CouponTerms) -> None:
        self._shop = shop
        self._terms = terms
        self._of_shopper: dict[tuple[int, int], Floats] = {}
        self._discounts: dict[int, Floats] = {}

    def of(self, response: Response, shopper: int, day: int, coupons: Sequence[Coupon]) -> Worth:
        """Return the worth of K coupons for the shopper of this index, who would respond so on this day."""
        own = response.sees * response.orders * response.free * response.uses
        persuaded = response.sees * (1 - response.orders) * response.persuaded
        gain, extra_discount, own_discount = self._if_used(shopper, day, coupons)
        return Worth(
            margin_minor=persuaded * gain - own * own_discount,
            discount_minor=persuaded * extra_discount + own * own_discount,
            redeems=response.redeems,
            persuades=persuaded,
            orders=response.orders,
        )

    def _if_used(self, shopper: int, day: int, coupons: Sequence[Coupon]) -> tuple[Floats, Floats, Floats]:
        """E[margin - discount] and E[discount] of an order that the coupon brings, E[discount] of an own one; (K,)."""
        key = shopper, self._shop.calendar.tastes(day)
        known = self._of_shopper.get(key)
        if known is None or len(known) < len(self._terms):
            known = self._of_shopper[key] = self._of_all_coupons(*key)
        gain, extra, own = known[self._terms.rows(coupons)].T
        return gain, extra, own

    def _of_all_coupons(self, shopper: int, epoch: int) -> Floats:
        """Shape (all coupons, 3)."""
        population, assortment = self._shop.population, self._shop.assortment
        tastes = population.tastes[epoch]
        wanted = self._terms.scope * (tastes.buy[shopper] * tastes.share[shopper][assortment.category])
        extra = _normalised(wanted)
        own = _normalised(wanted * population.order_ratio[shopper][assortment.category])
        discounts, margins = self._discounts_minor(), self._margin_ratios() * assortment.price_minor
        # Sums of numpy, not of BLAS: the same to the last bit on every machine.
        gain = sum(p * ((n * margins - discounts[n]) * extra).sum(axis=1) for n, p in EXTRA_QUANTITIES)
        given = sum(p * (discounts[n] * extra).sum(axis=1) for n, p in EXTRA_QUANTITIES)
        own_given = sum(p * (discounts[n] * own).sum(axis=1) for n, p in OWN_QUANTITIES)
        return np.stack([gain, given, own_given], axis=1)

    def _margin_ratios(self) -> Floats:
        return np.array([coupon.margin_ratio for coupon in self._terms.coupons])[:, None]

    def _discounts_minor(self) -> dict[int, Floats]:
        """By the number of pieces, what each coupon takes off them, shape (all coupons, I)."""
        coupons = self._terms.coupons
        if len(self._discounts.get(1, ())) < len(coupons):
            prices = self._shop.assortment.price_minor.tolist()
            self._discounts = {
                n: np.array([[discount_of(coupon, n * price) for price in prices] for coupon in coupons], np.float64)
                for n, _ in OWN_QUANTITIES
            }
        return self._discounts


def _normalised(weights: Floats) -> Floats:
    return np.asarray(weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12))
