"""Numeric features of the shopper's and the neighbours' interests and habits in the coupon's scope."""

import math
from collections.abc import Sequence

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.catalogue.discount import conditions
from stream_coupons.core.features.affinity import PRIOR_SHARE, log_share, share_of
from stream_coupons.core.features.feature import MatchFeature, RowBatch
from stream_coupons.core.shopper.baskets import NO_ORDERS, Baskets, OrderValues, pieces_reached

PART_STRENGTH = 8.0
"""Weight of interest in a category at which the observed part counts as much as the prior part: that of one or two
orders, like the sum of the parameters of a Dirichlet model of brand choice (Goodhardt, Ehrenberg, and Chatfield 1984:
The Dirichlet: a comprehensive model of buying behaviour)."""
PRIOR_DAYS = 3.0
"""Days at which a shopper's share of days counts as much as `PRIOR_SHARE`."""
SHARE_BOUNDS = (-6.0, 4.0)
LEAST_REACHED = 0.002
"""Least probability that a minimum is reached."""
MOST_SHARE = 4 * PRIOR_SHARE
"""Share of interest from which the text calls a scope the shopper's favourite."""


def share_number(value: float) -> float:
    """Return the share of which `log_share` is a value."""
    return PRIOR_SHARE * math.exp(3.0 * value)


def _demand_share(rows: RowBatch) -> Floats:
    """Return the logarithm of the share of a coupon's scope in the shopper's demand.

    Of a coupon with categories it is the share of days on which the shopper cared for them; `_scope_part` is the part
    of its brands or items in them. Of a coupon without a category it is the share of its brands or items in all
    interest. A coupon for the whole shop has all of it.
    """
    views, names_category = rows.views, rows.coupons.names_category[rows.position]
    of_days = (views.days + PRIOR_DAYS * PRIOR_SHARE) / (views.all_days + PRIOR_DAYS)
    of_interest = np.minimum(share_of(views.scope, views.all_interest, PRIOR_SHARE), 1.0)
    demand = np.where(names_category, of_days, of_interest)
    return log_share(np.where(views.is_for_all, 1.0, demand))


def _passed_over(rows: RowBatch) -> Floats:
    """Return the days on which the shopper cared for something, for a coupon within no interest of theirs; else 0.

    A scope that a newcomer did not turn to may still be wanted. One that was passed over on twenty days hardly is.
    """
    views = rows.views
    return np.where((views.content <= 0.0) & ~views.is_for_all, views.all_days, 0.0)


def _scope_part(rows: RowBatch) -> Floats:
    """Return the logarithm of the part of a coupon's brands or items in their category's demand; 0 for all of it.

    A shopper without events has the prior part: a tenth for an item, a quarter for a brand.
    """
    views, coupons, position = rows.views, rows.coupons, rows.position
    part = share_of(views.scope, views.category, coupons.prior_part[position], PART_STRENGTH)
    is_part = (coupons.names_category & coupons.names_finer)[position]
    return np.where(is_part, np.log(np.minimum(part, 1.0)) / 3.0, 0.0)


def _habit_share(rows: RowBatch) -> Floats:
    """Return the logarithm of the share of a coupon's scope in all that the shopper orders."""
    share = share_of(rows.views.habit, rows.views.all_habits, PRIOR_SHARE)
    return log_share(np.where(rows.views.is_for_all, 1.0, share))


def _price_fit(rows: RowBatch) -> Floats:
    """Return 1 where the coupon's typical price is the shopper's mean price, half for each octave between them."""
    prices = (each.mean_price_minor for each in rows.shoppers)
    price_log2 = np.array([math.nan if price is None else math.log2(max(price, 1.0)) for price in prices])
    distance = np.abs(rows.coupons.price_log2[rows.position] - price_log2[rows.owner])
    return np.where(np.isnan(distance), 0.5, np.exp2(-distance))


