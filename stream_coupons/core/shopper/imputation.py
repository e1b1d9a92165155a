"""What stands in for a value that a message lacks.

Stand-ins are of the same shopper and of the past: of what is remembered, only values with a time at or before that of
the message count, in whatever order they came. So an event that comes late is filled as it would have been in time, as
far as what is remembered reaches back. Stand-ins are for features only: no label is ever filled in.

On a stream there is no later value to interpolate to. "interpolate" goes on along the line through the last two values,
and stops at the ends of the range seen: a line says less the further it is followed.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Literal, TypeVar

import msgspec

from stream_coupons.core.messages.inputs import Item
from stream_coupons.core.rules import LabelPolicy, MissingPolicy, ProfileRules
from stream_coupons.core.vectors.values import Value

LAST_CONTEXT_VALUES = 8
"""Values of one key of the context that are remembered of a shopper."""

V = TypeVar("V")
Series = tuple[list[float], list[Value]]
"""Times, ascending, and the values of then."""

LastLabel = tuple[float, str, str]
"""When a label was last known, of which item, and what it was."""


def remember(times: list[float], values: list[V], at: float, value: V, size: int) -> None:
    """Put a value in its place among those known, in place; of more than `size`, those of the earliest times go."""
    place = bisect_right(times, at)
    times.insert(place, at)
    values.insert(place, value)
    del times[:-size], values[:-size]


def fill_number(times: Sequence[float], values: Sequence[float], at: float, policy: MissingPolicy) -> float | None:
    """A stand-in for a number that is missing at time `at`; None if nothing is known by then, or by the policy "drop".

    None as well where it would not be finite: the sum of two values may leave a double's range, though neither does.

    Parameters
    ----------
    times : sequence of float
        When each value was known, ascending, UTC epoch seconds; as many as there are values.

    >>> def filled(policy, at=30.0):
    ...     return fill_number([0.0, 10.0, 20.0], [1.0, 2.0, 6.0], at, policy)
    >>> filled("mean"), filled("median"), filled("min_max"), filled("last")
    (3.0, 2.0, 3.5, 6.0)
    >>> filled("last", at=15.0), filled("interpolate", at=15.0)
    (2.0, 2.0)
    """
    past = values[: bisect_right(times, at)]
    if not past or policy == "drop":
        return None
    filled = _fill(times, past, at, policy)
    return filled if math.isfinite(filled) else None


def _fill(
    times: Sequence[float],
    past: Sequence[float],
    at: float,
    policy: Literal["mean", "median", "min_max", "last", "interpolate"],
) -> float:
    match policy:
        case "mean":
            return mean(past)
        case "median":
            return median(past)
        case "min_max":
            return (min(past) + max(past)) / 2
        case "last":
            return past[-1]
        case "interpolate":
            return _along_the_line(times, past, at)


def _along_the_line(times: Sequence[float], past: Sequence[float], at: float) -> float:
    """Where the line through the last two values of different times is at `at`, within the range of all.

    >>> _along_the_line([0.0, 10.0, 20.0], [0.0, 4.0, 2.0], 25.0)
    1.0
    >>> _along_the_line([0.0, 10.0, 20.0], [0.0, 4.0, 2.0], 90.0)
    0.0
    """
    last = len(past) - 1
    before = bisect_left(times, times[last]) - 1
    if before < 0:
        return past[last]
    slope = (past[last] - past[before]) / (times[last] - times[before])
    return min(max(past[last] + slope * (at - times[last]), min(past)), max(past))


def fill_labels(known: dict[str, LastLabel], item: Item, at: float, rules: ProfileRules) -> Item:
    """An item with its category and brand, or what stands in for them; what it says is remembered in `known`.

    A label is that of the last item that had one: of any ("last"), or only if it was the same item ("same_item").
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


def remember_context(
    known: dict[str, Series], context: Mapping[str, Value], at: float, policies: Mapping[str, MissingPolicy]
) -> None:
    """Remember the values of those keys of a context that are filled in when they are missing."""
    for name in policies:
        value = context.get(name)
        if value is not None:
            times, values = known.setdefault(name, ([], []))
            remember(times, values, at, value, LAST_CONTEXT_VALUES)


def fill_context(
    known: Mapping[str, Series], context: Mapping[str, Value], at: float, policies: Mapping[str, MissingPolicy]
) -> Mapping[str, Value]:
    """A context with stand-ins for what it lacks, each with a flag beside it: that it is missing may say something.

    Numbers are filled as the policy says, from the numbers among the last values; texts and flags by the last of them.

    >>> known = {"rain_mm": ([10.0, 20.0], [1.0, 3.0])}
    >>> fill_context(known, {"rain_mm": None, "city": "Bonn"}, 30.0, {"rain_mm": "mean"})
    {'city': 'Bonn', 'rain_mm': 2.0, 'rain_mm missing': True}
    """
    if not policies:
        return context
    filled = {name: value for name, value in context.items() if value is not None or name not in policies}
    for name, policy in policies.items():
        if name in filled:
            continue
        value = _fill_value(*known.get(name, ([], [])), at, policy)
        if value is not None:
            filled[name] = value
        filled[missing_flag(name)] = True
    return filled


def missing_flag(name: str) -> str:
    """Key of the context that says that another one was filled in, or could not be.

    >>> missing_flag("rain_mm")
    'rain_mm missing'
    """
    return f"{name} missing"


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
