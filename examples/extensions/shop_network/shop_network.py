"""A small neural network by scikit-learn as a model of stream_coupons: its hidden layer is features that it learns.

Its inputs are the numeric features, and the hashed ones folded into `FOLD` columns by a second, signed hash [1]_: a
first layer over all bucket indices would be larger than all else. It is trained by Adam [2]_ on small batches as they
fill, so a label has an effect from the next full batch on. Install the package beside stream_coupons and name the model
in the settings: `learning.models = ["network"]`.

References
----------
.. [1] Weinberger, K., et al. (2009). Feature hashing for large scale multitask learning. ICML.
.. [2] Kingma, D. P., and Ba, J. (2015). Adam: a method for stochastic optimization. ICLR.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.models.effect import evidence, redemption, sigmoids
from stream_coupons.models.inputs import Row
from stream_coupons.models.linear import PRIOR_RATE
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.states import State, check_finite, check_names, check_no_less

HIDDEN = 16
FOLD = 64
BATCH = 32
RATE = 0.003
MAX_INPUT = 5.0
INPUTS = len(NUMERIC) + FOLD
SHAPES = ((INPUTS, HIDDEN), (HIDDEN, 1), (HIDDEN,), (1,))
"""Shapes of the network's parameters in scikit-learn's order: weights of both layers, then intercepts."""


class NeuralNetwork:
    """Neural network of one head.

    Parameters
    ----------
    head : str
        Head of `stream_coupons.models.linear.ALL_HEADS`; its base rate is predicted before learning.
    rules : LearningRules
        Settings of learning, which this model does not read.
    l2 : float
        Penalty on the weights.
    seed : int
        Seed of the initial weights: constant, so that a replay gives the same model.
    """

    def __init__(self, head: str, rules: LearningRules, l2: float = 1e-6, seed: int = 0) -> None:  # noqa: ARG002
        self._model = MLPClassifier(
            (HIDDEN,),
            learning_rate_init=RATE,
            alpha=l2,
            batch_size=BATCH,
            shuffle=False,
            random_state=seed,
        )
        # scikit-learn allocates its arrays at the first data. Rows of zeros do not change the first layer; the rest is
        # set below.
        self._model.partial_fit(np.zeros((BATCH, INPUTS)), [0] * BATCH, classes=[0, 1])
        first = self._model.coefs_[-1] * 0.1
        self._set([self._model.coefs_[0], first, self._model.intercepts_[0], np.array([_logit(PRIOR_RATE[head])])])
        for moment in (*self._optimizer.ms, *self._optimizer.vs):
            moment[...] = 0.0
        self._optimizer.t = 0
        self._batch: list[tuple[Floats, bool, float]] = []

    @property
    def _optimizer(self) -> Any:
        return self._model._optimizer

    @property
    def _parameters(self) -> list[Floats]:
        return [*self._model.coefs_, *self._model.intercepts_]

    def _set(self, parameters: list[Floats]) -> None:
        """Set the parameters in place, since the optimizer holds the same arrays."""
        for mine, given in zip(self._parameters, parameters, strict=True):
            mine[...] = given

    def learn_one(self, row: Row, label: bool) -> float:
        """Predict, then train if the batch is full."""
        inputs = inputs_of(row)
        probability, weight = self._probability(inputs), 1.0
        if row.anyway is not None:
            weight = evidence(probability, row.anyway, label, row.uses)
            probability = redemption(probability, row.anyway, row.uses)
        self._batch.append((inputs, label, weight))
        if len(self._batch) == BATCH:
            rows, labels, weights = zip(*self._batch, strict=True)
            self._model.partial_fit(np.stack(rows), labels, sample_weight=np.array(weights))
            self._model.loss_curve_.clear()  # grows with every batch
            self._batch.clear()
        return probability

    def hidden(self, inputs: Floats) -> Floats:
        """Return the activations of the hidden layer, shape (..., HIDDEN)."""
        activations: Floats = np.maximum(inputs @ self._model.coefs_[0] + self._model.intercepts_[0], 0.0)
        return activations

    def _probability(self, inputs: Floats) -> float:
        z = (self.hidden(inputs) @ self._model.coefs_[1])[..., 0] + self._model.intercepts_[1][0]
        return float(sigmoids(np.atleast_1d(z))[0])

    def probability(self, row: Row) -> float:
        """Return P(label) of a row."""
        return self._probability(inputs_of(row))

    def quicken(self, factor: float) -> None:
        """Do nothing: Adam's averages fade within some thousand examples, so its steps do not shrink with evidence."""

    def state(self) -> State:
        """Return the parameters, both of Adam's moments of each, its count of steps, and the incomplete batch."""
        state: State = {"steps": np.array([self._optimizer.t], np.int64)}
        for name, arrays in (
            ("parameters", self._parameters),
            ("first", self._optimizer.ms),
            ("second", self._optimizer.vs),
        ):
            state[name] = np.concatenate([array.ravel() for array in arrays])
        state["inputs"] = np.array([inputs for inputs, _, _ in self._batch]).reshape(-1, INPUTS)
        state["labels"] = np.array([label for _, label, _ in self._batch], np.uint32)
        state["weights"] = np.array([weight for _, _, weight in self._batch], np.float64)
        return state

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from the output of `state`."""
        check_names(state, {"steps", "parameters", "first", "second", "inputs", "labels", "weights"})
        size, waiting = sum(math.prod(shape) for shape in SHAPES), state["labels"].size
        for name in ("parameters", "first", "second"):
            check_finite(state, name, (size,))
        check_finite(state, "inputs", (waiting, INPUTS))
        check_finite(state, "labels", (waiting,), np.uint32)
        check_finite(state, "weights", (waiting,))
        check_finite(state, "steps", (1,), np.int64)
        check_no_less(state, ("steps", "second", "weights"))
        if waiting >= BATCH:
            raise SnapshotMismatch(f"a batch of {waiting}: expected less than {BATCH}")
        self._set(_split(state["parameters"]))
        for moments, name in ((self._optimizer.ms, "first"), (self._optimizer.vs, "second")):
            moments[:] = _split(state[name])
        self._optimizer.t = int(state["steps"][0])
        labels, weights = state["labels"].astype(np.bool_).tolist(), state["weights"].tolist()
        self._batch = list(zip(state["inputs"].copy(), labels, weights, strict=True))


def inputs_of(row: Row) -> Floats:
    """Return the network's inputs for a row, shape (INPUTS,)."""
    places = row.places.astype(np.uint32)
    places = places[places > 0]
    mixed = places * np.uint32(0x9E3779B1)  # wraps: a multiplicative hash, of which the upper bits are used
    signs = np.where(mixed & np.uint32(1 << 25), 1.0, -1.0)
    folded = np.bincount(mixed >> np.uint32(26), signs, FOLD)
    return np.concatenate((np.clip(row.numeric, -MAX_INPUT, MAX_INPUT), folded))


def _split(flat: Floats) -> list[Floats]:
    ends = np.cumsum([math.prod(shape) for shape in SHAPES])[:-1]
    return [part.reshape(shape).copy() for part, shape in zip(np.split(flat, ends), SHAPES, strict=True)]


def _logit(probability: float) -> float:
    return math.log(probability / (1.0 - probability))
