"""What is said of a (shopper, coupon, moment): a few bounded numbers and a few hashed categories.

Numbers are transformed here into about [0, 3], so no scaler has to be learnt or served. Categories and crosses are
hashed into `DIMENSIONS` places by a mix of 32-bit hashes: no vocabulary, nothing to keep (Weinberger et al. 2009:
Feature hashing for large scale multitask learning). A missing number is a stated stand-in plus a flag of its own,
so that the model can tell.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.coupons import CouponSet, Floats, Positions
from stream_coupons.core.events import BrowseEvent, CartEvent, Item, OrderEvent
from stream_coupons.core.profile import DAY_S, HOUR_S, Profile, decay, favourite, item_features
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper import Shopper
from stream_coupons.core.similarity import feature_index

DIMENSIONS = 2**16
CONTEXT_SLOTS = 4
NEUTRAL_REDEEM_RATE = 0.05
PRIOR_SHARE = 0.05
REORDER_S = 3 * DAY_S

OF_SHOPPER = (
    "order_recency",
    "orders",
    "browses",
    "carts",
    "mean_price",
    "coupons_issued",
    "click_rate",
    "redeem_rate",
    "since_last_issue",
    "no_order_known",
    "no_price_known",
    "no_neighbours",
)
OF_COUPON = ("discount_depth", "discount_size", "time_to_redeem")
OF_MATCH = (
    "content",
    "category",
    "brand",
    "item",
    "collaborative",
    "scope_share",
    "near_scope_share",
    "browsed_now",
    "carted_now",
    "price_fit",
)
OF_HISTORY = (
    "category_ordered",
    "this_coupon_issued",
    "this_coupon_redeemed",
    "this_category_issued",
    "this_category_redeem_rate",
)
NUMERIC = (*OF_SHOPPER, *OF_COUPON, *OF_MATCH, *OF_HISTORY)
HASHED = (
    "coupon",
    "kind",
    "category",
    "brand",
    "depth",
    "shopper",
    "hour",
    "weekday",
    "shopper*category",
    "shopper*kind",
    "shopper*depth",
    "hour*category",
    "taste*category",
    "redeemer*depth",
    "redeemer*kind",
    *(f"context{slot}" for slot in range(CONTEXT_SLOTS)),
)
SCHEMA = blake2b(repr((NUMERIC, HASHED, DIMENSIONS)).encode(), digest_size=8).hexdigest()
"""Names this feature space: a model trained on another one is refused."""

Indices = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom and what rows of features are about. Models do not look at it; oracles of a simulation do."""

    user_id: str
    coupons: CouponSet
    positions: Positions
    at: float


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """Features of some candidates: `numeric` (n, len(NUMERIC)) and `hashed` (n, len(HASHED))."""

    numeric: Floats
    hashed: Indices
    subject: Subject | None = None

    def __len__(self) -> int:
        return len(self.numeric)


def _mix(a: Indices | int, b: Indices | int) -> Indices:
    """A place for the pair of two hashes; 0 is kept for "nothing"."""
    with np.errstate(over="ignore"):
        mixed = (np.asarray(a, np.uint32) * np.uint32(0x9E3779B1)) ^ np.asarray(b, np.uint32)
        mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(0x85EBCA6B)
        mixed = mixed ^ (mixed >> np.uint32(13))
    places: Indices = mixed % np.uint32(DIMENSIONS - 1) + np.uint32(1)
    return places


def _rate(successes: float, trials: float, prior: float, strength: float = 4.0) -> float:
    """Mean of a Beta posterior: the rate, drawn towards `prior` while there is little to go by."""
    return (successes + prior * strength) / (max(trials, successes) + strength)


def extract(
    user_id: str,
    shopper: Shopper,
    coupons: CouponSet,
    chosen: Positions,
    moment: "Moment",
    rules: ProfileRules,
) -> FeatureRows:
    """Features of the shopper with each of the chosen coupons.

    Parameters
    ----------
    chosen : array of int, shape (n,)
        Positions in `coupons`.
    moment : Moment
        Time, context and the scores R(u, i) of every coupon of the set.

    Returns
    -------
    FeatureRows
        n rows; numbers are rounded to four decimals, so that what is stored is what was scored.
    """
    numeric = np.concatenate(
        (
            np.broadcast_to(_shopper_numbers(shopper, moment.at, rules), (len(chosen), len(OF_SHOPPER))),
            coupons.static_numeric[chosen],
            _match_numbers(shopper, coupons, chosen, moment),
            _history_numbers(shopper, coupons, chosen, moment.at),
        ),
        axis=1,
    )
    hashed = _hashes(user_id, shopper, coupons, chosen, moment)
    return FeatureRows(np.round(numeric, 4), hashed, Subject(user_id, coupons, chosen, moment.at))


