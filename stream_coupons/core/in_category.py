"""What a shopper did in one category: when it was ordered and put into the cart, and at what prices."""

import math
from collections.abc import Iterable

from msgspec import Struct

SLOT_S = 2 * 86400.0
SLOTS_KEPT = 64
PRIOR_WEIGHT = 2.0
"""What a category's prices are drawn towards those of all with, as much as of two looks."""


class InCategory(Struct, array_like=True):
    """One category's part of a profile. Weights are in the profile's units."""

    order_slots: int = 0
    """The slots of two days in which it was ordered, as bits: 1 is that of the latest order, 2 the one before."""
    carted_at: float = 0.0
    taken_out_at: float = 0.0
    """When it was last put into the cart, and taken out of it; 0 if it never was."""
    price_weight: float = 0.0
    """Of the items whose price is known, as interests weigh."""
    price_log2: float = 0.0
    """Sum of the logarithms of these prices, each times its weight."""


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


def note_price(known: InCategory, price_minor: float, weight: float) -> None:
    """Note the price of an item."""
    known.price_weight += weight
    known.price_log2 += weight * math.log2(max(price_minor, 1.0))


def usual_log2(known: Iterable[InCategory]) -> float:
    """Logarithm of what the shopper pays for an item, geometric mean of all categories; NaN if that is unknown."""
    weight, total = 0.0, 0.0
    for each in known:
        weight += each.price_weight
        total += each.price_log2
    return total / weight if weight else math.nan


def own_log2(known: InCategory, scale: float, usual: float) -> float:
    """The same within one category, drawn towards `usual` while there is little to go by.

    `scale` is the factor from the profile's weights to what they are now.
    """
    return (known.price_log2 * scale + usual * PRIOR_WEIGHT) / (known.price_weight * scale + PRIOR_WEIGHT)
