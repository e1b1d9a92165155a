"""Ranges of code numbers: the codes of a pool, numbered in the order of their import, as leases move them.

The owner of a pool leases numbers to partitions. A partition gives the numbers that it got first, and returns those
that it got last. The owner grants nothing to a partition that it has called to return some. So both sides hold the same
list when a partition returns numbers, and totals alone say which ones.
"""

from collections.abc import Container, Iterable

from stream_coupons.core.messages.leases import CodeRange

Ranges = list[CodeRange]


def count(ranges: Iterable[CodeRange]) -> int:
    """Return how many numbers the ranges have.

    Examples
    --------
    >>> count([(0, 3), (7, 8)])
    4
    """
    return sum(end - first for first, end in ranges)


def split(ranges: Iterable[CodeRange], size: int) -> tuple[Ranges, Ranges]:
    """Return the first numbers, at most `size` of them, and the rest, in their order.

    Parameters
    ----------
    ranges : iterable of CodeRange
        The ranges.
    size : int
        At most as many as there are; below 0 counts as 0.

    Examples
    --------
    >>> split([(0, 3), (7, 9)], 4)
    ([(0, 3), (7, 8)], [(8, 9)])
    """
    head, rest = Ranges(), Ranges()
    for first, end in ranges:
        middle = min(max(first + size, first), end)
        size -= middle - first
        head += [(first, middle)] if middle > first else []
        rest += [(middle, end)] if end > middle else []
    return head, rest


def joined(ranges: Iterable[CodeRange]) -> Ranges:
    """Return the ranges in their order; neighbours that follow upon each other are one.

    Examples
    --------
    >>> joined([(0, 3), (3, 4), (7, 8)])
    [(0, 4), (7, 8)]
    """
    found = Ranges()
    for first, end in ranges:
        if found and found[-1][1] == first:
            found[-1] = (found[-1][0], end)
        else:
            found.append((first, end))
    return found


def without(ranges: Ranges, revoked: Container[int]) -> Ranges:
    """Return the ranges from the first number on that is not revoked.

    Parameters
    ----------
    ranges : list of CodeRange
        The ranges.
    revoked : container of int
        Numbers that must not be given.
    """
    while ranges and ranges[0][0] in revoked:
        _, ranges = split(ranges, 1)
    return ranges
