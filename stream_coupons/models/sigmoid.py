"""From log-odds to probabilities, the same way in every model."""

import math

import numpy as np

from stream_coupons.core.coupons import Floats

MAX_LOGIT = 30.0
"""Log-odds beyond this are cut to it: so no exponential overflows, and no probability is 0 or 1."""


def sigmoid(logit: float) -> float:
    """P of log-odds."""
    return 1.0 / (1.0 + math.exp(-min(max(logit, -MAX_LOGIT), MAX_LOGIT)))


def sigmoids(logits: Floats) -> Floats:
    """P of an array of log-odds."""
    probabilities: Floats = 1.0 / (1.0 + np.exp(-np.minimum(np.maximum(logits, -MAX_LOGIT), MAX_LOGIT)))
    return probabilities
