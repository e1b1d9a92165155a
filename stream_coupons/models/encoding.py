"""From features to the indices of a linear model's weights.

A number speaks twice: by its size, and by which of some equal bins it lies in, so that a linear model can follow any
curve. Bins are fixed: numbers are within about [0, 3] by their making. What is 0 says nothing.

Indices: hashed places, then the numbers, then each number's bins, what is known without the model, and a constant.
"""

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.coupons import Floats
from stream_coupons.core.features import DIMENSIONS, FIRST_OF_TERMS
from stream_coupons.core.numeric import NUMERIC, TERMS

BINS = 5
BINS_PER_UNIT = 1.0
LOWEST = -1.0
"""Where the first bin begins: logarithms of shares may be below 0. The first and the last bin are open."""

CONSTANT = 3.0
"""The constant: above 1, so that the base rate is learnt before all that hangs on it."""

FIRST_BIN = DIMENSIONS + len(NUMERIC)
KNOWN = FIRST_BIN + len(NUMERIC) * BINS
"""The row's offset, from `USUAL_OFFSET` on: how much of what is known without the model holds is learnt, too."""
USUAL_OFFSET = -2.5
"""Near those that there are, so that the slope moves no base rate."""
BIAS = KNOWN + 1

_FIRST_OF_EACH = np.arange(1, len(NUMERIC) * BINS + 1, BINS, dtype=np.int16)
_TERMS = [NUMERIC.index(name) for name in TERMS]
_TERM_INDICES = frozenset(
    [DIMENSIONS + number for number in _TERMS]
    + [FIRST_BIN + number * BINS + nth for number in _TERMS for nth in range(BINS)]
)


def bins_of(numeric: Floats) -> NDArray[np.intp]:
    """The bin of every number, counted from 1 through those of all numbers; 0 where the number is 0.

    Parameters
    ----------
    numeric : array, shape (n, len(NUMERIC))
    """
    # Of narrow integers until the end, and none is below 0 where it is cut to one: a third of the time.
    within = np.clip((numeric - LOWEST) * BINS_PER_UNIT, 0.0, BINS - 1.0).astype(np.int16)
    bins: NDArray[np.intp] = ((within + _FIRST_OF_EACH) * (numeric != 0.0)).astype(np.intp)
    return bins


def encode(numeric: list[float], places: list[int], offset: float = 0.0) -> dict[int, float]:
    """One row of features as River's mapping from index to value; a place hit twice counts twice.

    An offset of 0 is none.
    """
    features: dict[int, float] = {}
    for place in places:
        if place:
            features[place] = features.get(place, 0.0) + 1.0
    features.update((index, value) for index, value in enumerate(numeric, DIMENSIONS) if value)
    features.update((FIRST_BIN - 1 + place, 1.0) for place in bins_of(np.array([numeric]))[0].tolist() if place)
    features[BIAS] = CONSTANT
    if offset:
        features[KNOWN] = offset - USUAL_OFFSET
    return features


def is_of_terms(index: int) -> bool:
    """Whether the index is of what a coupon takes off, or of which one it is."""
    return index in _TERM_INDICES or FIRST_OF_TERMS <= index < DIMENSIONS


def without_terms(numeric: list[float]) -> list[float]:
    """Numbers that do not tell what the coupon takes off."""
    return [0.0 if number in _TERMS else value for number, value in enumerate(numeric)]


def without_places_of_terms(hashed: list[int]) -> list[int]:
    """Of what is hashed, places with their groups, that which does not tell which coupon it is, only what it is for."""
    return [each for each in hashed if each % DIMENSIONS < FIRST_OF_TERMS]
