"""Metrics of a stream of predictions, each scored before its label is learnt, in constant memory.

References
----------
.. [1] Dawid, A. P. (1984). Statistical theory: the prequential approach. J. R. Stat. Soc. A 147(2).
.. [2] DeLong, E., DeLong, D., and Clarke-Pearson, D. (1988). Comparing the areas under two or more correlated
       receiver operating characteristic curves. Biometrics 44(3).
.. [3] Sun, X., and Xu, W. (2014). Fast implementation of DeLong's algorithm. IEEE Signal Process. Lett. 21(11).
.. [4] Efron, B., and Tibshirani, R. (1993). An Introduction to the Bootstrap, ch. 13 (percentile intervals).
.. [5] Pepe, M. S. (2003). The Statistical Evaluation of Medical Tests, sec. 5.2 (intervals on the logit scale).
.. [6] Naeini, M. P., Cooper, G., and Hauskrecht, M. (2015). Obtaining well calibrated probabilities using Bayesian
       binning. AAAI.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

EPSILON = 1e-6
MAX_LOGIT = math.log((1 - EPSILON) / EPSILON)

Floats = NDArray[np.float64]
Statistic = Callable[[Floats, Floats], float]

BINS = 2000
"""Bins of each histogram of `BinaryMetrics`."""
BINS_PER_LOGIT = BINS / (2 * MAX_LOGIT)
GROUPS = 10
"""Groups of `BinaryMetrics.calibration_error`."""
_MIDDLES: Floats = 1.0 / (1.0 + np.exp(MAX_LOGIT - (np.arange(BINS) + 0.5) / BINS_PER_LOGIT))


class BinaryMetrics:
    r"""Progressive metrics of predicted probabilities [1]_; undefined ones (AUC without a positive, say) are NaN.

    Probabilities are clipped to [1e-6, 1 - 1e-6] in the log loss, so one confident error stays finite. Its baseline is
    the log loss of the best constant, the share of positives, which is known in hindsight only.

    ROC AUC comes from histograms over equal bins of the logit, which keep a low base rate's small probabilities apart.
    With :math:`p_b, n_b` the positives and negatives in bin b,

    .. math:: \mathrm{AUC} = \sum_b p_b \Big( \sum_{a<b} n_a + n_b / 2 \Big) \Big/ \sum_b p_b \sum_b n_b

    counts a pair within one bin as a tie. The error is at most half the share of such pairs: about 0.001 for scores
    that spread over a few logits, and mostly a tenth of that, since the order within a bin is as good as random.

    Parameters
    ----------
    threshold : float
        Predictions at or above it count as positive in accuracy, precision, recall and F1.

    Examples
    --------
    >>> metrics = BinaryMetrics()
    >>> for probability, label in [(0.9, True), (0.2, False), (0.6, False), (0.7, True)]:
    ...     metrics.update(probability, label)
    >>> metrics.roc_auc, metrics.accuracy, round(metrics.log_loss, 3)
    (1.0, 0.75, 0.4)
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold
        self.examples = self.positives = 0
        self._predicted = self._loss = self._brier = 0.0
        self._true = self._false = 0  # true and false positives at the threshold
        # Lists: an increment costs a tenth of one on an array.
        self._positive, self._negative = [0] * BINS, [0] * BINS

    def update(self, probability: float, label: bool) -> None:
        """Score one prediction against its label.

        Parameters
        ----------
        probability : float
            P(label) as predicted before the label was learnt, in [0, 1].
        label : bool
            The outcome.

        Raises
        ------
        ValueError
            If the probability is outside [0, 1] or NaN.
        """
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"probability is {probability}: expected 0 to 1")
        clipped = EPSILON if probability < EPSILON else min(probability, 1 - EPSILON)
        index = min(int((math.log(clipped / (1 - clipped)) + MAX_LOGIT) * BINS_PER_LOGIT), BINS - 1)
        self.examples += 1
        self._predicted += probability
        is_called = probability >= self.threshold
        if label:
            self.positives += 1
            self._loss -= math.log(clipped)
            self._brier += (1.0 - probability) ** 2
            self._positive[index] += 1
            self._true += is_called
        else:
            self._loss -= math.log(1 - clipped)
            self._brier += probability**2
            self._negative[index] += 1
            self._false += is_called

    @property
    def log_loss(self) -> float:
        """Mean of -log(probability of the label), in nats."""
        return _ratio(self._loss, self.examples)

    @property
    def base_log_loss(self) -> float:
        """Log loss of the best constant prediction, the share of positives, in nats."""
        return _entropy(_ratio(self.positives, self.examples))

    @property
    def brier(self) -> float:
        """Mean squared difference of probability and label."""
        return _ratio(self._brier, self.examples)

    @property
    def calibration_ratio(self) -> float:
        """Predicted over observed positives: above 1 the model predicts too much."""
        return _ratio(self._predicted, self.positives)

    @property
    def accuracy(self) -> float:
        """Share of examples on the right side of the threshold."""
        return _ratio(self._true + self.examples - self.positives - self._false, self.examples)

    @property
    def precision(self) -> float:
        """Share of positives among those predicted positive."""
        return _ratio(self._true, self._true + self._false)

    @property
    def recall(self) -> float:
        """Share of positives that were predicted positive."""
        return _ratio(self._true, self.positives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _ratio(2 * self._true, self._true + self._false + self.positives)

    @property
    def roc_auc(self) -> float:
        """Probability that a random positive is scored above a random negative, ties counted half."""
        positive, negative = np.array(self._positive, np.float64), np.array(self._negative, np.float64)
        below = np.cumsum(negative) - negative / 2
        return _ratio(float(positive @ below), float(positive.sum() * negative.sum()))

    def calibration_error(self) -> float:
        r"""Return the expected calibration error [6]_: :math:`\sum_g w_g |\bar y_g - \bar p_g|`.

        The ten groups are of about equal size, neighbours by prediction; :math:`w_g` is a group's share, and its mean
        prediction comes from the bins' middles.
        """
        positive, negative = np.array(self._positive), np.array(self._negative)
        weight = positive + negative
        if not self.examples:
            return math.nan
        gap = positive - weight * _MIDDLES
        group = np.minimum((np.cumsum(weight) - weight / 2) / self.examples * GROUPS, GROUPS - 1).astype(np.intp)
        return float(np.abs(np.bincount(group, gap)).sum()) / self.examples


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else math.nan


def _entropy(rate: float) -> float:
    """Return the entropy of a label that is true at some rate, in nats."""
    return sum(share * math.log(1.0 / share) for share in (rate, 1.0 - rate) if share != 0.0)


@dataclass(frozen=True, slots=True)
class Interval:
    """A statistic with its confidence interval."""

    value: float
    low: float
    high: float


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
    return _ratio(above, positives * (len(truth) - positives))


def log_loss(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean log loss in nats, clipped as in `BinaryMetrics`, NaN for no rows; parameters as of `roc_auc`."""
    clipped = np.clip(np.asarray(probabilities, np.float64), EPSILON, 1 - EPSILON)
    losses = -np.log(np.where(np.asarray(labels, np.bool_), clipped, 1 - clipped))
    return float(losses.mean()) if len(losses) else math.nan


def auc_interval(probabilities: ArrayLike, labels: ArrayLike) -> Interval:
    r"""Return the area under the ROC curve with DeLong's 95 % interval [2]_, from midranks [3]_, in O(n log n).

    With m positives, n negatives and the structural components :math:`V_{10}(x) = P(X > Y \mid X = x)` and
    :math:`V_{01}(y) = P(X > Y \mid Y = y)`, the variance is :math:`S_{10} / m + S_{01} / n`, S their sample
    variances. The interval is taken on the logit scale, so it stays within (0, 1) [5]_. It holds for independent
    rows; where rows share a shopper, `bootstrap_interval` with groups is wider and right. Parameters as of `roc_auc`.
    Bounds are NaN with fewer than two rows of a class.
    """
    scores, truth = np.asarray(probabilities, np.float64), np.asarray(labels, np.bool_)
    area, m, n = roc_auc(scores, truth), int(truth.sum()), int((~truth).sum())
    if min(m, n) < 2:
        return Interval(area, math.nan, math.nan)
    ranks = _midranks(scores)
    v10 = (ranks[truth] - _midranks(scores[truth])) / n
    v01 = 1 - (ranks[~truth] - _midranks(scores[~truth])) / m
    deviation = math.sqrt(float(np.var(v10, ddof=1)) / m + float(np.var(v01, ddof=1)) / n)
    if not 0 < area < 1:
        return Interval(area, area, area)
    middle = math.log(area / (1 - area))
    reach = NormalDist().inv_cdf(0.975) * deviation / (area * (1 - area))
    low, high = (1 / (1 + math.exp(-x)) for x in (middle - reach, middle + reach))
    return Interval(area, low, high)


def bootstrap_interval(
    statistic: Statistic,
    probabilities: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    seed: int = 0,
    repeats: int = 200,
) -> Interval:
    """Return a statistic with its 95 % percentile bootstrap interval [4]_.

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


def _midranks(values: Floats) -> Floats:
    """Return the ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
