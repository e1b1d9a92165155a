"""Sums of the numbers of results, for who reads reports: the process that decides imports none of this."""

from collections.abc import Iterable

from msgspec import Struct

from stream_coupons.core.measurement.result_sums import Numbers


def numbers_of_report(report: Struct) -> Numbers:
    """Return the numbers of a `ResultTotals`, which has fields of the same names."""
    return Numbers(*(getattr(report, name) for name in Numbers._fields))


def sum_of(numbers: Iterable[Numbers]) -> Numbers:
    """Return the sum of results, number by number.

    Examples
    --------
    >>> sum_of([Numbers(given=2, seen=1), Numbers(given=3)])[:2], sum_of([]) == Numbers()
    ((5, 1), True)
    """
    return Numbers(*(sum(column) for column in zip(Numbers(), *numbers, strict=True)))
