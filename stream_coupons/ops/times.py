"""Times as people read them."""

from datetime import UTC, datetime


def utc(at: float) -> str:
    """Return a moment in UTC to the second; clients may state any number, and one that is no time stays a number.

    >>> utc(1_767_348_000.5), utc(1e300)
    ('2026-01-02 10:00:00Z', '1e+300')
    """
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(at)
