"""Time zones of the package `tzdata` by their IANA names, so that all workers agree whatever their systems have."""

import difflib
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

NEAR = 0.75
"""Similarity from which a name is suggested for another one."""


def is_zone(name: object) -> bool:
    """Return True if a value is the IANA name of a time zone."""
    return isinstance(name, str) and name in _names()


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name.

    Raises
    ------
    ValueError
        If there is none; the text suggests one.

    Examples
    --------
    >>> zone("Berlin")
    Traceback (most recent call last):
    ValueError: time zone 'Berlin' is no IANA name, expected Europe/Berlin
    """
    if not is_zone(name):
        known = sorted(_names())
        city = next((each for each in known if each.endswith(f"/{name.title().replace(' ', '_')}")), None)
        meant = city or next(iter(difflib.get_close_matches(name, known, 1, NEAR)), "one such as Europe/Berlin")
        raise ValueError(f"time zone {name!r} is no IANA name, expected {meant}")
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split())