def _threshold_missed(rows: RowBatch) -> Floats:
    """Return -log P(order reaches the minimum spend and pieces); 0 for a coupon without them, at no cost if all are."""
    spend_minor, pieces = rows.coupons.once(conditions)[:, rows.position]
    some = np.flatnonzero((spend_minor > 0.0) | (pieces > 1.0))
    found = np.zeros(len(spend_minor))
    if len(some):
        baskets, owner = [each.profile.baskets or NO_ORDERS for each in rows.shoppers], rows.owner[some]
        values = order_values_of(baskets, rows.coupons, owner, rows.position[some])
        enough = pieces_reached(baskets, owner, rows.views.is_for_all[some].astype(np.float64), pieces[some])
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
    MatchFeature(
        name="content",
        compute=lambda rows: rows.views.content,
        log_divisor=2.0,
        text="fits what this shopper looks at, puts into the cart and orders (score {number})",
    ),
    MatchFeature(
        name="category_interest",
        compute=lambda rows: rows.views.category,
        log_divisor=2.0,
        text="is for a category of interest to this shopper (score {number})",
    ),
    MatchFeature(
        name="brand_interest",
        compute=lambda rows: rows.views.brand,
        log_divisor=2.0,
        text="is for a brand of interest to this shopper (score {number})",
    ),
    MatchFeature(
        name="item_interest",
        compute=lambda rows: rows.views.item,
        log_divisor=2.0,
        text="is for items of interest to this shopper (score {number})",
    ),
    MatchFeature(
        name="collaborative",
        compute=lambda rows: rows.views.collaborative,
        log_divisor=2.0,
        text="fits what similar shoppers look at, put into the cart and order (score {number})",
    ),
    MatchFeature(
        name="related",
        compute=lambda rows: rows.views.related,
        log_divisor=2.0,
        text="is for a category that goes with those of this shopper, who is new to it (score {number})",
    ),
    MatchFeature(
        name="demand_share",
        compute=_demand_share,
        bounds=SHARE_BOUNDS,
        text=lambda share: f"is for what this shopper {_looks(share, 's')} (share of interest {{percent}})",
        number=share_number,
        # A third of a logarithm: with `near_scope_share` an elasticity of 0.8, below 1 as shares are noisy.
        prior={"click": 0.35, "effect": 0.8, "demand": 1.2},
        is_of_effect=True,
    ),
    MatchFeature(
        name="passed_over",
        compute=_passed_over,
        log_divisor=1.0,
        text="is for nothing that this shopper turned to on {number} days of shopping",
        is_of_effect=True,
    ),
    MatchFeature(
        name="scope_part",
        compute=_scope_part,
        bounds=(SHARE_BOUNDS[0], 0.0),
        text="is for {percent} of what this shopper likes in its category",
        number=lambda value: math.exp(3.0 * value),
        prior={"click": 0.35, "effect": 2.5, "demand": 2.5},
        is_of_effect=True,
    ),
    MatchFeature(
        name="near_scope_share",
        compute=lambda rows: rows.views.near_scope_share,
        bounds=SHARE_BOUNDS,
        text=lambda share: f"is for what similar shoppers {_looks(share, '')} (share of their interest {{percent}})",
        number=share_number,
        prior={"click": 0.2, "effect": 0.8, "demand": 1.2},
        is_of_effect=True,
    ),
    MatchFeature(
        name="browsed_now",
        compute=lambda rows: np.where(rows.views.is_browsed, rows.views.looked_at, 0.0),
        text="fits what this shopper was looking at just then",
        prior={"effect": 0.5, "demand": 0.2, "visit": 1.5},
        is_of_effect=True,
    ),
    MatchFeature(
        name="carted_now",
        compute=lambda rows: np.where(rows.views.is_browsed, 0.0, rows.views.looked_at),
        text="fits what this shopper was putting into the cart just then",
        # About seven of ten carts are left, mostly because of the price.
        prior={"effect": 0.9, "demand": 0.2, "visit": 2.3},
        is_of_effect=True,
    ),
    MatchFeature(
        name="price_fit",
        compute=_price_fit,
        bounds=(0.0, 1.0),
        text="is for prices as this shopper pays them (closeness {percent})",
    ),
    MatchFeature(
        name="habit",
        compute=lambda rows: rows.views.habit,
        log_divisor=2.0,
        text="is for what this shopper ordered {number} times in the long run",
        # A shopper who orders on schedule orders without a coupon as well: it has little effect.
        prior={"effect": -0.6, "demand": 1.0},
        is_of_effect=True,
    ),
    MatchFeature(
        name="fresh_habit",
        compute=lambda rows: rows.views.fresh_habit,
        log_divisor=2.0,
        text="is for what this shopper ordered {number} times of late",
    ),
    MatchFeature(
        name="habit_of_category",
        compute=lambda rows: rows.views.habit_of_category,
        log_divisor=2.0,
        text="is for a category that this shopper ordered from {number} times in the long run",
    ),
    MatchFeature(
        name="habit_share",
        compute=_habit_share,
        bounds=SHARE_BOUNDS,
        text="is for {percent} of all that this shopper orders",
        number=share_number,
    ),
    MatchFeature(
        name="threshold_missed",
        compute=_threshold_missed,
        bounds=(0.0, -math.log(LEAST_REACHED)),
        text="asks for a minimum that {percent} of this shopper's orders reach",
        number=lambda value: math.exp(-value),
        prior={"effect": -1.0},
        is_of_terms=True,
        is_of_effect=True,
    ),
)