@dataclass(frozen=True, slots=True)
class Moment:
    """When, in what context, and how near each coupon is to the shopper.

    The arrays have shape (coupons,): the scores R(u, i) by the shopper's own interests, split by what they are in, and
    by the neighbours'; the logarithms of the share that the coupon's scope has in the interests of both; and how near
    the coupon is to what the shopper looks at, or puts into the cart, at this moment.
    """

    at: float
    context: Mapping[str, str | float | bool | None]
    category: Floats
    brand: Floats
    item: Floats
    collaborative: Floats
    scope_share: Floats
    near_scope_share: Floats
    browsed: Floats
    carted: Floats


def look(
    shopper: Shopper,
    coupons: CouponSet,
    at: float,
    context: Mapping[str, str | float | bool | None],
    rules: ProfileRules,
    trigger: BrowseEvent | CartEvent | OrderEvent | None = None,
) -> Moment:
    """Score every coupon of the set against the shopper's interests, their neighbours', and what they do just now."""
    interests, near = shopper.profile.interests, shopper.neighbourhood.interests
    scale = decay(shopper.profile, at, rules)
    own_vector, near_vector = coupons.dense(interests, scale), coupons.dense(near, 1.0)
    nothing = np.zeros(len(coupons))
    return Moment(
        at=at,
        context=context,
        category=coupons.categories.score(own_vector),
        brand=coupons.brands.score(own_vector),
        item=coupons.items.score(own_vector),
        collaborative=coupons.content_scores(near_vector),
        scope_share=_log_share(coupons.scopes.score(own_vector), scale * sum(interests.values())),
        near_scope_share=_log_share(coupons.scopes.score(near_vector), sum(near.values())),
        browsed=_nearness(coupons, trigger.item) if isinstance(trigger, BrowseEvent) else nothing,
        carted=_nearness(coupons, trigger.item)
        if isinstance(trigger, CartEvent) and trigger.action == "add"
        else nothing,
    )


def _nearness(coupons: CouponSet, item: Item | None) -> Floats:
    """Content scores of the coupons against one item, as if it were all that is known."""
    names = item_features(item.item_id, item.category, item.brand) if item is not None else []
    return coupons.content_scores(coupons.dense({feature_index(name): 1.0 for name in names}, 1.0))


def _log_share(scope: Floats, mass: float) -> Floats:
    """Logarithm of the scope's share in a mass of interest, drawn towards `PRIOR_SHARE` while the mass is small.

    Interest acts by its ratio, not by its amount: what fills a tenth of a profile draws the same whether the shopper
    came ten times or a hundred. Scaled to be 0 at the prior share.
    """
    share = (np.maximum(scope, 0.0) + PRIOR_SHARE) / (max(mass, 0.0) + 1.0)
    logarithm: Floats = np.log(share / PRIOR_SHARE) / 3.0
    return logarithm


def _shopper_numbers(shopper: Shopper, at: float, rules: ProfileRules) -> list[float]:
    profile, history = shopper.profile, shopper.history
    scale = decay(profile, at, rules)
    days = (at - profile.last_order_at) / DAY_S if profile.last_order_at is not None else 30.0
    mean_price = _mean_price(profile)
    since = (at - history.last_issued_at) / DAY_S if history.last_issued_at is not None else 30.0
    return [
        math.log1p(max(days, 0.0)) / 3.0,
        math.log1p(profile.orders * scale),
        math.log1p(profile.browses * scale) / 2.0,
        math.log1p(max(profile.carts * scale, 0.0)),
        math.log1p(mean_price or 0.0) / 10.0,
        math.log1p(history.issued) / 3.0,
        _rate(history.clicked, history.issued, 0.1),
        4.0 * _rate(history.redeemed, history.issued, NEUTRAL_REDEEM_RATE),
        1.0 / (1.0 + max(since, 0.0)),
        float(profile.last_order_at is None),
        float(mean_price is None),
        float(not shopper.neighbourhood.interests),
    ]


