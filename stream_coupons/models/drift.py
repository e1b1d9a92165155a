r"""Drift: the champion's loss is higher than the champion itself expects.

A prediction p implies its expected loss, the entropy H(p). The surprise, loss - H(p), has mean 0 while the model is
right, early in its life as well as late, on easy examples as on hard ones; only when the world has changed does it stay
above. It is divided by the deviation that the predictions imply, :math:`|\log(p / (1 - p))| \sqrt{p (1 - p)}` in the
quadratic mean, so that no threshold depends on a base rate; bounded, as one rare purchase is no drift; and watched by
the Page-Hinkley test [1]_ for a rise of its mean.

The reaction is `QUICKEN` on all models of the head: accumulated evidence, which slows their steps, counts a quarter.

References
----------
.. [1] Page, E. S. (1954). Continuous inspection schemes. Biometrika 41; as in River's `drift.PageHinkley`.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import drift, stats

from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.models.metrics import EPSILON
from stream_coupons.models.states import LARGEST, State, check_finite, check_names, check_no_less

TOLERATED = 0.05
"""Rise of the mean, in deviations, that is no drift."""
THRESHOLD = 100.0
"""Summed rise, in deviations, that is. For independent examples the odds that an excursion above the least sum ends in
a false alarm are about exp(-2 x 0.05 x 100): one alarm in some millions of examples."""
MOST = 5.0
"""Deviations that one example can add."""
MIN_EXAMPLES = 100
QUICKEN = 0.25


class DriftDetector:
    """Watches one head's champion."""

    def __init__(self) -> None:
        self._test = _page_hinkley()
        self._examples = 0
        self._variance = 0.0

    def update(self, probability: float, label: bool, weight: int = 1) -> bool:
        """Test one prediction.

        Parameters
        ----------
        probability : float
            P(label) by the champion before it learnt the label; clipped to [1e-6, 1 - 1e-6].
        label : bool
            The outcome.
        weight : int
            Number of examples that it stands for. The more, the more chance is in the sum: the deviation has it.

        Returns
        -------
        bool
            True if this example reveals a drift; the test then starts anew.
        """
        p = min(max(probability, EPSILON), 1 - EPSILON)
        likely, unlikely = -math.log(p), -math.log(1 - p)
        surprise = (likely if label else unlikely) - (p * likely + (1 - p) * unlikely)
        self._examples += weight
        self._variance += weight * (1 + (weight - 1) * p) * p * (1 - p) * (likely - unlikely) ** 2
        deviation = math.sqrt(self._variance / self._examples)
        if deviation == 0.0:
            return False
        for _ in range(weight):
            self._test.update(min(max(surprise / deviation, -MOST), MOST))
            if self._test.drift_detected:
                return True
        return False

    def state(self) -> State:
        """Return the sum of the surprise's variances, then those of the test."""
        test = self._test
        is_over = float(test.drift_detected)
        sums = (test._x_mean.n, test._x_mean.get(), test._sum_increase, test._min_increase, is_over)
        return {
            "surprise": np.array((self._examples, self._variance), np.float64),
            # Infinite before the first example.
            "test": np.nan_to_num(np.array(sums, np.float64)),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from the output of `state`.

        Raises
        ------
        SnapshotMismatch
            If it does not fit.
        """
        check_names(state, {"surprise", "test"})
        check_finite(state, "surprise", (2,))
        # The least sum before the first example.
        test = np.where(state["test"] == np.finfo(np.float64).max, LARGEST, state["test"])
        check_finite({"test": test}, "test", (5,))
        check_no_less(state, ["surprise"])
        examples, mean, total, least, is_over = test.tolist()
        if examples < 0:
            raise SnapshotMismatch(f"a test of {examples} examples: expected at least 0")
        self._examples, self._variance = int(state["surprise"][0]), float(state["surprise"][1])
        self._test = _page_hinkley()
        self._test._x_mean = stats.Mean._from_state(int(examples), mean)
        self._test._sum_increase, self._test._min_increase = total, least if examples else math.inf
        self._test._drift_detected = bool(is_over)


def _page_hinkley() -> drift.PageHinkley:
    """Return a test without River's fading of the sum.

    Page's test has none: fading draws a sum that rightly sinks back up, away from the least one, and that looks like a
    drift.
    """
    return drift.PageHinkley(MIN_EXAMPLES, TOLERATED, THRESHOLD, alpha=1.0, mode="up")
