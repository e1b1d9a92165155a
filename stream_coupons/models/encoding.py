"""Encoding of features as indices of a linear model's weights.

A numeric feature has two effects: by its value, and by its bin among some equal ones, so that a linear model can follow
any curve. Bins are fixed, as numeric features are within about [0, 3] by construction. A feature of 0 has no effect.

Indices: hashed features, then numeric features, then the bins of each, a coupon held, and a constant.
"""

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.features.numeric import FEATURES, NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, FIRST_OF_TERMS, OF_EVERY_COUPON

Indices = NDArray[np.int64]

BINS = 5
LOWEST = -1.0
"""Start of the first bin, of width 1: logarithms of shares may be below 0. The first and the last bin are open."""

CONSTANT = 3.0
"""Value of the constant feature: above 1, so that the base rate is learnt before the other weights."""

FIRST_BIN = DIMENSIONS + len(NUMERIC)
HELD = FIRST_BIN + len(NUMERIC) * BINS
"""Index of whether a coupon was held in a visit: an addition to the log-odds that is learnt, and not served."""
BIAS = HELD + 1

_FIRST_OF_EACH = np.arange(1, len(NUMERIC) * BINS + 1, BINS, dtype=np.int16)
_FIRST_BINS = np.arange(FIRST_BIN, HELD, BINS)
_NOT_OF_TERMS = np.array([not feature.is_of_terms for feature in FEATURES], np.float64)

MOST_JOINT = 256
"""Indices of which the Kalman filter keeps a joint covariance."""


def bins_of(numeric: Floats) -> NDArray[np.intp]:
    """Return the bin of every numeric feature, counted from 1 over all features; 0 where the feature is 0.

    Parameters
    ----------
    numeric : array, shape (n, len(NUMERIC))
        Numeric features of n rows.
    """
    # Narrow integers until the end, and no negative number before truncation: a third of the time.
    within = np.minimum(np.maximum(numeric - LOWEST, 0.0), BINS - 1.0).astype(np.int16)
    bins: NDArray[np.intp] = ((within + _FIRST_OF_EACH) * (numeric != 0.0)).astype(np.intp)
    return bins


def encode(numeric: Floats, places: Indices, *, is_held: bool = False) -> tuple[Indices, Floats]:
    """Return the nonzero features of one row.

    Parameters
    ----------
    numeric : array, shape (len(NUMERIC),)
        Numeric features.
    places : array of int
        Bucket indices of hashed features; 0 is none, and a repeated one counts twice.
    is_held : bool
        True if a coupon was held in a visit.

    Returns
    -------
    indices, values : array, shape (m,)
        Unique indices, those of hashed features first and ascending, and their values.
    """
    hit, counts = places[places > 0], None
    hit.sort()
    if np.count_nonzero(hit[1:] == hit[:-1]):
        hit, counts = np.unique(hit, return_counts=True)
    numbers = numeric.nonzero()[0]
    numeric = numeric.take(numbers)
    first, end = len(hit), len(hit) + len(numbers)
    last = end + len(numbers)
    indices, values = np.empty(last + 1 + is_held, np.int64), np.ones(last + 1 + is_held)
    indices[:first] = hit
    np.add(numbers, DIMENSIONS, out=indices[first:end])
    within = np.minimum(np.maximum(numeric - LOWEST, 0.0), BINS - 1.0).astype(np.int16)
    np.add(_FIRST_BINS.take(numbers), within, out=indices[end:last])
    values[first:end], values[last], indices[last] = numeric, CONSTANT, BIAS
    if counts is not None:
        values[:first] = counts
    if is_held:
        indices[-1] = HELD
    return indices, values


_OF_EFFECT = np.array([feature.is_of_effect for feature in FEATURES], np.float64)


def numbers_of_effect(numeric: Floats) -> Floats:
    """Return the numeric features with those that are not of the effect set to 0."""
    return numeric * _OF_EFFECT


def places_of_effect(hashed: Indices) -> Indices:
    """Return the hashed features of the effect: those of the coupon alone."""
    return hashed[: len(OF_EVERY_COUPON)]


def without_terms(numeric: Floats) -> Floats:
    """Return the numeric features with those of the discount set to 0."""
    return numeric * _NOT_OF_TERMS


def without_places_of_terms(hashed: Indices) -> Indices:
    """Return the hashed features, with their groups, that describe a coupon's scope and not its terms."""
    return hashed[hashed % DIMENSIONS < FIRST_OF_TERMS]
