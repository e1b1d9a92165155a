"""Numeric features of the shopper's past with the coupon, its kind and its category."""

import math

import numpy as np

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.features.affinity import RowBatch, ShopperMoment
from stream_coupons.core.features.feature import Feature
from stream_coupons.core.features.shopper_features import FEW
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.core.shopper.state import Tally, shrunk_rate

REORDER_S = 3 * DAY_S
_SCALES_S = np.array([[REORDER_S], [DAY_S]])
OF_ONE = 1.5
"""Number for a ratio of 1: the middle of a bin of numbers."""
REDEEM_SCALE = 4.0
"""Factor of a redeem rate as a feature."""
RATIO_BOUNDS = (-0.99, 3.99)
"""Bounds of the logarithm of a ratio: within the bins of numbers, so that the outer bins are half open."""
REDEEM_BOUNDS = (0.0, REDEEM_SCALE)


def history_numbers(rows: RowBatch, out: Floats) -> None:
    """Compute the features before logarithms and bounds.

    `category_due` is a ratio of times in half octaves; 0 if it is not known. Models learn its effect by bins: demand
    may peak at a ratio of 1, or rise from some ratio on.

    Parameters
    ----------
    rows : RowBatch
        n rows.
    out : array, shape (len(HISTORY_FEATURES), n)
        Filled, in the order of `HISTORY_FEATURES`.
    """
    coupons, owner, position = rows.coupons, rows.owner, rows.position
    now = np.array([each.at for each in rows.shoppers]).take(owner)
    ordered_at, _, gap_s, issued, redeem_rate = rows.of_first
    out[:2] = 1.0 / (1.0 + np.maximum(now - rows.last_at, 0.0) / _SCALES_S)
    # From the last order to the middle of the coupon's window, over the usual time between two orders.
    middle_s = np.maximum(now - ordered_at, 0.0) + coupons.redeem_within_s.take(position) / 2.0
    gaps_over = np.log2(middle_s) - np.log2(gap_s)
    out[2] = np.where(np.isfinite(gaps_over), 2.0 * gaps_over + OF_ONE, 0.0)
    out[3] = rows.recency
    out[6], out[7] = issued, redeem_rate
    _fill_rates(rows, out)
    out[7::2] *= REDEEM_SCALE


def _fill_rates(rows: RowBatch, out: Floats) -> None:
    """Fill the counts and rates of each row's coupon, and the rates of its kind: the shopper's own, as far as known."""
    coupons, owner, position = rows.coupons, rows.owner, rows.position
    own = np.array([(each.click_rate, each.redeem_rate) for each in rows.shoppers]).T
    out[4:6], out[8:10] = 0.0, own.take(owner, axis=1)
    out[10:12] = out[8:10]
    tallies: dict[tuple[int, int], Tally] = {}
    for number, each in enumerate(rows.shoppers):
        for coupon_id, tally in each.history.by_coupon.items():
            tallies |= {(number, place): tally for place in coupons.positions_of.get(coupon_id, ())}
    if any(each.history.by_kind for each in rows.shoppers):
        of_kinds = own[:, :, None].repeat(len(coupons.kinds) + 1, axis=2)
        for number, each in enumerate(rows.shoppers):
            for kind, tally in each.history.by_kind.items():
                if place := coupons.kinds.get(kind):
                    of_kinds[:, number, place] = _rates(tally, each)
        out[10:12] = of_kinds[:, owner, coupons.kind.take(position)]
    if tallies:
        for row, pair in enumerate(zip(owner.tolist(), position.tolist(), strict=True)):
            if (found := tallies.get(pair)) is not None:
                out[[4, 5, 8, 9], row] = found.issued, found.redeemed, *_rates(found, rows.shoppers[pair[0]])


def _rates(tally: Tally, own: ShopperMoment) -> tuple[float, float]:
    """Return the click and redeem rate of a tally, shrunk towards the shopper's own while there are few."""
    clicks = shrunk_rate(tally.clicked, tally.issued, own.click_rate)
    return clicks, shrunk_rate(tally.redeemed, tally.issued, own.redeem_rate)


HISTORY_FEATURES = (
    Feature(
        name="category_ordered",
        bounds=(0.0, 1.0),
        text="is for a category that was ordered {number} days ago",
        number=lambda value: (1 / value - 1) * REORDER_S / DAY_S,
        # Stocks are used up first.
        prior={"effect": -1.5, "demand": -1.5},
        is_of_effect=True,
    ),
    Feature(
        name="category_carted",
        bounds=(0.0, 1.0),
        text="is for a category that lies in the cart since {number} days",
        number=lambda value: 1 / value - 1,
    ),
    Feature(
        name="category_due",
        bounds=RATIO_BOUNDS,
        text=(
            "is for a category that was last ordered {number} times the usual time between two orders ago, by the "
            "middle of the coupon's time"
        ),
        number=lambda value: math.exp2((value - OF_ONE) / 2),
    ),
    Feature(
        name="category_recency",
        bounds=(0.0, 1.0),
        text="is for a category that this shopper came for {whole} days ago",
        number=lambda value: 1 / value - 1,
        prior={"demand": 0.3},
    ),
    Feature(
        name="this_coupon_issued",
        log_divisor=1.0,
        text="was given to this shopper {whole} times before",
        prior={"effect": -0.6},
        is_of_effect=True,
    ),
    Feature(
        name="this_coupon_redeemed",
        log_divisor=1.0,
        text="was redeemed by this shopper {whole} times before",
    ),
    Feature(
        name="this_category_issued",
        log_divisor=2.0,
        text="is for a category of which this shopper had {whole} coupons before",
    ),
    Feature(
        name="this_category_redeem_rate",
        bounds=REDEEM_BOUNDS,
        text=f"is for a category of which this shopper redeems {{percent}} of the coupons ({FEW})",
        number=lambda value: value / REDEEM_SCALE,
    ),
    Feature(
        name="this_coupon_click_rate",
        bounds=(0.0, 1.0),
        text=f"is clicked by this shopper {{percent}} of the time ({FEW})",
    ),
    Feature(
        name="this_coupon_redeem_rate",
        bounds=REDEEM_BOUNDS,
        text=f"is redeemed by this shopper {{percent}} of the time ({FEW})",
        number=lambda value: value / REDEEM_SCALE,
    ),
    Feature(
        name="this_kind_click_rate",
        bounds=(0.0, 1.0),
        text=f"is of a kind that this shopper clicks {{percent}} of the time ({FEW})",
    ),
    Feature(
        name="this_kind_redeem_rate",
        bounds=REDEEM_BOUNDS,
        text=f"is of a kind that this shopper redeems {{percent}} of the time ({FEW})",
        number=lambda value: value / REDEEM_SCALE,
    ),
)
