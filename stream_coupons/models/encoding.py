"""From features to the indices of a linear model's weights.

A number speaks twice: by its size, and by which of some equal bins it lies in, so that a linear model can follow any
curve. Bins are fixed: numbers are within about [0, 3] by their making. What is 0 says nothing.

Indices: hashed places, then the numbers, then each number's bins, what is known without the model, and a constant.
"""

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.features.numeric import NUMERIC, TERMS
from stream_coupons.core.features.rows import DIMENSIONS, FIRST_OF_TERMS, HASHED

Indices = NDArray[np.int64]

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

OF_TERMS: NDArray[np.bool_] = np.zeros(BIAS + 1, np.bool_)
"""By index of a weight, whether it belongs to the terms of a coupon: what it takes off, or which coupon it is."""
OF_TERMS[[*_TERM_INDICES]] = OF_TERMS[FIRST_OF_TERMS:DIMENSIONS] = True


def bins_of(numeric: Floats) -> NDArray[np.intp]:
    """The bin of every number, counted from 1 through those of all numbers; 0 where the number is 0.

    Parameters
    ----------
    numeric : array, shape (n, len(NUMERIC))
    """
    # Of narrow integers until the end, and none is below 0 where it is cut to one: a third of the time.
    bins: NDArray[np.intp] = ((_within(numeric) + _FIRST_OF_EACH) * (numeric != 0.0)).astype(np.intp)
    return bins


def encode(numeric: Floats, places: Indices, offset: float = 0.0) -> tuple[Indices, Floats]:
    """Return one row of features as (indices, values) of all that is not zero.

    Places come first, ascending; one that is hit twice counts twice. An offset of 0 is none.
    """
    hit = np.sort(places[places > 0])
    if hit.size > 1 and (hit[1:] == hit[:-1]).any():
        hit, counts = np.unique(hit, return_counts=True)
    else:
        counts = np.ones(hit.size, np.int64)
    numbers = numeric.nonzero()[0]
    values = numeric[numbers]
    bins = numbers * BINS + _within(values)
    last, of_last = ([BIAS, KNOWN], [CONSTANT, offset - USUAL_OFFSET]) if offset else ([BIAS], [CONSTANT])
    indices = np.concatenate((hit, numbers + DIMENSIONS, bins + FIRST_BIN, last))
    return indices, np.concatenate((counts, values, np.ones(len(bins)), of_last))


def _within(numbers: Floats) -> NDArray[np.int16]:
    """The bin of each number among its own, from 0 on."""
    within: NDArray[np.int16] = np.minimum(np.maximum((numbers - LOWEST) * BINS_PER_UNIT, 0.0), BINS - 1.0).astype(
        np.int16
    )
    return within


def is_of_terms(index: int) -> bool:
    """Whether the index is of what a coupon takes off, or of which one it is."""
    return index in _TERM_INDICES or FIRST_OF_TERMS <= index < DIMENSIONS


OF_EFFECT = (
    "discount_depth",
    "discount_size",
    "demand_share",
    "scope_part",
    "near_scope_share",
    "browsed_now",
    "carted_now",
    "habit",
    "category_ordered",
    "exposure",
    "this_coupon_issued",
    "redeem_rate",
)
"""Numbers that a coupon's effect may depend on: there are few redemptions to learn it from."""
_OF_EFFECT = np.isin(NUMERIC, OF_EFFECT)
_PLACES_OF_EFFECT = [HASHED.index(name) for name in ("coupon", "kind", "category", "brand", "depth")]


def numbers_of_effect(numeric: Floats) -> Floats:
    """Return the numbers with all that the effect does not depend on as 0."""
    return np.where(_OF_EFFECT, numeric, 0.0)


def places_of_effect(hashed: Indices) -> Indices:
    """Return what is hashed of which coupon it is, and what it takes off."""
    return hashed[[column for column in _PLACES_OF_EFFECT if column < len(hashed)]]


def without_terms(numeric: Floats) -> Floats:
    """Numbers that do not tell what the coupon takes off."""
    without = numeric.copy()
    without[_TERMS] = 0.0
    return without


def without_places_of_terms(hashed: Indices) -> Indices:
    """Of what is hashed, places with their groups, that which does not tell which coupon it is, only what it is for."""
    return hashed[hashed % DIMENSIONS < FIRST_OF_TERMS]
