"""Logistic regression by River, by any of its optimizers: what the linear models share.

A linear model's state holds `places` (uint32, ascending), and for each of them its latest weight, that weight's average
and what the optimizer keeps, all float64; and how many `steps` it took. What it predicts by is the averages.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import linear_model, optim, utils

from stream_coupons.core.coupons import Floats
from stream_coupons.core.features import FeatureRows
from stream_coupons.models.averaging import Averages, clock, served
from stream_coupons.models.encoding import BIAS
from stream_coupons.models.inputs import Row, each_row
from stream_coupons.models.sigmoid import sigmoid
from stream_coupons.models.states import State, check_linear, check_names


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
        self._averages = Averages()

    def learn_one(self, row: Row, label: bool, weight: float = 1.0) -> float:
        """Predict, then take one step down the gradient of the log loss."""
        return self.learn_features(row.features, label, weight)

    def learn_features(self, features: dict[int, float], label: bool, weight: float) -> float:
        """`learn_one` of any features by index."""
        probability = self.predict_features(features)
        self._averages.advance(features, self._model.weights)
        self._model.learn_one(features, label, w=weight)
        return probability

    def predict(self, rows: FeatureRows) -> Floats:
        """P(label) of each row, shape (n,)."""
        return np.array([self.predict_features(row.features) for row in each_row(rows)], np.float64)

    def predict_features(self, features: dict[int, float]) -> float:
        """P(label) of features by index."""
        latest, now = self._model.weights, clock(self._averages.step)
        logit = sum(value * self._averages.of(index, latest, now) for index, value in features.items())
        return sigmoid(logit)

    def weights(self) -> dict[int, float]:
        """Weights to serve by, by index."""
        latest = dict(self._model.weights)
        return dict(zip(latest, served(self._columns(list(latest), latest)).tolist(), strict=True))

    def state(self) -> State:
        """Weights and what the optimizer keeps, by ascending index."""
        latest = dict(self._model.weights)
        places = sorted(set(latest).union(*self._kept.values()))
        state: State = {"places": np.array(places, np.uint32)}
        for name, values in self._kept.items():
            state[name] = np.array([values.get(place, 0.0) for place in places], np.float64)
        return state | self._columns(places, latest)

    def _columns(self, places: list[int], latest: Mapping[int, float]) -> State:
        """What is served is made of: latest weights by place, their averages, and the steps."""
        weights = np.array([latest.get(place, 0.0) for place in places], np.float64)
        steps = np.array([self._averages.step])
        return {"weights": weights, **self._averages.columns(places, latest), "steps": steps}

    def restore(self, state: Mapping[str, NDArray[Any]], last: int = BIAS) -> None:
        """Go on from what `state` gave; `last` is the highest index there may be."""
        check_names(state, {"places", "weights", "averages", "averaged_at", "steps", *self._kept})
        check_linear(state, last)
        places = state["places"].tolist()
        self._model._weights = utils.VectorDict(dict(zip(places, state["weights"].tolist(), strict=True)))
        self._averages.restore(state, float(state["steps"][0]))
        for name, values in self._kept.items():
            values.clear()
            values.update((place, value) for place, value in zip(places, state[name].tolist(), strict=True) if value)
