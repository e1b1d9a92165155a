"""Aggregated Mondrian forest [1]_ on the numbers alone, by River.

A Mondrian forest grows with every example and does not forget. So there are two: when the older one has seen
`max_rows`, the younger one, which began halfway, takes its place, and a new one begins. What is known is never older
than `max_rows` examples, nor larger. And the state of both is simply the rows that the older one has seen: learning
them again with the same seed grows the same trees, at some milliseconds a row when the learner starts.

Hashed places are left out: a split on one of thousands of rare categories tells little. A sampled example stands for
others by a weight that is the same for all, which frequencies in leaves do not need to know.

References
----------
.. [1] Mourtada, J., Gaiffas, S., and Scornet, E. (2021). AMF: Aggregated Mondrian forests for online learning. J. R.
       Stat. Soc. B 83(3).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import forest

from stream_coupons.core.coupons import Floats
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features import FeatureRows
from stream_coupons.core.numeric import NUMERIC
from stream_coupons.models.inputs import Row, each_row
from stream_coupons.models.states import State, check_finite, check_names

MAX_ROWS = 4000
TREES = 10


class MondrianForest:
    """One head.

    Parameters
    ----------
    base_rate : float
        Predicted until the first positive example.
    seed : int
        Of all trees.
    max_rows : int
        The most rows that a forest has seen when it is replaced.
    """

    def __init__(self, base_rate: float, seed: int, max_rows: int = MAX_ROWS) -> None:
        self._base_rate, self._seed, self._max_rows = base_rate, seed, max_rows
        self._begin(0)

    def _begin(self, generation: int) -> None:
        self._generation = generation
        self._rows: list[list[float]] = []
        self._labels: list[bool] = []
        self._older, self._younger = self._grow(generation), self._grow(generation + 1)

    def _grow(self, generation: int) -> forest.AMFClassifier:
        return forest.AMFClassifier(n_estimators=TREES, seed=self._seed + generation)

    def learn_one(self, row: Row, label: bool, weight: float = 1.0) -> float:  # noqa: ARG002
        """Predict, then let both forests grow."""
        numbers = np.array(row.numeric, np.float32).tolist()
        probability = self._predict_one(numbers)
        self._learn(numbers, label)
        if len(self._rows) == self._max_rows:
            half = self._max_rows // 2
            self._rows, self._labels = self._rows[half:], self._labels[half:]
            self._generation += 1
            self._older, self._younger = self._younger, self._grow(self._generation + 1)
        return probability

    def _learn(self, numbers: list[float], label: bool) -> None:
        features = dict(enumerate(numbers))
        self._older.learn_one(features, label)
        if len(self._rows) >= self._max_rows // 2:
            self._younger.learn_one(features, label)
        self._rows.append(numbers)
        self._labels.append(label)

    def _predict_one(self, numbers: list[float]) -> float:
        scores = self._older.predict_proba_one(dict(enumerate(numbers)))
        # Summed over trees, shares of 1 may pass it by a rounding error.
        return min(max(scores[True], 0.0), 1.0) if True in scores else self._base_rate

    def predict(self, rows: FeatureRows) -> Floats:
        """P(label) of each row, shape (n,)."""
        numbers = (np.array(row.numeric, np.float32).tolist() for row in each_row(rows))
        return np.array([self._predict_one(each) for each in numbers], np.float64)

    def quicken(self, factor: float) -> None:
        """Nothing: it forgets by itself."""

    def state(self) -> State:
        """The rows that the older forest has seen, their labels, and which generation it is."""
        return {
            "rows": np.array(self._rows, np.float32).reshape(-1, len(NUMERIC)),
            "labels": np.array(self._labels, np.uint32),
            "generation": np.array([self._generation], np.int64),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Learn the rows of a state again."""
        check_names(state, {"rows", "labels", "generation"})
        labels = state["labels"]
        check_finite(state, "labels", (labels.size,), np.uint32)
        check_finite(state, "rows", (labels.size, len(NUMERIC)), np.float32)
        check_finite(state, "generation", (1,), np.int64)
        if labels.size >= self._max_rows or state["generation"][0] < 0:
            raise SnapshotMismatch(
                f"{labels.size} rows of generation {state['generation'][0]}: at most {self._max_rows - 1}"
            )
        self._begin(int(state["generation"][0]))
        for numbers, label in zip(state["rows"].tolist(), labels.tolist(), strict=True):
            self._learn(numbers, bool(label))
