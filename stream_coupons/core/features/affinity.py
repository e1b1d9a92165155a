"""Affinity of shoppers to coupons at a moment: scores against interests, habits and days.

The scores R(u, i), by a shopper's own interests and by the neighbours', are computed for every coupon of a set, for the
shortlist. The other scores are computed for the rows that are chosen, for their features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.catalogue.scopes import BRAND_WEIGHT, Pairs
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, OrderEvent
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.habits import habit_fading, unpack_habits
from stream_coupons.core.shopper.preferences import count_days
from stream_coupons.core.shopper.profile import decay
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.core.vectors.sparse import SparseVector, as_arrays, feature_index, item_features, unpack_vector

PRIOR_SHARE = 0.05
PART_STRENGTH = 4.0
"""Weight of interest in a category at which a shopper's share of it counts as much as the prior share."""
PRIOR_DAYS = 3.0
"""Days at which a shopper's share of days counts as much as `PRIOR_SHARE`."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A shopper at a time, UTC epoch seconds, with the context, and the event that triggers a decision."""

    user_id: str
    shopper: Shopper
    at: float
    context: Mapping[str, str | float | bool | None]
    trigger: BrowseEvent | CartEvent | OrderEvent | None = None


class Interests(NamedTuple):
    """Interests of the shoppers of some moments: dense vectors over the vocabulary of a set, (8, moments, columns).

    In this order: related categories; days on which the shopper cared for a category; the item of the trigger; the
    shopper's own interests; those of the neighbours; slow and fast counts of habits; and recency of a category.
    `masses`, (4, moments), are the sums of interests in categories, of the neighbours' interests, of days, and of slow
    counts, in the vocabulary or not.
    """

    vectors: Floats
    masses: Floats

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
        shoppers, ats = [moment.shopper for moment in moments], [moment.at for moment in moments]
        profiles = [shopper.profile for shopper in shoppers]
        scale = [decay(profile, at, rules) for profile, at in zip(profiles, ats, strict=True)]
        own = [as_arrays(profile.interests) for profile in profiles]
        near = [unpack_vector(shopper.neighbourhood.packed) for shopper in shoppers]
        left = [habit_fading(at - profile.habits_at, rules) for profile, at in zip(profiles, ats, strict=True)]
        habits = list(zip([unpack_habits(profile.habits) for profile in profiles], left, strict=True))
        whose, cared_for, days, lately = count_days(profiles, ats, rules)
        each = [slice(*bounds) for bounds in pairwise(np.searchsorted(whose, np.arange(len(moments) + 1)).tolist())]
        vectors = (
            *(unpack_vector(shopper.related.packed) for shopper in shoppers),
            *((cared_for[those], days[those]) for those in each),
            *(as_arrays(_looked_at(moment.trigger)) for moment in moments),
            *((indices, weights * factor) for (indices, weights), factor in zip(own, scale, strict=True)),
            *near,
            *((indices, ever * slow) for (indices, ever, _), (slow, _) in habits),
            *((indices, late * fast) for (indices, _, late), (_, fast) in habits),
            *((cared_for[those], lately[those]) for those in each),
        )
        masses = (
            np.array([sum(profile.category_interests.values()) for profile in profiles]) * scale,
            [weights.sum() for _, weights in near],
            np.bincount(whose, days, len(moments)),
            [ever.sum() * slow for (_, ever, _), (slow, _) in habits],
        )
        return cls(coupons.dense(vectors).reshape(8, len(moments), -1), np.array(masses))

    def promise(self, coupons: CouponSet) -> Floats:
        """Return the sum of all scores R(u, i) of every coupon, shape (moments, coupons)."""
        content = coupons.scopes.content(self.vectors[3:5])
        promise: Floats = content[0] + content[1] + coupons.scopes.categories.score(self.vectors[0])
        return promise


@dataclass(frozen=True, slots=True)
class Views:
    """Affinity of shoppers to coupons: arrays of shape (n,), one number for each of `pairs`."""

    pairs: Pairs
    category: Floats
    brand: Floats
    item: Floats
    """Scores R(u, i) by the shopper's own interests, by kind of feature."""
    collaborative: Floats
    """Score R(u, i) by the neighbours' interests."""
    related: Floats
    """Score R(u, i) by categories that are new to the shopper and related to theirs."""
    demand_share: Floats
    """Logarithm of the share of the coupon's scope in the shopper's demand, see `_demand_share`."""
    scope_part: Floats
    """Logarithm of the part of the coupon's brands or items in their category's demand, see `_scope_part`."""
    recency: Floats
    """Recency of the coupon's categories: 1 for today, 1/2 for yesterday."""
    near_scope_share: Floats
    """Logarithm of the share of the coupon's scope in the neighbours' interests."""
    browsed: Floats
    carted: Floats
    """Score of the item that the shopper looks at, or puts into the cart, at this moment."""
    habit: Floats
    fresh_habit: Floats
    """Slow and fast counts of orders in the coupon's scope."""
    habit_of_category: Floats
    """Slow counts of orders in the coupon's categories."""
    habit_share: Floats
    """Logarithm of the share of the coupon's scope in all slow counts."""

    @property
    def content(self) -> Floats:
        """R(u, i) by the shopper's own interests."""
        return self.category + self.brand + self.item


