"""Served logistic regression, one head a column: weights compiled to arrays, and prior weights.

P(order without the coupon) of other systems is learnt as a difference from P(redeem) without the coupon's terms, its
discount and its identity, which orders without it do not depend on; with a correction of the slope (`encoding.KNOWN`).
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.incremental import USES_RATIO
from stream_coupons.core.decision.scoring import HEADS, ORDER, REDEEM, VISIT
from stream_coupons.core.features.numeric import FEATURES, NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, FIRST_OF_TERMS, FeatureRows, hashed_names, places_of
from stream_coupons.models.effect import either, redemption
from stream_coupons.models.encoding import (
    BIAS,
    CONSTANT,
    FIRST_BIN,
    KNOWN,
    OF_TERMS,
    USUAL_OFFSET,
    bins_of,
    is_of_terms,
)
from stream_coupons.models.incremental import ShopModels, prior_shop_models
from stream_coupons.models.sigmoid import sigmoids

OWN_HEADS = ("click", "effect", "demand", "visit")
"""Columns of the model of the engine's own decisions: P(click), P(persuaded | would not order), P(order without a
coupon after the visit | none within it), P(order within the visit)."""
ALL_HEADS = (*HEADS, "effect", "demand", "visit")
PRIOR_RATE = {"click": 0.15, "redeem": 0.10, "order": 0.05, "effect": 0.07, "demand": 0.055, "visit": 0.002}
"""Base rates before learning, of a row of zeros: a discount of usual depth and a neutral share of interest."""
AT_ONCE = 256
"""Rows of a batch: the weights of a larger one would not fit a core's cache."""


def prior_weights(head: str) -> dict[int, float]:
    """Return the prior weights of a head, by index.

    They are those that the features declare, and the log-odds of the head's `PRIOR_RATE`. Sources:
    docs/explanation/cold-start.md.
    """
    rate = PRIOR_RATE[head]
    weights = {DIMENSIONS + n: weight for n, each in enumerate(FEATURES) if (weight := each.prior.get(head, 0.0))}
    weights[BIAS] = math.log(rate / (1 - rate)) / CONSTANT
    return weights


@lru_cache
def prior_array(head: str) -> Floats:
    """Return the weights that a head of `ALL_HEADS` serves before learning, shape (BIAS + 1,); read only."""
    weights: Floats = dense({head: prior_weights(head)}, [head])[0]
    weights.flags.writeable = False
    return weights


def prior_of(head: str) -> dict[int, float]:
    """Return the initial weights of a head's models: for P(order), those of the difference from P(redeem)."""
    weights = prior_weights(head)
    return plus(weights, without_terms_of(prior_weights("redeem")), -1.0) if head == "order" else weights


Line = tuple[float, float]
"""Slope and intercept of a head's calibration."""


def served(learnt: Sequence[Floats], lines: Sequence[Line]) -> Floats:
    """Return the weights that are served, shape (len(HEADS), BIAS + 1).

    Parameters
    ----------
    learnt : sequence of arrays, shape (BIAS + 1,)
        Weights of each head's champion; those of P(order) are the difference from P(redeem).
    lines : sequence of (slope, intercept)
        Calibration of each head.
    """
    known = float(learnt[ORDER][KNOWN])
    weights = _served_at(learnt, OF_TERMS, known, lines).T
    weights[:, BIAS] = _biases(learnt, known, lines)
    return weights


def compiled(
    version: int,
    of_others: tuple[Sequence[Floats], Sequence[Line]],
    own: tuple[Sequence[Floats], Sequence[Line]],
    shop: ShopModels,
) -> "LinearScorer":
    """Return a scorer of copied weights.

    Parameters
    ----------
    version : int
        Number of the snapshot.
    of_others, own : tuple of weights and lines
        Weights learnt, each of shape (BIAS + 1,), and calibrations of `HEADS` and of `OWN_HEADS`.
    shop : ShopModels
        Models beside the heads.
    """
    of_own_decisions = OwnScorer(version, served_own(*own), uses_ratio=shop.incremental.uses_ratio)
    return LinearScorer(version, served(*of_others)).with_own(lambda: of_own_decisions, shop)


def live(version: int, learnt: Sequence[Floats], lines: Sequence[Line]) -> "LinearScorer":
    """Return a scorer that reads the weights of hashed features from the model, without a copy.

    Its results equal those of `LinearScorer(version, served(learnt, lines))` to the last bit. It is for one version
    only: later learning changes part of its weights.

    Parameters
    ----------
    version, learnt, lines : int, sequence, sequence
        Number of the snapshot; the others as of `served`.
    """
    known = float(learnt[ORDER][KNOWN])
    tail = _served_at([each[DIMENSIONS:] for each in learnt], OF_TERMS[DIMENSIONS:], known, lines).T
    tail[:, -1] = _biases(learnt, known, lines)

    def look_up(places: NDArray[np.uint32]) -> Floats:
        at = places.astype(np.intp)
        return _served_at([each.take(at) for each in learnt], at >= FIRST_OF_TERMS, known, lines)

    return LinearScorer(version, tail, look_up)


