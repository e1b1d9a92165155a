"""Hashes of values that nobody has described: attributes of coupons and whatever else is known of a moment.

A text, a flag or null is one category. A number is three, from coarse to fine: itself to one, two and three significant
digits. So its scale need not be known, nor learnt: where there are few examples the coarse digits speak, where there
are many the fine ones.
"""

# Not `feature_index`, which remembers names: these are as many as senders like, and long. A hash costs 0.2 to 0.6 us.
from stream_coupons.core.similarity import name_index

LEVELS = 3
"""Hashes of a value, from coarse to fine; a category has one, and the others are 0."""

Value = str | float | bool | None


def value_hashes(name: str, value: Value) -> tuple[int, ...]:
    """Hashes of a named value.

    >>> value_hashes("rain_mm", 1.234) == value_hashes("rain_mm", 1.2341)
    True
    >>> value_hashes("rain_mm", 1.234)[:2] == value_hashes("rain_mm", 1.19)[:2]
    True
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return tuple(name_index(f"{name}={value:.{digits}e}") for digits in range(LEVELS))
    return (name_index(f"{name}={value}"), *(0,) * (LEVELS - 1))
