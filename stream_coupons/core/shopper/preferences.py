"""Preferences of shoppers at a time, read from their profiles: for features, decisions and neighbours."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, OrderEvent
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.habits import habit_fading, unpack_habits
from stream_coupons.core.shopper.profile import DAY_S, DAYS_KEPT, Profile, decay, growth
from stream_coupons.core.vectors.sparse import SparseVector, interest_indices, top

KNOWN_FROM = 10.0
"""Weight of all interests at an event, as much as of ten views, from which a shopper is known."""
FAMILIAR_FROM = 0.05
"""Share of all interests from which a category is familiar."""


def is_familiar(profile: Profile, event: BrowseEvent | CartEvent | OrderEvent, rules: ProfileRules) -> bool | None:
    """Return True if the shopper cared for the category of the event's item before the event.

    Parameters
    ----------
    profile : Profile
        The event is folded into it already.
    event : BrowseEvent, CartEvent or OrderEvent
        An item that is browsed, or put into the cart.
    rules : ProfileRules
        Weights of events.

    Returns
    -------
    bool or None
        None for an order, a removal from the cart, an item without a category, or a shopper with few events.
    """
    if isinstance(event, OrderEvent) or event.item is None or event.item.category is None:
        return None
    weight = rules.browse_weight if isinstance(event, BrowseEvent) else rules.cart_weight
    grown = growth(profile, event.occurred_at, rules)
    before = sum(profile.category_interests.values()) - weight * grown
    if before < KNOWN_FROM * grown or (isinstance(event, CartEvent) and event.action != "add"):
        return None
    of_category, _ = interest_indices(event.item.item_id, event.item.category, event.item.brand)
    return profile.category_interests.get(of_category, 0.0) - weight * grown >= FAMILIAR_FROM * before


def portrait(profile: Profile, at: float, rules: ProfileRules, size: int) -> SparseVector:
    """Return the interests by which neighbours are found: categories first, then the strongest of the others.

    The weight of an interest is its decayed weight, or that of its orders as a habit if that is greater. So interests
    of views fade within weeks, those of purchases do not.

    Parameters
    ----------
    profile : Profile
        The shopper's profile.
    at : float
        UTC epoch seconds.
    rules : ProfileRules
        Half-lives and weights.
    size : int
        Most entries.

    Examples
    --------
    >>> portrait(Profile(category_interests={1: 4.0, 2: 3.0}, finer_interests={3: 9.0}), 0.0, ProfileRules(), 2)
    {1: 4.0, 2: 3.0}
    """
    weighed = _weighed(profile, at, rules)
    leading = top(weighed(profile.category_interests), size)
    return leading | top(weighed(profile.finer_interests), size - len(leading))


def category_portrait(profile: Profile, at: float, rules: ProfileRules, size: int) -> SparseVector:
    """Return the categories of `portrait` with a weight above 0.

    Parameters
    ----------
    profile, at, rules
        As of `portrait`.
    size : int
        Most entries, the strongest.
    """
    weighed = _weighed(profile, at, rules)(profile.category_interests)
    return {index: weight for index, weight in top(weighed, size).items() if weight > 0.0}


def _weighed(profile: Profile, at: float, rules: ProfileRules) -> Callable[[SparseVector], SparseVector]:
    """Return the function from interests to their weights in a portrait at time `at`."""
    scale = decay(profile, at, rules)
    habit_scale = rules.order_weight * habit_fading(at - profile.habits_at, rules)[0]
    indices, counts, _ = unpack_habits(profile.habits)
    habits = dict(zip(indices.tolist(), (counts * habit_scale).tolist(), strict=True))

    def weighed(interests: SparseVector) -> SparseVector:
        return {index: max(weight * scale, habits.get(index, -math.inf)) for index, weight in interests.items()}

    return weighed


def count_days(
    profiles: Sequence[Profile], ats: Sequence[float], rules: ProfileRules
) -> tuple[NDArray[np.uint32], NDArray[np.float64], NDArray[np.float64]]:
    """Count the days on which each shopper cared for each category.

    All views within a day are one decision to look, however many pages they take: a share of days varies less than a
    share of events.

    Parameters
    ----------
    profiles : sequence of Profile
        Of m shoppers.
    ats : sequence of float, shape (m,)
        UTC epoch seconds at which each profile is read.
    rules : ProfileRules
        Half-life by which a day counts less with its age.

    Returns
    -------
    category : array of uint32, shape (n,)
        Feature index of each category: the `category_days` of one shopper after the other.
    days : array of float, shape (n,)
        Number of days, each faded by its age.
    recency : array of float, shape (n,)
        1 if the last day is today, 1/2 if it was yesterday, 1/3 for the day before.
    """
    of_each = [profile.category_days for profile in profiles]
    counts = [*map(len, of_each)]
    n = sum(counts)
    since = np.array([max(at // DAY_S - profile.days_until, 0.0) for profile, at in zip(profiles, ats, strict=True)])
    bits = np.fromiter(chain.from_iterable(days.values() for days in of_each), "<u8", n)
    cared = np.unpackbits(bits.view(np.uint8).reshape(n, DAYS_KEPT // 8), axis=1, bitorder="little")
    days = np.add.reduce(cared * _fading(rules.half_life_s), axis=1)
    days *= (2.0 ** (-since * DAY_S / rules.half_life_s)).repeat(counts)
    categories = np.fromiter(chain.from_iterable(of_each), np.uint32, n)
    return categories, days, 1.0 / (1.0 + since.repeat(counts) + cared.argmax(axis=1))


@lru_cache
def _fading(half_life_s: float) -> NDArray[np.float64]:
    """Return the factor of each of the last days."""
    return np.asarray(2.0 ** (-np.arange(DAYS_KEPT) * DAY_S / half_life_s))


def favourite(profile: Profile) -> str:
    """Return the category of greatest weight; empty when none is known.

    Examples
    --------
    >>> favourite(Profile(categories={"tea": 1.0, "milk": 2.0}))
    'milk'
    """
    categories = profile.categories
    return max(categories, key=lambda name: (categories[name], name), default="")
