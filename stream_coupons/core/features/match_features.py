"""Numeric features of a row: interests and habits in the coupon's scope, the past with it, its kind and category."""

import math
from collections.abc import Sequence

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.catalogue.discount import conditions
from stream_coupons.core.features.affinity import PRIOR_SHARE, RowBatch, ShopperMoment
from stream_coupons.core.features.feature import Feature
from stream_coupons.core.features.shopper_features import FEW
from stream_coupons.core.messages.inputs import BrowseEvent
from stream_coupons.core.shopper.baskets import NO_ORDERS, Baskets, OrderValues, pieces_reached
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.core.shopper.state import Tally, shrunk_rate

PRIOR_DAYS = 3.0
"""Days at which a shopper's share of days counts as much as `PRIOR_SHARE`."""
SHARE_BOUNDS = (-6.0, 4.0)
LEAST_REACHED = 0.002
"""Least probability that a minimum is reached."""
_OF_SHARES = np.array([[PRIOR_SHARE], [1.0], [PRIOR_SHARE], [PRIOR_SHARE]])
"""The share at which each feature that is a logarithm of a share is 0."""
_MOST_SHARES = np.array([[1.0], [1.0], [math.inf], [math.inf]])
"""The greatest of each."""
MOST_SHARE = 4 * PRIOR_SHARE
"""Share of interest from which the text calls a scope the shopper's favourite."""


def share_number(value: float) -> float:
    """Return the share of which `log_share` is a value."""
    return PRIOR_SHARE * math.exp(3.0 * value)


def match_numbers(rows: RowBatch, out: Floats) -> None:
    """Compute the features before logarithms and bounds.

    Of a coupon with categories, `demand_share` is the share of days on which the shopper cared for them, and
    `scope_part` the part of its brands or items in them: of a shopper without events the prior part, a tenth for an
    item, a quarter for a brand. Of a coupon without a category, `demand_share` is the share of its brands or items in
    all interest. A coupon for the whole shop has all of it. `passed_over` counts the days on which the shopper cared
    for something, for a coupon within no interest of theirs: a scope that a newcomer did not turn to may still be
    wanted, one that was passed over on twenty days hardly is. `price_fit` is 1 where the coupon's typical price is the
    shopper's mean price, half for each octave between them.

    Parameters
    ----------
    rows : RowBatch
        n rows.
    out : array, shape (len(MATCH_FEATURES), n)
        Filled, in the order of `MATCH_FEATURES`.
    """
    coupons, owner, position = rows.coupons, rows.owner, rows.position
    of_days = (rows.days + PRIOR_DAYS * PRIOR_SHARE) / (rows.all_days + PRIOR_DAYS)
    shares = np.minimum(rows.shares, _MOST_SHARES)
    np.copyto(shares[0], of_days, where=coupons.names_category.take(position))
    logarithms = np.log(shares / _OF_SHARES) / 3.0
    browsed = np.array([isinstance(each.moment.trigger, BrowseEvent) for each in rows.shoppers]).take(owner)
    prices = [each.mean_price_minor for each in rows.shoppers]
    price_log2 = np.array([math.nan if price is None else math.log2(max(price, 1.0)) for price in prices])
    fit = np.exp2(-np.abs(coupons.price_log2.take(position) - price_log2.take(owner)))
    if None in prices:
        fit[np.isnan(fit)] = 0.5
    out[0], out[1], out[2], out[3] = rows.content, rows.category, rows.brand, rows.item
    out[4], out[5], out[6] = rows.collaborative, rows.related, logarithms[0]
    is_outside = rows.content <= 0.0
    if coupons.any_for_all:
        is_outside &= ~rows.is_for_all
    out[7] = np.where(is_outside, rows.all_days, 0.0)
    out[8] = np.where(coupons.names_part.take(position), logarithms[1], 0.0)
    out[9] = logarithms[2]
    out[10], out[11] = np.where(browsed, rows.looked_at, 0.0), np.where(browsed, 0.0, rows.looked_at)
    out[12] = fit
    out[13], out[14], out[15], out[16] = rows.habit, rows.fresh_habit, rows.habit_of_category, logarithms[3]
    out[17] = _threshold_missed(rows) if coupons.any_minimum else 0.0


def _threshold_missed(rows: RowBatch) -> Floats:
    """Return -log P(order reaches the minimum spend and pieces); 0 for a coupon without them."""
    spend_minor, pieces = rows.coupons.once(conditions)[:, rows.position]
    some = np.flatnonzero((spend_minor > 0.0) | (pieces > 1.0))
    found = np.zeros(len(spend_minor))
    if len(some):
        baskets, owner = [each.profile.baskets or NO_ORDERS for each in rows.shoppers], rows.owner[some]
        values = order_values_of(baskets, rows.coupons, owner, rows.position[some])
        enough = pieces_reached(baskets, owner, rows.is_for_all[some].astype(np.float64), pieces[some])
        reached = np.clip(values.reached(spend_minor[some]) * enough, LEAST_REACHED, 1.0)
        found[some] = 0.0 - np.log(reached)
    return found


