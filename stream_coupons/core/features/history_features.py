"""Numeric features of the shopper's past with the coupon, its kind and its category."""

import math
from typing import NamedTuple

import numpy as np

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.features.feature import MatchFeature, RowBatch
from stream_coupons.core.features.shopper_features import (
    FEW,
    NEUTRAL_CLICK_RATE,
    NEUTRAL_REDEEM_RATE,
    shrunk_rate,
)
from stream_coupons.core.shopper.habits import usual_gap_s
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.core.shopper.state import Tally

REORDER_S = 3 * DAY_S
OF_ONE = 1.5
"""Number for a ratio of 1: the middle of a bin of numbers."""
REDEEM_SCALE = 4.0
"""Factor of a redeem rate as a feature."""
RATIO_BOUNDS = (-0.99, 3.99)
"""Bounds of the logarithm of a ratio: within the bins of numbers, so that the outer bins are half open."""
REDEEM_BOUNDS = (0.0, REDEEM_SCALE)

Rates = tuple[float, float]
"""Click rate and redeem rate."""


class CategoryTimes(NamedTuple):
    """Seconds since events of a shopper in the categories of each row's coupon, infinite if there was none."""

    since_order: Floats
    since_cart: Floats
    """Since the last cart without an order since."""
    gaps_over: Floats
    """Logarithm (base 2) of the time from the last order to the middle of the coupon's window, over the usual time
    between two orders; not finite if it is not known."""


def category_times(rows: RowBatch) -> CategoryTimes:
    """Return the times of each row, looked up in tables by moment and category."""
    coupons, owner, position = rows.coupons, rows.owner, rows.position
    of_categories = (len(rows.shoppers), len(coupons.vocabulary) + 1)
    ordered_at, carted_at = times = np.full((2, *of_categories), -math.inf)
    gap_s = np.full(of_categories, math.nan)
    for row, each in enumerate(rows.shoppers):
        for name, known in each.profile.in_category.items():
            if column := coupons.category_columns.get(name):
                if known.ordered_at:
                    ordered_at[row, column] = known.ordered_at
                    gap_s[row, column] = usual_gap_s(known.order_slots)
                if known.carted_at > max(known.taken_out_at, known.ordered_at):
                    carted_at[row, column] = known.carted_at
    now, first = np.array([each.at for each in rows.shoppers])[owner], coupons.first_category[position]
    scopes = rows.views.pairs.scopes
    latest = scopes.categories.greatest(times.reshape(2, -1))
    is_for_all = rows.views.is_for_all
    if is_for_all.any():
        latest = np.where(is_for_all, _latest_of_all(rows)[:, owner], latest)
    since_order, since_cart = np.maximum(now - latest, 0.0)
    middle_s = np.maximum(now - ordered_at[owner, first], 0.0) + coupons.redeem_within_s[position] / 2.0
    return CategoryTimes(since_order, since_cart, np.log2(middle_s) - np.log2(gap_s[owner, first]))


def _latest_of_all(rows: RowBatch) -> Floats:
    """Return the times of each shopper's last order, and of the last cart without an order since, (2, moments)."""
    carted = (
        [known.carted_at for known in each.profile.in_category.values() if known.carted_at > known.taken_out_at]
        for each in rows.shoppers
    )
    ordered = [
        -math.inf if each.profile.last_order_at is None else each.profile.last_order_at for each in rows.shoppers
    ]
    open_carts = [
        max((at for at in times if at > last), default=-math.inf) for times, last in zip(carted, ordered, strict=True)
    ]
    return np.array([ordered, open_carts])


def _category_due(rows: RowBatch) -> Floats:
    """Return the ratio of times in half octaves; 0 if it is not known.

    Models learn its effect by bins: demand may peak at a ratio of 1, or rise from some ratio on.
    """
    log2 = rows[category_times].gaps_over
    return np.where(np.isfinite(log2), 2.0 * log2 + OF_ONE, 0.0)


class CategoryTallies(NamedTuple):
    """Coupons that a shopper got for the first category of each row's coupon, and the share redeemed."""

    issued: Floats
    redeem_rate: Floats


def category_tallies(rows: RowBatch) -> CategoryTallies:
    """Return the tallies of each row, looked up in tables by moment and category."""
    of_categories = (len(rows.shoppers), len(rows.coupons.vocabulary) + 1)
    issued, redeem_rate = np.zeros(of_categories), np.full(of_categories, NEUTRAL_REDEEM_RATE)
    for row, each in enumerate(rows.shoppers):
        for name, tally in each.history.by_category.items():
            if column := rows.coupons.category_columns.get(name):
                issued[row, column] = tally.issued
                redeem_rate[row, column] = shrunk_rate(tally.redeemed, tally.issued, NEUTRAL_REDEEM_RATE)
    first = rows.coupons.first_category[rows.position]
    return CategoryTallies(issued[rows.owner, first], redeem_rate[rows.owner, first])


class CouponTallies(NamedTuple):
    """Counts of each row's coupon that a shopper got and redeemed, and the shares clicked and redeemed."""

    issued: Floats
    redeemed: Floats
    click_rate: Floats
    redeem_rate: Floats


def own_rates(rows: RowBatch) -> list[Rates]:
    """Return each shopper's rates over all coupons: those of a coupon, or a kind, that was not given yet."""
    histories = [each.history for each in rows.shoppers]
    return [
        (
            shrunk_rate(history.clicked, history.issued, NEUTRAL_CLICK_RATE),
            shrunk_rate(history.redeemed, history.issued, NEUTRAL_REDEEM_RATE),
        )
        for history in histories
    ]


