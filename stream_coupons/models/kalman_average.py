r"""Kalman filters that differ in how far they may depart from the prior, averaged by what they foretold.

How much there is to learn of a domain, of who came and which coupon it was above all, differs between shops by orders
of magnitude: too little of it and nothing is learnt, too much and chance is. The labels tell: a filter's evidence is
the sum of the log probabilities that it gave them before it learnt them, and its part in the average is

.. math:: \pi_k = e^{E_k} / \sum_j e^{E_j}, \qquad E_k = \sum_t \log p_k(y_t \mid y_1, \ldots, y_{t-1})

(Bayesian model averaging, [1]_; equal parts before the first label). The log-odds are averaged, not the probabilities:
an average of linear models is a linear model, and serves like one. Who falls behind by `DECISIVE` is dropped, and after
`DECIDED_AFTER` examples all but the best are, so that in the long run this costs what one filter does.

References
----------
.. [1] Hoeting, J. A., Madigan, D., Raftery, A. E., and Volinsky, C. T. (1999). Bayesian model averaging: a tutorial.
       Statistical Science 14(4).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.coupons import Floats
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features import FeatureRows
from stream_coupons.models.champion import log_loss
from stream_coupons.models.inputs import Row, probabilities
from stream_coupons.models.kalman import KalmanFilter
from stream_coupons.models.linear import plus
from stream_coupons.models.sigmoid import sigmoid
from stream_coupons.models.states import State, check_finite, check_names, check_no_less

SCALES = (1.0, 1 / 3, 0.1)
DECISIVE = 10.0
"""Log of the odds, here 22,000 to 1."""
DECIDED_AFTER = 5000
"""Examples; whoever is not behind by then is as good."""
SHARED = ("places", "seen", "joint")
OWN = ("weights", "variances", "first_variances", "covariance")
"""Names of arrays of a filter's state: those that all filters have alike, and the others."""


class KalmanAverage:
    """One head.

    Parameters
    ----------
    prior : mapping of int to float
        Mean of the weights before learning, by index.
    spread : float
        Multiplies all variances before learning.
    """

    def __init__(self, prior: Mapping[int, float], spread: float = 1.0) -> None:
        self._prior, self._spread = dict(prior), spread
        self._filters = {number: self._new(number) for number in range(len(SCALES))}
        self._evidence = dict.fromkeys(self._filters, 0.0)
        self._examples = 0

    def _new(self, number: int) -> KalmanFilter:
        return KalmanFilter(self._prior, self._spread, SCALES[number])

    def learn_one(self, row: Row, label: bool, weight: float = 1.0) -> float:
        """Predict by the average, then let every filter learn and count what it foretold, while there are several."""
        if len(self._filters) == 1:
            [last] = self._filters.values()
            return last.learn_one(row, label, weight)
        probability = sigmoid(row.offset + self.log_odds(row))
        for number, each in self._filters.items():
            self._evidence[number] -= weight * log_loss(each.learn_one(row, label, weight), label)
        self._examples += 1
        best = max(self._evidence, key=lambda number: self._evidence[number])
        least = self._evidence[best] - DECISIVE
        for number, evidence in list(self._evidence.items()):
            if number != best and (evidence < least or self._examples >= DECIDED_AFTER):
                del self._filters[number], self._evidence[number]
        return probability

    def parts(self) -> dict[int, float]:
        """Each filter's part in the average, by its number in `SCALES`."""
        most = max(self._evidence.values())
        odds = {number: math.exp(evidence - most) for number, evidence in self._evidence.items()}
        total = sum(odds.values())
        return {number: each / total for number, each in odds.items()}

    def log_odds(self, row: Row) -> float:
        """Of the label, without the row's offset."""
        return sum(part * self._filters[number].log_odds(row) for number, part in self.parts().items())

    def predict(self, rows: FeatureRows) -> Floats:
        """P(label) of each row, shape (n,)."""
        return probabilities(self.log_odds, rows)

    def quicken(self, factor: float) -> None:
        """Divide all variances by the factor, but raise none above what it was before learning."""
        for each in self._filters.values():
            each.quicken(factor)

    def weights(self) -> dict[int, float]:
        """Means by index."""
        mean: dict[int, float] = {}
        for number, part in self.parts().items():
            mean = plus(mean, self._filters[number].weights(), part)
        return mean

    def state(self) -> State:
        """Means by ascending index; the filters that are left, by number, their evidence, and what each has of its own.

        All of them met the same rows, so the same places, in the same order. The last one's means are the average's.
        """
        states, parts = {number: each.state() for number, each in self._filters.items()}, self.parts()
        any_of_them = next(iter(states.values()))
        means = [parts[number] * each["weights"] for number, each in states.items()]
        state: State = {
            **{name: any_of_them[name] for name in SHARED},
            "weights": np.sum(means, axis=0),
            "filters": np.array(list(states), np.uint32),
            "evidence": np.array(list(self._evidence.values()), np.float64),
            "examples": np.array([self._examples], np.int64),
        }
        own = self._own(len(states))
        return state | {f"{number}.{name}": each[name] for number, each in states.items() for name in own}

    @staticmethod
    def _own(filters: int) -> tuple[str, ...]:
        """Names of the arrays that each of so many filters has of its own."""
        return OWN if filters > 1 else OWN[1:]

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave."""
        if "filters" not in state:
            raise SnapshotMismatch(f"arrays are {sorted(state)}: expected filters among them")
        if state["filters"].dtype != np.uint32 or state["filters"].ndim != 1:
            raise SnapshotMismatch(f"filters are {state['filters'].dtype} of shape {state['filters'].shape}")
        numbers = state["filters"].tolist()
        if not numbers or not set(numbers) <= set(range(len(SCALES))) or len(set(numbers)) < len(numbers):
            raise SnapshotMismatch(f"filters are {numbers}: expected some of 0 to {len(SCALES) - 1}")
        own = self._own(len(numbers))
        of_each = {f"{number}.{name}" for number in numbers for name in own}
        check_names(state, {*SHARED, "weights", "filters", "evidence", "examples"} | of_each)
        check_finite(state, "evidence", (len(numbers),))
        check_finite(state, "examples", (1,), np.int64)
        check_no_less(state, ["examples"])
        filters = {number: self._new(number) for number in numbers}
        shared = {name: state[name] for name in (*SHARED, "weights")}
        for number, each in filters.items():
            each.restore(shared | {name: state[f"{number}.{name}"] for name in own})
        self._filters = filters
        self._evidence = dict(zip(numbers, state["evidence"].tolist(), strict=True))
        self._examples = int(state["examples"][0])