def _served_at(learnt: Sequence[Floats], of_terms: NDArray[np.bool_], known: float, lines: Sequence[Line]) -> Floats:
    """Return the served weights of some learnt ones, shape (..., len(HEADS)), but for the bias.

    The argument `known` is the correction of the offset's slope for P(order).
    """
    redeem = learnt[REDEEM]
    weights: Floats = np.empty((*redeem.shape, len(HEADS)))
    for head, each in enumerate(learnt):
        weights[..., head] = each
    weights[..., ORDER] += (1.0 + known) * np.where(of_terms, 0.0, redeem)
    for head, (slope, _) in enumerate(lines):
        if slope != 1.0:
            weights[..., head] *= slope
    return weights


def _biases(learnt: Sequence[Floats], known: float, lines: Sequence[Line]) -> list[float]:
    """Return the served weights of the constant, by head."""
    biases = [float(each[BIAS]) for each in learnt]
    biases[ORDER] += (1.0 + known) * biases[REDEEM]
    biases[ORDER] -= known * USUAL_OFFSET / CONSTANT
    return [slope * bias + intercept / CONSTANT for bias, (slope, intercept) in zip(biases, lines, strict=True)]


def served_own(learnt: Sequence[Floats], lines: Sequence[Line]) -> Floats:
    """Return the served weights of `OWN_HEADS`, shape (4, n), the constant's last; parameters as of `served`."""
    weights = np.stack(learnt)
    for head, (slope, intercept) in enumerate(lines):
        weights[head] *= slope
        weights[head, -1] += intercept / CONSTANT
    return weights


def live_own(version: int, learnt: Sequence[Floats], lines: Sequence[Line], uses_ratio: float) -> "OwnScorer":
    """Return an `OwnScorer` of `served_own(learnt, lines)` without a copy of the weights.

    Parameters
    ----------
    version, learnt, lines, uses_ratio
        As of `live`, and of `own_probabilities`.
    """
    slopes = np.array([slope for slope, _ in lines])
    tail = served_own([each[DIMENSIONS:] for each in learnt], lines)

    def look_up(places: NDArray[np.uint32]) -> Floats:
        at = places.astype(np.intp)
        weights: Floats = np.stack([each.take(at) for each in learnt], axis=-1) * slopes
        return weights

    return OwnScorer(version, tail, look_up, uses_ratio)


def without_terms_of(weights: Mapping[int, float]) -> dict[int, float]:
    """Return the weights without those of a coupon's terms: its discount and its identity."""
    return {index: weight for index, weight in weights.items() if not is_of_terms(index)}


def plus(weights: Mapping[int, float], others: Mapping[int, float], factor: float = 1.0) -> dict[int, float]:
    """Return the sum of two models' weights, those of the second one times a factor."""
    total = dict(weights)
    for index, weight in others.items():
        total[index] = total.get(index, 0.0) + factor * weight
    return total