def coupon_tallies(rows: RowBatch) -> CouponTallies:
    """Return the tallies of each row's coupon."""
    tallies: dict[tuple[int, int], Tally] = {}
    for row, each in enumerate(rows.shoppers):
        for coupon_id, tally in each.history.by_coupon.items():
            tallies |= {(row, position): tally for position in rows.coupons.positions_of.get(coupon_id, ())}
    own = rows[own_rates]
    found = np.array([(0.0, 0.0, *rates) for rates in own])[rows.owner]
    if tallies:
        for n, pair in enumerate(zip(rows.owner.tolist(), rows.position.tolist(), strict=True)):
            if pair in tallies:
                tally = tallies[pair]
                found[n] = tally.issued, tally.redeemed, *_rates(tally, own[pair[0]])
    return CouponTallies(*found.T)


class KindRates(NamedTuple):
    """The shares of coupons of the kind of each row's coupon that a shopper clicked and redeemed."""

    click_rate: Floats
    redeem_rate: Floats


def kind_rates(rows: RowBatch) -> KindRates:
    """Return the rates of each row, looked up in a table by moment and number of the kind."""
    own, coupons = rows[own_rates], rows.coupons
    rates = np.repeat(np.array(own)[:, None], len(coupons.kinds) + 1, axis=1)
    for row, each in enumerate(rows.shoppers):
        for kind, tally in each.history.by_kind.items():
            if number := coupons.kinds.get(kind):
                rates[row, number] = _rates(tally, own[row])
    return KindRates(*rates[rows.owner, coupons.kind[rows.position]].T)


def _rates(tally: Tally, own: Rates) -> Rates:
    """Return the click and redeem rate of a tally, shrunk towards the shopper's own while there are few."""
    return shrunk_rate(tally.clicked, tally.issued, own[0]), shrunk_rate(tally.redeemed, tally.issued, own[1])


HISTORY_FEATURES = (
    MatchFeature(
        name="category_ordered",
        compute=lambda rows: 1.0 / (1.0 + rows[category_times].since_order / REORDER_S),
        bounds=(0.0, 1.0),
        text="is for a category that was ordered {number} days ago",
        number=lambda value: (1 / value - 1) * REORDER_S / DAY_S,
        # Stocks are used up first.
        prior={"effect": -1.5, "demand": -1.5},
        is_of_effect=True,
    ),
    MatchFeature(
        name="category_carted",
        compute=lambda rows: 1.0 / (1.0 + rows[category_times].since_cart / DAY_S),
        bounds=(0.0, 1.0),
        text="is for a category that lies in the cart since {number} days",
        number=lambda value: 1 / value - 1,
    ),
    MatchFeature(
        name="category_due",
        compute=_category_due,
        bounds=RATIO_BOUNDS,
        text=(
            "is for a category that was last ordered {number} times the usual time between two orders ago, by the "
            "middle of the coupon's time"
        ),
        number=lambda value: math.exp2((value - OF_ONE) / 2),
    ),
    MatchFeature(
        name="category_recency",
        compute=lambda rows: rows.views.recency,
        bounds=(0.0, 1.0),
        text="is for a category that this shopper came for {whole} days ago",
        number=lambda value: 1 / value - 1,
        prior={"demand": 0.3},
    ),
    MatchFeature(
        name="this_coupon_issued",
        compute=lambda rows: rows[coupon_tallies].issued,
        log_divisor=1.0,
        text="was given to this shopper {whole} times before",
        prior={"effect": -0.6},
        is_of_effect=True,
    ),
    MatchFeature(
        name="this_coupon_redeemed",
        compute=lambda rows: rows[coupon_tallies].redeemed,
        log_divisor=1.0,
        text="was redeemed by this shopper {whole} times before",
    ),
    MatchFeature(
        name="this_category_issued",
        compute=lambda rows: rows[category_tallies].issued,
        log_divisor=2.0,
        text="is for a category of which this shopper had {whole} coupons before",
    ),
    MatchFeature(
        name="this_category_redeem_rate",
        compute=lambda rows: REDEEM_SCALE * rows[category_tallies].redeem_rate,
        bounds=REDEEM_BOUNDS,
        text=f"is for a category of which this shopper redeems {{percent}} of the coupons ({FEW})",
        number=lambda value: value / REDEEM_SCALE,
    ),
    MatchFeature(
        name="this_coupon_click_rate",
        compute=lambda rows: rows[coupon_tallies].click_rate,
        bounds=(0.0, 1.0),
        text=f"is clicked by this shopper {{percent}} of the time ({FEW})",
    ),
    MatchFeature(
        name="this_coupon_redeem_rate",
        compute=lambda rows: REDEEM_SCALE * rows[coupon_tallies].redeem_rate,
        bounds=REDEEM_BOUNDS,
        text=f"is redeemed by this shopper {{percent}} of the time ({FEW})",
        number=lambda value: value / REDEEM_SCALE,
    ),
    MatchFeature(
        name="this_kind_click_rate",
        compute=lambda rows: rows[kind_rates].click_rate,
        bounds=(0.0, 1.0),
        text=f"is of a kind that this shopper clicks {{percent}} of the time ({FEW})",
    ),
    MatchFeature(
        name="this_kind_redeem_rate",
        compute=lambda rows: REDEEM_SCALE * rows[kind_rates].redeem_rate,
        bounds=REDEEM_BOUNDS,
        text=f"is of a kind that this shopper redeems {{percent}} of the time ({FEW})",
        number=lambda value: value / REDEEM_SCALE,
    ),
)
