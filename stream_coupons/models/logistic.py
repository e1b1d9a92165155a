"""Logistic regression by River, by any of its optimizers: what the linear models share.

A linear model's state holds `places` (uint32, ascending), and for each of them its weight and what the optimizer
keeps, all float64.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import linear_model, optim, utils

from stream_coupons.core.coupons import Floats
from stream_coupons.core.features import FeatureRows
from stream_coupons.models.encoding import BIAS
from stream_coupons.models.inputs import Row, probabilities
from stream_coupons.models.sigmoid import sigmoid
from stream_coupons.models.states import State, check_linear, check_names, check_no_less

SQUARES = {"accumulators", "n"}
"""What an optimizer may keep that is a sum of squares."""


class OnlineLogistic:
    """River's model, its state open to be saved and restored.

    Parameters
    ----------
    optimizer : river.optim.base.Optimizer
    kept : dict of str to dict of int to float
        What the optimizer keeps by index, under the name it has in the state.
    l2 : float
        Penalty added to the gradient.
    """

    def __init__(self, optimizer: optim.base.Optimizer, kept: dict[str, dict[int, float]], l2: float) -> None:
        self._kept = kept
        self._model = linear_model.LogisticRegression(optimizer=optimizer, l2=l2, intercept_lr=0.0)

    def learn_one(self, row: Row, label: bool, weight: float = 1.0) -> float:
        """Predict, then take one step down the gradient of the log loss."""
        return self.learn_features(row.features, label, weight, row.offset)

    def learn_features(self, features: dict[int, float], label: bool, weight: float, offset: float) -> float:
        """`learn_one` of any features by index."""
        probability = sigmoid(offset + self.logit(features))
        self._model.intercept = offset
        self._model.learn_one(features, label, w=weight)
        return probability

    def predict(self, rows: FeatureRows) -> Floats:
        """P(label) of each row, shape (n,)."""
        return probabilities(self.log_odds, rows)

    def logit(self, features: dict[int, float]) -> float:
        """Log-odds of the label by features by index."""
        # Not by `weights`: that makes a dictionary of all of them.
        return float(self._model._weights.dot(features))

    def log_odds(self, row: Row) -> float:
        """Of the label, without the row's offset."""
        return self.logit(row.features)

    def weights(self) -> dict[int, float]:
        """Weights to serve by, by index."""
        return dict(self._model.weights)

    def state(self) -> State:
        """Weights and what the optimizer keeps, by ascending index."""
        weights = self.weights()
        places = sorted(set(weights).union(*self._kept.values()))
        state: State = {"places": np.array(places, np.uint32)}
        for name, values in {"weights": weights, **self._kept}.items():
            state[name] = np.array([values.get(place, 0.0) for place in places], np.float64)
        return state

    def restore(self, state: Mapping[str, NDArray[Any]], last: int = BIAS) -> None:
        """Go on from what `state` gave; `last` is the highest index there may be."""
        check_names(state, {"places", "weights", *self._kept})
        check_linear(state, last)
        check_no_less(state, SQUARES & set(self._kept))
        places = state["places"].tolist()
        self._model._weights = utils.VectorDict(dict(zip(places, state["weights"].tolist(), strict=True)))
        for name, values in self._kept.items():
            values.clear()
            values.update((place, value) for place, value in zip(places, state[name].tolist(), strict=True) if value)
