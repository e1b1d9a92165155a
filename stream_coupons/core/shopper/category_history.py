"""What a shopper did in a category: when it was ordered, and put into the cart; and for which that is kept.

Those are kept that were touched last. Whatever is known of one leaves with it, so no part outlives another that it
hangs on.
"""

import math
from collections.abc import Iterable

from msgspec import Struct

SLOT_S = 2 * 86400.0
SLOTS_KEPT = 64
MAX_CATEGORIES = 24


class InCategory(Struct, array_like=True):
    """One category's part of a profile."""

    order_slots: int = 0
    """The slots of two days in which it was ordered, as bits: 1 is that of the latest order, 2 the one before."""
    carted_at: float = 0.0
    taken_out_at: float = 0.0
    """The last times it was put into the cart, and taken out of it; 0 if it never was."""
    ordered_at: float = 0.0
    """The last time it was ordered; 0 if it never was."""

    @property
    def touched_at(self) -> float:
        """The latest of all its times."""
        return max(self.ordered_at, self.carted_at, self.taken_out_at)


Categories = dict[str, InCategory]


def admit(known: Categories, name: str, at: float) -> InCategory | None:
    """Return the record of a category, which is touched at this time; None if there is no room for it.

    Of too many the one makes room that was touched longest ago, of those alike the first by name; but none does that
    was touched at this time or later. So the categories of one order do not push out each other.
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
    """Note an order of some categories, in place: first of those that are known, or they would make room for others."""
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
    """Note an order among the slots until the latest one, which may be this one; orders come in any order.

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
    """Mean time between two orders; NaN while there is only one.

    >>> usual_gap_s(0b10000100001) / 86400.0
    10.0
    """
    orders = slots.bit_count()
    return (slots.bit_length() - 1) * SLOT_S / (orders - 1) if orders > 1 else math.nan


def note_cart(known: InCategory, at: float, *, is_added: bool) -> None:
    """Note that an item was put into the cart, or taken out of it."""
    if is_added:
        known.carted_at = max(known.carted_at, at)
    else:
        known.taken_out_at = max(known.taken_out_at, at)
