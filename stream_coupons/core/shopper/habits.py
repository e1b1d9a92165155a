"""Habits: features of the items that a shopper orders, with counts that fade slowly and counts that fade fast.

They are packed arrays, valued at the latest order: a shopper has hundreds, and each decision reads them all.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.messages.inputs import Item
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.vectors.items import item_features
from stream_coupons.core.vectors.sparse import MAX_REMEMBERED, feature_index

Habits = tuple[bytes, bytes, bytes]
"""Little-endian bytes: feature indices (uint32), the oldest first, slow counts and fast counts (float32)."""

FRESH_RATIO = 1 / 6
"""Half-life of fast counts over that of slow counts."""


def count_ordered(
    habits: Habits, items: Sequence[Item], faded: tuple[float, float], grown: tuple[float, float], size: int
) -> Habits:
    """Return the habits after an order.

    Parameters
    ----------
    habits : tuple of bytes
        Habits before the order.
    items : sequence of Item
        Items of the order.
    faded : (float, float)
        Factors of the slow and the fast counts so far, of `habit_fading`.
    grown : (float, float)
        Slow and fast count of each item, of `habit_fading`: less than 1 for a late order.
    size : int
        Number of features that are kept, the most frequent ones, when there are a quarter more.
    """
    indices, slow, fresh = unpack_habits(habits)
    slow, fresh = slow * faded[0], fresh * faded[1]
    counts = Counter(index for item in items for index in habit_indices(item.item_id, item.category))
    ordered = np.fromiter(counts, np.uint32, len(counts))
    times = np.fromiter(counts.values(), np.float64, len(counts))
    place, which = np.nonzero(indices[:, None] == ordered)
    slow[place] += times[which] * grown[0]
    fresh[place] += times[which] * grown[1]
    is_new = np.ones(len(ordered), np.bool_)
    is_new[which] = False
    indices = np.concatenate((indices, ordered[is_new]))
    slow = np.concatenate((slow, times[is_new] * grown[0]))
    fresh = np.concatenate((fresh, times[is_new] * grown[1]))
    if len(indices) > size * 5 // 4:
        kept = np.sort(np.argsort(-slow, kind="stable")[:size])
        indices, slow, fresh = indices[kept], slow[kept], fresh[kept]
    return indices.tobytes(), slow.astype("<f4").tobytes(), fresh.astype("<f4").tobytes()


def unpack_habits(habits: Habits) -> tuple[NDArray[np.uint32], NDArray[np.float64], NDArray[np.float64]]:
    """Return (feature indices, slow counts, fast counts), each of shape (n,), valued at the latest order."""
    indices, slow, fresh = habits
    return (
        np.frombuffer(indices, "<u4"),
        np.frombuffer(slow, "<f4").astype(np.float64),
        np.frombuffer(fresh, "<f4").astype(np.float64),
    )


def habit_fading(age_s: float, rules: ProfileRules) -> tuple[float, float]:
    """Return the factors by which slow and fast counts fade.

    Parameters
    ----------
    age_s : float
        Seconds since the counts were valued; negative ages count as 0.
    rules : ProfileRules
        `habit_half_life_s` is the half-life of slow counts.

    Examples
    --------
    >>> habit_fading(180 * 86400.0, ProfileRules())
    (0.5, 0.015625)
    """
    halvings = -max(age_s, 0.0) / rules.habit_half_life_s
    return 2.0**halvings, float(2.0 ** (halvings / FRESH_RATIO))


def habit_indices(item_id: str, category: str | None) -> tuple[int, ...]:
    """Return the indices of the features by which an item counts as a habit: its id and its category.

    Parameters
    ----------
    item_id : str
        The item.
    category : str or None
        None if it is not known: the id alone counts.

    Examples
    --------
    >>> len(habit_indices("A", "tea")), len(habit_indices("A", None))
    (2, 1)
    """
    is_long = len(item_id) + len(category or "") > MAX_REMEMBERED
    return (_habit_indices if is_long else _remembered_habits)(item_id, category)


def _habit_indices(item_id: str, category: str | None) -> tuple[int, ...]:
    return tuple(feature_index(name) for name in item_features(item_id, category, None))


_remembered_habits = lru_cache(maxsize=200_000)(_habit_indices)
