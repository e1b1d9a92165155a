"""Quality of a stream of predictions, each scored before its label is learnt, in memory that does not grow.

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


@dataclass(frozen=True, slots=True)
class Summary:
    """The metrics at one moment; what is undefined (AUC without a positive, say) is NaN."""

    examples: int
    positives: int
    log_loss: float
    base_log_loss: float
    roc_auc: float
    average_precision: float
    brier: float
    calibration_ratio: float
    accuracy: float
    precision: float
    recall: float
    f1: float


class BinaryMetrics:
    r"""Progressive metrics of predicted probabilities [1]_.

    Probabilities are clipped to [1e-6, 1 - 1e-6] in the log loss, so one confident error stays finite. Beside it is
    that of the best constant, the share of positives, which only hindsight knows: who is above it would do better to
    say one number. Weights scale an example in everything but `examples` and `positives`.

    ROC AUC and average precision come from histograms over equal bins of the logit, where a low base rate's small
    probabilities stay apart. With :math:`p_b, n_b` the weights of positives and negatives in bin b,

    .. math:: \mathrm{AUC} = \sum_b p_b \Big( \sum_{a<b} n_a + n_b / 2 \Big) \Big/ \sum_b p_b \sum_b n_b

    counts a pair within one bin as a tie. Exact values differ by at most `auc_error`, which is half the share of
    such pairs: about 0.001 with 2,000 bins and scores that spread over a few logits. Within a bin the order is as
    good as random, so the true difference is mostly a tenth of that or less.

    Parameters
    ----------
    threshold : float
        Predictions at or above it count as positive in accuracy, precision, recall and F1.
    bins : int
        Bins of each histogram.

    Examples
    --------
    >>> metrics = BinaryMetrics()
    >>> for probability, label in [(0.9, True), (0.2, False), (0.6, False), (0.7, True)]:
    ...     metrics.update(probability, label)
    >>> metrics.roc_auc, metrics.accuracy, round(metrics.log_loss, 3)
    (1.0, 0.75, 0.4)
    """

    __slots__ = ("_brier", "_false", "_loss", "_negative", "_positive", "_predicted", "_scale", "_true",
                 "_weight", "_weight_positive", "bins", "examples", "positives", "threshold")  # fmt: skip

    def __init__(self, threshold: float = 0.5, bins: int = 2000) -> None:
        self.threshold = threshold
        self.bins = bins
        self.examples = 0
        self.positives = 0
        self._scale = bins / (2 * MAX_LOGIT)
        self._weight = self._weight_positive = self._predicted = 0.0
        self._loss = self._brier = 0.0
        self._true = self._false = 0.0  # weights of true and of false positives at the threshold
        # Lists: an increment costs a tenth of one on an array.
        self._positive = [0.0] * bins
        self._negative = [0.0] * bins

    def update(self, probability: float, label: bool, weight: float = 1.0) -> None:
        """Score one prediction against its label.

        Raises
        ------
        ValueError
            If the probability is outside [0, 1] or no number, or the weight negative.
        """
        if not (0.0 <= probability <= 1.0 and weight >= 0.0):
            raise ValueError(f"probability {probability} and weight {weight}: expected 0 to 1, and 0 or more")
        clipped = EPSILON if probability < EPSILON else min(probability, 1 - EPSILON)
        index = min(int((math.log(clipped / (1 - clipped)) + MAX_LOGIT) * self._scale), self.bins - 1)
        self.examples += 1
        self._weight += weight
        self._predicted += weight * probability
        if label:
            self.positives += 1
            self._weight_positive += weight
            self._loss -= weight * math.log(clipped)
            self._brier += weight * (1.0 - probability) ** 2
            self._positive[index] += weight
            if probability >= self.threshold:
                self._true += weight
        else:
            self._loss -= weight * math.log(1 - clipped)
            self._brier += weight * probability**2
            self._negative[index] += weight
            if probability >= self.threshold:
                self._false += weight

    def merge(self, other: "BinaryMetrics") -> None:
        """Add what another has seen.

        Raises
        ------
        ValueError
            If bins or threshold differ.
        """
        if (self.bins, self.threshold) != (other.bins, other.threshold):
            raise ValueError(
                f"cannot merge {other.bins} bins at threshold {other.threshold} into {self.bins} at {self.threshold}"
            )
        for name in self.__slots__:
            if name in ("bins", "threshold", "_scale"):
                continue
            mine, theirs = getattr(self, name), getattr(other, name)
            is_histogram = isinstance(mine, list)
            total = [a + b for a, b in zip(mine, theirs, strict=True)] if is_histogram else mine + theirs
            setattr(self, name, total)

    @property
    def log_loss(self) -> float:
        """Mean of -log(probability given to what happened), in nats."""
        return _ratio(self._loss, self._weight)

    @property
    def base_log_loss(self) -> float:
        """The least log loss of one number for all: of the share of positives."""
        return _entropy(_ratio(self._weight_positive, self._weight))

    @property
    def brier(self) -> float:
        """Mean squared difference of probability and label."""
        return _ratio(self._brier, self._weight)

    @property
    def calibration_ratio(self) -> float:
        """Predicted over observed positives: above 1 the model promises too much."""
        return _ratio(self._predicted, self._weight_positive)

    @property
    def accuracy(self) -> float:
        """Share of examples on the right side of the threshold."""
        return _ratio(self._true + self._weight - self._weight_positive - self._false, self._weight)

    @property
    def precision(self) -> float:
        """Share of positives among those predicted positive."""
        return _ratio(self._true, self._true + self._false)

    @property
    def recall(self) -> float:
        """Share of positives that were predicted positive."""
        return _ratio(self._true, self._weight_positive)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _ratio(2 * self._true, self._true + self._false + self._weight_positive)

    @property
    def roc_auc(self) -> float:
        """Probability that a random positive is scored above a random negative, ties counted half."""
        positive, negative = np.array(self._positive), np.array(self._negative)
        below = np.cumsum(negative) - negative / 2
        return _ratio(float(positive @ below), float(positive.sum() * negative.sum()))

    @property
    def auc_error(self) -> float:
        """By how much the exact area may differ from `roc_auc`, given the scores seen."""
        positive, negative = np.array(self._positive), np.array(self._negative)
        return _ratio(float(positive @ negative) / 2, float(positive.sum() * negative.sum()))

    @property
    def average_precision(self) -> float:
        """Sum over falling bins of precision times the gain in recall."""
        positive, negative = np.array(self._positive)[::-1], np.array(self._negative)[::-1]
        true, false = np.cumsum(positive), np.cumsum(negative)
        precision = true / np.maximum(true + false, np.finfo(float).tiny)
        return _ratio(float(precision @ positive), float(positive.sum()))

    def calibration_error(self, groups: int = 10) -> float:
        r"""Expected calibration error [6]_: :math:`\sum_g w_g |\bar y_g - \bar p_g|`.

        Groups are of about equal weight, neighbours by prediction; :math:`w_g` is a group's share, and its mean
        prediction comes from the bins' middles.
        """
        positive, negative = np.array(self._positive), np.array(self._negative)
        weight = positive + negative
        total = float(weight.sum())
        if total <= 0:
            return math.nan
        gap = positive - weight * self._middles()
        group = np.minimum((np.cumsum(weight) - weight / 2) / total * groups, groups - 1).astype(np.intp)
        return float(np.abs(np.bincount(group, gap)).sum()) / total

    def matching_threshold(self) -> float:
        """The lower end of the bin from which up about as many examples lie as are positive; 1 without a positive."""
        weight = np.array(self._positive) + np.array(self._negative)
        above = np.cumsum(weight[::-1])[::-1]
        start = int(np.searchsorted(-above, -self._weight_positive))
        return 1.0 / (1.0 + math.exp(MAX_LOGIT - start / self._scale)) if self._weight_positive else 1.0

    def _middles(self) -> Floats:
        middles: Floats = 1.0 / (1.0 + np.exp(MAX_LOGIT - (np.arange(self.bins) + 0.5) / self._scale))
        return middles

    def summary(self) -> Summary:
        """All metrics at this moment."""
        return Summary(**{name: getattr(self, name) for name in Summary.__slots__})


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else math.nan


def _entropy(rate: float) -> float:
    """Of a label that is true at some rate, in nats."""
    return sum(share * math.log(1.0 / share) for share in (rate, 1.0 - rate) if share != 0.0)


class WindowedMetrics:
    """Metrics of one window after another, for charts; a closed window keeps its summary only.

    Windows hold `every` examples, or last `every_s` seconds of event time, aligned to the epoch. An example older
    than the open window counts in the open window; stretches without examples have no window.

    Parameters
    ----------
    every : int, optional
        Examples per window.
    every_s : float, optional
        Seconds per window; one of the two.
    threshold, bins
        As in `BinaryMetrics`.

    Examples
    --------
    >>> windows = WindowedMetrics(every=2)
    >>> for probability, label in [(0.5, True), (0.5, False), (0.9, True)]:
    ...     windows.update(probability, label)
    >>> [(end, round(loss, 3)) for end, loss in windows.series("log_loss")]
    [(2, 0.693), (3, 0.105)]
    """

    def __init__(
        self, every: int | None = None, every_s: float | None = None, threshold: float = 0.5, bins: int = 2000
    ) -> None:
        given = [size for size in (every, every_s) if size is not None]
        if len(given) != 1 or given[0] <= 0:
            raise ValueError(f"every={every}, every_s={every_s}: expected one of them, above 0")
        self._every, self._every_s = every, every_s
        self._open = BinaryMetrics(threshold, bins)
        self._opened_at: float | None = None
        self._seen = 0
        self._closed: list[tuple[float, Summary]] = []

    def update(self, probability: float, label: bool, at: float = 0.0, weight: float = 1.0) -> None:
        """Score one prediction; `at`, its event time in seconds, matters with `every_s` only."""
        if self._every_s is not None:
            start = at - at % self._every_s
            if self._opened_at is None or start > self._opened_at:
                self._close()
                self._opened_at = start
        self._open.update(probability, label, weight)
        self._seen += 1
        if self._every is not None and self._open.examples >= self._every:
            self._close()

    def _close(self) -> None:
        if self._open.examples:
            self._closed.append((self._end(), self._open.summary()))
            self._open = BinaryMetrics(self._open.threshold, self._open.bins)

    def _end(self) -> float:
        if self._every_s is None or self._opened_at is None:
            return self._seen
        return self._opened_at + self._every_s

    def windows(self) -> list[tuple[float, Summary]]:
        """The end (examples so far, or event time) and summary of each window, the open one included."""
        opened = [(self._end(), self._open.summary())] if self._open.examples else []
        return self._closed + opened

    def series(self, metric: str) -> list[tuple[float, float]]:
        """One metric of `Summary` as points of a chart."""
        return [(end, float(getattr(summary, metric))) for end, summary in self.windows()]


@dataclass(frozen=True, slots=True)
class Interval:
    """A statistic with its confidence interval."""

    value: float
    low: float
    high: float


def roc_auc(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """The exact area under the ROC curve from stored arrays; NaN without both classes.

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
    """Mean log loss in nats from stored arrays; probabilities are clipped as in `BinaryMetrics`, nothing gives NaN."""
    clipped = np.clip(np.asarray(probabilities, np.float64), EPSILON, 1 - EPSILON)
    losses = -np.log(np.where(np.asarray(labels, np.bool_), clipped, 1 - clipped))
    return float(losses.mean()) if len(losses) else math.nan


def auc_interval(probabilities: ArrayLike, labels: ArrayLike, confidence: float = 0.95) -> Interval:
    r"""The area under the ROC curve with DeLong's interval [2]_, from midranks [3]_, in O(n log n).

    With m positives, n negatives and the structural components :math:`V_{10}(x) = P(X > Y \mid X = x)` and
    :math:`V_{01}(y) = P(X > Y \mid Y = y)`, the variance is :math:`S_{10} / m + S_{01} / n`, S their sample
    variances. The interval is taken on the logit scale, so it stays within (0, 1) [5]_. It holds for independent
    rows; where rows share a shopper, `bootstrap_interval` with groups is wider and right.
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
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * deviation / (area * (1 - area))
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
    """A statistic of (probabilities, labels) with its 95 % percentile bootstrap interval [4]_.

    `groups` are drawn whole, with replacement: rows of one shopper depend on each other. Draws on which the
    statistic is undefined (NaN) are left out.
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
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
