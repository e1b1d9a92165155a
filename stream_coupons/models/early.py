r"""The base rate from what has come by now of decisions whose windows are open.

Labels are learnt when windows close. Until the first have closed, for weeks maybe, a model has nothing but its prior,
and the rate of a shop may be another by a factor of five. How many answers have come tells sooner, beside how many were
to be expected by now: if an answer comes, it has come by the share u of its window with probability F(u), so a decision
is answered by now with probability p F(u), the elapsed-time model of delayed feedback [1]_. Here it moves one number, a
shift b of the head's log-odds z, to the mode of

.. math:: \sum_{\text{answered}} \log \sigma(z + b) + \sum_{\text{not yet}} \log(1 - \sigma(z + b)\,F(u)) -
   \frac{b^2}{2 v}, \qquad v = \frac{1}{1 + \sum p\,(1 - p)}

where v is what labels have left to learn of the base rate: b fades as they come. F is linear between `EDGES`, its
pieces are estimated with b by expectation and maximisation, from a Dirichlet prior.

Taken is a sample of the open decisions, those of the least hash: a sample that does not hang on what comes of them.

References
----------
.. [1] Chapelle, O. (2014). Modeling delayed feedback in display advertising. KDD.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.attribution import unpack
from stream_coupons.core.coupons import Floats
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.events import OpenDecision
from stream_coupons.core.features import DIMENSIONS, MAX_PLACES, FeatureRows
from stream_coupons.core.numeric import NUMERIC
from stream_coupons.core.scoring import HEADS
from stream_coupons.core.similarity import stable_hash
from stream_coupons.models.sigmoid import sigmoids
from stream_coupons.models.states import State, check_finite, check_names, check_no_less

SAMPLE = 256
EDGES: Floats = np.array([0.0, 1 / 256, 1 / 64, 1 / 16, 1 / 4, 1 / 2, 1.0])
SOONNESS = {"click": 0.3, "redeem": 0.7, "order": 0.7}
"""Before any answer has come, F(u) = u to this power: half of the clicks within a tenth of the window, half of the
purchases within three eighths of it."""
PRIOR_ANSWERS = 10.0
"""How many answers the prior of F counts for."""
FADING = 0.999
"""Of what is known of F from windows that have closed, with every answer in another one."""
HALF_LIFE = 5000
"""Labels, after which what they told of the base rate counts half."""
ROUNDS = 6
NEWTON_STEPS = 3
MOST_STEP = 1.0
LEAST_REST = 1e-9
UNANSWERED = -1.0
WINDOW = 4
"""Numbers of a decision that are not its features."""


class _Open(NamedTuple):
    """A decision of the sample."""

    decided_at: float
    until: float
    label_at: float
    answered: float
    """When, as a share of its window; `UNANSWERED` if it is not yet."""
    numeric: list[float]
    hashed: list[int]

    def share(self, at: float) -> float:
        """Of its window, at a time."""
        return min(max((at - self.decided_at) / (self.until - self.decided_at), 0.0), 1.0)


class EarlyAnswers:
    """What is open of one head, and the shift of its log-odds that this comes to.

    Parameters
    ----------
    head : str
        One of `HEADS`.

    Attributes
    ----------
    shift : float
        Of the log-odds, as of the last `fit`.
    """

    def __init__(self, head: str) -> None:
        self.shift = 0.0
        self._column = HEADS.index(head)
        self._first_pieces: Floats = np.diff(EDGES ** SOONNESS[head])
        self._open: dict[int, _Open] = {}
        self._closed: Floats = np.zeros(len(EDGES) - 1)
        self._information = 0.0

    def take(self, decision: OpenDecision, *, is_answered: bool) -> bool:
        """Take notice; False if that says nothing new, or of a decision that is not in the sample.

        Its features are of this program's feature space (`learner.check_features`).
        """
        identity = stable_hash(decision.issue_id)
        known = self._open.get(identity)
        if decision.is_over:
            if known is not None:
                self._forget(identity)
            return known is not None
        if known is None:
            if not decision.is_first or (len(self._open) >= SAMPLE and identity > max(self._open)):
                return False
            rows = unpack(decision.numeric, decision.hashed)
            window = decision.decided_at, decision.until, decision.label_at
            known = _Open(*window, UNANSWERED, rows.numeric[0].tolist(), rows.hashed[0].tolist())
            self._open[identity] = known
            if len(self._open) > SAMPLE:
                del self._open[max(self._open)]
        elif not is_answered or known.answered != UNANSWERED:
            return False
        if is_answered:
            self._open[identity] = known._replace(answered=known.share(decision.at))
        return True

    def learn(self, predicted: float) -> None:
        """Note that a label was learnt, of a decision with this prediction."""
        self._information = self._information * 0.5 ** (1 / HALF_LIFE) + predicted * (1.0 - predicted)

    def fit(self, log_odds: Callable[[FeatureRows], Floats], at: float, start: float = 0.0) -> None:
        """Set the shift to what has come by now.

        Parameters
        ----------
        log_odds : callable
            Those of all heads, shape (n, 3), without shifts.
        start : float
            The shift while nothing is known of this head.
        """
        self._close(at)
        self.shift = start
        if not self._open:
            return
        each = list(self._open.values())
        z, elapsed = log_odds(_rows(each))[:, self._column] + start, np.array([one.share(at) for one in each])
        answered = np.array([one.answered for one in each])
        is_answered = answered != UNANSWERED
        variance = 1.0 / (1.0 + self._information)
        counts = PRIOR_ANSWERS * self._first_pieces + self._closed + _count(answered[is_answered])
        self.shift += _fit(z, is_answered, elapsed, self._first_pieces, counts, variance)

    def _close(self, at: float) -> None:
        """Forget all whose labels have come by then."""
        for identity in [identity for identity, one in self._open.items() if one.label_at <= at]:
            self._forget(identity)

    def _forget(self, identity: int) -> None:
        """Forget what is over; when its answer came stays."""
        one = self._open.pop(identity)
        if one.answered != UNANSWERED:
            self._closed = self._closed * FADING + _count(np.array([one.answered]))

    def state(self) -> State:
        """All of it."""
        each = list(self._open.values())
        rows = _rows(each)
        return {
            "known": np.array([self.shift, self._information], np.float64),
            "closed": self._closed.copy(),
            "open": np.array([one[:WINDOW] for one in each], np.float64).reshape(len(each), WINDOW),
            "identities": np.array(list(self._open), np.uint64).view(np.int64),
            "numeric": rows.numeric,
            "places": rows.hashed.astype(np.uint32),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave.

        Raises
        ------
        SnapshotMismatch
        """
        shift, information = shift_of(state), float(state["known"][1])
        if information < 0.0:
            raise SnapshotMismatch(f"the information of labels is {information}: expected at least 0")
        identities, places = state["identities"], state["places"]
        if identities.dtype != np.int64 or identities.ndim != 1 or len(identities) > SAMPLE:
            raise SnapshotMismatch(f"identities are {identities.dtype} of shape {identities.shape}")
        size = len(identities)
        check_finite(state, "closed", self._closed.shape)
        check_no_less(state, ["closed"])
        check_finite(state, "open", (size, WINDOW))
        check_finite(state, "numeric", (size, len(NUMERIC)))
        is_placed = places.dtype == np.uint32 and places.ndim == 2 and places.shape[1] <= MAX_PLACES
        if not is_placed or len(places) != size or (places >= DIMENSIONS).any():
            raise SnapshotMismatch(f"open decisions do not fit: {size} of them, places of shape {places.shape}")
        if (state["open"][:, 1] <= state["open"][:, 0]).any():
            raise SnapshotMismatch("a window ends before it begins")
        rows = zip(state["open"].tolist(), state["numeric"].tolist(), places.tolist(), strict=True)
        each = [_Open(*window, *row) for window, *row in rows]
        self._open = dict(zip(identities.view(np.uint64).tolist(), each, strict=True))
        self._closed = state["closed"].copy()
        self.shift, self._information = shift, information


