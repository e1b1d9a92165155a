"""Rhythm of a shopper: events by day of the week and by hour of the day, UTC."""

import math
from collections.abc import Sequence

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
    day = weekday(at)
    counts[day] += count
    counts[WEEKDAYS + hour(at)] += count
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
    now = hour(at)
    near = sum(part * counts[WEEKDAYS + (now + apart) % HOURS] for apart, part in NEAR_HOURS)
    all_days, all_hours = sum(counts[:WEEKDAYS]), sum(counts[WEEKDAYS:])
    return (
        math.log((WEEKDAYS * counts[weekday(at)] + PRIOR_COUNT) / (all_days + PRIOR_COUNT)),
        math.log((HOURS * near + PRIOR_COUNT) / (all_hours + PRIOR_COUNT)),
    )


def weekday(at: float) -> int:
    """Return the day of the week of a time in UTC epoch seconds; 0 is Thursday."""
    return int(at // 86400.0 % WEEKDAYS)


def hour(at: float) -> int:
    """Return the hour of the day of a time in UTC epoch seconds."""
    return int(at // 3600.0 % HOURS)


def hands(at: float) -> list[float]:
    """Return the first two Fourier terms of the time of day: sine and cosine of one and of two turns a day, halved.

    A weighted sum of them is a smooth periodic function with up to two peaks a day.

    Examples
    --------
    >>> [round(each, 3) + 0.0 for each in hands(6 * 3600.0)]
    [0.5, 0.0, 0.0, -0.5]
    """
    angle = math.tau * (at / 86400.0 % 1.0)
    return [0.5 * of(rounds * angle) for rounds in (1, 2) for of in (math.sin, math.cos)]
