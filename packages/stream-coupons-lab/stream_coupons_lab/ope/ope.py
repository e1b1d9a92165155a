r"""Off-policy evaluation: what a policy would have earned on decisions that another policy made and logged.

Row i of a log is a decision: in context :math:`x_i` the logging policy chose arm :math:`a_i` with propensity
:math:`p_i`, which brought reward :math:`r_i`. A target policy would choose arm a with probability
:math:`\pi(a \mid x_i)`; :math:`w_i = \pi(a_i \mid x_i) / p_i` is the weight, :math:`\hat q` a reward model.

- IPS [1]_: :math:`\frac1n \sum w_i r_i`. Unbiased if the propensities are right and every arm that the target may
  choose could have been chosen.
- SNIPS [2]_: :math:`\sum w_i r_i / \sum w_i`. Biased by O(1/n), mostly of less variance, and adding a constant to the
  rewards adds it to the value.
- DR [3]_: :math:`\frac1n \sum \big[\sum_a \pi(a \mid x_i) \hat q(x_i, a) + w_i (r_i - \hat q(x_i, a_i))\big]`.
  Unbiased under the same condition whatever the model, as long as :math:`\hat q` did not see row i's outcome, which
  holds for predictions made at the moment of the decision; a good model lowers the variance.

**Intervals** are computed from each estimator's influence values, summed by shopper, with their skewness taken out: see
`intervals`. No interval knows of what was never logged: look at the diagnostics.

References
----------
.. [1] Horvitz, D., and Thompson, D. (1952). A generalization of sampling without replacement from a finite universe.
       J. Am. Stat. Assoc. 47(260).
.. [2] Swaminathan, A., and Joachims, T. (2015). The self-normalized estimator for counterfactual learning. NeurIPS.
.. [3] Dudik, M., Langford, J., and Li, L. (2011). Doubly robust policy evaluation and learning. ICML.
.. [4] Kish, L. (1965). Survey Sampling, sec. 11.7.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.errors import BadConfig
from stream_coupons.models.metrics import Interval
from stream_coupons_lab.ope.intervals import skew_corrected

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

ALARM_CONFIDENCE = 0.999
"""Confidence of the interval of the mean weight: it is an alarm, and many policies are evaluated."""


class Estimator(StrEnum):
    """The estimators of a policy's value."""

    IPS = "ips"
    SNIPS = "snips"
    DR = "dr"


TITLES = {Estimator.IPS: "IPS", Estimator.SNIPS: "SNIPS", Estimator.DR: "doubly robust"}


@dataclass(frozen=True, slots=True)
class Logged:
    """n decisions of a logging policy, each among up to a arms; the columns of a row are the arms that it could choose.

    Attributes
    ----------
    shopper : array of int, shape (n,)
        Shopper of the decision, as a number from 0 on.
    chosen : array of int, shape (n,)
        Column of the arm chosen.
    propensity : array, shape (n,)
        Probability with which it was chosen, in (0, 1].
    reward : array, shape (n,)
        Reward of the decision.
    predicted : array, shape (n, a)
        Reward predicted of every arm without knowing the row's outcome; anything in columns that a row does not have.

    Raises
    ------
    BadConfig
        If a propensity is outside (0, 1].
    """

    shopper: Rows
    chosen: Rows
    propensity: Floats
    reward: Floats
    predicted: Floats

    def __post_init__(self) -> None:
        wrong = ~((self.propensity > 0) & (self.propensity <= 1))
        if wrong.any():
            row = int(wrong.argmax())
            raise BadConfig(
                f"decision {row} has propensity {self.propensity[row]}, expected above 0 and at most 1: "
                "it is the probability of an arm that was chosen"
            )

    def __len__(self) -> int:
        return len(self.chosen)

    def at(self, rows: Mask) -> "Logged":
        """Return some of the decisions."""
        return Logged(
            self.shopper[rows], self.chosen[rows], self.propensity[rows], self.reward[rows], self.predicted[rows]
        )


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """The diagnostics that show if the estimates can be trusted.

    Attributes
    ----------
    decisions, shoppers : int
    effective : float
        Effective sample size :math:`(\\sum w)^2 / \\sum w^2` [4]_: so many decisions of the policy itself are as
        informative.
    agreement : float
        Mean probability with which the policy would have made the logged choice.
    rewarded : int
        Decisions with a reward other than 0 and a weight above 0: IPS uses no others.
    largest_weight : float
    mean_weight : Interval
        1 if the propensities are right and the policy keeps to arms that could have been chosen. With an interval of
        99.9 %: it is an alarm, and many policies are evaluated.
    """

    decisions: int
    shoppers: int
    effective: float
    agreement: float
    rewarded: int
    largest_weight: float
    mean_weight: Interval

    @property
    def is_off(self) -> bool:
        """True if 1 is outside the interval of the mean weight: wrong propensities, or arms without support."""
        mean = self.mean_weight
        return not math.isclose(mean.value, 1.0) and not mean.low <= 1.0 <= mean.high


@dataclass(frozen=True, slots=True)
class Valuation:
    """A policy's value for each decision by every estimator, and how much it is above that of the logging policy."""

    values: Mapping[Estimator, Interval]
    gains: Mapping[Estimator, Interval]
    diagnostics: Diagnostics


