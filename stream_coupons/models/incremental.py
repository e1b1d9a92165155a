r"""Learner of the orders that coupons add: a linear probability model with Gaussian weights, by a Kalman filter.

Outcomes are those of issues and of control observations: whether the shopper ordered in the coupon's scope within its
window, with the coupon or without.

.. math:: P(\text{order}) = \sum_l b_l x_l + \beta_i
   + [\text{given}] \left(\sum_j w_j z_j + \delta_i\right)

The base (b, :math:`\beta`) and the effect (w, :math:`\delta`) are fitted together. Coupons are given by what is known
of shoppers, so the base has what P(order) is made of; control observations and the holdout identify it [1]_. Orders are
counted in place of margins, which vary far more. Effects are pooled over coupons and shoppers by their terms. The
deviation of one coupon has a narrow prior, as one coupon has few outcomes. Weights of terms have a joint covariance,
deviations a variance each (a decoupled filter [2]_).

References
----------
.. [1] Hahn, P. R., Murray, J. S., and Carvalho, C. M. (2020). Bayesian regression tree models for causal inference.
       Bayesian Analysis 15(3): base and effect as two functions with priors of their own.
.. [2] Puskorius, G. V., and Feldkamp, L. A. (1991). Decoupled extended Kalman filter training of feedforward layered
       networks. IJCNN.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.catalogue.viewed_prices import NOTHING_VIEWED, ViewedPrices
from stream_coupons.core.decision.incremental import COLUMNS, TERMS, USES_RATIO, IncrementalOrders, terms_of, uses_of
from stream_coupons.core.features.rows import DIMENSIONS
from stream_coupons.models.states import State, check_finite, check_names, check_no_less, check_places

EFFECT_PRIOR: Mapping[str, tuple[float, float]] = {
    "persuaded": (0.9, 0.4),
    "order_anyway": (-0.05, 0.15),
    "interest": (0.03, 0.15),
    "constant": (0.0, 0.025),
    "depth": (0.0, 0.05),
    "redeem_rate": (0.005, 0.03),
    "click_rate": (0.0, 0.01),
    "depth*redeem_rate": (0.0, 0.02),
    "depth*click_rate": (0.0, 0.01),
    "whole_shop": (0.0, 0.05),
    "exposure": (0.0, 0.01),
}
"""Mean and standard deviation of the weight of each term of the effect. Of a prediction that a redemption adds an
order, nine tenths are believed, and something is expected of any coupon that interests. Both were chosen in the
development half of `benchmarks.worlds`."""
BASE_PRIOR: Mapping[str, tuple[float, float]] = {
    "order_anyway": (1.0, 0.2),
    "constant": (0.0, 0.01),
    "persuaded": (0.0, 0.2),
    "redeem_rate": (0.0, 0.02),
    "click_rate": (0.0, 0.02),
    "whole_shop": (0.0, 0.1),
}
"""Mean and standard deviation of the weights of the base: orders of shoppers without a coupon."""
OF_BASE = [TERMS.index(name) for name in BASE_PRIOR]
"""Columns of the terms of the base among `TERMS`."""
DEVIATION_SPREAD, BASE_SPREAD = 0.02, 0.02
"""Prior standard deviations of a coupon's deviation from its terms: of its effect, and of the orders without it."""
INFLATION = 2.0
"""Factor of the variance of outcomes: those of one shopper whose windows overlap are not independent."""
LEAST_VARIANCE = 0.02
"""Least variance of an order's indicator that is believed."""
PRIOR_OWN_ORDERS = 10.0
"""Expected orders of holders, without their coupons, at which the observed share of use counts half."""
MAX_USES_RATIO = 0.98
_COLUMNS = np.array([*range(len(TERMS)), *OF_BASE])
SIZE = len(TERMS) + len(OF_BASE)
EFFECT, BASE = slice(0, len(TERMS)), slice(len(TERMS), SIZE)
_FIRST_DEVIATION = (0.0, DEVIATION_SPREAD**2, 0.0, BASE_SPREAD**2)


