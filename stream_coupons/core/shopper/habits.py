"""What a shopper orders again and again: features of the items, and how often, fading slowly and fading fast.

As arrays in bytes, as of the latest order: there are hundreds of a shopper, and each decision reads them all.
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
"""Features of what was ordered, the oldest first, and how often: fading slowly, and fading fast. As little-endian
bytes."""

FRESH_RATIO = 1 / 6
"""What fades fast has this part of the other's half-life."""


def count_ordered(
    habits: Habits, items: Sequence[Item], faded: tuple[float, float], grown: tuple[float, float], size: int
) -> Habits:
    """Count what was ordered among the habits; of more than `size`, by and by, the rarest are forgotten.

    `faded` is what is left of those known, `grown` what an order counts, both of `habit_fading`.
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
    """(features, how often, how often of late), each of shape (n,), as of the latest order."""
    indices, slow, fresh = habits
    return (
        np.frombuffer(indices, "<u4"),
        np.frombuffer(slow, "<f4").astype(np.float64),
        np.frombuffer(fresh, "<f4").astype(np.float64),
    )


def habit_fading(age_s: float, rules: ProfileRules) -> tuple[float, float]:
    """Return the rest of 1 after this time, of what fades slowly and of what fades fast; 1 before it began."""
    halvings = -max(age_s, 0.0) / rules.habit_half_life_s
    return 2.0**halvings, float(2.0 ** (halvings / FRESH_RATIO))


def habit_indices(item_id: str, category: str | None) -> tuple[int, ...]:
    """Indices of the features of an item that habits are kept of."""
    is_long = len(item_id) + len(category or "") > MAX_REMEMBERED
    return (_habit_indices if is_long else _remembered_habits)(item_id, category)


def _habit_indices(item_id: str, category: str | None) -> tuple[int, ...]:
    return tuple(feature_index(name) for name in item_features(item_id, category, None))


_remembered_habits = lru_cache(maxsize=200_000)(_habit_indices)
