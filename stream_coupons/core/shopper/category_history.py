"""A shopper's orders and carts by category, of the categories that were touched last."""

import math
from collections.abc import Iterable

from msgspec import Struct

SLOT_S = 2 * 86400.0
SLOTS_KEPT = 64
MAX_CATEGORIES = 24


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
