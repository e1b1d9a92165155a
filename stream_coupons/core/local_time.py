"""Calendar day and clock time in a time zone."""

import math
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import NamedTuple

from stream_coupons.core import time_zones

DAY_S = 86400.0
SLOT_S = 900.0
"""All zones have changed their offset at a quarter of an hour only, since 2012."""
EPOCH = date(1970, 1, 1).toordinal()


class LocalTime(NamedTuple):
    """A calendar day and the time on its clock.

    Attributes
    ----------
    day : int
        Days since 1970-01-01, a Thursday.
    hour : float
        Hours on the clock, in [0, 24).
    """

    day: int
    hour: float

    @property
    def weekday(self) -> int:
        """Day of the week, 0 for Monday."""
        return (self.day + 3) % 7

    @property
    def week(self) -> int:
        """Number of the week, which begins on Monday."""
        return (self.day + 3) // 7

    @property
    def month(self) -> int:
        """Number of the month, from January of the year 0 on."""
        on = date.fromordinal(EPOCH + self.day)
        return on.year * 12 + on.month - 1


def local_time(at: float, zone: str) -> LocalTime:
    """Return the local time in a zone.

    Parameters
    ----------
    at : float
        UTC epoch seconds.
    zone : str
        IANA name of a time zone.

    Examples
    --------
    >>> [local_time(1e9, zone).hour.__round__(2) for zone in ("UTC", "Europe/Berlin", "Asia/Kolkata")]
    [1.78, 3.78, 7.28]
    """
    local = at + (0.0 if zone == "UTC" else _offset_s(zone, int(at // SLOT_S)))
    day = math.floor(local / DAY_S)
    return LocalTime(day, (local - day * DAY_S) / 3600.0)


@lru_cache(maxsize=4096)
def _offset_s(zone: str, slot: int) -> float:
    offset = datetime.fromtimestamp(slot * SLOT_S, UTC).astimezone(time_zones.zone(zone)).utcoffset()
    return 0.0 if offset is None else offset.total_seconds()
