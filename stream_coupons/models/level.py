"""The level of a head over all candidates: predicted against observed, where chance drew the coupon.

What a policy gives, or gives most, is chosen by the predictions that are to be judged. A model may then be right about
that and far off for everything else, give less and less of it, and never find out. Where exploration drew the coupon,
or the control observation, from all candidates alike, the sums of predictions and labels are comparable. The served
effect is multiplied by their ratio, drawn towards 1 while there is little to go by.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.models.states import State, check_finite, check_names, check_no_less

PRIOR_OUTCOMES = 5.0
"""Expected outcomes at which the ratio counts half."""
MOST_RATIO = 3.0
"""The ratio is at most this, and at least its inverse."""
CHOSEN = 0.5
"""Propensity from which on a coupon was chosen by its value."""


class Level:
    """Fading sums over the outcomes of draws.

    Parameters
    ----------
    half_life : int
        Outcomes after which one counts half.
    """

    def __init__(self, half_life: int) -> None:
        self._decay = 0.5 ** (1 / half_life)
        self._observed = self._predicted = self._known = 0.0

    def update(self, predicted: float, label: bool, known: float = 0.0) -> None:
        """Add a draw: P(label) as predicted before it was learnt, of which `known` is not the model's."""
        self._observed = self._observed * self._decay + label
        self._predicted = self._predicted * self._decay + predicted
        self._known = self._known * self._decay + known

    @property
    def ratio(self) -> float:
        """Observed over predicted, without what is known; 1 while nothing is observed.

        >>> level = Level(1000)
        >>> for label in [True] * 10 + [False] * 90:
        ...     level.update(0.05, label)
        >>> round(level.ratio, 2)
        1.46
        """
        return _ratio(self._observed, self._predicted, self._known)

    @property
    def shift(self) -> float:
        """Logarithm of the ratio."""
        return math.log(self.ratio)

    def state(self) -> State:
        """The sums."""
        return {"sums": np.array((self._observed, self._predicted, self._known), np.float64)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave.

        Raises
        ------
        SnapshotMismatch
        """
        self._observed, self._predicted, self._known = _sums(state)


def shift_of(state: Mapping[str, NDArray[Any]]) -> float:
    """Return the shift of a level's state.

    Raises
    ------
    SnapshotMismatch
    """
    return math.log(_ratio(*_sums(state)))


def _sums(state: Mapping[str, NDArray[Any]]) -> tuple[float, float, float]:
    check_names(state, {"sums"})
    check_finite(state, "sums", (3,))
    check_no_less(state, ["sums"])
    observed, predicted, known = state["sums"].tolist()
    return observed, predicted, known


def _ratio(observed: float, predicted: float, known: float) -> float:
    ratio = (max(observed - known, 0.0) + PRIOR_OUTCOMES) / (max(predicted - known, 0.0) + PRIOR_OUTCOMES)
    return min(max(ratio, 1.0 / MOST_RATIO), MOST_RATIO)
