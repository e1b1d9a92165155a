"""Eligibility: the coupons that a shopper may get at a moment, and the reason against every other one."""

import math
from collections.abc import Mapping

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.reasons import Ineligible
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.state import Shopper

MANY_TIMES = 16
"""Candidates over the size of a shortlist above which not all of them are sorted."""


def eligible(shopper: Shopper, coupons: CouponSet, at: float, rules: PolicyRules, now: float = 0.0) -> Positions:
    """Return the coupons that the shopper may get.

    Parameters
    ----------
    shopper : Shopper
        Its coupons given and items ordered exclude coupons.
    coupons : CouponSet
        Coupons of one domain.
    at : float
        Time of the trigger, UTC epoch seconds.
    rules : PolicyRules
        `reorder_suppress_s` is the time for which an ordered item is not offered again.
    now : float
        Current time, UTC epoch seconds. If it is later than `at`, as in a backlog, coupons that have ended by now are
        excluded, too.

    Returns
    -------
    array of int, shape (n,)
        Positions, ascending.

    Examples
    --------
    >>> coupons = [Coupon(coupon_id=name, max_discount_minor=1, paused=name == "b") for name in "abc"]
    >>> eligible(Shopper(), CouponSet(coupons, 1000.0), 0.0, PolicyRules()).tolist()
    [0, 2]
    """
    allowed = (coupons.valid_from <= at) & (at < coupons.valid_until) & ~coupons.is_paused
    if now > at:
        allowed &= (coupons.valid_until > now) & (coupons.redeem_within_s > now - at)
    for position in coupons.in_question(shopper.history.given, shopper.profile.ordered_at):
        if allowed[position] and _personal_objection(shopper, coupons, position, at, rules) is not None:
            allowed[position] = False
    return np.flatnonzero(allowed)


def objection(shopper: Shopper, coupons: CouponSet, position: int, at: float, rules: PolicyRules) -> Ineligible | None:
    """Return the reason why the shopper may not get a coupon.

    Parameters
    ----------
    shopper, coupons, at, rules
        As of `eligible`.
    position : int
        Position of the coupon in `coupons`.

    Returns
    -------
    Ineligible or None
        None if the shopper may get it.

    Examples
    --------
    >>> coupons = CouponSet([Coupon(coupon_id="c", max_discount_minor=1, valid_until=50.0)], 1000.0)
    >>> objection(Shopper(), coupons, 0, 60.0, PolicyRules()).value
    'expired'
    """
    if coupons.is_paused[position]:
        return Ineligible.PAUSED
    if at < coupons.valid_from[position]:
        return Ineligible.NOT_YET_VALID
    if at >= coupons.valid_until[position]:
        return Ineligible.EXPIRED
    return _personal_objection(shopper, coupons, position, at, rules)


def _personal_objection(
    shopper: Shopper, coupons: CouponSet, position: int, at: float, rules: PolicyRules
) -> Ineligible | None:
    coupon = coupons.coupons[position]
    if is_over_own_cap(shopper.history.given, coupon):
        return Ineligible.SHOPPER_CAP
    if coupon.items:
        since = at - rules.reorder_suppress_s
        ordered = shopper.profile.ordered_at
        if all(ordered.get(item_id, -math.inf) > since for item_id in coupon.items):
            return Ineligible.ALREADY_ORDERED
    return None


def is_over_own_cap(given: Mapping[str, int], coupon: Coupon) -> bool:
    """Return True if a shopper has reached the cap of a coupon.

    Parameters
    ----------
    given : mapping of str to int
        Number of times that the shopper was given each coupon, by id.
    coupon : Coupon
        Its `max_per_user` is the cap; None for no cap.

    Examples
    --------
    >>> is_over_own_cap({"c": 2}, Coupon(coupon_id="c", max_discount_minor=1, max_per_user=2))
    True
    """
    return coupon.max_per_user is not None and given.get(coupon.coupon_id, 0) >= coupon.max_per_user


def shortlist(positions: Positions, promise: Floats, size: int) -> Positions:
    """Return the most promising positions.

    Parameters
    ----------
    positions : array of int, shape (n,)
        Candidates, ascending.
    promise : array of float, shape (coupons,)
        Sum of all scores R(u, i) of every coupon; NaN comes last.
    size : int
        Number of positions to return; all if there are no more.

    Returns
    -------
    array of int
        Ascending.

    Examples
    --------
    >>> shortlist(np.array([0, 1, 3]), np.array([0.5, 0.1, 9.0, 0.7]), 2).tolist()
    [0, 3]
    """
    if len(positions) <= size:
        return positions
    below = -promise[positions]
    if len(positions) > MANY_TIMES * size:
        # The bound of a sample holds for all, and few are within it.
        sample = below[:: math.isqrt(len(positions) // size) | 1]
        within = np.flatnonzero(~(below > np.partition(sample, size - 1)[size - 1]))
        positions, below = positions[within], below[within]
    kept: Positions = np.sort(positions[np.argsort(below, kind="stable")[:size]])
    return kept
