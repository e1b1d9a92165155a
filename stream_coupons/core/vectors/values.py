"""Hashes of values that nobody has described: attributes of coupons and whatever else is known of a moment.

A text, a flag or null is one category, and so is what is no finite number. A number is four: the octave that it lies
in, that of octaves which begin half an octave higher, that of spans of three octaves, and itself to two significant
digits. So its scale need not be known, nor learnt. Numbers near each other share spans, so what is learnt of one is
learnt of its neighbours (tiles, [1]_), of the further ones, too, where there are few examples; where there are many, or
all numbers are alike, the digits speak. A large number may be a small one with an offset, as a year of birth or a time
is: it is two more, itself to three and to five digits.

References
----------
.. [1] Sutton, R. S. (1996). Generalization in reinforcement learning: successful examples using sparse coarse coding.
       NeurIPS.
"""

import math
from functools import lru_cache

# Not `feature_index`, which remembers 200,000 names: these are as many as senders like. A hash costs 0.2 to 0.6 us.
from stream_coupons.core.vectors.sparse import MAX_REMEMBERED, name_index

LEVELS = 6
"""Hashes of a value, from coarse to fine; a category has one, a number that is not large four, and the others are 0."""
LARGE = 100.0
FINE_DIGITS = (3, 5)
TILES = ((1, 0.0), (1, 0.5), (3, 0.75))
"""How many octaves the spans of each level are wide, and by how many they are shifted."""

Value = str | float | bool | None


def value_hashes(name: str, value: Value) -> tuple[int, ...]:
    """Hashes of a named value.

    >>> value_hashes("rain_mm", 1.234) == value_hashes("rain_mm", 1.2341)
    True
    >>> [one == other for one, other in zip(value_hashes("rain_mm", 1.2), value_hashes("rain_mm", 1.9))]
    [True, False, False, False, True, True]
    >>> [one == other for one, other in zip(value_hashes("born", 1960), value_hashes("born", 1990))]
    [True, True, True, True, False, False]
    """
    is_long = isinstance(value, str) and len(name) + len(value) > MAX_REMEMBERED
    return (_value_hashes if is_long else _remembered)(name, value)


def _value_hashes(name: str, value: Value) -> tuple[int, ...]:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        spans = (name_index(f"{name}=2^{width}*{span(value, width, shift)}+{shift}") for width, shift in TILES)
        fine = FINE_DIGITS if abs(value) >= LARGE else ()
        digits = [name_index(f"{name}={value + 0.0:.{size - 1}e}") for size in (2, *fine)]
        return (*spans, *digits, *(0,) * (LEVELS - len(TILES) - len(digits)))
    return (name_index(f"{name}={value}"), *(0,) * (LEVELS - 1))


# By type: True is another value than 1.0.
_remembered = lru_cache(maxsize=2**15, typed=True)(_value_hashes)


def span(value: float, width: int, shift: float) -> str:
    """The span of a finite number, its sign before it, of those that are `width` octaves wide and begin `shift` higher
    than 1; that of 0 has no name.

    >>> span(1000.0, 1, 0.0), span(1000.0, 1, 0.5), span(-0.3, 1, 0.0), span(0.0, 1, 0.5), span(1000.0, 3, 0.75)
    ('9', '9', '--2', '', '3')
    """
    return f"{'-' * (value < 0)}{math.floor((math.log2(abs(value)) - shift) / width)}" if value else ""
