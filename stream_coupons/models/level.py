"""The level of a head over all candidates: predicted against observed, where chance drew the coupon.

What a policy gives, or gives most, is chosen by the predictions that are to be judged. A model may then be right about
that and far off for everything else, give less and less of it, and never find out. Where exploration drew the coupon,
or the control observation, from all candidates alike, the sums of predictions and labels are comparable: their ratio,
drawn towards 1 while there is little to go by, is watched. It corrects nothing: the model learns from the same draws,
and what was predicted before it did would be held against it twice. But a model whose level is off does not decide: the
prior, whose level is watched beside it, does until then, if its own is less so.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.models.states import State, check_finite, check_names, check_no_less

PRIOR_OUTCOMES = 5.0
"""Expected outcomes at which the ratio counts half."""
MOST_RATIO = 2.0
"""A level is off where the ratio is beyond this, or its inverse."""
CHOSEN = 0.5
"""Propensity from which on a coupon was chosen by its value."""
GUARDED = ("redeem", "order")
"""Labels whose level is compared: of P(redeem), and of P(order) after the visit."""


class Level:
    """Fading sums over the outcomes of draws.

    Parameters
    ----------
    half_life : int
        Outcomes after which one counts half.
    """

    def __init__(self, half_life: int) -> None:
        self._decay = 0.5 ** (1 / half_life)
        self._observed = self._predicted = self._by_prior = self._known = 0.0

    def update(self, predicted: float, by_prior: float, label: bool, known: float = 0.0, weight: int = 1) -> None:
        """Add a draw.

        Parameters
        ----------
        predicted, by_prior : float
            P(label) by the model as it was before it learnt the label, and by the prior.
        label : bool
            The outcome.
        known : float
            The part of both that is not theirs.
        weight : int
            Number of draws that it stands for.
        """
        sums = self._observed, self._predicted, self._by_prior, self._known
        added = label, predicted, by_prior, known
        self._observed, self._predicted, self._by_prior, self._known = (
            total * self._decay**weight + weight * one for total, one in zip(sums, added, strict=True)
        )

    @property
    def ratio(self) -> float:
        """Observed over predicted, without what is known; 1 while nothing is observed.

        Examples
        --------
        >>> level = Level(1000)
        >>> for label in [True] * 10 + [False] * 90:
        ...     level.update(0.05, 0.1, label)
        >>> round(level.ratio, 2)
        1.46
        """
        return self._ratio_to(self._predicted)

    @property
    def is_off(self) -> bool:
        """True if observed and predicted differ by more than `MOST_RATIO`, and the prior differs by less.

        Examples
        --------
        >>> level = Level(1000)
        >>> for label in [True] * 10 + [False] * 90:
        ...     level.update(0.01, 0.1, label)
        >>> level.is_off
        True
        """
        off, priors = abs(math.log(self.ratio)), abs(math.log(self._ratio_to(self._by_prior)))
        return off > math.log(MOST_RATIO) and off > priors

    def _ratio_to(self, expected: float) -> float:
        observed, expected = (max(total - self._known, 0.0) for total in (self._observed, expected))
        return (observed + PRIOR_OUTCOMES) / (expected + PRIOR_OUTCOMES)

    def state(self) -> State:
        """Return the sums."""
        return {"sums": np.array((self._observed, self._predicted, self._by_prior, self._known), np.float64)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from the output of `state`.

        Raises
        ------
        SnapshotMismatch
            If it does not fit; the level is then unchanged.
        """
        check_names(state, {"sums"})
        check_finite(state, "sums", (4,))
        check_no_less(state, ["sums"])
        self._observed, self._predicted, self._by_prior, self._known = state["sums"].tolist()


def is_drawn(example: TrainingExample) -> bool:
    """Return whether chance drew the coupon from all candidates: an exploring issue, or a control observation.

    The control observation of a coupon that was withheld is of the one with the greatest value.
    """
    if example.observed or example.withheld:
        return False
    return example.head == "order" or (example.propensity is not None and example.propensity < CHOSEN)


def level_of(state: Mapping[str, NDArray[Any]]) -> Level:
    """Return a level with this state, to be read.

    Raises
    ------
    SnapshotMismatch
        If the state does not fit.
    """
    level = Level(1)
    level.restore(state)
    return level
