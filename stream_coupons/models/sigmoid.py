"""From log-odds to probabilities, the same way in every model."""

import math

import numpy as np

from stream_coupons.core.catalogue.compiled import Floats

MAX_LOGIT = 30.0
"""Log-odds beyond this are cut to it: so no exponential overflows, and no probability is 0 or 1."""
MOST_STEPS = 50
PRECISION = 1e-10


def sigmoid(logit: float) -> float:
    """Return the probability of log-odds, which are cut to `MAX_LOGIT`."""
    return 1.0 / (1.0 + math.exp(-min(max(logit, -MAX_LOGIT), MAX_LOGIT)))


def sigmoids(logits: Floats) -> Floats:
    """Return the probabilities of an array of log-odds, which are cut to `MAX_LOGIT`."""
    probabilities: Floats = 1.0 / (1.0 + np.exp(-np.minimum(np.maximum(logits, -MAX_LOGIT), MAX_LOGIT)))
    return probabilities


def mode(logit: float, variance: float, label: bool) -> float:
    """Return the z with z = logit + variance (label - sigmoid(z)): the mode after one label of a Gaussian prior.

    Newton's method from the point between the bounds of z that is nearest to 0, where the sigmoid turns: from there
    it never steps over the solution.

    Parameters
    ----------
    logit, variance : float
        Mean and variance of the log-odds before the label.
    label : bool
        The outcome.

    Examples
    --------
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
