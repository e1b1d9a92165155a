r"""Base rates from the outcomes so far of pending decisions, whose windows are open.

Labels are learnt when windows close. Until the first close, maybe for weeks, a model has its prior only, and the rate
of a shop may differ from it by a factor of five. The number of answers so far is earlier evidence, compared with the
expected number: an answer arrives within the share u of its window with probability F(u), so a decision is answered by
then with probability p F(u), the elapsed-time model of delayed feedback [1]_. Here it moves one number, a shift b of
the head's log-odds z, to the mode of

.. math:: \sum_{\text{answered}} \log \sigma(z + b) + \sum_{\text{not yet}} \log(1 - \sigma(z + b)\,F(u)) -
   \frac{(b - v s)^2}{2 v}, \qquad v = \frac{1}{1 + \sum p\,(1 - p)}

where v is the variance of the base rate after the labels so far, and s the initial shift, without any label: b fades
as labels arrive. The delays of answers differ between shops as much as rates do, and while windows are young a few
early answers may be the first of many or nearly all of them. So b is the mean over some laws F, lognormal ones and
powers of u, each with its own b and weighted by its evidence (Laplace's approximation): the times of answers, in open
and closed windows, and the decisions without an answer.

The fit uses a sample of the open decisions, those with the least hashes, so that it is independent of their outcomes.

References
----------
.. [1] Chapelle, O. (2014). Modeling delayed feedback in display advertising. KDD.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.candidates import unpack
from stream_coupons.core.decision.scoring import HEADS
from stream_coupons.core.draws import stable_hash
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, GROUPS, MAX_PLACES, FeatureRows
from stream_coupons.core.messages.learning import OpenDecision
from stream_coupons.models.sigmoid import sigmoids
from stream_coupons.models.states import State, check_finite, check_names, check_no_less

GIVEN, NONE_GIVEN = "given", "none_given"
EARLY: dict[str, tuple[str, ...]] = {GIVEN: ("click", "redeem"), NONE_GIVEN: ("order",)}
"""Heads with possible answers, for decisions with and without a coupon."""
SAMPLE = 256
EDGES: Floats = np.array(
    [0.0, 1 / 1024, 1 / 256, 1 / 128, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1.0]
)
"""Shares of the window that delimit the pieces of F, which is linear within each."""
LOGNORMAL = {"click": (1 / 64, 1 / 16, 1 / 4, 1 / 2), "redeem": (1 / 16, 1 / 4, 1 / 2), "order": (1 / 4, 1 / 2, 1.0)}
"""Medians of the lognormal laws, as shares of the window: later without a coupon, as no expiry presses."""
SPREADS = (0.6, 1.2)
"""Standard deviations of the logarithm in the lognormal laws; each is combined with every median."""
POWERS: dict[str, tuple[float, ...]] = {"click": (), "redeem": (0.4, 0.7), "order": (0.7,)}
"""Exponents of the laws that are powers of u: purchases arrive early as well as late."""
AT_ANY_TIME = 0.1
"""Share of answers that every law spreads evenly over the window, so that none rules an answer out."""
FADING = 0.999
"""Decay of the counts of answers in closed windows, per further answer."""
NEWTON_STEPS = 15
PRECISION = 1e-9
"""Newton's method ends after a step of at most this size."""
MOST_SHIFT = 20.0
"""Bound of a shift. A larger one is forged: it would make any outcome certain."""
MOST_STEP = 1.0
LEAST = 1e-9
"""Lower bound of probabilities in logarithms and denominators."""
UNANSWERED = -1.0
STALE_RATIO = 1 / 64
"""Part of the shortest open window after which missing answers are evaluated again."""
WINDOW = 3
"""Number of times in a window: of the decision, of the end of answers, and of its labels."""


class _PendingDecision(NamedTuple):
    """A pending decision of the sample."""

    decided_at: float
    until: float
    label_at: float
    numeric: bytes
    hashed: bytes
    answered: tuple[float, ...]
    """Time of each head's answer, as a share of the window, or `UNANSWERED`."""

    def share(self, at: float) -> float:
        """Return the elapsed share of its window at a time, 0 to 1."""
        return min(max((at - self.decided_at) / (self.until - self.decided_at), 0.0), 1.0)


