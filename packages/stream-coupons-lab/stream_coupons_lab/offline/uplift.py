r"""Uplift and Qini curves: how much more a coupon brings where a model expects it to, against giving none.

Rows are sorted by predicted uplift, best first. With :math:`Y^T(t), N^T(t)` the reward and number of the treated among
the first t rows, :math:`Y^C(t), N^C(t)` those of the controls, and :math:`\varphi` the share that t rows are of all,

- uplift curve [2]_: :math:`U(\varphi) = \varphi\,[Y^T(t) / N^T(t) - Y^C(t) / N^C(t)]`, the gain for each shopper
  when the best :math:`\varphi` of them are treated.
- Qini curve [1]_: :math:`Q(\varphi) = [Y^T(t) - Y^C(t)\,N^T(t) / N^C(t)] / N^T`, the additional reward for each of the
  :math:`N^T` treated. The Qini coefficient is the area between it and the straight line from 0 to :math:`Q(1)`, which
  a random order follows. Positive: the model finds those whom a coupon moves. It is not divided by the area of a
  perfect model, which needs assumptions about who was harmed.

Rows with the same prediction are one step of the curve, a straight line: in which order they happen to be does not
matter, and a constant prediction has a coefficient of exactly 0. Where propensities differ, each row counts with the
inverse of its own, and so do :math:`N^T` and :math:`N^C`.

References
----------
.. [1] Radcliffe, N. (2007). Using control groups to target on predicted lift. Direct Marketing Analytics Journal 1.
.. [2] Devriendt, F., Van Belle, J., Guns, T., and Verbeke, W. (2020). Learning to rank for uplift modeling.
       IEEE Trans. Knowl. Data Eng. 34(10), sec. 3 (absolute uplift, joint ranking).
.. [3] Efron, B., and Tibshirani, R. (1993). An Introduction to the Bootstrap, ch. 13 (percentile intervals).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream_coupons.models.metrics import Interval

CURVE_POINTS = 101

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Trial:
    """n rows of which some were treated.

    Attributes
    ----------
    score : array, shape (n,)
        Predicted uplift, or anything that sorts like it.
    is_treated : array of bool, shape (n,)
    reward : array, shape (n,)
    weight : array, shape (n,)
        Above 0; inverse propensities, or ones.
    """

    score: Floats
    is_treated: Mask
    reward: Floats
    weight: Floats

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of both curves, from 0 to 1."""

    share: Floats
    uplift: Floats
    qini: Floats

    @property
    def qini_coefficient(self) -> float:
        """Area between the Qini curve and the straight line; 0 when the order is uninformative."""
        area = (np.diff(self.share) * (self.qini[1:] + self.qini[:-1])).sum() / 2
        return float(area - self.qini[-1] / 2)


@dataclass(frozen=True, slots=True)
class Uplift:
    """The curve with intervals of the Qini coefficient and of the mean uplift, which is the curve's end."""

    curve: Curve
    mean: Interval
    qini: Interval

    def thinned(self, points: int = CURVE_POINTS) -> "Uplift":
        """Return it with at most so many points of the curve, at about equal distances, both ends among them."""
        share, found = self.curve.share, self.curve
        if len(share) <= points:
            return self
        kept = np.unique(np.searchsorted(share, np.linspace(0, share[-1], points)))
        return replace(self, curve=Curve(share[kept], found.uplift[kept], found.qini[kept]))


def curve(trial: Trial) -> Curve:
    """Both curves.

    Examples
    --------
    The model puts first those whom the coupon moves (reward 1 against 0), then those whom it does not.

    >>> trial = Trial(np.array([2.0, 2, 1, 1]), np.array([True, False, True, False]), np.array([1.0, 0, 0, 0]),
    ...               np.ones(4))
    >>> found = curve(trial)
    >>> found.share.tolist(), found.uplift.tolist(), found.qini.tolist(), found.qini_coefficient
    ([0.0, 0.5, 1.0], [0.0, 0.5, 0.5], [0.0, 0.5, 0.5], 0.125)
    """
    return _Sorted(trial).curve(trial.weight)


def uplift(trial: Trial, shopper: Rows, repeats: int = 500, seed: int = 0) -> Uplift:
    """The curve and its area, with 95 % percentile bootstrap intervals [3]_; shoppers are drawn whole.

    Areas are no means of the rows, so there is no influence value to take an interval from, and their distribution is
    near enough to symmetric for the percentile interval. Draws without a treated or without a control are left out.

    Parameters
    ----------
    shopper : array of int, shape (n,)
        Whom each row is about, as a number from 0 on.
    """
    order = _Sorted(trial)
    whole = order.curve(trial.weight)
    areas = np.full((repeats, 2), math.nan)
    for repeat, times in enumerate(draws(shopper, repeats, seed)):
        weight = trial.weight * times
        if weight[trial.is_treated].any() and weight[~trial.is_treated].any():
            areas[repeat] = _areas(order.curve(weight))
    lows, highs = np.nanquantile(areas, (0.025, 0.975), axis=0)
    mean, qini = (
        Interval(found, float(low), float(high)) for found, low, high in zip(_areas(whole), lows, highs, strict=True)
    )
    return Uplift(whole, mean, qini)


def draws(shopper: Rows, repeats: int, seed: int) -> Iterator[Rows]:
    """Yield how often each row is there, shape (n,), if shoppers are drawn whole, with replacement."""
    rng = np.random.default_rng(seed)
    _, member = np.unique(shopper, return_inverse=True)
    shoppers = int(member.max()) + 1
    for _ in range(repeats):
        yield np.bincount(rng.integers(0, shoppers, shoppers), minlength=shoppers)[member]


def _areas(found: Curve) -> tuple[float, float]:
    return float(found.uplift[-1]), found.qini_coefficient


class _Sorted:
    """A trial by falling score, sorted once for many weights."""

    def __init__(self, trial: Trial) -> None:
        self._order = np.argsort(-trial.score, kind="stable")
        score = trial.score[self._order]
        self._steps = np.append(np.flatnonzero(score[1:] != score[:-1]), len(score) - 1)
        self._is_treated = trial.is_treated[self._order]
        self._reward = trial.reward[self._order]

    def curve(self, weight: Floats) -> Curve:
        """The curves when rows count so much; weights of 0 are allowed."""
        weight = weight[self._order]
        treated, control = weight * self._is_treated, weight * ~self._is_treated
        counts = np.stack((treated, treated * self._reward, control, control * self._reward))
        n_t, y_t, n_c, y_c = np.cumsum(counts, axis=1)[:, self._steps]
        # As long as one of the groups is empty there is no difference: the first steps count as 0.
        has_both = (n_t > 0) & (n_c > 0)
        mean_t, mean_c = y_t / np.where(has_both, n_t, 1.0), y_c / np.where(has_both, n_c, 1.0)
        difference = np.where(has_both, mean_t - mean_c, 0.0)
        share = (n_t + n_c) / (n_t[-1] + n_c[-1])
        return Curve(*(np.append(0.0, part) for part in (share, share * difference, difference * n_t / n_t[-1])))
