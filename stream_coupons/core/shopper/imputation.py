"""Imputation of values that a message lacks.

Imputed values come from the same shopper and from the past: only remembered values with a time at or before that of the
message count, in any order of arrival. So a late event is filled as it would have been in time, as far as the memory
reaches back. Only features are imputed, never the labels that models learn from.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TypeVar

import msgspec

from stream_coupons.core.messages.inputs import Item
from stream_coupons.core.rules import LabelPolicy, MissingPolicy, ProfileRules
from stream_coupons.core.vectors.value_binning import Value

LAST_CONTEXT_VALUES = 8
"""Number of values of one key of the context that are remembered for a shopper."""

V = TypeVar("V")
Series = tuple[list[float], list[Value]]
"""Times, ascending, UTC epoch seconds, and the value at each."""

LastLabel = tuple[float, str, str]
"""Time of the last label, UTC epoch seconds, the item's id, and the label."""


def remember(times: list[float], values: list[V], at: float, value: V, size: int) -> None:
    """Insert a value in order of time, in place.

    Parameters
    ----------
    times : list of float
        Ascending, UTC epoch seconds.
    values : list
        One for each of `times`.
    at : float
        Time of the value.
    value
        The value to insert.
    size : int
        Most values that are kept; those of the earliest times are dropped.

    Examples
    --------
    >>> times, values = [10.0, 20.0], ["a", "b"]
    >>> remember(times, values, 15.0, "c", 2)
    >>> times, values
    ([15.0, 20.0], ['c', 'b'])
    """
    place = bisect_right(times, at)
    times.insert(place, at)
    values.insert(place, value)
    del times[:-size], values[:-size]


def fill_number(times: Sequence[float], values: Sequence[float], at: float, policy: MissingPolicy) -> float | None:
    """Return an imputed number.

    Parameters
    ----------
    times : sequence of float
        Time of each value, ascending, UTC epoch seconds.
    values : sequence of float
        One for each of `times`.
    at : float
        Time of the missing number; later values do not count.
    policy : MissingPolicy
        The way of imputation.

    Returns
    -------
    float or None
        None without earlier values, for the policy "drop", or if the number would not be finite: the sum of two values
        may leave a double's range.

    Examples
    --------
    >>> def filled(policy, at=30.0):
    ...     return fill_number([0.0, 10.0, 20.0], [1.0, 2.0, 6.0], at, policy)
    >>> filled("median"), filled("last"), filled("last", at=15.0)
    (2.0, 6.0, 2.0)
    """
    past = values[: bisect_right(times, at)]
    if not past or policy == "drop":
        return None
    filled = median(past) if policy == "median" else past[-1]
    return filled if math.isfinite(filled) else None


def fill_price(times: list[float], prices: list[float], item: Item, at: float, rules: ProfileRules) -> float | None:
    """Return the price of an item, minor units, or an imputed one.

    Parameters
    ----------
    times, prices : list of float
        Recent prices and their times, changed in place: the price of `item` is remembered.
    item : Item
        An item of an event.
    at : float
        Time of the event, UTC epoch seconds.
    rules : ProfileRules
        `missing_price` is the way of imputation, `recent_prices` the number of prices that are remembered.
    """
    if item.price_minor is None:
        return fill_number(times, prices, at, rules.missing_price)
    price = float(item.price_minor)
    remember(times, prices, at, price, rules.recent_prices)
    return price


def fill_labels(known: dict[str, LastLabel], item: Item, at: float, rules: ProfileRules) -> Item:
    """Return an item with imputed category and brand.

    The label is that of the last item that had one: of any item (policy "last"), or of the same item ("same_item").

    Parameters
    ----------
    known : dict
        Last label by field, changed in place: the labels of `item` are remembered.
    item : Item
        An item of an event.
    at : float
        Time of the event, UTC epoch seconds.
    rules : ProfileRules
        Policies of `missing_category` and `missing_brand`.

    Examples
    --------
    >>> known = {}
    >>> rules = ProfileRules(missing_brand="last")
    >>> fill_labels(known, Item(item_id="A", brand="x"), 10.0, rules).brand
    'x'
    >>> fill_labels(known, Item(item_id="B"), 20.0, rules).brand
    'x'
    """
    for name, policy in (("category", rules.missing_category), ("brand", rules.missing_brand)):
        if policy != "drop":
            item = _fill_label(known, item, name, at, policy)
    return item


def _fill_label(known: dict[str, LastLabel], item: Item, name: str, at: float, policy: LabelPolicy) -> Item:
    label, last = getattr(item, name), known.get(name)
    if label is not None:
        if last is None or at >= last[0]:
            known[name] = (at, item.item_id, label)
        return item
    if last is None or last[0] > at or (policy == "same_item" and last[1] != item.item_id):
        return item
    return msgspec.structs.replace(item, **{name: last[2]})


def remember_context(known: dict[str, Series], context: Mapping[str, Value], at: float, rules: ProfileRules) -> None:
    """Remember the values of a context that are imputed when they are missing.

    Parameters
    ----------
    known : dict
        Values by key, changed in place.
    context : mapping
        Context of the event.
    at : float
        Time of the event, UTC epoch seconds.
    rules : ProfileRules
        Policies by key; other keys are not remembered.
    """
    for name in rules.context_policies:
        value = context.get(name)
        if value is not None:
            times, values = known.setdefault(name, ([], []))
            remember(times, values, at, value, LAST_CONTEXT_VALUES)


def fill_context(
    known: Mapping[str, Series], context: Mapping[str, Value], at: float, rules: ProfileRules
) -> Mapping[str, Value]:
    """Return a context with imputed values for missing keys, and a flag for each: its absence may be informative.

    Numbers are imputed by the policy from the numbers among the last values, texts and flags by the last value.

    Parameters
    ----------
    known : mapping
        Values by key, as of `remember_context`.
    context : mapping
        Context of the event.
    at : float
        Time of the event, UTC epoch seconds; later values do not count.
    rules : ProfileRules
        Policies by key; other keys are not imputed.

    Examples
    --------
    >>> known = {"rain_mm": ([10.0, 20.0], [1.0, 3.0])}
    >>> rules = ProfileRules(missing_context=frozenset({"rain_mm=median"}))
    >>> fill_context(known, {"rain_mm": None, "city": "Bonn"}, 30.0, rules)
    {'city': 'Bonn', 'rain_mm': 2.0, 'rain_mm missing': True}
    """
    policies = rules.context_policies
    filled = {name: value for name, value in context.items() if value is not None or name not in policies}
    for name, policy in policies.items():
        if name in filled:
            continue
        value = _fill_value(*known.get(name, ([], [])), at, policy)
        if value is not None:
            filled[name] = value
        filled[f"{name} missing"] = True
    return filled


def _fill_value(times: Sequence[float], values: Sequence[Value], at: float, policy: MissingPolicy) -> Value:
    past = bisect_right(times, at)
    if not past or policy == "drop":
        return None
    if isinstance(values[past - 1], str | bool):
        return values[past - 1]
    numbers = [
        (time, float(value))
        for time, value in zip(times[:past], values[:past], strict=True)
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return fill_number([time for time, _ in numbers], [number for _, number in numbers], at, policy)
