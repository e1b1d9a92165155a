r"""Factorization machine [1]_: logistic regression plus an interaction of every pair of features, at low rank.

.. math:: z = \sum_i w_i x_i + \frac{c}{2} \sum_f \Big[ \big( \sum_i v_{if} x_i \big)^2 - \sum_i v_{if}^2 x_i^2 \Big]

with :math:`c = 1 / \lVert x \rVert^2`, so that rows of many features do not interact more loudly than rows of few
[2]_. So "this shopper" and "that brand" speak together although the two were never seen together. Every parameter has
AdaGrad's rate.

River's `facto.FMClassifier` keeps latent vectors in dicts, at about a millisecond an example; here they are rows of one
array. Parameters are single precision: there are `RANK` for every index.

References
----------
.. [1] Rendle, S. (2010). Factorization machines. ICDM.
.. [2] Juan, Y., Zhuang, Y., Chin, W.-S., and Lin, C.-J. (2016). Field-aware factorization machines for CTR prediction.
       RecSys, sec. 3 (normalisation by instance).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.coupons import Floats
from stream_coupons.core.features import FeatureRows
from stream_coupons.models.adagrad import ACCUMULATOR_START
from stream_coupons.models.encoding import BIAS
from stream_coupons.models.inputs import Row, each_row
from stream_coupons.models.sigmoid import sigmoid
from stream_coupons.models.states import State, check_finite, check_names, check_no_less, check_places

RANK = 8
SPREAD = 0.1
"""Standard deviation of latent vectors before learning: small, yet not 0, where no gradient would ever move them."""
FACTOR_START = 1e-4
"""Where the accumulators of latent vectors start. Their gradients are smaller by c and by the vectors themselves."""


class FactorizationMachine:
    """One head.

    Parameters
    ----------
    learning_rate, l2 : float
        As of `AdaGrad`, the penalty on weights alone.
    prior : mapping of int to float
        Weights to start from, by index.
    seed : int
        Of the latent vectors before learning.
    """

    def __init__(self, learning_rate: float, l2: float, prior: Mapping[int, float], seed: int) -> None:
        self._rate, self._l2, self._seed = learning_rate, l2, seed
        self._prior = dict(prior)
        self._begin()

    def _begin(self) -> None:
        size, chance = BIAS + 1, np.random.default_rng(self._seed)
        self._weights = np.zeros(size, np.float32)
        self._weights[list(self._prior)] = list(self._prior.values())
        self._sums = np.zeros(size, np.float32)
        self._factors = chance.standard_normal((size, RANK), np.float32) * np.float32(SPREAD)
        self._factor_sums = np.zeros((size, RANK), np.float32)
        self._is_learnt = np.zeros(size, np.bool_)

    def learn_one(self, row: Row, label: bool, weight: float = 1.0) -> float:
        """Predict, then take one step down the gradient of the log loss."""
        indices, values = row.arrays
        weights = self._weights[indices].astype(np.float64)
        factors = self._factors[indices].astype(np.float64)
        scaled = factors * values[:, None]
        total = scaled.sum(axis=0)
        c = 1.0 / float(values @ values)
        probability = sigmoid(
            row.offset + float(values @ weights) + 0.5 * c * float(total @ total - (scaled * scaled).sum())
        )
        error = (probability - label) * weight
        _step(self._weights, self._sums, indices, error * values + self._l2 * weights, self._rate, ACCUMULATOR_START)
        slopes = (error * c) * values[:, None] * (total - scaled)
        _step(self._factors, self._factor_sums, indices, slopes, self._rate, FACTOR_START)
        self._is_learnt[indices] = True
        return probability

    def predict(self, rows: FeatureRows) -> Floats:
        """P(label) of each row, shape (n,)."""
        return np.array([self._predict_one(row) for row in each_row(rows)], np.float64)

    def _predict_one(self, row: Row) -> float:
        indices, values = row.arrays
        scaled = self._factors[indices].astype(np.float64) * values[:, None]
        total = scaled.sum(axis=0)
        pairs = float(total @ total - (scaled * scaled).sum()) / float(values @ values)
        return sigmoid(float(values @ self._weights[indices].astype(np.float64)) + 0.5 * pairs)

    def quicken(self, factor: float) -> None:
        """Multiply the sums of squared gradients."""
        self._sums *= np.float32(factor)
        self._factor_sums *= np.float32(factor)

    def state(self) -> State:
        """Parameters and accumulators of every index that was learnt; the seed gives the rest again."""
        places = np.flatnonzero(self._is_learnt)
        return {
            "places": places.astype(np.uint32),
            "weights": self._weights[places],
            "sums": self._sums[places],
            "factors": self._factors[places],
            "factor_sums": self._factor_sums[places],
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave."""
        check_names(state, {"places", "weights", "sums", "factors", "factor_sums"})
        places = check_places(state)
        for name in ("weights", "sums"):
            check_finite(state, name, places.shape, np.float32)
        for name in ("factors", "factor_sums"):
            check_finite(state, name, (*places.shape, RANK), np.float32)
        check_no_less(state, ("sums", "factor_sums"))
        self._begin()
        self._weights[places], self._sums[places] = state["weights"], state["sums"]
        self._factors[places], self._factor_sums[places] = state["factors"], state["factor_sums"]
        self._is_learnt[places] = True


def _step(
    parameters: NDArray[np.float32],
    sums: NDArray[np.float32],
    indices: NDArray[np.int64],
    gradient: Floats,
    rate: float,
    start: float,
) -> None:
    """AdaGrad's step of some parameters, in place."""
    accumulated = sums[indices] + gradient * gradient
    sums[indices] = accumulated
    parameters[indices] -= (rate * gradient / np.sqrt(accumulated + start)).astype(np.float32)