def value(logged: Logged, target: Floats, confidence: float = 0.95) -> Valuation:
    """Value a policy on a log.

    Parameters
    ----------
    target : array, shape (n, a)
        The policy's probability of every arm; 0 in columns that a row does not have; rows sum to 1.

    Raises
    ------
    BadConfig
        If the probabilities do not fit the log.

    Examples
    --------
    Two arms drawn evenly; the first brings 1, the second nothing; the policy always takes the first.

    >>> logged = Logged(np.arange(4), np.array([0, 1, 0, 1]), np.full(4, 0.5), np.array([1.0, 0, 1, 0]),
    ...                 np.zeros((4, 2)))
    >>> found = value(logged, np.array([[1.0, 0.0]] * 4))
    >>> found.values[Estimator.IPS].value, found.gains[Estimator.SNIPS].value, found.diagnostics.effective
    (1.0, 0.5, 2.0)
    """
    _check(logged, target)
    rows = np.arange(len(logged))
    probability = target[rows, logged.chosen]
    weight = probability / logged.propensity
    sums = _Sums(logged, (target * np.where(target > 0, logged.predicted, 0.0)).sum(axis=1), confidence)
    values = {estimator: sums.estimate(estimator, weight) for estimator in Estimator}
    diagnostics = Diagnostics(
        decisions=len(logged),
        shoppers=len(np.unique(logged.shopper)),
        effective=float(weight.sum() ** 2 / max(float((weight**2).sum()), math.ulp(0.0))),
        agreement=float(probability.mean()),
        rewarded=int(((logged.reward != 0) & (weight > 0)).sum()),
        largest_weight=float(weight.max()),
        mean_weight=replace(sums, confidence=ALARM_CONFIDENCE).mean(weight),
    )
    gains = {estimator: sums.gain(estimator, weight) for estimator in Estimator}
    return Valuation(values, gains, diagnostics)


def value_logged(logged: Logged, confidence: float = 0.95) -> Valuation:
    """Return the logging policy's own value: the mean reward, by any estimator."""
    ones = np.ones(len(logged))
    mean = _Sums(logged, ones, confidence).mean(logged.reward)
    exact = Interval(1.0, 1.0, 1.0)
    rewarded = int((logged.reward != 0).sum())
    n, shoppers = len(logged), len(np.unique(logged.shopper))
    return Valuation(
        dict.fromkeys(Estimator, mean),
        dict.fromkeys(Estimator, Interval(0.0, 0.0, 0.0)),
        Diagnostics(n, shoppers, float(n), float(logged.propensity.mean()), rewarded, 1.0, exact),
    )


def _check(logged: Logged, target: Floats) -> None:
    if not len(logged):
        raise BadConfig("there is no decision to value a policy on")
    if target.shape != logged.predicted.shape:
        raise BadConfig(f"the policy has shape {target.shape}, expected {logged.predicted.shape}: decisions by arms")
    wrong = (target < 0).any(axis=1) | ~np.isclose(target.sum(axis=1), 1.0, atol=1e-6)
    if wrong.any():
        row = int(wrong.argmax())
        raise BadConfig(f"decision {row}: the policy's probabilities are {target[row].tolist()}, expected a sum of 1")


@dataclass(frozen=True, slots=True)
class _Sums:
    """The estimators as means over decisions, each with its influence values."""

    logged: Logged
    expected: Floats
    """Reward that the model predicts of the target policy, shape (n,)."""
    confidence: float

    def estimate(self, estimator: Estimator, weight: Floats) -> Interval:
        estimate, influence = self._of(estimator, weight)
        return self._interval(estimate, influence)

    def gain(self, estimator: Estimator, weight: Floats) -> Interval:
        """Return the estimate less the mean reward."""
        estimate, influence = self._of(estimator, weight)
        reward = self.logged.reward
        mean = float(reward.mean())
        influence = influence - (reward - mean)
        if not (np.abs(influence) > 1e-12 * np.abs(reward).max()).any():
            # The same policy, or always the same reward: nothing to be unsure of.
            return Interval(estimate - mean, estimate - mean, estimate - mean)
        return self._interval(estimate - mean, influence)

    def mean(self, values: Floats) -> Interval:
        mean = float(values.mean())
        return self._interval(mean, values - mean)

    def _of(self, estimator: Estimator, weight: Floats) -> tuple[float, Floats]:
        reward = self.logged.reward
        if estimator is Estimator.SNIPS:
            total = float(weight.sum())
            if total == 0:
                return math.nan, np.full(len(weight), math.nan)
            estimate = float((weight * reward).sum()) / total
            return estimate, weight * (reward - estimate) * (len(weight) / total)
        terms = weight * reward
        if estimator is Estimator.DR:
            modelled = self.logged.predicted[np.arange(len(weight)), self.logged.chosen]
            terms = self.expected + weight * (reward - modelled)
        estimate = float(terms.mean())
        return estimate, terms - estimate

    def _interval(self, estimate: float, influence: Floats) -> Interval:
        if not np.ptp(self.logged.reward):
            # Rewards that never differ do not say how far the model is off.
            return Interval(estimate, math.nan, math.nan)
        return skew_corrected(estimate, influence, self.logged.shopper, self.confidence)
