r"""Calibration as a stream: slope and intercept on the log-odds, learnt online after the model [1]_.

With z the model's log-odds, what is served is :math:`\sigma(a z + b)`, a and b starting at 1 and 0 and following the
labels by online Newton steps on the log loss [2]_: the curvature seen so far, fading with a half-life, sets the step,
so there is no rate to choose. Labels meet the log-odds that the model had before it learnt them.

A line in z keeps the ranking, and folds into the weights of a linear model: it costs nothing to serve.

References
----------
.. [1] Platt, J. (1999). Probabilistic outputs for support vector machines; slope and intercept as in Cox, D. R. (1958).
       Two further applications of a model for binary regression. Biometrika 45.
.. [2] Hazan, E., Agarwal, A., and Kale, S. (2007). Logarithmic regret algorithms for online convex optimization.
       Machine Learning 69. We add the fading.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.models.metrics import MAX_LOGIT
from stream_coupons.models.states import State, check_finite, check_names

PRIOR_CURVATURE = 50.0
"""Weight of the start at slope 1 and intercept 0: about that of 50 / (p (1 - p)) examples."""
SLOPES = (0.25, 4.0)
INTERCEPTS = (-3.0, 3.0)
"""Bounds: what lies beyond is no miscalibration but a broken model."""


class Calibrator:
    """Slope and intercept of one head.

    Parameters
    ----------
    half_life : int
        Examples after which evidence counts half.
    """

    def __init__(self, half_life: int) -> None:
        self._decay = 0.5 ** (1 / half_life)
        self.slope, self.intercept = 1.0, 0.0
        self._zz, self._z, self._one = 0.0, 0.0, 0.0  # curvature: decayed sums of p (1 - p) times z z, z and 1

    def learn_one(self, probability: float, label: bool) -> None:
        """Take one Newton step.

        Parameters
        ----------
        probability : float
            P(label) by the model, before calibration and before it learnt the label.
        label : bool
            The outcome.

        Examples
        --------
        >>> calibrator = Calibrator(1000)
        >>> for label in [True] * 10 + [False] * 90:
        ...     calibrator.learn_one(0.5, label)
        >>> calibrator.intercept < 0.0
        True
        """
        z = logit(probability)
        calibrated = 1.0 / (1.0 + math.exp(-(self.slope * z + self.intercept)))
        information = calibrated * (1.0 - calibrated)
        self._zz = self._zz * self._decay + information * z * z
        self._z = self._z * self._decay + information * z
        self._one = self._one * self._decay + information
        zz, one = self._zz + PRIOR_CURVATURE, self._one + PRIOR_CURVATURE
        determinant = zz * one - self._z * self._z
        error = calibrated - label
        self.slope = _clip(self.slope - error * (one * z - self._z) / determinant, SLOPES)
        self.intercept = _clip(self.intercept - error * (zz - self._z * z) / determinant, INTERCEPTS)

    def state(self) -> State:
        """Return slope and intercept, then the curvature."""
        values = (self.slope, self.intercept, self._zz, self._z, self._one)
        return {"line": np.array(values[:2], np.float64), "curvature": np.array(values[2:], np.float64)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from the output of `state`.

        Raises
        ------
        SnapshotMismatch
            If it does not fit; the calibrator is then unchanged.
        """
        line = served_line(state)
        check_finite(state, "curvature", (3,))
        zz, z, one = state["curvature"].tolist()
        if min(zz, one) < 0.0 or z * z >= (zz + PRIOR_CURVATURE) * (one + PRIOR_CURVATURE):
            raise SnapshotMismatch(f"curvature is {zz, z, one}: expected that of examples")
        self.slope, self.intercept = line
        self._zz, self._z, self._one = zz, z, one


def served_line(state: Mapping[str, NDArray[Any]]) -> tuple[float, float]:
    """Return (slope, intercept) of a calibrator's state.

    Raises
    ------
    SnapshotMismatch
        If the state does not fit.
    """
    check_names(state, {"line", "curvature"})
    check_finite(state, "line", (2,))
    slope, intercept = state["line"].tolist()
    return _clip(slope, SLOPES), _clip(intercept, INTERCEPTS)


def logit(probability: float) -> float:
    """Return the log-odds, within those of 1e-6 and 1 - 1e-6."""
    if probability <= 0.0 or probability >= 1.0:
        return math.copysign(MAX_LOGIT, probability - 0.5)
    return _clip(math.log(probability / (1.0 - probability)), (-MAX_LOGIT, MAX_LOGIT))


def _clip(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])