def _mean_price(profile: Profile) -> float | None:
    if profile.units > 0:
        return profile.spend_minor / profile.units
    return sum(profile.prices) / len(profile.prices) if profile.prices else None


def _match_numbers(shopper: Shopper, coupons: CouponSet, chosen: Positions, moment: Moment) -> Floats:
    def squash(scores: Floats) -> Floats:
        squashed: Floats = np.log1p(np.maximum(scores, 0.0)) / 2.0
        return squashed

    mean_price = _mean_price(shopper.profile)
    if mean_price is None:
        price_fit = np.full(len(coupons), 0.5)
    else:
        price_fit = np.exp2(-np.abs(coupons.price_log2 - math.log2(max(mean_price, 1.0))))
    return np.stack(
        (
            squash(moment.category + moment.brand + moment.item),
            squash(moment.category),
            squash(moment.brand),
            squash(moment.item),
            squash(moment.collaborative),
            moment.scope_share,
            moment.near_scope_share,
            moment.browsed,
            moment.carted,
            price_fit,
        ),
        axis=1,
    )[chosen]


def _history_numbers(shopper: Shopper, coupons: CouponSet, chosen: Positions, at: float) -> Floats:
    history, ordered_at = shopper.history, shopper.profile.category_ordered_at
    numbers = np.zeros((len(chosen), len(OF_HISTORY)))
    numbers[:, -1] = 4.0 * NEUTRAL_REDEEM_RATE
    for row, position in enumerate(chosen.tolist()):
        coupon = coupons.coupons[position]
        of_row = numbers[row]
        ordered = max([ordered_at[name] for name in coupon.categories if name in ordered_at], default=None)
        if ordered is not None:
            of_row[0] = 1.0 / (1.0 + max(at - ordered, 0.0) / REORDER_S)
        of_coupon = history.by_coupon.get(coupon.coupon_id)
        if of_coupon is not None:
            of_row[1] = math.log1p(of_coupon.issued)
            of_row[2] = math.log1p(of_coupon.redeemed)
        of_category = history.by_category.get(coupon.categories[0]) if coupon.categories else None
        if of_category is not None:
            of_row[3] = math.log1p(of_category.issued) / 2.0
            of_row[4] = 4.0 * _rate(of_category.redeemed, of_category.issued, NEUTRAL_REDEEM_RATE)
    return numbers


def _hashes(user_id: str, shopper: Shopper, coupons: CouponSet, chosen: Positions, moment: Moment) -> Indices:
    static = coupons.static_hashes[chosen]
    user = feature_index(f"shopper={user_id}")
    hour = feature_index(f"hour={int(moment.at % DAY_S // (4 * HOUR_S))}")
    weekday = feature_index(f"weekday={int(moment.at // DAY_S % 7)}")
    taste = feature_index(f"taste={favourite(shopper.profile)}")
    redeemer = feature_index(f"redeemer={min(int(shopper.history.redeemed), 5)}")
    hashed = np.zeros((len(chosen), len(HASHED)), dtype=np.uint32)
    fixed = len(HASHED) - CONTEXT_SLOTS
    left, right = hashed[:, :fixed], np.ones((len(chosen), fixed), np.uint32)
    left[:, 0:5] = static
    left[:, 5:8] = (user, hour, weekday)
    left[:, 8:13] = static[:, [2, 1, 4, 2, 2]]
    right[:, 8:13] = (user, user, user, hour, taste)
    left[:, 13:15] = static[:, [4, 1]]
    right[:, 13:15] = redeemer
    left[:] = _mix(left, right)
    for slot, (name, value) in enumerate(sorted(moment.context.items())[:CONTEXT_SLOTS]):
        hashed[:, fixed + slot] = _mix(feature_index(f"{name}={_band(value)}"), 1)
    return hashed


def _band(value: str | float | bool | None) -> str:
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)):
        return f"{math.copysign(round(2 * math.log2(1 + abs(value))), value):.0f}"
    return str(value)
