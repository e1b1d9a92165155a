"""Metrics of a stream of predictions, each scored before its label is learnt, in constant memory.

References
----------
.. [1] Dawid, A. P. (1984). Statistical theory: the prequential approach. J. R. Stat. Soc. A 147(2).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EPSILON = 1e-6
MAX_LOGIT = math.log((1 - EPSILON) / EPSILON)

Floats = NDArray[np.float64]

BINS = 2000
"""Bins of each histogram of `BinaryMetrics`."""
BINS_PER_LOGIT = BINS / (2 * MAX_LOGIT)


class BinaryMetrics:
    r"""Progressive metrics of predicted probabilities [1]_; undefined ones (AUC without a positive, say) are NaN.

    Probabilities are clipped to [1e-6, 1 - 1e-6] in the log loss, so one confident error stays finite. Its baseline is
    the log loss of the best constant, the share of positives, which is known in hindsight only.

    ROC AUC comes from histograms over equal bins of the logit, which keep a low base rate's small probabilities apart.
    With :math:`p_b, n_b` the positives and negatives in bin b,

    .. math:: \mathrm{AUC} = \sum_b p_b \Big( \sum_{a<b} n_a + n_b / 2 \Big) \Big/ \sum_b p_b \sum_b n_b

    counts a pair within one bin as a tie. The error is at most half the share of such pairs: about 0.001 for scores
    that spread over a few logits, and mostly a tenth of that, since the order within a bin is as good as random.

    Examples
    --------
    >>> metrics = BinaryMetrics()
    >>> for probability, label in [(0.9, True), (0.2, False), (0.6, False), (0.7, True)]:
    ...     metrics.update(probability, label)
    >>> metrics.roc_auc, round(metrics.log_loss, 3)
    (1.0, 0.4)
    """

    def __init__(self) -> None:
        self.examples = self.positives = 0
        self._loss = 0.0
        # Lists: an increment costs a tenth of one on an array.
        self._positive, self._negative = [0] * BINS, [0] * BINS

    def update(self, probability: float, label: bool, weight: int = 1) -> None:
        """Score one prediction against its label.

        Parameters
        ----------
        probability : float
            P(label) as predicted before the label was learnt, in [0, 1].
        label : bool
            The outcome.
        weight : int
            Number of examples that it stands for.

        Raises
        ------
        ValueError
            If the probability is outside [0, 1] or NaN.
        """
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"probability is {probability}: expected 0 to 1")
        clipped = EPSILON if probability < EPSILON else min(probability, 1 - EPSILON)
        index = min(int((math.log(clipped / (1 - clipped)) + MAX_LOGIT) * BINS_PER_LOGIT), BINS - 1)
        self.examples += weight
        if label:
            self.positives += weight
            self._loss -= weight * math.log(clipped)
            self._positive[index] += weight
        else:
            self._loss -= weight * math.log(1 - clipped)
            self._negative[index] += weight

    @property
    def log_loss(self) -> float:
        """Mean of -log(probability of the label), in nats."""
        return _ratio(self._loss, self.examples)

    @property
    def base_log_loss(self) -> float:
        """Log loss of the best constant prediction, the share of positives, in nats."""
        return _entropy(_ratio(self.positives, self.examples))

    @property
    def roc_auc(self) -> float:
        """Probability that a random positive is scored above a random negative, ties counted half."""
        positive, negative = np.array(self._positive, np.float64), np.array(self._negative, np.float64)
        below = np.cumsum(negative) - negative / 2
        return _ratio(float(positive @ below), float(positive.sum() * negative.sum()))


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
