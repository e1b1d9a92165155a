"""Affinity of shoppers to coupons at a moment: what a shopper cares for, and how much of it lies in a coupon's scope.

All that is known of the shoppers of a batch by feature or category is one table over the vocabulary of the coupons
(`Interests`). The scores R(u, i), by a shopper's own interests and by the neighbours', are computed for every coupon of
a set, for the shortlist. All scores are computed for the rows that are chosen (`look`), for their features.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import BRAND_WEIGHT, CouponSet, Floats, Positions
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, OrderEvent
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.habits import habit_fading, unpack_habits, usual_gap_s
from stream_coupons.core.shopper.profile import Profile, count_days, decay
from stream_coupons.core.shopper.state import NEUTRAL_REDEEM_RATE, History, Shopper, shrunk_rate
from stream_coupons.core.vectors.sparse import interest_indices, unpack_vector

PRIOR_SHARE = 0.05
"""Prior share of a coupon's scope in a shopper's demand."""

PART_STRENGTH = 8.0
"""Weight of interest in a category at which the observed part counts as much as the prior part: that of one or two
orders, like the sum of the parameters of a Dirichlet model of brand choice (Goodhardt, Ehrenberg, and Chatfield 1984:
The Dirichlet: a comprehensive model of buying behaviour)."""
_STRENGTHS = np.array([[1.0], [PART_STRENGTH], [1.0], [1.0]])
"""Mass of interest that the prior of each of `RowBatch.shares` counts as."""
_WITHIN, _MASSES = np.array([0, 0, 1, 2]), np.array([0, 0, 1, 3])
"""Rows of the sums over the narrowest scope, and of `Interests.masses`, that each of them is made of."""

_ROWS = 15
(
    PRICE_WEIGHT,
    PRICE_TOTAL,
    RELATED,
    DAYS,
    NOW,
    OWN,
    NEAR,
    HABIT,
    FRESH,
    RECENCY,
    ORDERED,
    CARTED,
    GAP,
    ISSUED,
    REDEEM_RATE,
) = range(_ROWS)
"""Rows of `Interests.vectors`. Those of a kind of sum lie side by side."""
_SUMMED = slice(HABIT + 1), slice(NOW, NEAR + 1), slice(NOW, NEAR + 1), slice(OWN, FRESH + 1)
"""Rows that are summed over categories, brands, items and the narrowest scope."""
_COMPARED = slice(RECENCY, CARTED + 1)
"""Rows of which the greatest value in the categories counts."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A shopper at a time, UTC epoch seconds, with the context, and the event that triggers a decision."""

    user_id: str
    shopper: Shopper
    at: float
    context: Mapping[str, str | float | bool | None]
    trigger: BrowseEvent | CartEvent | OrderEvent | None = None


class ShopperMoment(NamedTuple):
    """A shopper at a moment, with the numbers that several features need."""

    moment: Moment
    profile: Profile
    history: History
    at: float
    """UTC epoch seconds."""
    fading: float
    """Factor of the profile's counts at this time: they halve with their half-life."""
    habit_fading: float
    fresh_fading: float
    """Factors of the profile's slow and fast counts of habits."""
    events: float
    """Number of the shopper's events, each faded by its age."""
    mean_price_minor: float | None
    """Mean price of an item that the shopper ordered or, before the first order, turned to; None if none is known."""
    click_rate: float
    redeem_rate: float
    """Rates over all coupons of the shopper: those of a coupon, or a kind, that was not given yet."""

    @classmethod
    def of(cls, moment: Moment, rules: ProfileRules) -> "ShopperMoment":
        """Return the numbers of a moment.

        Parameters
        ----------
        moment : Moment
            The moment.
        rules : ProfileRules
            Half-lives.
        """
        profile, history, at = moment.shopper.profile, moment.shopper.history, moment.at
        price = None
        if profile.units > 0:
            price = profile.spend_minor / profile.units
        elif profile.prices:
            price = sum(profile.prices) / len(profile.prices)
        fading, habits = decay(profile, at, rules), habit_fading(at - profile.habits_at, rules)
        events = (profile.browses + max(profile.carts, 0.0) + profile.orders) * fading
        return cls(moment, profile, history, at, fading, *habits, events, price, *history.rates())


