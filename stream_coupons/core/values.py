"""Hashes of values that nobody has described: attributes of coupons and whatever else is known of a moment.

A text, a flag or null is one category. A number is three: the octave that it lies in, that of octaves which begin half
an octave higher, and itself to two significant digits. So its scale need not be known, nor learnt. Numbers near each
other share an octave or both, so what is learnt of one is learnt of its neighbours (tiles, [1]_); where there are many
examples, or all numbers are alike, the digits speak.

References
----------
.. [1] Sutton, R. S. (1996). Generalization in reinforcement learning: successful examples using sparse coarse coding.
       NeurIPS.
"""

import math

# Not `feature_index`, which remembers names: these are as many as senders like, and long. A hash costs 0.2 to 0.6 us.
from stream_coupons.core.similarity import name_index

LEVELS = 3
"""Hashes of a value, from coarse to fine; a category has one, and the others are 0."""
TILES = (0.0, 0.5)
"""By how much of an octave the octaves of each level are shifted."""

Value = str | float | bool | None


def value_hashes(name: str, value: Value) -> tuple[int, ...]:
    """Hashes of a named value.

    >>> value_hashes("rain_mm", 1.234) == value_hashes("rain_mm", 1.2341)
    True
    >>> [one == other for one, other in zip(value_hashes("rain_mm", 1.2), value_hashes("rain_mm", 1.9))]
    [True, False, False]
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        octaves = (name_index(f"{name}=2^{octave(value, shift)}+{shift}") for shift in TILES)
        return (*octaves, name_index(f"{name}={value + 0.0:.1e}"))
    return (name_index(f"{name}={value}"), *(0,) * (LEVELS - 1))


def octave(value: float, shift: float) -> str:
    """The octave of a number, its sign before it, where octaves begin `shift` of one higher; that of 0 has no name.

    >>> octave(1000.0, 0.0), octave(1000.0, 0.5), octave(-0.3, 0.0), octave(0.0, 0.5)
    ('9', '9', '--2', '')
    """
    return f"{'-' * (value < 0)}{math.floor(math.log2(abs(value)) - shift)}" if value else ""
