"""The deep path: a linear model whose features include the hidden layer of a neural network.

Wide and deep [1]_, except that the two are not trained jointly. The network learns the label by itself, and the linear
model takes its units as further features, whose rates AdaGrad sets as for all others.

References
----------
.. [1] Cheng, H.-T., et al. (2016). Wide & deep learning for recommender systems. DLRS.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.models.adagrad import AdaGrad
from stream_coupons.models.encoding import BIAS, Indices
from stream_coupons.models.inputs import Row
from stream_coupons.models.neural import HIDDEN, NeuralNetwork, inputs_of
from stream_coupons.models.sigmoid import sigmoid
from stream_coupons.models.states import State, check_names

FIRST_UNIT = BIAS + 1
LAST_UNIT = BIAS + HIDDEN


class DeepLinear:
    """Model of one head, which owns a linear model and a network."""

    def __init__(self, linear: AdaGrad, network: NeuralNetwork) -> None:
        self._linear, self._network = linear, network

    def _features(self, row: Row) -> tuple[Indices, Floats]:
        units = self._network.hidden(inputs_of(row)).ravel()
        indices, values = row.arrays
        firing = np.flatnonzero(units)
        return np.concatenate((indices, firing + FIRST_UNIT)), np.concatenate((values, units[firing]))

    def learn_one(self, row: Row, label: bool) -> float:
        """Predict, then train the linear model, then the network."""
        probability = self._linear.learn_features(*self._features(row), row, label)
        self._network.learn_one(row, label)
        return probability

    def probability(self, row: Row) -> float:
        """Return P(label) of a row."""
        return sigmoid(self._linear.logit(*self._features(row)))

    def quicken(self, factor: float) -> None:
        """Quicken both models, which then take larger steps."""
        self._linear.quicken(factor)
        self._network.quicken(factor)

    def state(self) -> State:
        """Return the states of both models, with prefixed names."""
        linear = {f"linear.{name}": array for name, array in self._linear.state().items()}
        return linear | {f"network.{name}": array for name, array in self._network.state().items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from the output of `state`."""
        linear, network = (
            {name.removeprefix(part): array for name, array in state.items() if name.startswith(part)}
            for part in ("linear.", "network.")
        )
        check_names(state, {f"linear.{name}" for name in linear} | {f"network.{name}" for name in network})
        before = self._linear.state()
        self._linear.restore(linear)
        try:
            self._network.restore(network)
        except SnapshotMismatch:
            self._linear.restore(before)
            raise