class Interests(NamedTuple):
    """Table of what is known of the shoppers of some moments by feature or category, and the sums of it.

    `vectors`, (rows, moments, columns), are dense over the vocabulary of a set. In this order: weight and weighted
    logarithms of prices; related categories; days on which the shopper cared for a category; the item of the trigger;
    the shopper's own interests; those of the neighbours; slow and fast counts of habits; recency of a category; times
    of the last order, and of the last cart without an order since, of a category (-inf: never); its usual time between
    two orders (NaN: not known); coupons that the shopper got for it, and the share redeemed.
    `masses`, (4, moments), are the sums of interests in categories, of the neighbours' interests, of days, and of slow
    counts, in the vocabulary or not. `latest`, (moments,), is the recency of the latest category, likewise; it is empty
    if no coupon is for the whole shop.
    """

    coupons: CouponSet
    shoppers: list[ShopperMoment]
    vectors: Floats
    masses: Floats
    latest: Floats

    @classmethod
    def of(cls, moments: Sequence[Moment], coupons: CouponSet, rules: ProfileRules) -> "Interests":
        """Return the interests of each moment's shopper.

        Parameters
        ----------
        moments : sequence of Moment
            At least one.
        coupons : CouponSet
            Coupons of one domain, whose vocabulary counts.
        rules : ProfileRules
            Half-lives.
        """
        shoppers, n = [ShopperMoment.of(moment, rules) for moment in moments], len(moments)
        profiles = [each.profile for each in shoppers]
        cared_for, days, lately = count_days(profiles, [each.at for each in shoppers], rules)
        bounds = [*accumulate([len(profile.category_days) for profile in profiles], initial=0)]
        vectors, masses = _unknown(coupons, n), list[Sequence[float]]()
        sparse: list[Any] = [()] * (8 * n)
        for number, each in enumerate(shoppers):
            profile, shopper, those = each.profile, each.moment.shopper, slice(bounds[number], bounds[number + 1])
            habits, ever, late = unpack_habits(profile.habits)
            now, near = _looked_at(each.moment.trigger), unpack_vector(shopper.neighbourhood.packed)
            count = len(profile.category_interests) + len(profile.finer_interests)
            own = np.fromiter(chain(profile.category_interests, profile.finer_interests), np.uint32, count)
            weights = chain(profile.category_interests.values(), profile.finer_interests.values())
            sparse[number::n] = (
                unpack_vector(shopper.related.packed),
                (cared_for[those], days[those]),
                now,
                (own, np.fromiter(weights, np.float64, count) * each.fading),
                near,
                (habits, ever * each.habit_fading),
                (habits, late * each.fresh_fading),
                (cared_for[those], lately[those]),
            )
            in_all = sum(profile.category_interests.values()) * each.fading, np.add.reduce(near[1])
            masses.append((*in_all, sum(days[those].tolist()), np.add.reduce(ever) * each.habit_fading))
        coupons.fill(vectors[RELATED : RECENCY + 1], sparse)
        _fill_by_category(vectors, shoppers, coupons.category_columns)
        latest = [lately[first:end].max(initial=0.0) for first, end in pairwise(bounds)] if coupons.any_for_all else ()
        return cls(coupons, shoppers, vectors, np.array(masses).T, np.array(latest))

    def promise(self) -> Floats:
        """Return the sum of all scores R(u, i) of every coupon, shape (moments, coupons)."""
        scopes = self.coupons.scopes
        content = scopes.content(self.vectors[OWN : NEAR + 1])
        promise: Floats = content[0] + content[1] + scopes.categories.score(self.vectors[RELATED])
        of_all = self.masses[0] + self.masses[1]
        return np.where(self.coupons.is_for_all, of_all[:, None], promise)


