"""How near coupons are to a shopper at a moment: scored against interests, habits and days.

Here are the scores R(u, i), by a shopper's own interests and by the neighbours': of every coupon of a set for the
shortlist, and with what else the features are made of for the rows that are chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.catalogue.scopes import BRAND_WEIGHT, Pairs
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, OrderEvent
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.habits import habit_fading, unpack_habits
from stream_coupons.core.shopper.preferences import count_days
from stream_coupons.core.shopper.profile import decay
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.core.vectors.items import item_features
from stream_coupons.core.vectors.sparse import SparseVector, as_arrays, feature_index, unpack_vector

PRIOR_SHARE = 0.05
PART_STRENGTH = 4.0
"""Weight of interest in a category at which what a shopper likes in it counts as much as what is taken before."""
PRIOR_DAYS = 3.0
"""How many days' worth is not known of the shares that a shopper's days have: it is taken to lie at `PRIOR_SHARE`."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A shopper at a time, with the context, and what they do just then."""

    user_id: str
    shopper: Shopper
    at: float
    context: Mapping[str, str | float | bool | None]
    trigger: BrowseEvent | CartEvent | OrderEvent | None = None


class Interests(NamedTuple):
    """Interests of the shoppers of some moments: dense vectors over the vocabulary of a set, (8, moments, columns).

    They are what is related to the shopper's categories; the days on which the shopper cared for them; what they look
    at, or put into the cart, just now; their own interests; those of their neighbours; how often they ordered, ever and
    of late; and how lately they cared for a category. `masses`, (4, moments), are the sums of interests in categories,
    of the neighbours' interests, of days, and of all that was ordered, in the vocabulary or not.
    """

    vectors: Floats
    masses: Floats

    @classmethod
    def of(cls, moments: Sequence[Moment], coupons: CouponSet, rules: ProfileRules) -> "Interests":
        """Return what draws each moment's shopper."""
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
        """Return all scores R(u, i) of every coupon, added, shape (moments, coupons)."""
        content = coupons.scopes.content(self.vectors[3:5])
        promise: Floats = content[0] + content[1] + coupons.scopes.categories.score(self.vectors[0])
        return promise


@dataclass(frozen=True, slots=True)
class Views:
    """Nearness of coupons to the shoppers of some moments: arrays of shape (n,), one number for each of `pairs`.

    The scores R(u, i) by the shopper's own interests, split by what they are in, by the neighbours', and by what is
    related to the shopper's categories, of categories that are new to them; the logarithm
    of the share that the coupon's scope has in the shopper's demand, see `_demand_share`, and in the neighbours'
    interests; how lately the shopper cared for its categories; how near the coupon is to what the shopper
    looks at, or puts into the cart, at this moment; and how often the shopper ordered what is in its scope, ever and of
    late, how often what is in its categories, and the logarithm of the scope's share in all that they order.
    """

    pairs: Pairs
    category: Floats
    brand: Floats
    item: Floats
    collaborative: Floats
    related: Floats
    demand_share: Floats
    scope_part: Floats
    recency: Floats
    near_scope_share: Floats
    browsed: Floats
    carted: Floats
    habit: Floats
    fresh_habit: Floats
    habit_of_category: Floats
    habit_share: Floats

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
    """Score coupons against each shopper's interests, their neighbours', and what they do just now.

    Parameters
    ----------
    chosen : sequence of arrays of int
        For each moment, positions in `coupons`.
    interests : Interests, optional
        Of these moments, if they are known.
    """
    pairs, found = coupons.pairs(chosen), interests or Interests.of(moments, coupons, rules)
    scopes, vectors = pairs.scopes, found.vectors.reshape(len(found.vectors), -1)
    own_mass, near_mass, all_days, habit_mass = found.masses[:, pairs.owner]
    related, days, now, category, near, habit_of_category = scopes.categories.score(vectors[:6])
    now_brand, brand, near_brand = BRAND_WEIGHT * scopes.brands.score(vectors[2:5])
    now_item, item, near_item = scopes.items.score(vectors[2:5])
    scope, near_scope, habit, fresh_habit = scopes.narrowest.score(vectors[3:7])
    share_of_days = (days + PRIOR_DAYS * PRIOR_SHARE) / (all_days + PRIOR_DAYS)
    is_browsed = np.array([isinstance(moment.trigger, BrowseEvent) for moment in moments])[pairs.owner]
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
    """Logarithm of the share of each shopper's days that were for a coupon's categories, times the part that its brands
    or items have in the interest in these, or in all there is: the interest in its scope over the whole.

    Days tell what a shopper comes for, events within them what of it they like. What names no category is a part of all
    interest, and a coupon for everything has no share to go by.
    """
    names_category, names_finer = coupons.names_category[pairs.position], coupons.names_finer[pairs.position]
    whole = np.where(names_category, category, mass)
    part = np.minimum(_share(scope, whole, np.where(names_category, 1.0, PRIOR_SHARE)), 1.0)
    demand = np.where(names_category, share_of_days, 1.0) * np.where(names_finer, part, 1.0)
    return np.where(names_category | names_finer, log_share(demand), 0.0)


def _scope_part(scope: Floats, category: Floats, coupons: CouponSet, pairs: Pairs) -> Floats:
    """Logarithm of the part of a category's demand that a coupon's brands or items have in it; 0 for all of it.

    Of a shopper of whom nothing is known, it is by how much the coupon is for: a tenth for an item, a quarter for a
    brand.
    """
    part = _share(scope, category, coupons.prior_part[pairs.position], PART_STRENGTH)
    is_part = (coupons.names_category & coupons.names_finer)[pairs.position]
    return np.where(is_part, np.log(np.minimum(part, 1.0)) / 3.0, 0.0)


def _looked_at(trigger: BrowseEvent | CartEvent | OrderEvent | None) -> SparseVector:
    """The item that is looked at or put into the cart, as if it were all that is known."""
    item = None
    if isinstance(trigger, BrowseEvent) or (isinstance(trigger, CartEvent) and trigger.action == "add"):
        item = trigger.item
    names = item_features(item.item_id, item.category, item.brand) if item is not None else []
    return {feature_index(name): 1.0 for name in names}


def _share(scope: Floats, mass: Floats, prior: float | Floats, strength: float = 1.0) -> Floats:
    """The scope's share in a mass of interest, drawn towards the prior while the mass is small beside `strength`.

    Interest acts by its ratio, not by its amount: what fills a tenth of a profile draws the same whether the shopper
    came ten times or a hundred.
    """
    share: Floats = (np.maximum(scope, 0.0) + strength * prior) / (np.maximum(mass, 0.0) + strength)
    return share


def log_share(share: float | Floats) -> Floats:
    """Logarithm of a share, scaled to be 0 at `PRIOR_SHARE`."""
    logarithm: Floats = np.log(share / PRIOR_SHARE) / 3.0
    return logarithm
