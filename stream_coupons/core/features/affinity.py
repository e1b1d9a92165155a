"""Affinity of shoppers to coupons at a moment: scores against interests, habits and days.

The scores R(u, i), by a shopper's own interests and by the neighbours', are computed for every coupon of a set, for the
shortlist. The other scores are computed for the rows that are chosen, for their features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

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
"""Prior share of a coupon's scope in a shopper's demand."""


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
    counts, in the vocabulary or not. `latest`, (moments,), is the recency of the latest category, likewise.
    """

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
        latest = np.array([max(lately[those], default=0.0) for those in each])
        return cls(coupons.dense(vectors).reshape(8, len(moments), -1), np.array(masses), latest)

    def promise(self, coupons: CouponSet) -> Floats:
        """Return the sum of all scores R(u, i) of every coupon, shape (moments, coupons)."""
        content = coupons.scopes.content(self.vectors[3:5])
        promise: Floats = content[0] + content[1] + coupons.scopes.categories.score(self.vectors[0])
        of_all = self.masses[0] + self.masses[1]
        return np.where(coupons.is_for_all, of_all[:, None], promise)


@dataclass(frozen=True, slots=True)
class Views:
    """Affinity of shoppers to coupons: arrays of shape (n,), one number for each of `pairs`."""

    pairs: Pairs
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
    scope: Floats
    all_interest: Floats
    """The shopper's interest in the coupon's scope, and in all categories."""
    recency: Floats
    """Recency of the coupon's categories: 1 for today, 1/2 for yesterday."""
    near_scope_share: Floats
    """Logarithm of the share of the coupon's scope in the neighbours' interests."""
    looked_at: Floats
    """Score of the item of the trigger: the one that the shopper looks at, or puts into the cart."""
    is_browsed: NDArray[np.bool_]
    """True where the trigger is a browse event."""
    habit: Floats
    fresh_habit: Floats
    """Slow and fast counts of orders in the coupon's scope."""
    habit_of_category: Floats
    """Slow counts of orders in the coupon's categories."""
    all_habits: Floats
    """All slow counts."""


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
    pairs, interests = coupons.pairs(chosen), interests or Interests.of(moments, coupons, rules)
    is_browsed = np.array([isinstance(moment.trigger, BrowseEvent) for moment in moments])[pairs.owner]
    scopes, vectors = pairs.scopes, interests.vectors.reshape(len(interests.vectors), -1)
    own_mass, near_mass, all_days, habit_mass = interests.masses[:, pairs.owner]
    related, days, now, category, near, habit_of_category = scopes.categories.score(vectors[:6])
    now_brand, brand, near_brand = BRAND_WEIGHT * scopes.brands.score(vectors[2:5])
    now_item, item, near_item = scopes.items.score(vectors[2:5])
    scope, near_scope, habit, fresh_habit = scopes.narrowest.score(vectors[3:7])
    views = Views(
        pairs=pairs,
        is_for_all=coupons.is_for_all[pairs.position],
        category=category,
        brand=brand,
        item=item,
        content=category + brand + item,
        collaborative=near + near_brand + near_item,
        related=related,
        days=days,
        all_days=all_days,
        scope=scope,
        all_interest=own_mass,
        recency=scopes.categories.greatest(vectors[7]),
        near_scope_share=log_share(share_of(near_scope, near_mass, PRIOR_SHARE)),
        looked_at=now + now_brand + now_item,
        is_browsed=is_browsed,
        habit=habit,
        fresh_habit=fresh_habit,
        habit_of_category=habit_of_category,
        all_habits=habit_mass,
    )
    return _of_whole_shop(views, moments, interests, rules) if views.is_for_all.any() else views


def _of_whole_shop(views: Views, moments: Sequence[Moment], interests: Interests, rules: ProfileRules) -> Views:
    """Return the views with those of coupons for the whole shop: all that the shopper cares for lies in their scope."""
    owner, is_for_all = views.pairs.owner, views.is_for_all
    orders = np.array([each.shopper.profile.usual_orders * _fading(each, rules) for each in moments])[owner]
    looks = np.array([bool(_looked_at(each.trigger)) for each in moments])[owner]
    whole: dict[str, Floats | float] = {
        "category": views.all_interest,
        "content": views.all_interest,
        "collaborative": interests.masses[1][owner],
        "days": views.all_days,
        "scope": views.all_interest,
        "recency": interests.latest[owner],
        "near_scope_share": log_share(1.0),
        "looked_at": looks.astype(np.float64),
        "habit": orders,
        "habit_of_category": orders,
    }
    changed: dict[str, Any] = {name: np.where(is_for_all, of, getattr(views, name)) for name, of in whole.items()}
    return replace(views, **changed)


def _fading(moment: Moment, rules: ProfileRules) -> float:
    """Return the factor of the slow counts of a shopper's habits at this moment."""
    return habit_fading(moment.at - moment.shopper.profile.habits_at, rules)[0]


def _looked_at(trigger: BrowseEvent | CartEvent | OrderEvent | None) -> SparseVector:
    """Return the features of the item that is looked at or put into the cart, each of weight 1."""
    item = None
    if isinstance(trigger, BrowseEvent) or (isinstance(trigger, CartEvent) and trigger.action == "add"):
        item = trigger.item
    names = item_features(item.item_id, item.category, item.brand) if item is not None else []
    return {feature_index(name): 1.0 for name in names}


def share_of(scope: Floats, mass: Floats, prior: float | Floats, strength: float = 1.0) -> Floats:
    """Return the scope's share of a mass of interest, shrunk towards the prior while the mass is small.

    A ratio, not an amount: a tenth of a profile counts the same after ten visits and after a hundred.

    Parameters
    ----------
    scope, mass : ndarray, shape (n,)
        Interest within the scope, and in all.
    prior : float or ndarray
        The share to expect without any interest.
    strength : float
        The mass of interest that the prior counts as.
    """
    share: Floats = (np.maximum(scope, 0.0) + strength * prior) / (np.maximum(mass, 0.0) + strength)
    return share


def log_share(share: float | Floats) -> Floats:
    """Return the logarithm of a share, 0 at `PRIOR_SHARE`, over 3."""
    logarithm: Floats = np.log(share / PRIOR_SHARE) / 3.0
    return logarithm
