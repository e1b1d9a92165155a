r"""Online choice of a filter's forgetting rate: the rate whose small filter predicts best.

Every `PERIOD` examples a filter multiplies the information that it learnt by its rate. With a rate of 1 it never
forgets, with .9 it keeps the information of at most some :math:`500 / (1 - .9)` examples. The right rate depends on the
speed of change. A whole filter for each rate would multiply the cost, so each rate has a small filter, without
covariances and over `SIZE` hashed indices. The small filters are compared by progressive loss on the same examples, in
rounds. A lower rate is chosen when its filter is better than that of the current rate by `MARGIN_RATIO` of the loss and
by `champion.Z` standard errors. A higher one is chosen at the end of a round in which it is not worse by half of that
margin. Then all filters start from that of the chosen rate, so that a round compares forgetting from its start on.

The margin is necessary. A filter without covariances is overconfident, so it gains a little by forgetting even where
nothing changes, and the whole filter would lose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.models.champion import Duel, log_loss
from stream_coupons.models.rules import MAX_RATES
from stream_coupons.models.sigmoid import mode, sigmoid
from stream_coupons.models.states import State, check_finite, check_no_less

PERIOD = 500
SIZE = 2048
LEAST_VARIANCE = 1e-12
COMPARED_EVERY = 2
"""The small filters learn one example in this many, which bounds their cost."""
MIN_EXAMPLES = 300
ROUND = 2000
"""Compared examples of a round: eight periods, after which the lowest rate leaves little."""
MARGIN_RATIO = 0.01
STATE_NAMES = frozenset({"rates", "rate", "rate_examples", "rate_duels", "rate_filters"})


class Forgetting:
    """Small filters of all rates, and the rate in use.

    Parameters
    ----------
    prior : mapping of int to float
        Mean of the weights before learning, by index.
    rates : sequence of float
        Rates in (0, 1]. The highest is in use before the first comparison.
    """

    def __init__(self, prior: Mapping[int, float], rates: Sequence[float]) -> None:
        self._prior, self._rates = dict(prior), np.array(sorted(set(rates), reverse=True))
        self._begin()

    def _begin(self) -> None:
        self._in_use = 0
        self._examples = 0
        self._duels = [Duel() for _ in self._rates]
        count = len(self._rates)
        self._filters = np.zeros((_size(count), 2 * count + 1), np.float32)
        """By hashed index: the weight for each rate, the variance for each rate, and the prior variance."""
        if count > 1:
            for index, weight in self._prior.items():
                self._filters[index % SIZE, :count] += weight

    @property
    def rate(self) -> float:
        """The rate in use, in (0, 1]: the part of the learnt information that stays every `PERIOD` examples."""
        return float(self._rates[self._in_use])

    def learn_one(
        self,
        indices: NDArray[np.int64],
        values: Floats,
        first_variances: Floats,
        label: bool,
        weight: float,
    ) -> float:
        """Test and train the small filters; return the rate by which the whole filter must forget now, 1 for none.

        Parameters
        ----------
        indices, values, first_variances : array, shape (m,)
            The row's features, and the prior variance of each weight.
        label : bool
            The outcome.
        weight : float
            Weight of the example, in [0, 1]; see `effect.evidence`.
        """
        self._examples += 1
        if len(self._rates) > 1 and self._examples % COMPARED_EVERY == 0:
            self._compare(indices % SIZE, values, first_variances, label, weight)
        if self._examples % PERIOD:
            return 1.0
        self._forget()
        return self.rate

    def _compare(self, at: NDArray[np.int64], values: Floats, first: Floats, label: bool, weight: float) -> None:
        filters, count = self._filters[at].astype(np.float64), len(self._rates)
        is_new = filters[:, -1] == 0.0
        if is_new.any():
            filters[is_new, count:] = np.maximum(first[is_new], LEAST_VARIANCE)[:, None]
        x = values[:, None]
        weights, variances = filters[:, :count], filters[:, count:-1]
        moves = variances * x
        logits = (weights * x).sum(axis=0).tolist()
        along = (moves * x).sum(axis=0)
        after = [sigmoid(mode(z, s, label)) for z, s in zip(logits, (along * weight).tolist(), strict=True)]
        probability = np.array(after)
        weights += moves * (weight * (label - probability))
        curvature = weight * probability * (1.0 - probability)
        variances -= moves * moves * (curvature / (1.0 + curvature * along))
        np.maximum(variances, LEAST_VARIANCE, out=variances)
        self._filters[at] = filters
        losses = [log_loss(sigmoid(z), label) for z in logits]
        for duel, loss in zip(self._duels, losses, strict=True):
            duel.update(loss, losses[self._in_use], 1.0)
        chosen = self._choice()
        if chosen is not None:
            self._in_use, self._duels = chosen, [Duel() for _ in self._rates]
            for first_of_kind in (0, count):
                of_kind = self._filters[:, first_of_kind : first_of_kind + count]
                of_kind[:] = of_kind[:, [chosen]]

    def _choice(self) -> int | None:
        """Return the index of the rate to use in a new round; None while this round continues."""
        compared = self._duels[self._in_use].examples
        if compared < MIN_EXAMPLES:
            return None
        lower = range(self._in_use + 1, len(self._rates))
        winners = [n for n in lower if self._duels[n].leads_by(MARGIN_RATIO)]
        if winners:
            return min(winners, key=lambda n: self._duels[n].log_loss)
        if compared < ROUND:
            return None
        higher = self._duels[: self._in_use]
        fit = (n for n, duel in enumerate(higher) if duel.loss < (1.0 + MARGIN_RATIO / 2.0) * duel.champions_loss)
        return next(fit, self._in_use)

    def _forget(self) -> None:
        """Multiply the learnt information of each small filter by its rate."""
        count = len(self._rates)
        known = self._filters[:, -1] > 0.0
        filters = self._filters[known].astype(np.float64)
        left = self._rates / filters[:, count:-1] + (1.0 - self._rates) / filters[:, -1:]
        self._filters[known, count:-1] = 1.0 / left

    def state(self) -> State:
        """Return the rates, the one in use, their comparisons, and their filters."""
        return {
            "rates": self._rates.copy(),
            "rate": np.array([self._in_use], np.int64),
            "rate_examples": np.array([self._examples], np.int64),
            "rate_duels": np.array([astuple(duel) for duel in self._duels]).ravel(),
            "rate_filters": self._filters.flatten(),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from the output of `state`; restart if it has other rates.

        Raises
        ------
        SnapshotMismatch
        """
        rates = state["rates"]
        if rates.ndim != 1 or not 0 < len(rates) <= MAX_RATES:
            raise SnapshotMismatch(f"rates are of shape {rates.shape}: expected a few in one row")
        count = len(rates)
        check_finite(state, "rates", (count,))
        for name in ("rate", "rate_examples"):
            check_finite(state, name, (1,), np.int64)
        check_finite(state, "rate_duels", (count * 5,))
        check_finite(state, "rate_filters", (_size(count) * (2 * count + 1),), np.float32)
        check_no_less(state, ("rate", "rate_examples", "rate_duels"))
        in_use = int(state["rate"][0])
        if in_use >= count:
            raise SnapshotMismatch(f"rate is {in_use}: expected one of {count}")
        filters = state["rate_filters"].reshape(_size(count), 2 * count + 1)
        variances = filters[:, count:]
        if (variances < 0.0).any() or ((variances == 0.0) != (variances[:, -1:] == 0.0)).any():
            raise SnapshotMismatch("rate_filters: a variance is below 0, or 0 where one of what was seen is not")
        self._begin()
        if rates.tolist() != self._rates.tolist():
            return
        self._in_use, self._examples = in_use, int(state["rate_examples"][0])
        self._duels = [Duel(*row) for row in state["rate_duels"].reshape(count, 5).tolist()]
        self._filters[:] = filters


def _size(rates: int) -> int:
    """Return the number of indices of the filters of so many rates; 0 if there is nothing to compare."""
    return SIZE if rates > 1 else 0
