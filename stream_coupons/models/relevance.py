r"""Relevance of hashed features, learnt for each group of features with one name.

Relevance differs between shops as much as weights do: the store, say, matters not at all or most. So the prior variance
of a group's weights is itself learnt, from how far they have moved and how much of them is known (automatic relevance
determination by MacKay's fixed point, [1]_ [2]_). Relevance is the learnt prior variance over the initial one:

.. math:: r_g \leftarrow \frac{a + \beta_g r_g \sum_{i \in g} (w_i - c_i)^2 / v_i}{a + \sum_{i \in g} \gamma_i},
   \qquad \gamma_i = 1 - P_{ii} / v_i

where :math:`v` are the current prior variances and :math:`c` the initial weights. Correlated labels, as those of one
shopper or one campaign, look like more evidence than they are. So :math:`\beta_g` is the slope, at most 1, of the
labels since the last review on the group's log-odds as of that review, by one step of Newton's method from 1.

References
----------
.. [1] MacKay, D. J. C. (1992). Bayesian interpolation. Neural Computation 4(3).
.. [2] Neal, R. M. (1996). Bayesian learning for neural networks. Springer.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.features.rows import GROUPS
from stream_coupons.models.states import State, check_finite, check_no_less

BELIEVED = 0.5
"""Weight of the initial relevance of a group, in hashed features: the a above."""
LEAST_RELEVANCE, MOST_RELEVANCE = 0.05, 10.0
TRUSTED = 1.0
"""Information of the prior of a slope, which is 1."""
KEPT = 0.5
"""Part of the information on slopes that stays from one review to the next."""
NEGLIGIBLE = 0.05
"""Logarithm of the largest change of relevance that is not applied."""
REVIEWS = frozenset(math.ceil(20 * 1.25**n) for n in range(100))
"""Numbers of examples at which relevance is reviewed: soon, and then less and less often."""
OF_GROUPS = ("relevance", "slope_score", "slope_information")
"""Names of the arrays of the state."""


class Relevance:
    """Relevance of each group: `of_group` has shape (GROUPS,), and is 1 before learning."""

    def __init__(self) -> None:
        self.of_group = np.ones(GROUPS)
        self._slope_score, self._slope_information = np.zeros(GROUPS), np.zeros(GROUPS)

    def test(self, groups: NDArray[np.int64], said: Floats, probability: float, label: bool, weight: float) -> None:
        """Compare the additions of hashed features, as of the last review, with a label, group by group.

        Parameters
        ----------
        groups : array of int, shape (n,)
            Group of each feature.
        said : array, shape (n,)
            Addition of each feature to the log-odds of `probability`, beyond that of its initial weight.
        probability : float
            P(label) as of the last review.
        label : bool
            The outcome.
        weight : float
            Weight of the example, in [0, 1].
        """
        by_group: NDArray[Any] = np.bincount(groups, said, GROUPS)
        speaking = np.flatnonzero(by_group)
        said = by_group[speaking]
        self._slope_score[speaking] += weight * (label - probability) * said
        self._slope_information[speaking] += weight * probability * (1.0 - probability) * said**2

    def review(self, groups: NDArray[np.int64], known: Floats, moved: Floats) -> Floats:
        """Learn from all hashed features seen; return the factors of their prior variances, shape (n,).

        Parameters
        ----------
        groups : array of int, shape (n,)
            Group of each feature.
        known : array, shape (n,)
            Share of each weight's information that is from examples: the gamma above.
        moved : array, shape (n,)
            Squared distance of each weight from its initial value, over its prior variance.
        """
        before = self.of_group.copy()
        slope = np.clip(1.0 + self._slope_score / (TRUSTED + self._slope_information), 0.0, 1.0)
        found = np.bincount(groups, slope[groups] * before[groups] * moved, GROUPS)
        learnt = np.clip(
            (BELIEVED + found) / (BELIEVED + np.bincount(groups, known, GROUPS)), LEAST_RELEVANCE, MOST_RELEVANCE
        )
        is_changed = np.abs(np.log(learnt / before)) > NEGLIGIBLE
        self.of_group[is_changed] = learnt[is_changed]
        self._slope_score *= KEPT
        self._slope_information *= KEPT
        factors: Floats = (self.of_group / before)[groups]
        return factors

    def forget_slopes(self) -> None:
        """Reset all slopes to 1, until new labels arrive."""
        self._slope_score[:] = self._slope_information[:] = 0.0

    def state(self) -> State:
        """Return the relevance of each group, and the sums of its slope."""
        arrays = (self.of_group, self._slope_score, self._slope_information)
        return {name: array.copy() for name, array in zip(OF_GROUPS, arrays, strict=True)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from the output of `state`.

        Raises
        ------
        SnapshotMismatch
        """
        for name in OF_GROUPS:
            check_finite(state, name, (GROUPS,))
        check_no_less(state, ["relevance"], LEAST_RELEVANCE)
        check_no_less(state, ["slope_information"])
        self.of_group, self._slope_score, self._slope_information = (state[name].copy() for name in OF_GROUPS)
