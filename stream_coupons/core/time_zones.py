"""Time zones by their IANA names."""

import difflib
from zoneinfo import ZoneInfo, available_timezones

NEAR = 0.75
"""Similarity from which a name is suggested for another one."""


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
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        known = sorted(available_timezones())
        city = next((each for each in known if each.endswith(f"/{name.title().replace(' ', '_')}")), None)
        meant = city or next(iter(difflib.get_close_matches(name, known, 1, NEAR)), "one such as Europe/Berlin")
        raise ValueError(f"time zone {name!r} is no IANA name, expected {meant}") from None
