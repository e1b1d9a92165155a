"""Habits of a shopper: items ordered, the rhythm of the week and the day, and each category's past.

Habits are features of the items that a shopper orders, with counts that fade slowly and counts that fade fast. They are
packed arrays, valued at the latest order: a shopper has hundreds, and each decision reads them all. The rhythm counts
events by day of the week and by hour of the day, UTC. Orders and carts are kept of the categories touched last.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stream_coupons.core.messages.inputs import Item
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.vectors.sparse import MAX_REMEMBERED, feature_index, item_features

Habits = tuple[bytes, bytes, bytes]
"""Little-endian bytes: feature indices (uint32), the oldest first, slow counts and fast counts (float32)."""

FRESH_RATIO = 1 / 6
"""Half-life of fast counts over that of slow counts."""
WEEKDAYS, HOURS = 7, 24
WEEKEND = (2, 3)
"""Saturday and Sunday as numbers of `weekday`."""
ORDER_COUNTS = 5
"""Count of an order; other events count 1."""
MOST_COUNTED = 255
"""Largest count of one weekday."""
PRIOR_COUNT = 5.0
"""Prior count of events, spread evenly over days and hours."""
NEAR_HOURS = ((-2, 1 / 9), (-1, 2 / 9), (0, 3 / 9), (1, 2 / 9), (2, 1 / 9))
"""Offsets of the hours around an hour, and the weight of each: a shopper who comes at eight may come at nine."""

Counts = list[int]
"""Events on each day of the week, Thursday first as the epoch begins, then events in each hour of the day."""

SLOT_S = 2 * 86400.0
SLOTS_KEPT = 64
"""Orders of a category are kept as bits, one for each of the last slots of two days."""
MAX_CATEGORIES = 24


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
    """Return the indices of the features by which an item counts as a habit.

    Parameters
    ----------
    item_id : str
        Id of the item.
    category : str or None
        Its category, if that is known.
    """
    is_long = len(item_id) + len(category or "") > MAX_REMEMBERED
    return (_habit_indices if is_long else _remembered_habits)(item_id, category)


def _habit_indices(item_id: str, category: str | None) -> tuple[int, ...]:
    return tuple(feature_index(name) for name in item_features(item_id, category, None))


_remembered_habits = lru_cache(maxsize=200_000)(_habit_indices)


def note_time(counts: Counts, at: float, *, is_order: bool) -> Counts:
    """Return the counts after an event.

    Parameters
    ----------
    counts : list of int
        Empty before the first event; changed in place.
    at : float
        Time of the event, UTC epoch seconds.
    is_order : bool
        True if it counts as an order.

    Returns
    -------
    list of int
        All are halved when a weekday has more than `MOST_COUNTED`.
    """
    if not counts:
        counts = [0] * (WEEKDAYS + HOURS)
    count = ORDER_COUNTS if is_order else 1
    day = int(at // 86400.0 % WEEKDAYS)
    counts[day] += count
    counts[WEEKDAYS + int(at // 3600.0 % HOURS)] += count
    return counts if counts[day] <= MOST_COUNTED else [each // 2 for each in counts]


def rhythm(counts: Sequence[int], at: float) -> tuple[float, float]:
    """Return the logarithm of the weekday's share of all events over an even share, and the same of the hour.

    Parameters
    ----------
    counts : sequence of int
        Counts of `note_time`.
    at : float
        UTC epoch seconds; the hours around its hour count, too.

    Examples
    --------
    >>> rhythm([], 0.0)
    (0.0, 0.0)
    """
    if not counts:
        return 0.0, 0.0
    now, day = int(at // 3600.0 % HOURS), int(at // 86400.0 % WEEKDAYS)
    near = sum(part * counts[WEEKDAYS + (now + apart) % HOURS] for apart, part in NEAR_HOURS)
    all_days, all_hours = sum(counts[:WEEKDAYS]), sum(counts[WEEKDAYS:])
    return (
        math.log((WEEKDAYS * counts[day] + PRIOR_COUNT) / (all_days + PRIOR_COUNT)),
        math.log((HOURS * near + PRIOR_COUNT) / (all_hours + PRIOR_COUNT)),
    )


class InCategory(Struct, array_like=True):
    """One category's part of a profile."""

    order_slots: int = 0
    """Slots of two days in which it was ordered, as bits: 1 is the slot of the latest order, 2 the one before."""
    carted_at: float = 0.0
    taken_out_at: float = 0.0
    """Last times at which it was put into the cart, and taken out of it; 0 if never."""
    ordered_at: float = 0.0
    """Last time at which it was ordered; 0 if never."""

    @property
    def touched_at(self) -> float:
        """The latest of all times."""
        return max(self.ordered_at, self.carted_at, self.taken_out_at)


