"""Hashes of values without a declared type or scale: attributes of coupons and values of a context.

A text, a flag, null or a number that is not finite has one hash. A number has four: its octave, its octave among those
that begin half an octave higher, its span of three octaves, and the number to two significant digits. So its scale need
not be known or learnt. Numbers near each other share spans, so an example of one trains its neighbours (tiles, [1]_),
with few examples also the further ones; with many examples, or if all numbers are alike, the digits tell them apart. A
large number may be a small one with an offset, such as a year of birth or a time: it has two more hashes, to three and
to five digits.

References
----------
.. [1] Sutton, R. S. (1996). Generalization in reinforcement learning: successful examples using sparse coarse coding.
       NeurIPS.
"""

import math
from functools import lru_cache

# Not `feature_index`, which caches 200,000 names: producers decide how many these are. A hash costs 0.2 to 0.6 us.
from stream_coupons.core.vectors.sparse import MAX_REMEMBERED, name_index

LEVELS = 6
"""Hashes of a value, from coarse to fine; those that a value does not have are 0."""
LARGE = 100.0
"""Magnitude from which a number has the hashes of `FINE_DIGITS`."""
FINE_DIGITS = (3, 5)
TILES = ((1, 0.0), (1, 0.5), (3, 0.75))
"""Width and shift of the spans of each level, octaves."""

Value = str | float | bool | None


def value_hashes(name: str, value: Value) -> tuple[int, ...]:
    """Return the hashes of a named value.

    Parameters
    ----------
    name : str
        Name of the attribute, or key of the context.
    value : str, float, bool or None
        A number of any scale, or a category.

    Returns
    -------
    tuple of int
        `LEVELS` unsigned 32-bit hashes, from coarse to fine; 0 for a level that the value does not have.

    Examples
    --------
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
    """Return the name of the span of a finite number.

    Parameters
    ----------
    value : float
        Its sign leads the name; 0 has an empty name.
    width : int
        Width of all spans, octaves.
    shift : float
        Octaves from 1 to the start of span 0.

    Examples
    --------
    >>> span(1000.0, 1, 0.0), span(1000.0, 1, 0.5), span(-0.3, 1, 0.0), span(0.0, 1, 0.5), span(1000.0, 3, 0.75)
    ('9', '9', '--2', '', '3')
    """
    return f"{'-' * (value < 0)}{math.floor((math.log2(abs(value)) - shift) / width)}" if value else ""
