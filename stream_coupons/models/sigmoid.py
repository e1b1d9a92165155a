"""From log-odds to probabilities, the same way in every model."""

import math

import numpy as np

from stream_coupons.core.catalogue.compiled import Floats

MAX_LOGIT = 30.0
"""Log-odds beyond this are cut to it: so no exponential overflows, and no probability is 0 or 1."""
MOST_STEPS = 50
PRECISION = 1e-10


def sigmoid(logit: float) -> float:
    """P of log-odds."""
    return 1.0 / (1.0 + math.exp(-min(max(logit, -MAX_LOGIT), MAX_LOGIT)))


def sigmoids(logits: Floats) -> Floats:
    """P of an array of log-odds."""
    probabilities: Floats = 1.0 / (1.0 + np.exp(-np.minimum(np.maximum(logits, -MAX_LOGIT), MAX_LOGIT)))
    return probabilities


def mode(logit: float, variance: float, label: bool) -> float:
    """The z with z = logit + variance (label - sigmoid(z)).

    Newton's method from the point between the bounds of z that is nearest to 0, where the sigmoid turns: from there
    it never steps over the solution.

    >>> round(mode(0.0, 0.0, True), 6), round(mode(0.0, 4.0, True), 6)
    (0.0, 1.042597)
    """
    low, high = (logit, logit + variance) if label else (logit - variance, logit)
    z = min(max(0.0, low), high)
    for _ in range(MOST_STEPS):
        p = sigmoid(z)
        step = (z - logit - variance * (label - p)) / (1.0 + variance * p * (1.0 - p))
        z -= step
        if abs(step) < PRECISION:
            break
    return z
