"""Times as people write and read them: ISO 8601, and the shop's time zone where no offset is stated."""

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, get_args

from stream_coupons.core.messages.fields import END_OF_TIME, EpochSeconds

EXPECTED = "use 2026-01-02T18:00 or epoch seconds"

MAX_DAY = date(9000, 1, 1)
"""Later dates count as this one: the last date of the calendar has no next day."""


def utc(at: float) -> str:
    """Return a moment as ISO 8601 in UTC to the second; a number that is no time stays one.

    >>> utc(1_767_348_000.5), utc(1e300)
    ('2026-01-02T10:00:00Z', '1e+300')
    """
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(at)


def is_time(kind: Any) -> bool:
    """Return True if a field of this type is a time, in messages UTC epoch seconds."""
    return EpochSeconds in (kind, *get_args(kind))


def epoch_seconds(text: str, where: tzinfo, *, ends: bool = False) -> float:
    """Return the UTC epoch seconds of an ISO 8601 time.

    Parameters
    ----------
    text : str
        A date or a time; without an offset, one of the zone's clock.
    where : tzinfo
        The zone of a time without an offset.
    ends : bool
        A date without a time stands for its end: the start of the next day.

    Raises
    ------
    ValueError
        If it is none, or one that clocks of the zone skip or show twice.

    Examples
    --------
    >>> from zoneinfo import ZoneInfo
    >>> [epoch_seconds("2026-11-27", ZoneInfo("Europe/Berlin"), ends=ends) for ends in (False, True)]
    [1795734000.0, 1795820400.0]
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        at = _moment(text, where).timestamp()
    else:
        first = datetime.combine(min(day, MAX_DAY) + timedelta(days=ends), datetime.min.time(), where)
        at = first.timestamp()
    if not 0 <= at <= END_OF_TIME:
        hint = ", or remove it for no end" if ends else ""
        raise ValueError(f"{text!r} is not from 1970 to 2099; {EXPECTED}{hint}")
    return at


def _moment(text: str, where: tzinfo) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        why = "" if str(error).startswith("Invalid isoformat") else f" ({error})"
        raise ValueError(f"{text!r} is not a time{why}; {EXPECTED}") from None
    if moment.tzinfo is not None:
        return moment
    moment = moment.replace(tzinfo=where)
    if moment.utcoffset() != moment.replace(fold=1).utcoffset():
        raise ValueError(
            f"{text!r} is skipped or comes twice in {where}, whose clocks change then: write the offset, such as +01:00"
        )
    return moment
