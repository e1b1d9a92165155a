"""What is said of a (shopper, coupon, moment): a few bounded numbers and a few hashed categories.

Numbers are transformed here into about [0, 3], so no scaler has to be learnt or served. Categories and crosses are
hashed into `DIMENSIONS` places by a mix of 32-bit hashes: no vocabulary, nothing to keep (Weinberger et al. 2009:
Feature hashing for large scale multitask learning). A missing number is a stated stand-in plus a flag of its own,
so that the model can tell.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.coupons import CouponSet, Floats, Positions
from stream_coupons.core.events import BrowseEvent, CartEvent, OrderEvent
from stream_coupons.core.profile import DAY_S, HOUR_S, Profile, decay, favourite, item_features
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper import Shopper
from stream_coupons.core.similarity import SparseVector, feature_index

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
class Moment:
    """Who is looked at, when, in what context, and what they do just then."""

    user_id: str
    shopper: Shopper
    at: float
    context: Mapping[str, str | float | bool | None]
    trigger: BrowseEvent | CartEvent | OrderEvent | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom and what rows of features are about. Models do not look at it; oracles of a simulation do."""

    user_id: str
    coupons: CouponSet
    positions: Positions
    at: float


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """Features of some candidates: `numeric` (n, len(NUMERIC)) and `hashed` (n, len(HASHED)).

    `subjects` say whom they are about, one after another.
    """

    numeric: Floats
    hashed: Indices
    subjects: tuple[Subject, ...] = ()

    def __len__(self) -> int:
        return len(self.numeric)


@dataclass(frozen=True, slots=True)
class Views:
    """How near each coupon of a set is to the shoppers of some moments: arrays of shape (moments, coupons).

    The scores R(u, i) by the shopper's own interests, split by what they are in, and by the neighbours'; the logarithms
    of the share that the coupon's scope has in the interests of both; and how near the coupon is to what the shopper
    looks at, or puts into the cart, at this moment.
    """

    category: Floats
    brand: Floats
    item: Floats
    collaborative: Floats
    scope_share: Floats
    near_scope_share: Floats
    browsed: Floats
    carted: Floats

    @property
    def promise(self) -> Floats:
        """Both scores R(u, i), added."""
        return self.category + self.brand + self.item + self.collaborative


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


def look(moments: Sequence[Moment], coupons: CouponSet, rules: ProfileRules) -> Views:
    """Score every coupon of the set against each shopper's interests, their neighbours', and what they do just now."""
    interests = [moment.shopper.profile.interests for moment in moments]
    scale = np.array([decay(moment.shopper.profile, moment.at, rules) for moment in moments])[:, None]
    own = coupons.dense(interests) * scale
    mass = np.array([sum(vector.values()) for vector in interests])[:, None] * scale
    near, near_mass = coupons.dense_packed([moment.shopper.neighbourhood.packed for moment in moments])
    now = coupons.content_scores(coupons.dense([_looked_at(moment.trigger) for moment in moments]))
    is_browsed = np.array([isinstance(moment.trigger, BrowseEvent) for moment in moments])[:, None]
    return Views(
        category=coupons.categories.score(own),
        brand=coupons.brands.score(own),
        item=coupons.items.score(own),
        collaborative=coupons.content_scores(near),
        scope_share=_log_share(coupons.scopes.score(own), mass),
        near_scope_share=_log_share(coupons.scopes.score(near), near_mass[:, None]),
        browsed=np.where(is_browsed, now, 0.0),
        carted=np.where(is_browsed, 0.0, now),
    )


def _looked_at(trigger: BrowseEvent | CartEvent | OrderEvent | None) -> SparseVector:
    """The item that is looked at or put into the cart, as if it were all that is known."""
    item = None
    if isinstance(trigger, BrowseEvent) or (isinstance(trigger, CartEvent) and trigger.action == "add"):
        item = trigger.item
    names = item_features(item.item_id, item.category, item.brand) if item is not None else []
    return {feature_index(name): 1.0 for name in names}


def _log_share(scope: Floats, mass: Floats) -> Floats:
    """Logarithm of the scope's share in a mass of interest, drawn towards `PRIOR_SHARE` while the mass is small.

    Interest acts by its ratio, not by its amount: what fills a tenth of a profile draws the same whether the shopper
    came ten times or a hundred. Scaled to be 0 at the prior share.
    """
    share = (np.maximum(scope, 0.0) + PRIOR_SHARE) / (np.maximum(mass, 0.0) + 1.0)
    logarithm: Floats = np.log(share / PRIOR_SHARE) / 3.0
    return logarithm


def extract(
    moments: Sequence[Moment], views: Views, coupons: CouponSet, chosen: Sequence[Positions], rules: ProfileRules
) -> FeatureRows:
    """Features of each moment's shopper with each of the coupons chosen for it.

    A row does not depend on which others are extracted with it, to the last bit: decisions do not depend on batches.

    Parameters
    ----------
    views : Views
        The scores R(u, i) of every coupon of the set at these moments.
    chosen : sequence of arrays of int
        For each moment, positions in `coupons`.

    Returns
    -------
    FeatureRows
        As many rows as are chosen in all; numbers are rounded to four decimals, so that what is stored is what was
        scored.
    """
    owner = np.repeat(np.arange(len(moments)), [len(positions) for positions in chosen])
    position = np.concatenate(chosen)
    numeric = np.concatenate(
        (
            np.array([_shopper_numbers(moment.shopper, moment.at, rules) for moment in moments])[owner],
            coupons.static_numeric[position],
            _match_numbers(moments, views, coupons, owner, position),
            _history_numbers(moments, coupons, owner, position),
        ),
        axis=1,
    )
    subjects = (
        Subject(moment.user_id, coupons, positions, moment.at)
        for moment, positions in zip(moments, chosen, strict=True)
    )
    return FeatureRows(np.round(numeric, 4), _hashes(moments, coupons, owner, position), tuple(subjects))


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


