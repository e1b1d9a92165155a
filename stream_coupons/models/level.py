"""The level of a head over all candidates: predicted against observed, where chance drew the coupon.

What a policy gives, or gives most, is chosen by the predictions that are to be judged. A model may then be right about
that and far off for everything else, give less and less of it, and never find out. Where exploration drew the coupon,
or the control observation, from all candidates alike, the sums of predictions and labels are comparable: their ratio,
drawn towards 1 while there is little to go by, is watched. It corrects nothing: the model learns from the same draws,
and what was predicted before it did would be held against it twice.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.models.states import State, check_finite, check_names, check_no_less

PRIOR_OUTCOMES = 5.0
"""Expected outcomes at which the ratio counts half."""
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
        observed, predicted = (max(total - self._known, 0.0) for total in (self._observed, self._predicted))
        return (observed + PRIOR_OUTCOMES) / (predicted + PRIOR_OUTCOMES)

    def state(self) -> State:
        """The sums."""
        return {"sums": np.array((self._observed, self._predicted, self._known), np.float64)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave.

        Raises
        ------
        SnapshotMismatch
        """
        check_names(state, {"sums"})
        check_finite(state, "sums", (3,))
        check_no_less(state, ["sums"])
        self._observed, self._predicted, self._known = state["sums"].tolist()
