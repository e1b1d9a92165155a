"""A tiny package with models: a River pipeline, and a model of the engine's own interface."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base, compose, linear_model, preprocessing

from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.models.inputs import Row
from stream_coupons.models.rules import LearningRules

scaled = preprocessing.StandardScaler() | linear_model.LogisticRegression()
scaled_numbers = (compose.SelectType(float) | preprocessing.StandardScaler()) + compose.SelectType(
    int
) | linear_model.LogisticRegression(l2=0.001)
with_a_lambda = compose.FuncTransformer(lambda x: x) | linear_model.LogisticRegression()


class BaseRate:
    """The rate of a head's labels, whatever the features."""

    def __init__(self, head: str, rules: LearningRules) -> None:
        prior_rates = {"click": 0.15, "effect": 0.08, "demand": 0.04, "visit": 0.01}
        self._sums = np.array([prior_rates[head] * 20.0, 20.0])

    def learn_one(self, row: Row, label: bool) -> float:
        before = self.probability(row)
        self._sums += (label, 1.0)
        return before

    def probability(self, row: Row) -> float:
        return float(self._sums[0] / self._sums[1])

    def quicken(self, factor: float) -> None:
        self._sums *= factor

    def state(self) -> dict[str, NDArray[Any]]:
        return {"sums": self._sums.copy()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        sums = state.get("sums")
        if set(state) != {"sums"} or sums is None or sums.dtype != np.float64 or sums.shape != (2,):
            raise SnapshotMismatch("expected the array sums, two numbers of 64 bits")
        if not 0.0 <= sums[0] <= sums[1] < np.inf:
            raise SnapshotMismatch(f"sums are {sums.tolist()}: expected positives and examples")
        self._sums = sums.copy()


class Fragile(BaseRate):
    """Fails as soon as it has learnt."""

    def probability(self, row: Row) -> float:
        if self._sums[1] > 20.0:
            raise ZeroDivisionError("no luck")
        return super().probability(row)


class Incomplete:
    """Lacks half of the interface."""

    def __init__(self, head: str, rules: LearningRules) -> None:
        pass

    learn_one = probability = BaseRate.probability


class Labels(base.Classifier):  # type: ignore[misc]
    """Predicts labels without probabilities."""

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        pass

    def predict_one(self, x: dict[str, float]) -> bool:
        return bool(x)
