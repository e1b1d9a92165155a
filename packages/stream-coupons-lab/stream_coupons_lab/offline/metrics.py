"""Metrics of all predictions of a log together, and their confidence intervals.

References
----------
.. [1] Efron, B., and Tibshirani, R. (1993). An Introduction to the Bootstrap, ch. 13 (percentile intervals).
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stream_coupons.models.metrics import EPSILON, Interval

Floats = NDArray[np.float64]
Statistic = Callable[[Floats, Floats], float]


def roc_auc(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the exact area under the ROC curve; NaN without both classes.

    Parameters
    ----------
    probabilities, labels : array_like, shape (n,)
        Predictions in [0, 1], and their outcomes.

    Examples
    --------
    >>> roc_auc([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1])
    0.875
    """
    scores, truth = np.asarray(probabilities, np.float64), np.asarray(labels, np.bool_)
    positives = int(truth.sum())
    above = float(_midranks(scores)[truth].sum()) - positives * (positives + 1) / 2
    pairs = positives * (len(truth) - positives)
    return above / pairs if pairs else math.nan


def log_loss(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean log loss in nats, clipped as in `BinaryMetrics`, NaN for no rows; parameters as of `roc_auc`."""
    clipped = np.clip(np.asarray(probabilities, np.float64), EPSILON, 1 - EPSILON)
    losses = -np.log(np.where(np.asarray(labels, np.bool_), clipped, 1 - clipped))
    return float(losses.mean()) if len(losses) else math.nan


def bootstrap_interval(
    statistic: Statistic,
    probabilities: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    seed: int = 0,
    repeats: int = 200,
) -> Interval:
    """Return a statistic with its 95 % percentile bootstrap interval [1]_.

    Draws on which the statistic is undefined (NaN) are left out.

    Parameters
    ----------
    statistic : callable
        Returns the statistic of probabilities and labels.
    probabilities, labels : array_like, shape (n,)
        Predictions in [0, 1], and their outcomes.
    groups : array_like, shape (n,), optional
        Drawn whole, with replacement: rows of one shopper depend on each other. Each row is one by default.
    seed, repeats : int
        Of the draws, and their number.
    """
    scores, truth = np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
    members = np.arange(len(scores)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    order = np.argsort(members, kind="stable")
    sizes = np.bincount(members)
    ends = np.cumsum(sizes)
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(repeats):
        drawn = rng.integers(0, len(sizes), len(sizes))
        size = sizes[drawn]
        rows = order[np.arange(size.sum()) + np.repeat(ends[drawn] - np.cumsum(size), size)]
        values.append(statistic(scores[rows], truth[rows]))
    low, high = np.nanquantile(values, (0.025, 0.975))
    return Interval(statistic(scores, truth), float(low), float(high))


def loss_gain(
    first: ArrayLike, second: ArrayLike, labels: ArrayLike, groups: ArrayLike, seed: int = 0, repeats: int = 200
) -> Interval:
    """Return how much less log loss the second predictions of the same rows have, with a paired interval.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        Predictions in [0, 1].
    labels, groups, seed, repeats
        As of `bootstrap_interval`.
    """

    def gain(pairs: Floats, labels: Floats) -> float:
        return log_loss(pairs[:, 0], labels) - log_loss(pairs[:, 1], labels)

    return bootstrap_interval(gain, np.column_stack([first, second]), labels, groups, seed, repeats)


def _midranks(values: Floats) -> Floats:
    """Return the ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