def shift_of(state: Mapping[str, NDArray[Any]]) -> float:
    """The shift of log-odds that a state of `EarlyAnswers` has.

    Raises
    ------
    SnapshotMismatch
    """
    check_names(state, {"known", "closed", "open", "identities", "numeric", "places"})
    check_finite(state, "known", (2,))
    return float(state["known"][0])


def _rows(each: list[_Open]) -> FeatureRows:
    hashed = np.zeros((len(each), max((len(one.hashed) for one in each), default=0)), np.uint32)
    for row, one in enumerate(each):
        hashed[row, : len(one.hashed)] = one.hashed
    return FeatureRows(np.array([one.numeric for one in each], np.float64).reshape(len(each), len(NUMERIC)), hashed)


def _count(shares: Floats) -> Floats:
    """How many of some shares of windows lie in each piece."""
    pieces = np.searchsorted(EDGES, shares, "right") - 1
    return np.bincount(np.minimum(pieces, len(EDGES) - 2), minlength=len(EDGES) - 1).astype(np.float64)


def _fit(
    z: Floats, is_answered: NDArray[np.bool_], elapsed: Floats, pieces: Floats, counts: Floats, variance: float
) -> float:
    """The shift, with the pieces of F as they come out beside it."""
    shift = 0.0
    waiting = elapsed[~is_answered]
    for _ in range(ROUNDS):
        reached = np.concatenate(([0.0], np.cumsum(pieces)))
        by_now = np.interp(waiting, EDGES, reached)
        for _ in range(NEWTON_STEPS):
            p = sigmoids(z + shift)
            answered, silent = p[is_answered], p[~is_answered]
            pull = silent * by_now * (1.0 - silent) / (1.0 - silent * by_now)
            slope = (1.0 - answered).sum() - pull.sum() - shift / variance
            curvature = (answered * (1.0 - answered)).sum() + (pull * (1.0 - silent)).sum() + 1.0 / variance
            shift += float(np.clip(slope / curvature, -MOST_STEP, MOST_STEP))
        silent = sigmoids(z + shift)[~is_answered]
        rest = np.maximum(1.0 - by_now, LEAST_REST)
        still_to_come = silent * (1.0 - by_now) / (1.0 - silent * by_now)
        ahead = np.maximum(reached[1:] - np.maximum(by_now[:, None], reached[:-1]), 0.0) / rest[:, None]
        pieces = counts + (still_to_come[:, None] * ahead).sum(axis=0)
        pieces = pieces / pieces.sum()
    return shift