def look(
    moments: Sequence[Moment],
    coupons: CouponSet,
    chosen: Sequence[Positions],
    rules: ProfileRules,
    interests: Interests | None = None,
) -> Views:
    """Score coupons against each shopper's interests, the neighbours' interests, and the item of the trigger.

    Parameters
    ----------
    moments : sequence of Moment
        At least one.
    coupons : CouponSet
        Coupons of one domain.
    chosen : sequence of arrays of int
        For each moment, positions in `coupons`.
    rules : ProfileRules
        Half-lives.
    interests : Interests, optional
        Interests of these moments, if they are computed already.

    Returns
    -------
    Views
        A row for each position chosen.
    """
    pairs = coupons.pairs(chosen)
    is_browsed = np.array([isinstance(moment.trigger, BrowseEvent) for moment in moments])[pairs.owner]
    return _score(pairs, coupons, interests or Interests.of(moments, coupons, rules), is_browsed)


def _score(pairs: Pairs, coupons: CouponSet, interests: Interests, is_browsed: NDArray[np.bool_]) -> Views:
    """Return the views of some pairs; `is_browsed` is True for pairs of a moment whose trigger is a browse event."""
    scopes, vectors = pairs.scopes, interests.vectors.reshape(len(interests.vectors), -1)
    own_mass, near_mass, all_days, habit_mass = interests.masses[:, pairs.owner]
    related, days, now, category, near, habit_of_category = scopes.categories.score(vectors[:6])
    now_brand, brand, near_brand = BRAND_WEIGHT * scopes.brands.score(vectors[2:5])
    now_item, item, near_item = scopes.items.score(vectors[2:5])
    scope, near_scope, habit, fresh_habit = scopes.narrowest.score(vectors[3:7])
    share_of_days = (days + PRIOR_DAYS * PRIOR_SHARE) / (all_days + PRIOR_DAYS)
    looked_at = now + now_brand + now_item
    return Views(
        pairs=pairs,
        category=category,
        brand=brand,
        item=item,
        collaborative=near + near_brand + near_item,
        related=related,
        demand_share=_demand_share(share_of_days, scope, category, own_mass, coupons, pairs),
        scope_part=_scope_part(scope, category, coupons, pairs),
        recency=scopes.categories.greatest(vectors[7]),
        near_scope_share=log_share(_share(near_scope, near_mass, PRIOR_SHARE)),
        browsed=np.where(is_browsed, looked_at, 0.0),
        carted=np.where(is_browsed, 0.0, looked_at),
        habit=habit,
        fresh_habit=fresh_habit,
        habit_of_category=habit_of_category,
        habit_share=log_share(_share(habit, habit_mass, PRIOR_SHARE)),
    )


def _demand_share(
    share_of_days: Floats, scope: Floats, category: Floats, mass: Floats, coupons: CouponSet, pairs: Pairs
) -> Floats:
    """Return the logarithm of the share of a coupon's scope in the shopper's demand.

    It is the share of days on which the shopper cared for the coupon's categories, times the part of its brands or
    items in the interest in them. A coupon without a category is a part of all interest; a coupon for everything has 0.
    """
    names_category, names_finer = coupons.names_category[pairs.position], coupons.names_finer[pairs.position]
    whole = np.where(names_category, category, mass)
    part = np.minimum(_share(scope, whole, np.where(names_category, 1.0, PRIOR_SHARE)), 1.0)
    demand = np.where(names_category, share_of_days, 1.0) * np.where(names_finer, part, 1.0)
    return np.where(names_category | names_finer, log_share(demand), 0.0)


def _scope_part(scope: Floats, category: Floats, coupons: CouponSet, pairs: Pairs) -> Floats:
    """Return the logarithm of the part of a coupon's brands or items in their category's demand; 0 for all of it.

    A shopper without events has the prior part: a tenth for an item, a quarter for a brand.
    """
    part = _share(scope, category, coupons.prior_part[pairs.position], PART_STRENGTH)
    is_part = (coupons.names_category & coupons.names_finer)[pairs.position]
    return np.where(is_part, np.log(np.minimum(part, 1.0)) / 3.0, 0.0)


def _looked_at(trigger: BrowseEvent | CartEvent | OrderEvent | None) -> SparseVector:
    """Return the features of the item that is looked at or put into the cart, each of weight 1."""
    item = None
    if isinstance(trigger, BrowseEvent) or (isinstance(trigger, CartEvent) and trigger.action == "add"):
        item = trigger.item
    names = item_features(item.item_id, item.category, item.brand) if item is not None else []
    return {feature_index(name): 1.0 for name in names}


def _share(scope: Floats, mass: Floats, prior: float | Floats, strength: float = 1.0) -> Floats:
    """Return the scope's share of a mass of interest, shrunk towards the prior while the mass is small.

    A ratio, not an amount: a tenth of a profile counts the same after ten visits and after a hundred.
    """
    share: Floats = (np.maximum(scope, 0.0) + strength * prior) / (np.maximum(mass, 0.0) + strength)
    return share


def log_share(share: float | Floats) -> Floats:
    """Return the logarithm of a share, 0 at `PRIOR_SHARE`, over 3."""
    logarithm: Floats = np.log(share / PRIOR_SHARE) / 3.0
    return logarithm