class EarlyAnswers:
    """Sample of the pending decisions of some heads, and the shifts of log-odds that it implies.

    Parameters
    ----------
    heads : sequence of str
        Heads, of `HEADS`, with possible answers to each decision.
    half_life : float
        Labels of a head after which the information of a label on its base rate counts half.

    Attributes
    ----------
    shifts : dict of float
        Shift of each head's log-odds, as of the last `fit`.
    starts : dict of float
        Initial shifts, before any label of the head, as of a domain that starts from another one.
    """

    def __init__(self, heads: Sequence[str], half_life: float) -> None:
        self.shifts: dict[str, float] = dict.fromkeys(heads, 0.0)
        self.starts: dict[str, float] = dict.fromkeys(heads, 0.0)
        self._half_life = half_life
        self._open: dict[int, _PendingDecision] = {}
        self._unpacked: dict[int, FeatureRows] = {}
        self._together: FeatureRows | None = None
        self._closed: dict[str, Floats] = {head: np.zeros(len(EDGES) - 1) for head in heads}
        self._information: dict[str, float] = dict.fromkeys(heads, 0.0)
        self._shortest_s = math.inf

    def take(self, decision: OpenDecision, answers: Sequence[bool]) -> bool:
        """Record the answers so far; return False if there is nothing new, or the decision is not in the sample.

        `answers` has a value for each head. The decision's features are of this program's feature space
        (`inputs.check_features`).
        """
        identity = stable_hash(decision.issue_id)
        known = self._open.get(identity)
        if decision.is_over:
            if known is not None:
                self._forget(identity)
            return known is not None
        is_new = known is None
        if known is None:
            if not decision.is_first or (len(self._open) >= SAMPLE and identity > max(self._open)):
                return False
            window = decision.decided_at, decision.until, decision.label_at
            known = _PendingDecision(*window, decision.numeric, decision.hashed, (UNANSWERED,) * len(answers))
        now = known.share(decision.at)
        answered = tuple(
            now if is_answered and then == UNANSWERED else then
            for is_answered, then in zip(answers, known.answered, strict=True)
        )
        self._open[identity] = known._replace(answered=answered)
        if is_new:
            self._together = None
        self._shortest_s = min(self._shortest_s, known.until - known.decided_at)
        if len(self._open) > SAMPLE:
            self._forget(max(self._open), is_over=False)
        return is_new or answered != known.answered

    def learn(self, head: str, predicted: float) -> None:
        """Add the information of a learnt label, of a decision with this prediction."""
        before = self._information[head] * 0.5 ** (1 / self._half_life)
        self._information[head] = before + predicted * (1.0 - predicted)

    def fit(
        self, log_odds: Callable[[FeatureRows], Floats], at: float, start: float = 0.0, heads: Collection[str] = HEADS
    ) -> None:
        """Fit the shifts to the answers so far.

        Parameters
        ----------
        log_odds : callable
            Returns the log-odds of all heads, shape (n, 3), without shifts.
        at : float
            Time of the fit in seconds.
        start : float
            Addition to `starts`.
        heads : collection of str
            Heads whose answers are reported: the absence of answers carries no information on others.
        """
        for identity in [identity for identity, one in self._open.items() if one.label_at <= at]:
            self._forget(identity)
        variances = {head: 1.0 / (1.0 + information) for head, information in self._information.items()}
        self.shifts = {head: variances[head] * (own + start) for head, own in self.starts.items()}
        self._shortest_s = _shortest_of(self._open.values())
        if not self._open or not set(heads) & self.shifts.keys():
            return
        each = list(self._open.values())
        z, elapsed = log_odds(self._rows()), np.array([one.share(at) for one in each])
        for head, answered in zip(self.shifts, np.array([one.answered for one in each]).T, strict=True):
            if head not in heads:
                continue
            log_odds_of_head = z[:, HEADS.index(head)] + self.shifts[head]
            more = _fit(log_odds_of_head, answered, elapsed, _LAWS[head], self._closed[head], variances[head])
            self.shifts[head] = min(max(self.shifts[head] + more, -MOST_SHIFT), MOST_SHIFT)

    def is_stale(self, passed_s: float) -> bool:
        """Return whether missing answers may be news, so long after the last `fit`."""
        return bool(self._open) and passed_s >= STALE_RATIO * self._shortest_s

    def forget_open(self) -> None:
        """Forget all open decisions, answered or not: to keep some would make the sample depend on its answers."""
        self._open, self._unpacked, self._together = {}, {}, None

    def _rows(self) -> FeatureRows:
        """Return the features of the sample: each is unpacked once, and all are joined after a change."""
        if self._together is None:
            for identity, one in self._open.items():
                if identity not in self._unpacked:
                    self._unpacked[identity] = unpack(one.numeric, one.hashed)
            self._together = _together([self._unpacked[identity] for identity in self._open])
        return self._together

    def _forget(self, identity: int, *, is_over: bool = True) -> None:
        """Remove a decision from the sample; if it is over, keep the times of its answers."""
        self._unpacked.pop(identity, None)
        self._together = None
        for head, then in zip(self._closed, self._open.pop(identity).answered, strict=True):
            if is_over and then != UNANSWERED:
                self._closed[head] = self._closed[head] * FADING + _count(np.array([then]))

    def state(self) -> State:
        """Return the sample and the shifts as arrays."""
        each = list(self._open.values())
        n = len(each)
        rows = self._rows()
        return {
            "shifts": np.array(list(self.shifts.values())),
            "starts": np.array(list(self.starts.values())),
            "information": np.array(list(self._information.values())),
            "closed": np.array(list(self._closed.values())),
            "windows": np.array([one[:WINDOW] for one in each], np.float64).reshape(n, WINDOW),
            "answered": np.array([one.answered for one in each], np.float64).reshape(n, len(self.shifts)),
            "identities": np.array(list(self._open), np.uint64).view(np.int64),
            "numeric": rows.numeric.astype(np.float32),
            "hashed": rows.hashed,
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from the output of `state`.

        Raises
        ------
        SnapshotMismatch
        """
        shifts = shifts_of(state, list(self.shifts))
        identities, each_hashed = state["identities"], state["hashed"]
        if identities.dtype != np.int64 or identities.ndim != 1 or len(identities) > SAMPLE:
            raise SnapshotMismatch(f"identities are {identities.dtype} of shape {identities.shape}")
        n, heads = len(identities), len(shifts)
        check_finite(state, "starts", (heads,))
        check_finite(state, "information", (heads,))
        check_finite(state, "closed", (heads, len(EDGES) - 1))
        check_no_less(state, ["information", "closed"])
        check_finite(state, "windows", (n, WINDOW))
        check_finite(state, "answered", (n, heads))
        shares = state["answered"]
        if not ((shares == UNANSWERED) | ((shares >= 0.0) & (shares <= 1.0))).all():
            raise SnapshotMismatch(f"answered is {shares.min()} to {shares.max()}: expected shares of windows")
        check_finite(state, "numeric", (n, len(NUMERIC)), np.float32)
        is_hashed = each_hashed.dtype == np.uint32 and each_hashed.ndim == 2 and each_hashed.shape[1] <= MAX_PLACES
        if not is_hashed or len(each_hashed) != n or (each_hashed >= DIMENSIONS * GROUPS).any():
            raise SnapshotMismatch(f"open decisions do not fit: {n} of them, hashed of shape {each_hashed.shape}")
        if (state["windows"][:, 1] <= state["windows"][:, 0]).any():
            raise SnapshotMismatch("a window ends before it begins")
        rows = zip(state["windows"].tolist(), state["numeric"], each_hashed, state["answered"].tolist(), strict=True)
        each = [
            _PendingDecision(decided_at, until, label_at, numeric.tobytes(), hashed.tobytes(), tuple(answered))
            for (decided_at, until, label_at), numeric, hashed, answered in rows
        ]
        self._open = dict(zip(identities.view(np.uint64).tolist(), each, strict=True))
        self._unpacked, self._together = {}, None
        self._closed = dict(zip(shifts, state["closed"].copy(), strict=True))
        self._information = dict(zip(shifts, state["information"].tolist(), strict=True))
        self.shifts = shifts
        self.starts = dict(zip(shifts, state["starts"].tolist(), strict=True))
        self._shortest_s = _shortest_of(self._open.values())


def shifts_of(state: Mapping[str, NDArray[Any]], heads: Sequence[str]) -> dict[str, float]:
    """Return the shifts of log-odds in a state of `EarlyAnswers`.

    Raises
    ------
    SnapshotMismatch
    """
    check_names(
        state, {"shifts", "starts", "information", "closed", "windows", "answered", "identities", "numeric", "hashed"}
    )
    check_finite(state, "shifts", (len(heads),))
    if (np.abs(state["shifts"]) > MOST_SHIFT).any():
        raise SnapshotMismatch(f"shifts are {state['shifts'].tolist()}: expected at most {MOST_SHIFT:g} either way")
    return dict(zip(heads, state["shifts"].tolist(), strict=True))


def _shortest_of(decisions: Iterable[_PendingDecision]) -> float:
    return min((one.until - one.decided_at for one in decisions), default=math.inf)


def _together(rows: Sequence[FeatureRows]) -> FeatureRows:
    if len({row.hashed.shape[1] for row in rows}) == 1:
        return FeatureRows(np.concatenate([row.numeric for row in rows]), np.concatenate([row.hashed for row in rows]))
    hashed = np.zeros((len(rows), max((row.hashed.shape[1] for row in rows), default=0)), np.uint32)
    for index, row in enumerate(rows):
        hashed[index, : row.hashed.shape[1]] = row.hashed[0]
    return FeatureRows(np.concatenate([np.empty((0, len(NUMERIC))), *(row.numeric for row in rows)]), hashed)


def _count(shares: Floats) -> Floats:
    """Return the number of shares of windows in each piece."""
    pieces = np.searchsorted(EDGES, shares, "right") - 1
    return np.bincount(np.minimum(pieces, len(EDGES) - 2), minlength=len(EDGES) - 1).astype(np.float64)


def _lognormal(median: float, spread: float) -> Floats:
    """Return F at the edges."""
    below = [0.5 + 0.5 * math.erf(math.log(u / median) / (spread * math.sqrt(2.0))) if u else 0.0 for u in EDGES]
    return np.array(below) / below[-1]


def _laws(head: str) -> Floats:
    """Return the share of answers in each piece by law, shape (laws, pieces)."""
    reached = [_lognormal(median, spread) for median in LOGNORMAL[head] for spread in SPREADS]
    reached += [EDGES**power for power in POWERS[head]]
    laws: Floats = np.diff((1.0 - AT_ANY_TIME) * np.array(reached) + AT_ANY_TIME * EDGES)
    return laws


_LAWS = {head: _laws(head) for head in LOGNORMAL}


def _fit(z: Floats, answered: Floats, elapsed: Floats, laws: Floats, closed: Floats, variance: float) -> float:
    """Return the shift of some log-odds.

    Parameters
    ----------
    answered : array, shape (n,)
        Time of the answer, as a share of the window, or `UNANSWERED`.
    elapsed : array, shape (n,)
        Elapsed share of the window.
    laws : array, shape (laws, pieces)
    closed : array, shape (pieces,)
        Number of answers in each piece, of closed windows.
    """
    is_answered = answered != UNANSWERED
    reached = np.concatenate((np.zeros((len(laws), 1)), np.cumsum(laws, axis=1)), axis=1)
    by_now = np.array([np.interp(elapsed[~is_answered], EDGES, each) for each in reached])
    # Sums of numpy, not of BLAS: the same to the last bit on every machine.
    when = (np.log(laws / np.diff(EDGES)) * (closed + _count(answered[is_answered]))).sum(axis=1)
    shifts = np.zeros(len(laws))
    for _ in range(NEWTON_STEPS):
        said, silent, pull = _at(z, is_answered, by_now, shifts)
        slopes = (1.0 - said).sum(axis=1) - pull.sum(axis=1) - shifts / variance
        curvatures = (said * (1.0 - said)).sum(axis=1) + (pull * (1.0 - silent)).sum(axis=1) + 1.0 / variance
        steps = np.clip(slopes / curvatures, -MOST_STEP, MOST_STEP)
        shifts += steps
        if np.abs(steps).max() <= PRECISION:
            break
    said, silent, _ = _at(z, is_answered, by_now, shifts)
    evidence = (
        np.log(np.maximum(said, LEAST)).sum(axis=1)
        + np.log(np.maximum(1.0 - silent * by_now, LEAST)).sum(axis=1)
        - shifts**2 / (2.0 * variance)
        - np.log(curvatures) / 2.0
        + when
    )
    weights = np.exp(evidence - evidence.max())
    return float((weights * shifts).sum() / weights.sum())


def _at(z: Floats, is_answered: NDArray[np.bool_], by_now: Floats, shifts: Floats) -> tuple[Floats, Floats, Floats]:
    """Return, by law at its shift, P(answer) of answered and of unanswered decisions, and the slope of the latter."""
    p = sigmoids(z + shifts[:, None])
    said, silent = p[:, is_answered], p[:, ~is_answered]
    return said, silent, silent * by_now * (1.0 - silent) / np.maximum(1.0 - silent * by_now, LEAST)
