"""Served logistic regression, one head a column: weights compiled to arrays, and prior weights."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.incremental import uses_of
from stream_coupons.core.features.numeric import FEATURES, NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, PLACES, FeatureRows, hashed_names
from stream_coupons.models.effect import probabilities
from stream_coupons.models.encoding import BIAS, CONSTANT, FIRST_BIN, HELD, bins_of
from stream_coupons.models.incremental import ShopModels, prior_shop_models

ALL_HEADS = ("click", "effect", "demand", "visit")
"""Heads that are learnt: P(click), P(persuaded | would not order), P(order without a coupon after the visit | none
within it), P(order within the visit)."""
HEAD_OF = {"click": "click", "redeem": "effect", "order": "demand", "visit": "visit"}
"""Head that learns a label of `scoring.LABELS`, by label."""
PRIOR_RATE = {"click": 0.15, "effect": 0.07, "demand": 0.055, "visit": 0.002}
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
    prior = prior_weights(head)
    weights: Floats = np.zeros(BIAS + 1)
    weights[list(prior)] = list(prior.values())
    weights.flags.writeable = False
    return weights


def live(version: int, learnt: Sequence[Floats], shop: ShopModels) -> "LinearScorer":
    """Return a scorer that reads the weights of hashed features from the model, without a copy.

    Its results equal those of `LinearScorer(version, np.stack(learnt), shop)` to the last bit. It is for one version
    only: later learning changes part of its weights.

    Parameters
    ----------
    version, learnt, shop
        Number of the snapshot; weights of each head's champion, shape (BIAS + 1,); models beside the heads.
    """
    tail = np.stack([each[DIMENSIONS:] for each in learnt])

    def look_up(places: NDArray[np.uint32]) -> Floats:
        at = places.astype(np.intp)
        weights: Floats = np.stack([each.take(at) for each in learnt], axis=-1)
        return weights

    return LinearScorer(version, tail, shop, look_up)


class LinearScorer:
    """An immutable snapshot of all heads as arrays; scores a batch of candidates at once.

    Parameters
    ----------
    version : int
        Number of the snapshot.
    weights : array, shape (len(ALL_HEADS), BIAS + 1)
        Weights by head and index; that at `HELD` is not served. Those from index `DIMENSIONS` on are enough if
        `look_up` returns the others.
    shop : ShopModels, optional
        Models beside the heads; without them those before learning.
    look_up : callable, optional
        Returns the weights of bucket indices of any shape, with the heads as an additional, last dimension.
    """

    def __init__(
        self,
        version: int,
        weights: Floats,
        shop: ShopModels | None = None,
        look_up: Callable[[NDArray[np.uint32]], Floats] | None = None,
    ) -> None:
        self.version = version
        if look_up is None:
            look_up = partial(np.take, np.ascontiguousarray(weights[:, :DIMENSIONS].T), axis=0)
        self._look_up = look_up
        tail = weights[:, DIMENSIONS - BIAS - 1 :]
        bins, end = FIRST_BIN - DIMENSIONS, HELD - DIMENSIONS
        self._numeric: Floats = np.ascontiguousarray(tail[:, :bins])
        self._bins: Floats = np.zeros((end - bins + 1, len(tail)))
        self._bins[1:] = tail[:, bins:end].T
        self._bias: Floats = tail[:, -1] * CONSTANT
        self.viewed_prices, self.incremental = shop or prior_shop_models()

    def predict(self, rows: FeatureRows) -> Floats:
        """Return probabilities of shape (n, 4), columns as in `LABELS`; see `effect`.

        Those of a row do not depend on the other rows, to the last bit; with a BLAS product they would.
        """
        return probabilities(self.log_odds(rows), uses_of(rows.numeric, self.incremental.uses_ratio))

    def log_odds(self, rows: FeatureRows) -> Floats:
        """Return the log-odds of the heads, shape (n, len(ALL_HEADS))."""
        if len(rows.numeric) > AT_ONCE:
            chunks = [slice(start, start + AT_ONCE) for start in range(0, len(rows.numeric), AT_ONCE)]
            each = [self.log_odds(FeatureRows(rows.numeric[some], rows.hashed[some])) for some in chunks]
            return np.concatenate(each)
        log_odds: Floats = np.einsum("nf,hf->nh", rows.numeric, self._numeric)
        log_odds += np.einsum("nfh->nh", self._bins.take(bins_of(rows.numeric), axis=0))
        log_odds += np.einsum("nfh->nh", self._look_up(rows.hashed & PLACES))
        log_odds += self._bias
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
            Index of the head in `ALL_HEADS`.
        names : sequence of str
            Names of the hashed columns, if the coupon has attributes or the moment a context.
        """
        numbers, places = rows.numeric[row], rows.hashed[row] & PLACES
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


def prior() -> LinearScorer:
    """Return the model before any example."""
    return LinearScorer(0, np.stack([prior_array(head) for head in ALL_HEADS]))
