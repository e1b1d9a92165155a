"""Online logistic regression by River, one per head, and the same weights compiled to arrays for serving.

AdaGrad (Duchi, Hazan, Singer 2011) gives each weight its own rate. Its accumulators start at `ACCUMULATOR_START`
instead of about zero: otherwise the first example of a rare feature moves its weight by the full learning rate however
small the gradient, and a row of many rare features moves as one.
"""

import math

import numpy as np
from numpy.typing import NDArray
from river import linear_model, optim, utils

from stream_coupons.core.coupons import Floats
from stream_coupons.core.features import DIMENSIONS, HASHED, NUMERIC, FeatureRows
from stream_coupons.core.scoring import HEADS

ACCUMULATOR_START = 1.0
BIAS = DIMENSIONS + len(NUMERIC)
"""Hashed places come first, then the numbers, then a constant 1."""

NAMES = (*NUMERIC, *HASHED)

RATE_RATIO = {"click": 1.0, "redeem": 1.0, "order": 0.2}
"""Each head's learning rate over the one set. Orders without a coupon are seen in the holdout only, a twentieth of the
examples, and every error there is multiplied by a margin in the uplift: go slowly."""
PRIOR_RATE = {"click": 0.10, "redeem": 0.04, "order": 0.02}
PRIOR_WEIGHTS: dict[str, dict[str, float]] = {
    "click": {"scope_share": 0.7, "near_scope_share": 0.4, "discount_depth": 3.0},
    "redeem": {"scope_share": 0.7, "near_scope_share": 0.4, "discount_depth": 3.0},
    "order": {"scope_share": 0.7, "browsed_now": 0.5, "item": 0.5},
}
"""Before anything is learnt: base rates of the trade at `PRIOR_DEPTH_RATIO` and a neutral share of interest; what is
near the shopper or their neighbours draws more, deeper discounts draw more; who is interested, above all in the very
item, orders anyway."""
PRIOR_DEPTH_RATIO = 0.15


def prior_weights(head: str) -> dict[int, float]:
    """Weights to start from, by index."""
    rate = PRIOR_RATE[head]
    weights = {DIMENSIONS + NUMERIC.index(name): weight for name, weight in PRIOR_WEIGHTS[head].items()}
    weights[BIAS] = math.log(rate / (1 - rate)) - PRIOR_DEPTH_RATIO * PRIOR_WEIGHTS[head].get("discount_depth", 0.0)
    return weights


def to_river(numeric: list[float], hashed: list[int]) -> dict[int, float]:
    """One row of features as River's mapping from index to value; a place hit twice counts twice."""
    features: dict[int, float] = {}
    for place in hashed:
        if place:
            features[place] = features.get(place, 0.0) + 1.0
    features.update((index, value) for index, value in enumerate(numeric, DIMENSIONS) if value)
    features[BIAS] = 1.0
    return features


class OnlineHead:
    """One head: River's model, its state open to be saved and restored."""

    def __init__(self, head: str, learning_rate: float, l2: float) -> None:
        self.name = head
        self._optimizer = optim.AdaGrad(learning_rate * RATE_RATIO[head], eps=ACCUMULATOR_START)
        self._model = linear_model.LogisticRegression(optimizer=self._optimizer, l2=l2, intercept_lr=0.0)
        self.restore(prior_weights(head), {})

    def learn(self, numeric: list[float], hashed: list[int], label: bool) -> None:
        """Take one step down the gradient of the log loss."""
        self._model.learn_one(to_river(numeric, hashed), label)

    def predict(self, numeric: list[float], hashed: list[int]) -> float:
        """River's own prediction, for tests of the compiled one."""
        return float(self._model.predict_proba_one(to_river(numeric, hashed))[True])

    def weights(self) -> dict[int, float]:
        """Weights by index."""
        return dict(self._model.weights)

    def accumulators(self) -> dict[int, float]:
        """AdaGrad's sums of squared gradients, by index."""
        return dict(self._optimizer.g2)

    def restore(self, weights: dict[int, float], accumulators: dict[int, float]) -> None:
        """Go on from saved weights and accumulators."""
        self._model._weights = utils.VectorDict(weights)
        self._optimizer.g2.clear()
        self._optimizer.g2.update(accumulators)


class LinearScorer:
    """An immutable snapshot of all heads as arrays; scores a batch of candidates at once.

    Parameters
    ----------
    version : int
        Number of the snapshot.
    weights : array, shape (len(HEADS), BIAS + 1)
        Weights by head and index.
    """

    def __init__(self, version: int, weights: Floats) -> None:
        self.version = version
        self._hashed: Floats = np.ascontiguousarray(weights[:, :DIMENSIONS].T)
        self._numeric: Floats = np.ascontiguousarray(weights[:, DIMENSIONS:BIAS])
        self._bias: Floats = weights[:, BIAS].copy()

    def predict(self, rows: FeatureRows) -> Floats:
        """Probabilities of shape (n, len(HEADS)).

        A row's do not depend on which others are scored with it, to the last bit; those of a product by BLAS do.
        """
        numeric = np.einsum("nf,hf->nh", rows.numeric, self._numeric)
        hashed = np.einsum("nfh->nh", np.take(self._hashed, rows.hashed, axis=0))
        logits = numeric + hashed + self._bias
        probabilities: Floats = 1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0)))
        return probabilities

    def contributions(self, rows: FeatureRows, row: int, head: int) -> list[tuple[str, float, float]]:
        """(feature, value, what it adds to the log-odds) of one row, largest magnitude first; zeros left out."""
        places = rows.hashed[row]
        values = np.concatenate((rows.numeric[row], places > 0))
        added = values * np.concatenate((self._numeric[head], self._hashed[places, head]))
        loud = np.flatnonzero(added)
        said = [(NAMES[n], float(values[n]), float(added[n])) for n in loud.tolist()]
        return sorted(said, key=lambda entry: (-abs(entry[2]), entry[0]))


def dense(weights_by_head: dict[str, dict[int, float]]) -> Floats:
    """Weights by head and index as one array, shape (len(HEADS), BIAS + 1)."""
    array: NDArray[np.float64] = np.zeros((len(HEADS), BIAS + 1))
    for row, head in enumerate(HEADS):
        weights = weights_by_head[head]
        array[row, list(weights)] = list(weights.values())
    return array


def prior() -> LinearScorer:
    """The model before anything was learnt."""
    return LinearScorer(0, dense({head: prior_weights(head) for head in HEADS}))
