r"""Bayesian logistic regression by a decoupled extended Kalman filter: step sizes that follow from what is known.

Weights are a Gaussian :math:`N(w, P)`. An example moves the mean to the mode of its likelihood times that Gaussian.
Along the example's direction :math:`P x` this is one equation in one unknown, the log-odds :math:`z'` after learning,
solved to the end instead of linearised at the old log-odds, so that no step overshoots [1]_:

.. math:: z' = z + s\,(y - \sigma(z')), \quad s = x^T P x, \qquad
   w \leftarrow w + P x\,(y - \sigma(z')), \quad
   P \leftarrow P - \frac{h\,P x\,x^T P}{1 + h s}, \quad h = \sigma'(z')

Gradient methods learn a weight as if all others were right. The covariance knows that two features came together, so
one example of either teaches both. It is kept of at most `MOST_JOINT` indices: the numbers, their bins, and hashed
places that were seen some times, which give way to a number or bin that comes later. All other places have a variance
each and no covariance, a diagonal block (decoupled, [2]_).

References
----------
.. [1] Kulis, B., and Bartlett, P. L. (2010). Implicit online learning. ICML.
.. [2] Puskorius, G. V., and Feldkamp, L. A. (1991). Decoupled extended Kalman filter training of feedforward layered
       networks. IJCNN.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.coupons import Floats
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features import DIMENSIONS, FeatureRows
from stream_coupons.models.encoding import BIAS, CONSTANT, FIRST_BIN
from stream_coupons.models.inputs import Row, probabilities
from stream_coupons.models.sigmoid import sigmoid
from stream_coupons.models.states import State, check_finite, check_linear, check_names, check_no_less

VARIANCE_OF_PLACES = 1.5
"""Of the sum of all hashed places of the row in which one is first seen: rows of many do not vary more than rows of
few."""
VARIANCE_OF_COUPON = 0.1
"""Coupons are few and given often, and each has an appeal of its own: how much there is to learn of it does not hang on
how much there is to learn of shoppers."""
VARIANCE_OF_NUMBER = 0.3
VARIANCE_OF_BIN = 0.03
VARIANCE_OF_CONSTANT = 1.0 / CONSTANT**2
MOST_JOINT = 256
JOINED_AFTER = 50
"""Examples of a hashed place, after which it gets covariances."""
MOST_STEPS = 50
PRECISION = 1e-10


class KalmanFilter:
    """One head.

    Parameters
    ----------
    prior : mapping of int to float
        Mean of the weights before learning, by index.
    spread : float
        Multiplies all variances before learning.
    scale : float
        Multiplies those of all but the constant and the coupon's own place: how far a domain may be from the prior.
    """

    def __init__(self, prior: Mapping[int, float], spread: float = 1.0, scale: float = 1.0) -> None:
        self._prior, self._spread, self._scale = dict(prior), spread, scale
        self._begin()

    def _begin(self) -> None:
        size = BIAS + 1
        self._weights = np.zeros(size)
        self._weights[list(self._prior)] = list(self._prior.values())
        self._variances = np.zeros(size)
        self._first_variances = np.zeros(size)
        self._seen = np.zeros(size, np.int64)
        self._slots = np.full(size, -1, np.int64)
        self._joint: list[int] = []
        self._covariance = np.zeros((MOST_JOINT, MOST_JOINT))

    def learn_one(self, row: Row, label: bool, weight: float = 1.0) -> float:
        """Predict, then move to the mode."""
        indices, values = row.arrays
        self._meet(indices, row.hashed[:1])
        logit = row.offset + self.log_odds(row)
        slots = self._slots[indices]
        is_joint = slots >= 0
        at, x = slots[is_joint], values[is_joint]
        apart, u = indices[~is_joint], values[~is_joint]
        size = len(self._joint)
        covariance = self._covariance[:size, :size]
        # Sums of numpy, not of BLAS: the same to the last bit on every machine.
        moves = (covariance[at] * x[:, None]).sum(axis=0)
        moves_apart = self._variances[apart] * u
        variance = max(float((moves[at] * x).sum() + (moves_apart * u).sum()), 0.0)
        probability = sigmoid(mode(logit, variance * weight, label))
        error = weight * (label - probability)
        self._weights[self._joint] += moves * error
        self._weights[apart] += moves_apart * error
        curvature = weight * probability * (1.0 - probability)
        shrink = math.sqrt(curvature / (1.0 + curvature * variance))
        moves *= shrink
        covariance -= moves[:, None] * moves
        self._variances[apart] -= (moves_apart * shrink) ** 2
        return sigmoid(logit)

    def _meet(self, indices: NDArray[np.int64], coupon: Sequence[int]) -> None:
        """Give variances to what was never seen, and covariances to numbers, bins and what was seen often.

        `coupon` is the place of the coupon itself: the first that is hashed.
        """
        seen = self._seen[indices]
        self._seen[indices] = seen + 1
        new = indices[seen == 0]
        if new.size:
            hashed = int((indices < DIMENSIONS).sum())
            of_place = self._scale * VARIANCE_OF_PLACES / max(hashed, 1)
            first = self._spread * _variances(new, coupon, of_place, self._scale)
            self._variances[new] = self._first_variances[new] = first
        is_ripe = (indices >= DIMENSIONS) | ((seen + 1 >= JOINED_AFTER) & (len(self._joint) < MOST_JOINT))
        for index in indices[is_ripe & (self._slots[indices] < 0)].tolist():
            slot = self._slot_for(index)
            if slot is not None:
                self._slots[index] = slot
                self._covariance[slot, slot] = self._variances[index]

    def _slot_for(self, index: int) -> int | None:
        """A new slot of the covariance; if there is none, a number or bin gets that of the hashed place seen least."""
        if len(self._joint) < MOST_JOINT:
            self._joint.append(index)
            return len(self._joint) - 1
        joint = np.array(self._joint)
        places = np.flatnonzero(joint < DIMENSIONS)
        if index < DIMENSIONS or not places.size:
            return None
        slot = int(places[np.argmin(self._seen[joint[places]])])
        self._slots[joint[slot]] = -1
        self._variances[joint[slot]] = self._covariance[slot, slot]
        self._covariance[slot, :] = self._covariance[:, slot] = 0.0
        self._joint[slot] = index
        return slot

    def log_odds(self, row: Row) -> float:
        """Of the label, without the row's offset."""
        indices, values = row.arrays
        return float((values * self._weights[indices]).sum())

    def predict(self, rows: FeatureRows) -> Floats:
        """P(label) of each row, shape (n,)."""
        return probabilities(self.log_odds, rows)

    def quicken(self, factor: float) -> None:
        """Divide all variances by the factor, but raise none above what it was before learning."""
        self._variances = np.minimum(self._variances / factor, self._first_variances)
        size = len(self._joint)
        now = self._covariance.diagonal()[:size]
        most = self._first_variances[self._joint]
        scale = np.sqrt(np.maximum(np.minimum(1.0 / factor, most / np.maximum(now, most * factor)), 1.0))
        self._covariance[:size, :size] *= scale[:, None] * scale

    def weights(self) -> dict[int, float]:
        """Means by index."""
        places = np.flatnonzero(self._weights)
        return dict(zip(places.tolist(), self._weights[places].tolist(), strict=True))

    def state(self) -> State:
        """Means, variances now and at first, counts, by ascending index; joint indices and their covariance."""
        places = np.flatnonzero((self._seen > 0) | (self._weights != 0.0))
        size = len(self._joint)
        return {
            "places": places.astype(np.uint32),
            "weights": self._weights[places],
            "variances": self._variances[places],
            "first_variances": self._first_variances[places],
            "seen": self._seen[places].astype(np.float64),
            "joint": np.array(self._joint, np.uint32),
            "covariance": self._covariance[np.triu_indices(size)],
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave."""
        of_each = ("weights", "variances", "first_variances", "seen")
        check_names(state, {"places", *of_each, "joint", "covariance"})
        check_linear({name: state[name] for name in ("places", *of_each)})
        joint, places = state["joint"], state["places"]
        if joint.dtype != np.uint32 or joint.ndim != 1 or len(joint) > MOST_JOINT:
            raise SnapshotMismatch(f"joint is {joint.dtype} of shape {joint.shape}: expected at most {MOST_JOINT}")
        if len(set(joint.tolist())) < len(joint) or not np.isin(joint, places).all():
            raise SnapshotMismatch("joint: an index comes twice or is not among the places")
        check_finite(state, "covariance", (len(joint) * (len(joint) + 1) // 2,))
        check_no_less(state, of_each[1:])
        self._begin()
        self._weights[:] = 0.0
        self._weights[places], self._variances[places] = state["weights"], state["variances"]
        self._first_variances[places] = state["first_variances"]
        self._seen[places] = state["seen"].astype(np.int64)
        self._joint = joint.tolist()
        self._slots[self._joint] = np.arange(len(joint))
        rows, columns = np.triu_indices(len(joint))
        self._covariance[rows, columns] = self._covariance[columns, rows] = state["covariance"]


def _variances(indices: NDArray[np.int64], coupon: Sequence[int], of_place: float, scale: float) -> Floats:
    """Variances before learning; that of a hashed place is given."""
    return np.select(
        [np.isin(indices, coupon), indices < DIMENSIONS, indices < FIRST_BIN, indices < BIAS],
        [VARIANCE_OF_COUPON, of_place, VARIANCE_OF_NUMBER * scale, VARIANCE_OF_BIN * scale],
        VARIANCE_OF_CONSTANT,
    )


def mode(logit: float, variance: float, label: bool) -> float:
    """The z with z = logit + variance (label - sigmoid(z)).

    Newton's method from the point between the bounds of z that is nearest to 0, where the sigmoid turns: from there
    it never steps over the solution.

    >>> round(mode(0.0, 0.0, True), 6), round(mode(0.0, 4.0, True), 6)
    (0.0, 1.042597)
    """
    low, high = (logit, logit + variance) if label else (logit - variance, logit)
    z = min(max(0.0, low), high)
    for _ in range(MOST_STEPS):
        p = sigmoid(z)
        step = (z - logit - variance * (label - p)) / (1.0 + variance * p * (1.0 - p))
        z -= step
        if abs(step) < PRECISION:
            break
    return z
