"""How near coupons are to a shopper at a moment: every coupon of a set scored against interests, habits and days.

Here are the scores R(u, i), by a shopper's own interests and by the neighbours', and what else the shortlist and the
features are made of. Arrays of (moments, coupons).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stream_coupons.core.coupons import CouponSet, Floats
from stream_coupons.core.events import BrowseEvent, CartEvent, OrderEvent
from stream_coupons.core.habits import habit_fading, unpack_habits
from stream_coupons.core.item_features import item_features
from stream_coupons.core.profile import count_days, decay
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper import Shopper
from stream_coupons.core.similarity import SparseVector, feature_index

PRIOR_SHARE = 0.05
PART_STRENGTH = 4.0
"""Weight of interest in a category at which what a shopper likes in it counts as much as what is taken before."""
PRIOR_DAYS = 3.0
"""How many days' worth is not known of the shares that a shopper's days have: it is taken to lie at `PRIOR_SHARE`."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Who is looked at, when, in what context, and what they do just then."""

    user_id: str
    shopper: Shopper
    at: float
    context: Mapping[str, str | float | bool | None]
    trigger: BrowseEvent | CartEvent | OrderEvent | None = None


@dataclass(frozen=True, slots=True)
class Views:
    """How near each coupon of a set is to the shoppers of some moments: arrays of shape (moments, coupons).

    The scores R(u, i) by the shopper's own interests, split by what they are in, by the neighbours', and by what is
    related to the shopper's categories, of categories that are new to them; the logarithm
    of the share that the coupon's scope has in the shopper's demand, see `_demand_share`, and in the neighbours'
    interests; how lately the shopper cared for its categories; how near the coupon is to what the shopper
    looks at, or puts into the cart, at this moment; and how often the shopper ordered what is in its scope, ever and of
    late, how often what is in its categories, and the logarithm of the scope's share in all that they order.
    """

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
    def promise(self) -> Floats:
        """All scores R(u, i), added."""
        return self.category + self.brand + self.item + self.collaborative + self.related


def look(moments: Sequence[Moment], coupons: CouponSet, rules: ProfileRules) -> Views:
    """Score every coupon of the set against each shopper's interests, their neighbours', and what they do just now."""
    profiles = [moment.shopper.profile for moment in moments]
    scale = np.array([decay(profile, moment.at, rules) for profile, moment in zip(profiles, moments, strict=True)])
    own = coupons.dense([profile.interests for profile in profiles]) * scale[:, None]
    mass = np.array([sum(profile.category_interests.values()) for profile in profiles]) * scale
    category, scope = coupons.categories.score(own), coupons.scopes.score(own)
    share_of_days, recency = _days(moments, coupons, rules)
    near, near_mass = coupons.dense_packed([moment.shopper.neighbourhood.packed for moment in moments])
    related, _ = coupons.dense_packed([moment.shopper.related.packed for moment in moments])
    habits, fresh_habits, habit_mass = _habits(moments, coupons, rules)
    habit = coupons.scopes.score(habits)
    now = coupons.content_scores(coupons.dense([_looked_at(moment.trigger) for moment in moments]))
    is_browsed = np.array([isinstance(moment.trigger, BrowseEvent) for moment in moments])[:, None]
    return Views(
        category=category,
        brand=coupons.brands.score(own),
        item=coupons.items.score(own),
        collaborative=coupons.content_scores(near),
        related=coupons.categories.score(related),
        demand_share=_demand_share(
            share_of_days, scope, np.where(coupons.names_category, category, mass[:, None]), coupons
        ),
        scope_part=_scope_part(scope, category, coupons),
        recency=recency,
        near_scope_share=log_share(_share(coupons.scopes.score(near), near_mass[:, None], PRIOR_SHARE)),
        browsed=np.where(is_browsed, now, 0.0),
        carted=np.where(is_browsed, 0.0, now),
        habit=habit,
        fresh_habit=coupons.scopes.score(fresh_habits),
        habit_of_category=coupons.categories.score(habits),
        habit_share=log_share(_share(habit, habit_mass[:, None], PRIOR_SHARE)),
    )


def _days(moments: Sequence[Moment], coupons: CouponSet, rules: ProfileRules) -> tuple[Floats, Floats]:
    """The share of each shopper's days on which they cared for a coupon's categories, and how lately they did."""
    profiles = [moment.shopper.profile for moment in moments]
    whose, cared_for, days, lately = count_days(profiles, [moment.at for moment in moments], rules)
    of_categories, recency = coupons.dense_rows(len(moments), whose, cared_for, days, lately)
    all_days = np.bincount(whose, days, len(moments))[:, None]
    share = (coupons.categories.score(of_categories) + PRIOR_DAYS * PRIOR_SHARE) / (all_days + PRIOR_DAYS)
    return share, coupons.categories.greatest(recency)


def _demand_share(share_of_days: Floats, scope: Floats, whole: Floats, coupons: CouponSet) -> Floats:
    """Logarithm of the share of each shopper's days that were for a coupon's categories, times the part that its brands
    or items have in the interest in these, or in all there is: the interest in its scope over the whole.

    Days tell what a shopper comes for, events within them what of it they like. What names no category is a part of all
    interest, and a coupon for everything has no share to go by.
    """
    part = np.minimum(_share(scope, whole, np.where(coupons.names_category, 1.0, PRIOR_SHARE)), 1.0)
    demand = np.where(coupons.names_category, share_of_days, 1.0) * np.where(coupons.names_finer, part, 1.0)
    return np.where(coupons.names_category | coupons.names_finer, log_share(demand), 0.0)


def _scope_part(scope: Floats, category: Floats, coupons: CouponSet) -> Floats:
    """Logarithm of the part of a category's demand that a coupon's brands or items have in it; 0 for all of it.

    Of a shopper of whom nothing is known, it is by how much the coupon is for: a tenth for an item, a quarter for a
    brand.
    """
    part = _share(scope, category, coupons.prior_part, PART_STRENGTH)
    return np.where(coupons.names_category & coupons.names_finer, np.log(np.minimum(part, 1.0)) / 3.0, 0.0)


def _habits(moments: Sequence[Moment], coupons: CouponSet, rules: ProfileRules) -> tuple[Floats, Floats, Floats]:
    """How often each shopper ordered what is in the vocabulary, ever and of late; and all that they ordered."""
    unpacked = [unpack_habits(moment.shopper.profile.habits) for moment in moments]
    left = np.array([habit_fading(moment.at - moment.shopper.profile.habits_at, rules) for moment in moments])
    slow, fresh = coupons.dense_arrays(unpacked)
    mass = np.array([weights.sum() for _, weights, _ in unpacked]) * left[:, 0]
    return slow * left[:, :1], fresh * left[:, 1:], mass


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