Categories = dict[str, InCategory]


def admit(known: Categories, name: str, at: float) -> InCategory | None:
    """Return the record of a category that is touched now, a new one if it is not known.

    A new record replaces the one that was touched longest ago; of equal ones, the first by name. It replaces none that
    was touched at this time or later, so that the categories of one order do not push out each other.

    Parameters
    ----------
    known : dict of InCategory
        By name, changed in place; at most `MAX_CATEGORIES`.
    name : str
        The category.
    at : float
        UTC epoch seconds.

    Returns
    -------
    InCategory or None
        None if there is no room.
    """
    found = known.get(name)
    if found is None and (len(known) < MAX_CATEGORIES or _make_room(known, at)):
        found = known[name] = InCategory()
    return found


def _make_room(known: Categories, at: float) -> bool:
    oldest = min(known, key=lambda name: (known[name].touched_at, name))
    is_older = known[oldest].touched_at < at
    if is_older:
        del known[oldest]
    return is_older


def note_orders(known: Categories, names: Iterable[str], at: float) -> None:
    """Record an order of some categories, in place.

    Parameters
    ----------
    known : dict of InCategory
        By name. Categories that are known come first, or they would make room for the others.
    names : iterable of str
        Categories of the order; repetitions do not count.
    at : float
        Time of the order, UTC epoch seconds.
    """
    ordered = dict.fromkeys(names)
    strange = [name for name in ordered if name not in known]
    for name in ordered:
        if name in known:
            note_order(known[name], at)
    for name in strange:
        found = admit(known, name, at)
        if found is None:  # nor is there room for the others
            return
        note_order(found, at)


def note_order(known: InCategory, at: float) -> None:
    """Record an order of a category.

    Parameters
    ----------
    known : InCategory
        Record of the category, changed in place.
    at : float
        Time of the order, UTC epoch seconds; orders come in any order.

    Examples
    --------
    >>> known = InCategory()
    >>> for day in (10, 30, 20):
    ...     note_order(known, day * 86400.0)
    >>> bin(known.order_slots), known.ordered_at / 86400.0
    ('0b10000100001', 30.0)
    """
    slots, latest = (known.order_slots, known.ordered_at) if known.ordered_at else (0, at)
    age = int(latest // SLOT_S) - int(at // SLOT_S)
    if age < 0:
        slots, age = slots << -age, 0
    known.order_slots = (slots | 1 << min(age, SLOTS_KEPT)) & (1 << SLOTS_KEPT) - 1
    known.ordered_at = max(at, latest)


def usual_gap_s(slots: int) -> float:
    """Return the mean time between two orders, seconds; NaN while there is only one.

    Examples
    --------
    >>> usual_gap_s(0b10000100001) / 86400.0
    10.0
    """
    orders = slots.bit_count()
    return (slots.bit_length() - 1) * SLOT_S / (orders - 1) if orders > 1 else math.nan


def note_cart(known: InCategory, at: float, *, is_added: bool) -> None:
    """Record that an item of a category was put into the cart, or taken out of it.

    Parameters
    ----------
    known : InCategory
        Record of the category, changed in place.
    at : float
        UTC epoch seconds.
    is_added : bool
        False if it was taken out.
    """
    if is_added:
        known.carted_at = max(known.carted_at, at)
    else:
        known.taken_out_at = max(known.taken_out_at, at)