class LinearScorer:
    """An immutable snapshot of all heads as arrays; scores a batch of candidates at once.

    Parameters
    ----------
    version : int
        Number of the snapshot.
    weights : array, shape (heads, BIAS + 1)
        Weights by head and index; that at `KNOWN` is not served. Those from index `DIMENSIONS` on are enough if
        `look_up` returns the others.
    look_up : callable, optional
        Returns the weights of bucket indices of any shape, with the heads as an additional, last dimension.
    """

    def __init__(
        self, version: int, weights: Floats, look_up: Callable[[NDArray[np.uint32]], Floats] | None = None
    ) -> None:
        self.version = version
        if look_up is None:
            look_up = partial(np.take, np.ascontiguousarray(weights[:, :DIMENSIONS].T), axis=0)
        self._look_up = look_up
        tail = weights[:, DIMENSIONS - BIAS - 1 :]
        bins, end = FIRST_BIN - DIMENSIONS, KNOWN - DIMENSIONS
        self._numeric: Floats = np.ascontiguousarray(tail[:, :bins])
        self._bins: Floats = np.zeros((end - bins + 1, len(tail)))
        self._bins[1:] = tail[:, bins:end].T
        self._bias: Floats = tail[:, -1] * CONSTANT
        self._make_own: Callable[[], OwnScorer] | None = None
        self.viewed_prices, self.incremental = prior_shop_models()

    def with_own(self, make: "Callable[[], OwnScorer]", shop: ShopModels | None = None) -> "LinearScorer":
        """Return the same scorer with a model of the engine's own decisions, made on first use.

        Parameters
        ----------
        make : callable
            Makes the model.
        shop : ShopModels, optional
            Models beside the heads; without them those before learning.
        """
        other = copy.copy(self)
        other._make_own = make
        other.viewed_prices, other.incremental = shop or prior_shop_models()
        return other

    @cached_property
    def own(self) -> "OwnScorer":
        """Model of the engine's own decisions."""
        assert self._make_own is not None
        return self._make_own()

    def predict(self, rows: FeatureRows) -> Floats:
        """Return probabilities of shape (n, heads).

        Those of a row do not depend on the other rows, to the last bit; with a BLAS product they would.
        """
        return sigmoids(self.log_odds(rows))

    def log_odds(self, rows: FeatureRows) -> Floats:
        """Return the log-odds, shape (n, heads)."""
        log_odds: Floats = np.empty((len(rows), len(self._bias)))
        for start in range(0, len(rows), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            numbers, places = rows.numeric[some], places_of(rows.hashed[some])
            numeric = np.einsum("nf,hf->nh", numbers, self._numeric)
            hashed = np.einsum("nfh->nh", self._look_up(places))
            binned = np.einsum("nfh->nh", np.take(self._bins, bins_of(numbers), axis=0))
            log_odds[some] = numeric + binned + hashed + self._bias
        return log_odds

    def contributions(
        self, rows: FeatureRows, row: int, head: int, names: Sequence[str] = ()
    ) -> list[tuple[str, float, float]]:
        """Return (feature, value, addition to the log-odds) of one row, largest magnitude first, without zeros.

        Parameters
        ----------
        rows, row : FeatureRows, int
            Rows, and the index of the one.
        head : int
            Index of the head in `HEADS`.
        names : sequence of str
            Names of the hashed columns, if the coupon has attributes or the moment a context.
        """
        numbers, places = rows.numeric[row], places_of(rows.hashed[row])
        of_numbers = numbers * self._numeric[head] + self._bins[bins_of(rows.numeric[row : row + 1])[0], head]
        of_places = self._look_up(places)[:, head]
        said = [(NUMERIC[n], float(numbers[n]), float(of_numbers[n])) for n in np.flatnonzero(of_numbers).tolist()]
        by_name: dict[str, float] = {}
        columns = names or hashed_names()
        for column in np.flatnonzero(of_places).tolist():
            name = columns[column]
            by_name[name] = by_name.get(name, 0.0) + float(of_places[column])
        said += [(name, 1.0, added) for name, added in by_name.items()]
        return sorted(said, key=lambda entry: (-abs(entry[2]), entry[0]))


class OwnScorer(LinearScorer):
    """Scorer of the engine's own decisions, a column for each of `OWN_HEADS`; parameters as of `LinearScorer`."""

    def __init__(
        self,
        version: int,
        weights: Floats,
        look_up: Callable[[NDArray[np.uint32]], Floats] | None = None,
        uses_ratio: float = USES_RATIO,
    ) -> None:
        super().__init__(version, weights, look_up)
        self._uses_ratio = uses_ratio

    @property
    def own(self) -> "OwnScorer":
        """The scorer itself."""
        return self

    def predict(self, rows: FeatureRows) -> Floats:
        """Return probabilities of shape (n, 4), columns as in `HEADS` and `VISIT`; see `effect`."""
        return own_probabilities(self.log_odds(rows), self._uses_ratio)


def own_probabilities(log_odds: Floats, uses_ratio: float = USES_RATIO) -> Floats:
    """Return the probabilities of the engine's own decisions.

    Parameters
    ----------
    log_odds, uses_ratio : array, shape (n, 4), and float
        Columns as in `OWN_HEADS`. Share of the orders that would be placed anyway, on which a coupon is used.

    Returns
    -------
    array, shape (n, 4)
        Columns as in `HEADS` and `VISIT`.
    """
    p = sigmoids(log_odds)
    p[:, ORDER] = either(p[:, ORDER], p[:, VISIT])
    p[:, REDEEM] = redemption(p[:, REDEEM], p[:, ORDER], uses_ratio)
    return p


def dense(weights_by_head: dict[str, dict[int, float]], heads: Sequence[str] = HEADS) -> Floats:
    """Return weights by head and index as one array, shape (heads, BIAS + 1)."""
    array: NDArray[np.float64] = np.zeros((len(heads), BIAS + 1))
    for row, head in enumerate(heads):
        weights = weights_by_head[head]
        array[row, list(weights)] = list(weights.values())
    return array


def prior() -> LinearScorer:
    """Return the model before any example."""
    of_others, own = (np.stack([prior_array(head) for head in heads]) for heads in (HEADS, OWN_HEADS))
    return LinearScorer(0, of_others).with_own(lambda: OwnScorer(0, own))