def _match_numbers(
    moments: Sequence[Moment], views: Views, coupons: CouponSet, owner: Positions, position: Positions
) -> Floats:
    def squash(scores: Floats) -> Floats:
        squashed: Floats = np.log1p(np.maximum(scores, 0.0)) / 2.0
        return squashed

    category, brand, item = (each[owner, position] for each in (views.category, views.brand, views.item))
    prices = (_mean_price(moment.shopper.profile) for moment in moments)
    price_log2 = np.array([math.nan if price is None else math.log2(max(price, 1.0)) for price in prices])
    distance = np.abs(coupons.price_log2[position] - price_log2[owner])
    return np.stack(
        (
            squash(category + brand + item),
            squash(category),
            squash(brand),
            squash(item),
            squash(views.collaborative[owner, position]),
            views.scope_share[owner, position],
            views.near_scope_share[owner, position],
            views.browsed[owner, position],
            views.carted[owner, position],
            np.where(np.isnan(distance), 0.5, np.exp2(-distance)),
        ),
        axis=1,
    )


def _history_numbers(moments: Sequence[Moment], coupons: CouponSet, owner: Positions, position: Positions) -> Floats:
    """What the shopper's history says of the coupon and of its category, looked up in one table for each."""
    of_categories = (len(moments), len(coupons.vocabulary) + 1)
    ordered_at = np.full(of_categories, -math.inf)
    issued, redeem_rate = np.zeros(of_categories), np.full(of_categories, 4.0 * NEUTRAL_REDEEM_RATE)
    by_coupon = np.zeros((2, len(moments), len(coupons)))
    for row, moment in enumerate(moments):
        history = moment.shopper.history
        for name, at in moment.shopper.profile.category_ordered_at.items():
            if column := coupons.category_column(name):
                ordered_at[row, column] = at
        for name, tally in history.by_category.items():
            if column := coupons.category_column(name):
                issued[row, column] = math.log1p(tally.issued) / 2.0
                redeem_rate[row, column] = 4.0 * _rate(tally.redeemed, tally.issued, NEUTRAL_REDEEM_RATE)
        for coupon_id, tally in history.by_coupon.items():
            if (at_position := coupons.position.get(coupon_id)) is not None:
                by_coupon[:, row, at_position] = math.log1p(tally.issued), math.log1p(tally.redeemed)
    columns = coupons.categories.columns[position]
    now = np.array([moment.at for moment in moments])[owner]
    age_s = np.maximum(now - ordered_at[owner[:, None], columns].max(axis=1), 0.0)
    return np.stack(
        (
            1.0 / (1.0 + age_s / REORDER_S),
            by_coupon[0, owner, position],
            by_coupon[1, owner, position],
            issued[owner, columns[:, 0]],
            redeem_rate[owner, columns[:, 0]],
        ),
        axis=1,
    )


def _hashes(moments: Sequence[Moment], coupons: CouponSet, owner: Positions, position: Positions) -> Indices:
    shopper = np.array([_shopper_hashes(moment) for moment in moments], dtype=np.uint32)
    user, hour, _, taste, redeemer = shopper[owner].T
    _, kind, category, _, depth = coupons.static_hashes[position].T
    crosses = (
        (category, user),
        (kind, user),
        (depth, user),
        (category, hour),
        (category, taste),
        (depth, redeemer),
        (kind, redeemer),
    )
    context = np.array([_context_hashes(moment.context) for moment in moments], dtype=np.uint32)
    return np.concatenate(
        (
            _mix(coupons.static_hashes, 1)[position],
            _mix(shopper[:, :3], 1)[owner],
            _mix(np.stack([one for one, _ in crosses], axis=1), np.stack([other for _, other in crosses], axis=1)),
            np.where(context[:, :, 1], _mix(context[:, :, 0], 1), np.uint32(0))[owner],
        ),
        axis=1,
    )


def _shopper_hashes(moment: Moment) -> tuple[int, ...]:
    shopper, at = moment.shopper, moment.at
    return (
        feature_index(f"shopper={moment.user_id}"),
        feature_index(f"hour={int(at % DAY_S // (4 * HOUR_S))}"),
        feature_index(f"weekday={int(at // DAY_S % 7)}"),
        feature_index(f"taste={favourite(shopper.profile)}"),
        feature_index(f"redeemer={min(int(shopper.history.redeemed), 5)}"),
    )


def _context_hashes(context: Mapping[str, str | float | bool | None]) -> list[tuple[int, bool]]:
    """(hash, whether the slot is used) of every slot."""
    used = [(feature_index(f"{name}={_band(value)}"), True) for name, value in sorted(context.items())[:CONTEXT_SLOTS]]
    return used + [(0, False)] * (CONTEXT_SLOTS - len(used))


def _band(value: str | float | bool | None) -> str:
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)):
        return f"{math.copysign(round(2 * math.log2(1 + abs(value))), value):.0f}"
    return str(value)
