"""The parts of a log that are judged on their own: by coupon, and by what is known of the coupon and of the moment."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypeGuard

import numpy as np

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons_lab.offline.quality import LabelledIssues, Slice, slice_of
from stream_coupons_lab.offline.scored import Scored

COUPON = "coupon"
MAX_VALUES = 12
QUARTERS = (0.25, 0.5, 0.75)
MISSING = "(missing)"

Value = str | float | bool | None


def by_coupon(series: LabelledIssues) -> list[Slice]:
    """One slice for every coupon, the most issued first."""
    return _slices(series, COUPON, [issue.coupon_id for issue in series.issues])


def by_segment(series: LabelledIssues, catalogue: Mapping[str, Coupon]) -> list[Slice]:
    """Slices by every key that has a few values: arms, kinds and attributes of coupons, and context."""
    return by_columns(series, _columns(series.issues, catalogue))


def by_columns(series: LabelledIssues, columns: Iterable[tuple[str, Sequence[Value]]]) -> list[Slice]:
    """Slices by columns of names and values, one value for each issue.

    A number of many values is cut into quarters. A key with one value only, or with more than `MAX_VALUES` that are not
    all numbers, makes no segments. Numbers come in their order, what is missing last; all else the most issued first.
    """
    slices = []
    for name, values in columns:
        distinct = set(values)
        if len(distinct) > MAX_VALUES and all(_is_number(value) or value is None for value in distinct):
            names, of_each = _quarters(values)
            slices += _slices(series, name, of_each, [*names, MISSING])
        elif 2 <= len(distinct) <= MAX_VALUES:
            numbers = sorted(value for value in distinct if _is_number(value))
            is_numeric = len(numbers) + (None in distinct) == len(distinct)
            order = [*map(_text, numbers), MISSING] if is_numeric else []
            slices += _slices(series, name, [_text(value) for value in values], order)
    return slices


def _columns(issues: Sequence[Scored], catalogue: Mapping[str, Coupon]) -> Iterator[tuple[str, list[Value]]]:
    """(name, value of each issue) of all that segments may go by."""
    if any(issue.arm != issue.coupon_id for issue in issues):
        yield "arm", [issue.arm for issue in issues]
    coupons = [catalogue.get(issue.coupon_id) for issue in issues]
    yield "coupon kind", [coupon.kind or None if coupon is not None else None for coupon in coupons]
    attributes = [coupon.attributes if coupon is not None else {} for coupon in coupons]
    for name in sorted({name for values in attributes for name in values}):
        yield f"coupon {name}", [values.get(name) for values in attributes]
    for name in sorted({name for issue in issues for name in issue.context}):
        yield name, [issue.context.get(name) for issue in issues]


def _slices(series: LabelledIssues, by: str, values: Sequence[str], order: Sequence[str] = ()) -> list[Slice]:
    """A slice for every value: in this order, or the most issued first."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, value in enumerate(values):
        rows[value].append(row)
    ordered = [value for value in dict.fromkeys(order) if value in rows] or sorted(
        rows, key=lambda value: (-len(rows[value]), value)
    )
    return [slice_of(series.at(rows[value]), by, value) for value in ordered]


def _is_number(value: Value) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _quarters(values: Sequence[Value]) -> tuple[list[str], list[str]]:
    """The names of the quarters of a distribution of numbers in their order, and in which of them each number lies."""
    numbers = np.array([value for value in values if value is not None], np.float64)
    cuts = np.unique(np.quantile(numbers, QUARTERS)).tolist()
    names = [f"up to {cuts[0]:.4g}", *(f"{low:.4g} to {high:.4g}" for low, high in pairwise(cuts))]
    names.append(f"above {cuts[-1]:.4g}")
    return names, [MISSING if value is None else names[int(np.searchsorted(cuts, float(value)))] for value in values]


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return MISSING if value is None else f"{value:g}" if isinstance(value, float) else value
