"""Which coupons a shopper may get at a moment, and for every other one the reason why not."""

import math
from collections.abc import Mapping

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.reasons import Ineligible
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.state import Shopper

MANY_TIMES = 16
"""So many times the size of a shortlist, and more, are not sorted all."""


def eligible(shopper: Shopper, coupons: CouponSet, at: float, rules: PolicyRules, now: float = 0.0) -> Positions:
    """Positions of the coupons that the shopper may get, ascending, shape (n,); none that is over `now`, if that is
    later: neither a backlog nor a history that is loaded leads to coupons that end before they are given."""
    allowed = (coupons.valid_from <= at) & (at < coupons.valid_until) & ~coupons.is_paused
    if now > at:
        allowed &= (coupons.valid_until > now) & (coupons.redeem_within_s > now - at)
    for position in coupons.in_question(shopper.history.given, shopper.profile.ordered_at):
        if allowed[position] and _personal_objection(shopper, coupons, position, at, rules) is not None:
            allowed[position] = False
    return np.flatnonzero(allowed)


def objection(shopper: Shopper, coupons: CouponSet, position: int, at: float, rules: PolicyRules) -> Ineligible | None:
    """Return the reason why the shopper may not get the coupon at this position; None when they may."""
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
    """Return whether a shopper who was given so many of each was given this one as often as it allows."""
    return coupon.max_per_user is not None and given.get(coupon.coupon_id, 0) >= coupon.max_per_user


def shortlist(positions: Positions, promise: Floats, size: int) -> Positions:
    """The `size` most promising positions, ascending; all when they are few.

    Parameters
    ----------
    promise : array, shape (coupons,)
        All scores R(u, i), added.
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
