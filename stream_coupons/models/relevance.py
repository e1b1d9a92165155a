r"""How much hangs on the features of one name, whatever their values: learnt group by group.

That differs between shops as much as what a feature says: on the store, say, hangs nothing or everything. So the
variance of a group's weights before learning is itself learnt, from how far they have moved and how much of them is
known (automatic relevance determination by MacKay's fixed point, [1]_ [2]_). Relevance is that variance over what was
believed of it:

.. math:: r_g \leftarrow \frac{a + \beta_g r_g \sum_{i \in g} (w_i - c_i)^2 / v_i}{a + \sum_{i \in g} \gamma_i},
   \qquad \gamma_i = 1 - P_{ii} / v_i

where :math:`v` are the variances before learning as they are now, and :math:`c` is where the weights began. Labels that
come together, as those of one shopper or one campaign do, look like more than they are. So :math:`\beta_g` is how much
of what the group said at the last review held for the examples since: the slope, at most 1, of their labels on it, by
one step of Newton's method from 1.

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
"""How many places count as much as what is believed of a group before any is seen: the a above."""
LEAST_RELEVANCE, MOST_RELEVANCE = 0.05, 10.0
TRUSTED = 1.0
"""Information on the slope of what a group says that counts for 1."""
KEPT = 0.5
"""Of the information on slopes, from one review to the next."""
NEGLIGIBLE = 0.05
"""Logarithm of a change of relevance that is not worth being made."""
REVIEWS = frozenset(math.ceil(20 * 1.25**n) for n in range(100))
"""After how many examples relevance is reviewed: soon, and then less and less often."""
OF_GROUPS = ("relevance", "slope_score", "slope_information")
"""Names of the arrays of its state."""


class Relevance:
    """Of each group: `of_group` has shape (GROUPS,), and is 1 where nothing was learnt."""

    def __init__(self) -> None:
        self.of_group = np.ones(GROUPS)
        self._slope_score, self._slope_information = np.zeros(GROUPS), np.zeros(GROUPS)

    def test(self, groups: NDArray[np.int64], said: Floats, probability: float, label: bool, weight: float) -> None:
        """Compare what was said at the last review of some places, of these groups, with a label.

        Parameters
        ----------
        said : array, shape (n,)
            What each place added to the log-odds of `probability`, beyond where its weight began.
        """
        by_group: NDArray[Any] = np.bincount(groups, said, GROUPS)
        speaking = np.flatnonzero(by_group)
        said = by_group[speaking]
        self._slope_score[speaking] += weight * (label - probability) * said
        self._slope_information[speaking] += weight * probability * (1.0 - probability) * said**2

    def review(self, groups: NDArray[np.int64], known: Floats, moved: Floats) -> Floats:
        """Learn from all places that were seen: what the variance before learning of each is to be multiplied by.

        Parameters
        ----------
        known : array, shape (n,)
            How much of each weight examples say: the gamma above.
        moved : array, shape (n,)
            The square of how far it is from where it began, over its variance before learning.
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
        """Trust all that groups say, until new labels tell."""
        self._slope_score[:] = self._slope_information[:] = 0.0

    def state(self) -> State:
        """Of each group its relevance, and what its slope is taken from."""
        arrays = (self.of_group, self._slope_score, self._slope_information)
        return {name: array.copy() for name, array in zip(OF_GROUPS, arrays, strict=True)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave.

        Raises
        ------
        SnapshotMismatch
        """
        for name in OF_GROUPS:
            check_finite(state, name, (GROUPS,))
        check_no_less(state, ["relevance"], LEAST_RELEVANCE)
        check_no_less(state, ["slope_information"])
        self.of_group, self._slope_score, self._slope_information = (state[name].copy() for name in OF_GROUPS)
