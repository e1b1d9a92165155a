"""The discount of a coupon on an order: one function a kind, which compiles terms to the same few numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from stream_coupons.core.messages.catalogue import Coupon

if TYPE_CHECKING:
    from stream_coupons.core.catalogue.compiled import CouponSet, Floats


Money = Callable[[int], str]
"""Writes minor units for people."""
Words = Callable[[Money], str]


@dataclass(frozen=True, slots=True)
class Discount:
    """The discount of a coupon: a share of the order's value in scope plus an amount, up to a maximum.

    Attributes
    ----------
    kind : str
        Name of the kind; empty if the coupon states none.
    percent : float
        Share of the value of the order's items in scope, percent.
    fixed_minor : float
        Amount, minor units.
    most_minor : int
        The most that one redemption takes off, minor units.
    words : callable
        Returns the discount for people, by a function that writes minor units.
    is_off_order : bool
        True if it is taken off the items in scope, and so at most their value.
    min_spend_minor, min_pieces : int
        Value, minor units, and number of the order's items in scope from which on there is a discount.
    """

    kind: str
    percent: float
    fixed_minor: float
    most_minor: int
    words: Words
    is_off_order: bool = True
    min_spend_minor: int = 0
    min_pieces: int = 1

    def text(self, money: Money = str) -> str:
        """Return the discount and its conditions for people.

        Parameters
        ----------
        money : callable
            Writes minor units.
        """
        spend = f", from {money(self.min_spend_minor)} on" if self.min_spend_minor else ""
        is_of_kind = self.kind == "buy_get"
        return (
            self.words(money)
            + spend
            + ("" if is_of_kind or self.min_pieces < 2 else f", from {self.min_pieces} pieces on")
        )

    @property
    def is_stated(self) -> bool:
        """True if the coupon states a discount above 0."""
        return bool(self.kind) and (self.percent > 0.0 or self.fixed_minor > 0.0)

    def on(self, order_minor: float, pieces: float = math.inf) -> float:
        """Return the discount on an order, minor units: 0 below a minimum, at most the value in scope.

        Parameters
        ----------
        order_minor, pieces : float
            Value, minor units, and number of the order's items in scope.

        Examples
        --------
        >>> tea = discount_of(Coupon(coupon_id="c", discount_percent=20, max_discount_minor=150))
        >>> [tea.on(value) for value in (100.0, 1000.0)]
        [20.0, 150.0]
        """
        is_reached = order_minor >= self.min_spend_minor and pieces >= self.min_pieces
        taken = self.at(order_minor) if is_reached else 0.0
        return min(taken, order_minor) if self.is_off_order else taken

    def at(self, price_minor: float) -> float:
        """Return the discount at a typical price that may be below the amount; parameters as of `on`."""
        return min(price_minor * self.percent / 100.0 + self.fixed_minor, float(self.most_minor))

    def depth(self, typical_minor: float | None) -> float | None:
        """Return the discount as a share of the typical price, [0, 1]; None if that is not known.

        An amount without a price of its own has no depth: the default price of a whole shop would make every amount
        above it a gift.

        Parameters
        ----------
        typical_minor : float or None
            Typical price that the catalogue states for the coupon, minor units.

        Examples
        --------
        >>> discount_of(Coupon(coupon_id="c", discount_minor=150, max_discount_minor=150)).depth(1000.0)
        0.15
        """
        if typical_minor:
            return min(self.at(typical_minor) / typical_minor, 1.0)
        return None if self.fixed_minor else self.percent / 100.0


def _amount(coupon: Coupon) -> Discount | None:
    """Return an amount off."""
    if (minor := coupon.discount_minor) is None:
        return None
    return Discount("amount", 0.0, float(minor), coupon.max_discount_minor, lambda money: money(minor))


def _percent(coupon: Coupon) -> Discount | None:
    """Return a percentage off."""
    if (percent := coupon.discount_percent) is None:
        return None
    most = coupon.max_discount_minor
    return Discount("percent", percent, 0.0, most, lambda money: f"{percent:g} %, at most {money(most)}")


def _free_delivery(coupon: Coupon) -> Discount | None:
    """Return free delivery, which costs the shop its usual cost."""
    if (cost := coupon.free_delivery_minor) is None:
        return None
    most = coupon.max_discount_minor
    return Discount("free_delivery", 0.0, float(cost), most, lambda _: "free delivery", is_off_order=False)


def _gift(coupon: Coupon) -> Discount | None:
    """Return a gift, which costs the shop its cost."""
    if coupon.gift_item is None:
        return None
    cost, text = float(coupon.gift_cost_minor), f"a gift: {coupon.gift_item}"
    return Discount("gift", 0.0, cost, coupon.max_discount_minor, lambda _: text, is_off_order=False)


def _buy_get(coupon: Coupon) -> Discount | None:
    """Return a discount on some of so many pieces: a share of their value, as pieces in a scope cost about the same."""
    if (buy := coupon.buy_pieces) is None:
        return None
    pieces = buy + coupon.get_pieces
    percent, text = coupon.get_percent * coupon.get_pieces / pieces, f"buy {buy}, get {coupon.get_pieces}"
    text += " free" if coupon.get_percent == 100.0 else f" at {coupon.get_percent:g} % off"
    return Discount("buy_get", percent, 0.0, coupon.max_discount_minor, lambda _: text, min_pieces=pieces)


KINDS: tuple[Callable[[Coupon], Discount | None], ...] = (_buy_get, _gift, _free_delivery, _amount, _percent)
"""The kinds of discounts; the first that a coupon states is its own."""


def discount_of(coupon: Coupon) -> Discount:
    """Return the discount of a coupon; if it states none, the most that it may take off."""
    most = coupon.max_discount_minor
    found = next((one for kind in KINDS if (one := kind(coupon)) is not None), None)
    found = found or Discount("", 0.0, float(most), most, lambda money: f"at most {money(most)}")
    return replace(found, min_spend_minor=coupon.min_spend_minor or 0, min_pieces=coupon.min_pieces or found.min_pieces)


def conditions(coupons: CouponSet) -> Floats:
    """Return minimum spend, minor units, and minimum pieces of each coupon of a set, shape (2, coupons).

    They are 0 and 1 where there is none.
    """
    return np.array([(one.min_spend_minor, one.min_pieces) for one in coupons.discounts], np.float64).T


def linear_terms(coupons: CouponSet) -> Floats:
    """Return percentage, amount and maximum of each discount of a set, shape (3, coupons)."""
    return np.array([(one.percent, one.fixed_minor, one.most_minor) for one in coupons.discounts], np.float64).T