def _unknown(coupons: CouponSet, n: int) -> Floats:
    """Return `Interests.vectors` of n shoppers of whom nothing is known."""
    vectors = np.zeros((_ROWS, n, coupons.columns))
    vectors[ORDERED : CARTED + 1] = -math.inf
    vectors[GAP] = math.nan
    vectors[REDEEM_RATE] = NEUTRAL_REDEEM_RATE
    return vectors


def _fill_by_category(vectors: Floats, shoppers: Sequence[ShopperMoment], columns: Mapping[str, int]) -> None:
    """Set the rows of what profiles and histories keep by the names of categories."""
    for number, each in enumerate(shoppers):
        of_one = vectors[:, number]
        for name, level in each.profile.price_levels.items():
            if column := columns.get(name):
                of_one[PRICE_WEIGHT, column], of_one[PRICE_TOTAL, column] = level.weight, level.total
        for name, known in each.profile.in_category.items():
            if column := columns.get(name):
                if known.ordered_at:
                    of_one[ORDERED, column], of_one[GAP, column] = known.ordered_at, usual_gap_s(known.order_slots)
                if known.carted_at > max(known.taken_out_at, known.ordered_at):
                    of_one[CARTED, column] = known.carted_at
        for name, tally in each.history.by_category.items():
            if column := columns.get(name):
                of_one[ISSUED, column] = tally.issued
                of_one[REDEEM_RATE, column] = shrunk_rate(tally.redeemed, tally.issued, NEUTRAL_REDEEM_RATE)


class RowBatch(NamedTuple):
    """The n rows of a batch: pairs of a shopper at a moment and a coupon, and the affinity of each.

    Arrays have shape (n,) unless they say otherwise.
    """

    interests: Interests
    shoppers: list[ShopperMoment]
    """Moments of the batch."""
    coupons: CouponSet
    """Coupons of one domain."""
    owner: Positions
    position: Positions
    """Indices of each row's moment in `shoppers`, and of its coupon in `coupons`."""
    is_for_all: NDArray[np.bool_]
    """True of coupons for the whole shop."""
    category: Floats
    brand: Floats
    item: Floats
    """Scores R(u, i) by the shopper's own interests, by kind of feature."""
    content: Floats
    """Their sum."""
    collaborative: Floats
    """Score R(u, i) by the neighbours' interests."""
    related: Floats
    """Score R(u, i) by categories that are new to the shopper and related to theirs."""
    days: Floats
    all_days: Floats
    """Days on which the shopper cared for the coupon's categories, and for any category; older ones count less."""
    recency: Floats
    """Recency of the coupon's categories: 1 for today, 1/2 for yesterday."""
    shares: Floats
    """Shares of the coupon's scope, shape (4, n): in the shopper's interests in all categories, in those in its own
    categories, in the neighbours' interests, and in all habits. Each is shrunk towards a prior share while the mass of
    interest is small: a ratio, not an amount, as a tenth of a profile counts the same after ten visits and after a
    hundred."""
    looked_at: Floats
    """Score of the item of the trigger: the one that the shopper looks at, or puts into the cart."""
    habit: Floats
    fresh_habit: Floats
    """Slow and fast counts of orders in the coupon's scope."""
    habit_of_category: Floats
    """Slow counts of orders in the coupon's categories."""
    last_at: Floats
    """Time of the last order in the coupon's categories, and of the last cart without an order since, shape (2, n);
    -inf: never."""
    prices: Floats
    """Weight and weighted logarithms of the shopper's prices in the coupon's categories, shape (2, n)."""
    of_first: Floats
    """Rows of `Interests.vectors` from `ORDERED` on, for the first category of the coupon, shape (5, n)."""


