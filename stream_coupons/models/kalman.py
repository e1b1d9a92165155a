r"""Bayesian logistic regression by a decoupled extended Kalman filter: the covariance sets the step sizes.

Weights are a Gaussian :math:`N(w, P)`. An example moves the mean to the mode of its likelihood times that Gaussian.
Along the example's direction :math:`P x` this is one equation in one unknown, the log-odds :math:`z'` after learning,
solved to the end instead of linearised at the old log-odds, so that no step overshoots [1]_:

.. math:: z' = z + s\,(y - \sigma(z')), \quad s = x^T P x, \qquad
   w \leftarrow w + P x\,(y - \sigma(z')), \quad
   P \leftarrow P - \frac{h\,P x\,x^T P}{1 + h s}, \quad h = \sigma'(z')

Gradient methods learn a weight as if all others were right. The covariance records that two features occurred
together, so one example of either trains both. It is kept of at most `MOST_JOINT` indices: the numeric features, their
bins, and hashed features seen often, which yield to a later numeric feature or bin. All other hashed features have a
variance each and no covariance, a diagonal block (decoupled, [2]_).

After a drift the filter forgets: :math:`P^{-1}` is drawn towards the prior one, and :math:`w` stays.

The base rate may walk at random: each example adds a little to the variance of the constant [3]_. All else stays.

The prior variances of hashed features are learnt, too (`relevance`). When they change, the information of the examples
is separated from the old prior and combined with the new one.

References
----------
.. [1] Kulis, B., and Bartlett, P. L. (2010). Implicit online learning. ICML.
.. [2] Puskorius, G. V., and Feldkamp, L. A. (1991). Decoupled extended Kalman filter training of feedforward layered
       networks. IJCNN.
.. [3] West, M., and Harrison, J. (1997). Bayesian forecasting and dynamic models, 2nd edition. Springer.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dger

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features.rows import DIMENSIONS, GROUPS
from stream_coupons.models.effect import PRECISION, evidence, redemption_by, sigmoid, step_of
from stream_coupons.models.encoding import BIAS, CONSTANT, MOST_JOINT, Indices
from stream_coupons.models.inputs import Row
from stream_coupons.models.relevance import OF_GROUPS, REVIEWS, Relevance
from stream_coupons.models.states import State, check_finite, check_linear, check_names, check_no_less
from stream_coupons.models.variances import (
    FIRST_VARIANCES,
    VARIANCE_OF_CONSTANT,
    VARIANCE_OF_COUPON,
    VARIANCE_OF_PLACES,
)

AT_ONCE = 8192 // MOST_JOINT
"""Rows of the covariance that are updated at once, and by which its capacity grows: BLAS uses threads beyond 8192
numbers, which cost far more than they save."""
JOINED_AFTER = 50
"""Examples of a hashed feature after which it gets covariances."""


class KalmanFilter:
    """Bayesian logistic regression of one head.

    Parameters
    ----------
    prior : mapping of int to float
        Mean of the weights before learning, by index.
    spread : float
        Factor of all prior variances.
    of_coupon, of_constant : float
        Prior variance of the coupon's hashed feature, the first one of a row, and of the constant.
    walk : float
        Variance of the step of the base rate's log-odds from one example to the next.
    """

    def __init__(
        self,
        prior: Mapping[int, float],
        spread: float = 1.0,
        *,
        of_coupon: float = VARIANCE_OF_COUPON,
        of_constant: float = VARIANCE_OF_CONSTANT,
        walk: float = 0.0,
    ) -> None:
        self._prior, self._spread = dict(prior), spread
        self._of_coupon, self._of_constant, self._walk = of_coupon, of_constant, walk / CONSTANT**2
        self._begin()

    def _begin(self) -> None:
        size = BIAS + 1
        self.dense: Floats = np.zeros(size)
        self.dense[list(self._prior)] = list(self._prior.values())
        self._centres, self._reviewed = self.dense.copy(), self.dense.copy()
        self._variances, self._first_variances = np.zeros(size), np.zeros(size)
        self._seen, self._groups = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self._slots, self._joint = np.full(size, -1, np.int64), np.zeros(0, np.int64)
        self._make_room(np.zeros((0, 0)))
        self._relevance = Relevance()
        self._lessons = 0

    def _make_room(self, covariance: Floats) -> None:
        """Store this covariance of the joint indices with room for more, and allocate scratch memory."""
        size = AT_ONCE * max(math.ceil(len(self._joint) / AT_ONCE), 1)
        self._covariance = np.zeros((size, size))
        self._covariance[: len(covariance), : len(covariance)] = covariance
        self._scratch = np.empty((size, size))

    def learn_one(self, row: Row, label: bool) -> float:
        """Predict, then move to the mode. Redemptions as labels of the demand do not test the relevance."""
        indices, values = row.arrays
        hashed = indices[: np.count_nonzero(indices < DIMENSIONS)]
        slots = self._meet(indices, hashed, row)
        logit = self.log_odds(row)
        counts = 1.0 if row.anyway is None else evidence(sigmoid(logit), row.anyway, label, row.uses)
        if row.effect is None:
            self._test(indices, values, hashed, label, row, counts)
        base, most = self._slots[BIAS], self._first_variances[BIAS]
        walk = self._walk * row.sample.weight
        self._covariance[base, base] += max(min(walk, most - self._covariance[base, base]), 0.0)
        apart, moves, moves_apart, variance = self._along(indices, values, slots)
        error, curvature = step_of(row, logit, variance, label)
        self.dense[self._joint] += moves[: len(self._joint)] * error
        self.dense[apart] += moves_apart * error
        shrink = math.sqrt(curvature / (1.0 + curvature * variance))
        moves *= shrink
        self._add_square(moves, -1.0)
        self._variances[apart] -= (moves_apart * shrink) ** 2
        self._lessons += 1
        if self._lessons in REVIEWS:
            self._review()
        redeemed = redemption_by(row, logit)
        return sigmoid(logit) if redeemed is None else redeemed.probability

    def _add_square(self, column: Floats, sign: float) -> None:
        """Add the product of a column and its transpose to the covariance, or subtract it by a sign of -1."""
        for start in range(0, len(column), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            # Transposed, as BLAS has columns first. It adds nothing up, so no bit depends on an order of sums, and the
            # covariance stays symmetric to the last bit, as a restored one is.
            dger(sign, column, column[some], a=self._covariance[some].T, overwrite_a=True)

    def variance(self, row: Row) -> float:
        """Return the variance of the log-odds of a row."""
        indices, values = row.arrays
        return self._along(indices, values, self._slots.take(indices))[-1]

    def _along(self, indices: Indices, values: Floats, slots: Indices) -> tuple[Indices, Floats, Floats, float]:
        """Return P x of a row x, and the variance of its log-odds.

        Returns
        -------
        apart : array of int
            Indices without covariance.
        moves, moves_apart : array
            P x of all joint indices, by slot, and of `apart`.
        variance : float
            x' P x.
        """
        is_joint, is_apart = slots >= 0, slots < 0
        at, x = slots[is_joint], values[is_joint]
        apart, u = indices[is_apart], values[is_apart]
        # Into scratch memory: its allocation takes longer than the computation.
        rows = self._covariance.take(at, axis=0, out=self._scratch[: len(at)], mode="clip")
        # Sums of numpy, not of BLAS: the same to the last bit on every machine.
        moves: Floats = np.einsum("i,ij->j", x, rows)
        moves_apart = self._variances.take(apart) * u
        variance = max(float(np.add.reduce(moves.take(at) * x) + np.add.reduce(moves_apart * u)), 0.0)
        return apart, moves, moves_apart, variance

    def _meet(self, indices: Indices, hashed: Indices, row: Row) -> Indices:
        """Give variances to new indices, and covariances to numeric features, bins and frequent hashed features.

        Returns
        -------
        array of int
            Slot of each index; -1 without covariances.
        """
        seen = self._seen.take(indices)
        new = indices[seen == 0]
        self._seen[indices] = seen = seen + 1
        if new.size:
            self._begin_variances(new, len(hashed), row)
        slots = self._slots.take(indices)
        is_ripe = slots < 0
        is_ripe[: len(hashed)] &= seen[: len(hashed)] >= (JOINED_AFTER if len(self._joint) < MOST_JOINT else math.inf)
        if not np.count_nonzero(is_ripe):
            return slots
        for index in indices[is_ripe].tolist():
            slot = self._slot_for(index)
            if slot is not None:
                self._slots[index] = slot
                self._covariance[slot, slot] = self._variances[index]
        return self._slots.take(indices)

    def _begin_variances(self, new: Indices, length: int, row: Row) -> None:
        """Give prior variances to new indices of a row with so many hashed features."""
        places = row.places
        is_new = self._seen.take(places) == 1
        self._groups[places[is_new]] = row.groups[is_new]
        hashed = new[new < DIMENSIONS]
        of_group = self._relevance.of_group.take(self._groups.take(hashed))
        first = of_group * (self._spread * (VARIANCE_OF_PLACES / max(length, 1)))
        if places.size and is_new[0]:
            is_coupon = hashed == places[0]
            first[is_coupon] = of_group[is_coupon] * (self._spread * self._of_coupon)
        self._variances[hashed] = self._first_variances[hashed] = first
        if len(hashed) < len(new):
            others = new[len(hashed) :]
            first = self._spread * np.where(others == BIAS, self._of_constant, FIRST_VARIANCES[others])
            self._variances[others] = self._first_variances[others] = first

    def _slot_for(self, index: int) -> int | None:
        """Return a new slot; if all are taken, a number or bin gets that of the rarest hashed feature, others None."""
        if len(self._joint) < MOST_JOINT:
            before, self._joint = len(self._joint), np.append(self._joint, index)
            if before == len(self._covariance):
                self._make_room(self._covariance)
            return before
        joint = self._joint
        places = np.flatnonzero(joint < DIMENSIONS)
        if index < DIMENSIONS or not places.size:
            return None
        slot = int(places[np.argmin(self._seen[joint[places]])])
        self._slots[joint[slot]] = -1
        self._variances[joint[slot]] = self._covariance[slot, slot]
        self._covariance[slot, :] = self._covariance[:, slot] = 0.0
        joint[slot] = index
        return slot

    def _test(self, indices: Indices, values: Floats, hashed: Indices, label: bool, row: Row, weight: float) -> None:
        """Compare the weights of the last review with the label, group by group."""
        reviewed = self._reviewed.take(indices)
        probability = sigmoid(float(np.add.reduce(values * reviewed)) + math.log(row.sample.odds))
        said = (reviewed[: len(hashed)] - self._centres.take(hashed)) * values[: len(hashed)]
        self._relevance.test(self._groups.take(hashed), said, probability, label, weight)

    def _review(self) -> None:
        """Learn the relevance of every group of hashed features, and apply it to their variances and weights."""
        places = np.flatnonzero(self._seen[:DIMENSIONS])
        first = self._first_variances[places]
        moved = (self.dense - self._centres)[places] ** 2 / first
        factors = self._relevance.review(self._groups[places], self._known(places), moved)
        is_changed = factors != 1.0
        changed, before = places[is_changed], first[is_changed]
        self._first_variances[changed] = before * factors[is_changed]
        self._draw_to_centres(changed, 1.0 / self._first_variances[changed] - 1.0 / before)
        self._reviewed = self.dense.copy()

    def _known(self, indices: NDArray[np.int64]) -> Floats:
        """Return the share of each weight's information that is from examples and not from the prior, 0 to 1."""
        slots = self._slots[indices]
        variances = np.where(slots >= 0, self._covariance.diagonal()[slots], self._variances[indices])
        known: Floats = np.clip(1.0 - variances / self._first_variances[indices], 0.0, 1.0)
        return known

    def _draw_to_centres(self, indices: NDArray[np.int64], information: Floats) -> None:
        """Add information that weights are at their centres; below 0 remove it, up to the prior variance."""
        most = self._first_variances[indices]
        slots = self._slots[indices]
        is_joint = slots >= 0
        apart, more = indices[~is_joint], information[~is_joint]
        before = self._variances[apart]
        shrink = np.maximum(1.0 + more * before, before / most[~is_joint])
        self._variances[apart] = before / shrink
        self.dense[apart] = self._centres[apart] + (self.dense[apart] - self._centres[apart]) / shrink
        covariance = self._covariance
        moved = np.zeros(len(covariance))
        moved[: len(self._joint)] = (self.dense - self._centres)[self._joint]
        rows = zip(slots[is_joint].tolist(), information[is_joint].tolist(), most[is_joint].tolist(), strict=True)
        for slot, more_of_it, most_of_it in rows:
            column = covariance[:, slot].copy()
            gain = more_of_it / max(1.0 + more_of_it * column[slot], column[slot] / most_of_it)
            moved -= column * (gain * moved[slot])
            column *= math.sqrt(abs(gain))
            self._add_square(column, math.copysign(1.0, -gain))
        self.dense[self._joint] = self._centres[self._joint] + moved[: len(self._joint)]

    def log_odds(self, row: Row) -> float:
        """Return the log-odds of the label."""
        indices, values = row.arrays
        return float(np.add.reduce(values * self.dense.take(indices)))

    def probability(self, row: Row) -> float:
        """Return P(label) of a row."""
        return sigmoid(self.log_odds(row))

    def quicken(self, factor: float) -> None:
        """Multiply the information of the examples by a factor, and restart the evidence on relevance."""
        self._forget(factor)
        self._reviewed = self.dense.copy()
        self._relevance.forget_slopes()
        self._lessons = 0

    def _forget(self, factor: float) -> None:
        """Multiply the information of examples by `factor`; centres follow the weights by the part forgotten."""
        indices = np.flatnonzero(self._seen)
        before, weights = self._known(indices), self.dense.copy()
        self._variances[self._slots < 0] /= factor
        self._covariance /= factor
        self._draw_to_centres(indices, (1.0 - factor) / self._first_variances[indices])
        self.dense = weights
        left = np.sqrt(self._known(indices) / np.maximum(before, PRECISION))
        self._centres[indices] += (weights - self._centres)[indices] * (1.0 - np.minimum(left, 1.0))

    @property
    def _columns(self) -> dict[str, NDArray[Any]]:
        """Arrays over all indices that are part of the state, by name."""
        return {
            "weights": self.dense,
            "centres": self._centres,
            "reviewed": self._reviewed,
            "variances": self._variances,
            "first_variances": self._first_variances,
            "seen": self._seen,
            "groups": self._groups,
        }

    def state(self) -> State:
        """Return the columns by ascending index, the covariance of the joint ones, and the relevance."""
        places = np.flatnonzero((self._seen > 0) | (self.dense != 0.0))
        return {
            "places": places.astype(np.uint32),
            **{name: column[places].astype(np.float64) for name, column in self._columns.items()},
            "joint": self._joint.astype(np.uint32),
            "covariance": self._covariance[np.triu_indices(len(self._joint))],
            "lessons": np.array([self._lessons], np.int64),
            **self._relevance.state(),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from the output of `state`."""
        self._check(state)
        relevance = Relevance()
        relevance.restore(state)
        self._begin()
        self._relevance = relevance
        for name, column in self._columns.items():
            column[:] = 0
            column[state["places"]] = state[name]
        self._lessons = int(state["lessons"][0])
        self._joint = state["joint"].astype(np.int64)
        self._make_room(np.zeros((0, 0)))
        self._slots[self._joint] = np.arange(len(self._joint))
        rows, columns = np.triu_indices(len(self._joint))
        self._covariance[rows, columns] = self._covariance[columns, rows] = state["covariance"]

    def _check(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Refuse a state whose arrays do not fit together; those of relevance check themselves."""
        check_names(state, {"places", *self._columns, *OF_GROUPS, "joint", "covariance", "lessons"})
        check_linear({name: state[name] for name in ("places", *self._columns)})
        joint = state["joint"]
        if joint.dtype != np.uint32 or joint.ndim != 1 or len(joint) > MOST_JOINT:
            raise SnapshotMismatch(f"joint is {joint.dtype} of shape {joint.shape}: expected at most {MOST_JOINT}")
        if len(set(joint.tolist())) < len(joint) or not np.isin(joint, state["places"]).all():
            raise SnapshotMismatch("joint: an index comes twice or is not among the places")
        check_finite(state, "covariance", (len(joint) * (len(joint) + 1) // 2,))
        check_no_less(state, ("variances", "first_variances", "seen", "groups", "lessons"))
        if (state["groups"] >= GROUPS).any():
            raise SnapshotMismatch(f"groups go up to {state['groups'].max()}: expected less than {GROUPS}")
        if ((state["seen"] > 0.0) & (state["first_variances"] == 0.0)).any():
            raise SnapshotMismatch("first_variances: one of what was seen is 0")
        check_finite(state, "lessons", (1,), np.int64)
