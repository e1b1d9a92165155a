"""What a shopper did in one category: when it was ordered, and put into the cart."""

import math

from msgspec import Struct

SLOT_S = 2 * 86400.0
SLOTS_KEPT = 64


class InCategory(Struct, array_like=True):
    """One category's part of a profile."""

    order_slots: int = 0
    """The slots of two days in which it was ordered, as bits: 1 is that of the latest order, 2 the one before."""
    carted_at: float = 0.0
    taken_out_at: float = 0.0
    """When it was last put into the cart, and taken out of it; 0 if it never was."""


def note_order(slots: int, latest: float, at: float) -> int:
    """Note an order among the slots until the latest one, which may be this one; orders come in any order.

    >>> bin(note_order(note_order(0b1, 0.0, 20 * 86400.0), 20 * 86400.0, 10 * 86400.0))
    '0b10000100001'
    """
    age = int(latest // SLOT_S) - int(at // SLOT_S)
    if age < 0:
        slots, age = slots << -age, 0
    return (slots | 1 << min(age, SLOTS_KEPT)) & (1 << SLOTS_KEPT) - 1


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
