"""When a shopper comes: on which days of the week, and at which hours of the day (UTC)."""

import math
from collections.abc import Sequence

WEEKDAYS, HOURS = 7, 24
WEEKEND = (2, 3)
"""Saturday and Sunday, as `weekday` counts."""
ORDER_COUNTS = 5
"""An order counts as much as five other events."""
MOST_COUNTED = 255
"""Of one weekday."""
PRIOR_COUNT = 5.0
"""What is not known of a shopper's rhythm, as much as of one order: all days and all hours are alike in it."""
NEAR_HOURS = ((-2, 1 / 9), (-1, 2 / 9), (0, 3 / 9), (1, 2 / 9), (2, 1 / 9))
"""Hours about an hour, and what each says of it: who comes at eight may come at nine."""

Counts = list[int]
"""Events on each day of the week, Thursday first as the epoch begins, then events in each hour of the day."""


def note_time(counts: Counts, at: float, *, is_order: bool) -> Counts:
    """Count an event; when there are more than `MOST_COUNTED` half of all are forgotten."""
    if not counts:
        counts = [0] * (WEEKDAYS + HOURS)
    count = ORDER_COUNTS if is_order else 1
    day = weekday(at)
    counts[day] += count
    counts[WEEKDAYS + hour(at)] += count
    return counts if counts[day] <= MOST_COUNTED else [each // 2 for each in counts]


def rhythm(counts: Sequence[int], at: float) -> tuple[float, float]:
    """Logarithms of how many times the even share the weekday, and the hour with those about it, have of the events.

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
    """Of a time in UTC epoch seconds; 0 is Thursday."""
    return int(at // 86400.0 % WEEKDAYS)


def hour(at: float) -> int:
    """Of the day, UTC."""
    return int(at // 3600.0 % HOURS)


def hands(at: float) -> list[float]:
    """Sine and cosine of the hand of a clock that goes round once a day, and of one that does so twice, halved.

    A weighted sum of them has any smooth course over the day, with up to two peaks (a Fourier series), and ends where
    it began.

    >>> [round(each, 3) + 0.0 for each in hands(6 * 3600.0)]
    [0.5, 0.0, 0.0, -0.5]
    """
    angle = math.tau * (at / 86400.0 % 1.0)
    return [0.5 * of(rounds * angle) for rounds in (1, 2) for of in (math.sin, math.cos)]
