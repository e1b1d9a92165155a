"""Logistic regression by AdaGrad, which gives each weight its own rate [1]_.

The accumulators of squared gradients start at `ACCUMULATOR_START` instead of about zero. Otherwise the first example of
a rare feature moves its weight by the full learning rate however small the gradient, and a row of many rare features
moves as one.

Weights and accumulators are arrays over all indices: an example of 200 features costs some ten calls of numpy, a tenth
of the time with a dictionary. The state holds `places` (uint32, ascending), and for each of them its weight and its
accumulator, both float64.

References
----------
.. [1] Duchi, J., Hazan, E., and Singer, Y. (2011). Adaptive subgradient methods for online learning and stochastic
       optimization. JMLR 12.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.models.effect import evidence, redemption
from stream_coupons.models.encoding import BIAS, Indices
from stream_coupons.models.inputs import Row
from stream_coupons.models.sigmoid import sigmoid
from stream_coupons.models.states import State, check_linear, check_names, check_no_less

ACCUMULATOR_START = 1.0


class AdaGrad:
    """Logistic regression of one head by AdaGrad.

    Parameters
    ----------
    learning_rate : float
        Step size of a weight whose accumulator is 1.
    l2 : float
        Penalty on the weights of a row's features, added to the gradient.
    prior : mapping of int to float
        Weights to start from, by index.
    last : int
        The highest index that a feature may have.
    """

    def __init__(self, learning_rate: float, l2: float, prior: Mapping[int, float], last: int = BIAS) -> None:
        self._learning_rate, self._l2 = learning_rate, l2
        self.dense: Floats = np.zeros(last + 1)
        self.dense[list(prior)] = list(prior.values())
        self._accumulators = np.zeros(last + 1)

    def learn_one(self, row: Row, label: bool) -> float:
        """Predict, then take one step down the gradient of the log loss."""
        return self.learn_features(*row.arrays, row, label)

    def learn_features(self, indices: Indices, values: Floats, row: Row, label: bool) -> float:
        """Do the work of `learn_one` for given features.

        Parameters
        ----------
        indices, values : array, shape (m,)
            Unique indices and their values.
        row : Row
            For a redemption, P(order without the coupon); its own features are not read.
        label : bool
            The outcome.

        Returns
        -------
        float
            P(label) within [0, 1], predicted before this label is learnt.
        """
        weights = self.dense[indices]
        probability = sigmoid(float((weights * values).sum()))
        weight = 1.0 if row.anyway is None else evidence(probability, row.anyway, label, row.uses)
        gradient = values * (weight * (probability - label)) + self._l2 * weights
        squares = self._accumulators[indices] + gradient * gradient
        self._accumulators[indices] = squares
        self.dense[indices] = weights - self._learning_rate * gradient / np.sqrt(squares + ACCUMULATOR_START)
        return probability if row.anyway is None else redemption(probability, row.anyway, row.uses)

    def probability(self, row: Row) -> float:
        """Return P(label) of a row."""
        return sigmoid(self.log_odds(row))

    def logit(self, indices: Indices, values: Floats) -> float:
        """Return the log-odds of the label.

        Parameters
        ----------
        indices, values : array, shape (m,)
            Unique indices and their values.
        """
        return float((self.dense[indices] * values).sum())

    def log_odds(self, row: Row) -> float:
        """Return the log-odds of the label."""
        return self.logit(*row.arrays)

    def quicken(self, factor: float) -> None:
        """Multiply the sums of squared gradients, so that rates rise by up to 1 / sqrt(factor)."""
        self._accumulators *= factor

    def state(self) -> State:
        """Return weights and accumulators, by ascending index."""
        places = np.flatnonzero((self.dense != 0.0) | (self._accumulators > 0.0))
        return {
            "places": places.astype(np.uint32),
            "weights": self.dense[places],
            "accumulators": self._accumulators[places],
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from the output of `state`.

        Raises
        ------
        SnapshotMismatch
            If it does not fit; the model is then unchanged.
        """
        check_names(state, {"places", "weights", "accumulators"})
        check_linear(state, len(self.dense) - 1)
        check_no_less(state, {"accumulators"})
        places = state["places"]
        self.dense[:] = self._accumulators[:] = 0.0
        self.dense[places], self._accumulators[places] = state["weights"], state["accumulators"]
