"""Local time in the time zones of the package `tzdata`, so that all workers agree whatever their systems have."""

import math
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import ZoneInfo

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
        A zone that `is_zone` knows.

    Examples
    --------
    >>> [local_time(1e9, zone).hour.__round__(2) for zone in ("UTC", "Europe/Berlin", "Asia/Kolkata")]
    [1.78, 3.78, 7.28]
    """
    local = at + (0.0 if zone == "UTC" else _offset_s(zone, int(at // SLOT_S)))
    day = math.floor(local / DAY_S)
    return LocalTime(day, (local - day * DAY_S) / 3600.0)


def is_zone(name: object) -> bool:
    """Return True if a value is the IANA name of a time zone."""
    return isinstance(name, str) and name in _names()


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split())


@lru_cache(maxsize=4096)
def _offset_s(zone: str, slot: int) -> float:
    offset = datetime.fromtimestamp(slot * SLOT_S, UTC).astimezone(_zone(zone)).utcoffset()
    return 0.0 if offset is None else offset.total_seconds()


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