class IncrementalLearner:
    """Model of the orders that the coupons of one domain add."""

    def __init__(self) -> None:
        means, spreads = np.array([*EFFECT_PRIOR.values(), *BASE_PRIOR.values()]).T
        self.weights: Floats = means
        self._covariance: Floats = np.diag(spreads**2)
        self._deviations: dict[int, tuple[float, float, float, float]] = {}
        """By hashed feature of a coupon: mean and variance of the deviation of its effect, and of its base."""
        self._anyway = self._unused = 0.0
        """Sums over holders: expected orders without their coupons, and orders on which the coupon was not used."""
        self._served: IncrementalOrders | None = None

    @property
    def uses_ratio(self) -> float:
        """Share of the orders that would be placed anyway, on which a coupon is used.

        An order without the coupon would have been placed anyway.
        """
        unused = (self._unused + (1.0 - USES_RATIO) * PRIOR_OWN_ORDERS) / (self._anyway + PRIOR_OWN_ORDERS)
        return min(max(1.0 - unused, 0.0), MAX_USES_RATIO)

    def learn_one(  # noqa: PLR0913 - what is known of one outcome
        self,
        numeric: Floats,
        coupon: int,
        chances: tuple[float, float],
        *,
        is_given: bool,
        ordered: bool,
        redeemed: bool,
        weight: int = 1,
    ) -> None:
        """Learn the outcome of an issue or of a control observation.

        Parameters
        ----------
        numeric : array, shape (len(NUMERIC),)
            Numeric features at decision time.
        coupon : int
            Hashed feature of the coupon, without its group.
        chances : tuple of float
            P(redeem) and P(order without a coupon), before this outcome is learnt.
        is_given : bool
            True for an issue.
        ordered, redeemed : bool
            True if the shopper ordered in scope, and if the coupon was used.
        weight : int
            Number of outcomes that it stands for.
        """
        redeem, anyway = chances
        terms = np.array(terms_of(redeem, anyway, numeric[COLUMNS].tolist(), self.uses_ratio))
        x = terms.take(_COLUMNS)
        x[EFFECT] *= is_given
        mean, variance, base_mean, base_variance = self._deviations.get(coupon, _FIRST_DEVIATION)
        p = min(max(redeem, anyway), 1.0) if is_given else anyway
        of_coupon, noise = float(is_given), INFLATION * max(p * (1.0 - p), LEAST_VARIANCE) / weight
        along = np.add.reduce(self._covariance * x, axis=1)
        spread = float(np.add.reduce(along * x)) + of_coupon * variance + base_variance + noise
        gain = (ordered - float(np.add.reduce(self.weights * x)) - of_coupon * mean - base_mean) / spread
        self.weights = self.weights + along * gain
        self._covariance = self._covariance - along[:, None] * along / spread
        self._deviations[coupon] = (
            mean + of_coupon * variance * gain,
            variance - of_coupon * variance**2 / spread,
            base_mean + base_variance * gain,
            base_variance - base_variance**2 / spread,
        )
        self._served = None
        if is_given:
            self.learn_use(anyway, ordered=ordered, redeemed=redeemed, weight=weight * uses_of(numeric, 1.0))

    def learn_use(self, anyway: float, *, ordered: bool, redeemed: bool, weight: float = 1.0) -> None:
        """Learn from one holder on which share of the orders that would be placed anyway a coupon is used.

        Parameters
        ----------
        anyway : float
            P(order without the coupon).
        ordered, redeemed : bool
            True if the shopper ordered in scope, and if the coupon was used.
        weight : float
            Number of holders that it stands for, times the share of their orders that a coupon may be used on.
        """
        self._anyway += weight * anyway
        self._unused += weight * (ordered and not redeemed)
        self._served = None

    def start_from(self, donor: "IncrementalLearner") -> None:
        """Start from the pooled weights of another domain; nothing is known of this one's coupons."""
        self.weights, self._served = donor.weights.copy(), None

    @property
    def served(self) -> IncrementalOrders:
        """The model as decisions use it."""
        if self._served is None:
            places = np.array(sorted(self._deviations), np.int64)
            deviations = np.array([self._deviations[place][0] for place in places.tolist()], np.float64)
            self._served = IncrementalOrders(self.weights[EFFECT].copy(), places, deviations, self.uses_ratio)
        return self._served

    def state(self) -> State:
        """Return the serialized model."""
        places = sorted(self._deviations)
        return {
            "weights": self.weights,
            "covariance": self._covariance,
            "places": np.array(places, np.uint32),
            "deviations": np.array([self._deviations[place] for place in places], np.float64).reshape(-1, 4),
            "own_orders": np.array([self._anyway, self._unused]),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from the output of `state`.

        Raises
        ------
        SnapshotMismatch
            If it does not fit.
        """
        check_state(state)
        self.weights, self._covariance = state["weights"].copy(), state["covariance"].copy()
        rows = zip(state["places"].tolist(), state["deviations"].tolist(), strict=True)
        self._deviations = {place: tuple(row) for place, row in rows}
        self._anyway, self._unused = state["own_orders"].tolist()
        self._served = None


def check_state(state: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a state that is not one of `IncrementalLearner`.

    Raises
    ------
    SnapshotMismatch
    """
    check_names(state, {"weights", "covariance", "places", "deviations", "own_orders"})
    check_finite(state, "weights", (SIZE,))
    check_finite(state, "covariance", (SIZE, SIZE))
    check_finite(state, "deviations", (len(check_places(state, DIMENSIONS - 1)), 4))
    check_finite(state, "own_orders", (2,))
    variances = {"covariance": state["covariance"].diagonal(), "variances": state["deviations"][:, 1::2]}
    check_no_less({**variances, "own_orders": state["own_orders"]}, [*variances, "own_orders"])


def served_by(state: Mapping[str, NDArray[Any]]) -> IncrementalOrders:
    """Return the model of a state, as decisions use it; parameters and errors as of `check_state`."""
    check_state(state)
    learner = IncrementalLearner()
    learner.restore(state)
    return learner.served


class ShopModels(NamedTuple):
    """Models that a decision reads beside the probabilities of the heads."""

    viewed_prices: ViewedPrices
    """Prices that visitors look at."""
    incremental: IncrementalOrders
    """Orders that coupons add."""


@lru_cache
def prior_shop_models() -> ShopModels:
    """Return those before learning."""
    return ShopModels(NOTHING_VIEWED, IncrementalLearner().served)