def look(interests: Interests, chosen: Sequence[Positions]) -> RowBatch:
    """Score coupons against each shopper's interests, the neighbours' interests, and the item of the trigger.

    Parameters
    ----------
    interests : Interests
        Of some moments, over the vocabulary of a set.
    chosen : sequence of arrays of int
        For each moment, positions in the set.

    Returns
    -------
    RowBatch
        A row for each position chosen.
    """
    coupons = interests.coupons
    position = chosen[0] if len(chosen) == 1 else np.concatenate(chosen)
    owner = np.zeros(len(position), np.intp) if len(chosen) == 1 else np.arange(len(chosen)).repeat([*map(len, chosen)])
    first, vectors = owner * coupons.columns, interests.vectors.reshape(_ROWS, -1)
    in_categories, brands, items, narrowest, latest = coupons.scopes.sums(vectors, position, first, _SUMMED, _COMPARED)
    related, days, now, category, near, habits = in_categories[RELATED:]
    now_brand, brand, near_brand = BRAND_WEIGHT * brands
    (now_item, item, near_item), (_, _, habit, fresh_habit) = items, narrowest
    within, mass = narrowest.take(_WITHIN, axis=0), interests.masses.take(_MASSES, axis=0).take(owner, axis=1)
    mass[1] = category
    shares = np.maximum(within, 0.0) + coupons.once(_prior_masses).take(position, axis=1)
    shares /= np.maximum(mass, 0.0) + _STRENGTHS
    rows = RowBatch(
        interests,
        interests.shoppers,
        coupons,
        owner,
        position,
        is_for_all=coupons.is_for_all.take(position),
        category=category,
        brand=brand,
        item=item,
        content=category + brand + item,
        collaborative=near + near_brand + near_item,
        related=related,
        days=days,
        all_days=interests.masses[2].take(owner),
        recency=latest[0],
        shares=shares,
        looked_at=now + now_brand + now_item,
        habit=habit,
        fresh_habit=fresh_habit,
        habit_of_category=habits,
        last_at=latest[1:],
        prices=in_categories[:RELATED],
        of_first=vectors[ORDERED:].take(first + coupons.first_category.take(position), axis=1),
    )
    return _of_whole_shop(rows) if coupons.any_for_all else rows


def _prior_masses(coupons: CouponSet) -> Floats:
    """Return the interest that each coupon's scope has before any is known, for each of `RowBatch.shares`."""
    masses = np.full((4, len(coupons)), PRIOR_SHARE)
    masses[1] = PART_STRENGTH * coupons.prior_part
    return masses


def _of_whole_shop(rows: RowBatch) -> RowBatch:
    """Return the rows with those of coupons for the whole shop: all that the shopper cares for lies in their scope."""
    owner, interests, ordered, carted = rows.owner, rows.interests, [], []
    for each in rows.shoppers:
        last = -math.inf if each.profile.last_order_at is None else each.profile.last_order_at
        times = [one.carted_at for one in each.profile.in_category.values() if one.carted_at > one.taken_out_at]
        ordered.append(last)
        carted.append(max((at for at in times if at > last), default=-math.inf))
    orders = np.array([each.profile.usual_orders * each.habit_fading for each in rows.shoppers])[owner]
    whole: dict[str, Any] = {
        "category": interests.masses[0][owner],
        "content": interests.masses[0][owner],
        "collaborative": interests.masses[1][owner],
        "days": rows.all_days,
        "recency": interests.latest[owner],
        "shares": 1.0,
        "looked_at": np.array([float(len(_looked_at(each.moment.trigger)[0]) > 0) for each in rows.shoppers])[owner],
        "habit": orders,
        "habit_of_category": orders,
        "last_at": np.array((ordered, carted))[:, owner],
    }
    changed: dict[str, Any] = {name: np.where(rows.is_for_all, of, getattr(rows, name)) for name, of in whole.items()}
    return rows._replace(**changed)


def _looked_at(trigger: BrowseEvent | CartEvent | OrderEvent | None) -> tuple[NDArray[np.uint32], Floats]:
    """Return the features of the item that is looked at or put into the cart, each of weight 1."""
    indices: tuple[int, ...] = ()
    if isinstance(trigger, BrowseEvent) or (isinstance(trigger, CartEvent) and trigger.action == "add"):
        item = trigger.item
        if item is not None:
            of_category, indices = interest_indices(item.item_id, item.category, item.brand)
            if item.category is not None:
                indices = of_category, *indices
    return np.array(indices, np.uint32), np.array([1.0] * len(indices))