def order_values_of(
    baskets: Sequence[Baskets], coupons: CouponSet, owner: Positions, position: Positions
) -> OrderValues:
    """Return the values of orders in the scope of coupons.

    Parameters
    ----------
    baskets : sequence of Baskets
        Orders of each shopper.
    coupons : CouponSet
        Coupons of one domain.
    owner, position : array of int, shape (n,)
        Index of each row's shopper, and position of its coupon.
    """
    is_for_all = coupons.is_for_all[position].astype(np.float64)
    return OrderValues.of(baskets, owner, coupons.price_minor[position], is_for_all)


def _looks(share: float, ending: str) -> str:
    if share >= MOST_SHARE:
        return f"look{ending} at most"
    return f"look{ending} at" if share >= PRIOR_SHARE else f"hardly look{ending} at"


MATCH_FEATURES = (
    Feature(
        name="content",
        log_divisor=2.0,
        text="fits what this shopper looks at, puts into the cart and orders (score {number})",
    ),
    Feature(
        name="category_interest",
        log_divisor=2.0,
        text="is for a category of interest to this shopper (score {number})",
    ),
    Feature(
        name="brand_interest",
        log_divisor=2.0,
        text="is for a brand of interest to this shopper (score {number})",
    ),
    Feature(
        name="item_interest",
        log_divisor=2.0,
        text="is for items of interest to this shopper (score {number})",
    ),
    Feature(
        name="collaborative",
        log_divisor=2.0,
        text="fits what similar shoppers look at, put into the cart and order (score {number})",
    ),
    Feature(
        name="related",
        log_divisor=2.0,
        text="is for a category that goes with those of this shopper, who is new to it (score {number})",
    ),
    Feature(
        name="demand_share",
        bounds=SHARE_BOUNDS,
        text=lambda share: f"is for what this shopper {_looks(share, 's')} (share of interest {{percent}})",
        number=share_number,
        # A third of a logarithm: with `near_scope_share` an elasticity of 0.8, below 1 as shares are noisy.
        prior={"click": 0.35, "effect": 0.8, "demand": 1.2},
        is_of_effect=True,
    ),
    Feature(
        name="passed_over",
        log_divisor=1.0,
        text="is for nothing that this shopper turned to on {number} days of shopping",
        is_of_effect=True,
    ),
    Feature(
        name="scope_part",
        bounds=(SHARE_BOUNDS[0], 0.0),
        text="is for {percent} of what this shopper likes in its category",
        number=lambda value: math.exp(3.0 * value),
        prior={"click": 0.35, "effect": 2.5, "demand": 2.5},
        is_of_effect=True,
    ),
    Feature(
        name="near_scope_share",
        bounds=SHARE_BOUNDS,
        text=lambda share: f"is for what similar shoppers {_looks(share, '')} (share of their interest {{percent}})",
        number=share_number,
        prior={"click": 0.2, "effect": 0.8, "demand": 1.2},
        is_of_effect=True,
    ),
    Feature(
        name="browsed_now",
        text="fits what this shopper was looking at just then",
        prior={"effect": 0.5, "demand": 0.2, "visit": 1.5},
        is_of_effect=True,
    ),
    Feature(
        name="carted_now",
        text="fits what this shopper was putting into the cart just then",
        # About seven of ten carts are left, mostly because of the price.
        prior={"effect": 0.9, "demand": 0.2, "visit": 2.3},
        is_of_effect=True,
    ),
    Feature(
        name="price_fit",
        bounds=(0.0, 1.0),
        text="is for prices as this shopper pays them (closeness {percent})",
    ),
    Feature(
        name="habit",
        log_divisor=2.0,
        text="is for what this shopper ordered {number} times in the long run",
        # A shopper who orders on schedule orders without a coupon as well: it has little effect.
        prior={"effect": -0.6, "demand": 1.0},
        is_of_effect=True,
    ),
    Feature(
        name="fresh_habit",
        log_divisor=2.0,
        text="is for what this shopper ordered {number} times of late",
    ),
    Feature(
        name="habit_of_category",
        log_divisor=2.0,
        text="is for a category that this shopper ordered from {number} times in the long run",
    ),
    Feature(
        name="habit_share",
        bounds=SHARE_BOUNDS,
        text="is for {percent} of all that this shopper orders",
        number=share_number,
    ),
    Feature(
        name="threshold_missed",
        bounds=(0.0, -math.log(LEAST_REACHED)),
        text="asks for a minimum that {percent} of this shopper's orders reach",
        number=lambda value: math.exp(-value),
        prior={"effect": -1.0},
        is_of_terms=True,
        is_of_effect=True,
    ),
)


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
