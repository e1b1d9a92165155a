"""A linear model of observed outcomes, pooled over coupons and shoppers, refitted every day from closed windows.

The outcome of an issue is (ordered in scope x expected margin - discount taken) / typical price, that of a control the
same without a discount. Base terms describe the outcome without a coupon, effect terms what a coupon adds. Both have
normal priors; a coupon's own terms have narrow ones. Decisions draw the weights from their posterior.
"""

from collections.abc import Iterable

import numpy as np
from msgspec import Struct

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.decision.scoring import ValueScorer
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import FeatureRows
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.profile import DAY_S

DEPTH, REDEEM_RATE, CLICK_RATE = (NUMERIC.index(name) for name in ("discount_depth", "redeem_rate", "click_rate"))
BASE = [
    NUMERIC.index(name)
    for name in ("orders", "order_recency", "browsed_now", "carted_now", "demand_share", "near_scope_share")
]
BASE += [NUMERIC.index("time_to_redeem"), REDEEM_RATE, CLICK_RATE]
BASE_SD, BASE_OF_COUPON_SD = 0.1, 0.05
EFFECT_SD, EFFECT_OF_COUPON_SD = 0.03, 0.01
"""Standard deviations of the weights by the prior, in typical prices."""
PRIOR_EFFECT_OF_DEPTH = 0.05
"""Mean of the weight of depth by the prior; all other means are 0."""
PRIOR_VARIANCE, PRIOR_COUNT = 0.02, 50.0
"""Variance of an outcome, and the number of outcomes that it counts for."""


class Pooled(ValueScorer):
    """Values coupons by the pooled model.

    Parameters
    ----------
    coupons : iterable of Coupon
        The catalogue, of one domain.
    rules : PolicyRules
        Cost of sending, and the typical price where a coupon has none.
    seed : int
        Seed of the draws.
    """

    reads_features = True

    def __init__(self, coupons: Iterable[Coupon], rules: PolicyRules, seed: int) -> None:
        self._set, self._cost_minor = CouponSet(coupons, rules.typical_price_minor), rules.cost_minor
        each = self._set.coupons
        self._price = self._set.price_minor
        self._whole = np.array([not (c.categories or c.brands or c.items) for c in each], np.float64)
        self._rng = np.random.default_rng([seed, 27])
        self._now = self._fitted_at = -np.inf
        n = len(each)
        base, effect = len(BASE) + 2, 7
        self._effect = slice(base + n, base + 2 * n + effect)
        sds = [[BASE_SD] * base, [BASE_OF_COUPON_SD] * n, [EFFECT_SD] * effect, [EFFECT_OF_COUPON_SD] * n]
        self._precision = np.concatenate(sds) ** -2.0
        self._prior = np.zeros(len(self._precision))
        self._prior[base + n + 1] = PRIOR_EFFECT_OF_DEPTH
        self._gram, self._moment = np.zeros((len(self._prior),) * 2), np.zeros(len(self._prior))
        self._squares, self._count = PRIOR_VARIANCE * PRIOR_COUNT, PRIOR_COUNT
        self._fit()

    def _terms(self, numeric: Floats, positions: Positions, treated: Floats) -> Floats:
        """Return the terms of the model, shape (n, terms)."""
        own, one = np.eye(len(self._price))[positions], np.ones(len(positions))
        whole, depth = self._whole[positions], numeric[:, DEPTH]
        redeem, click = numeric[:, REDEEM_RATE], numeric[:, CLICK_RATE]
        base = np.column_stack((one, whole, numeric[:, BASE], own))
        effect = np.column_stack((one, depth, redeem, click, depth * redeem, depth * click, whole, own))
        return np.hstack((base, effect * treated[:, None]))

    def values(self, rows: FeatureRows) -> Floats:
        """Return a draw of each coupon's effect, less the cost of sending it, minor units."""
        positions = np.concatenate([subject.positions for subject in rows.subjects])
        effect = self._terms(rows.numeric, positions, np.ones(len(positions)))[:, self._effect]
        weights = self._mean + self._root @ self._rng.standard_normal(len(self._mean))
        return np.asarray(effect @ weights[self._effect] * self._price[positions] - self._cost_minor)

    def hear(self, message: Struct) -> None:
        """Keep the outcomes of issues and of controls."""
        if not isinstance(message, TrainingExample):
            return
        self._now = message.at
        is_control = message.head == "order"
        ordered = message.label if is_control else message.ordered
        if not (is_control or message.head == "redeem") or ordered is None:
            return
        position = self._set.position[message.coupon_id]
        gain = ordered * self._set.margin_minor[position] - message.discount_minor * (not is_control)
        treated = np.array([float(not is_control)])
        x = self._terms(np.array([message.numeric]), np.array([position]), treated)[0]
        y = gain / self._price[position]
        self._gram += np.outer(x, x)
        self._moment += x * y
        residual = y - x @ self._mean
        self._squares, self._count = self._squares + residual**2, self._count + 1

    def learn(self) -> None:
        """Refit once a day."""
        if self._now >= self._fitted_at + DAY_S:
            self._fitted_at = self._now
            self._fit()

    def _fit(self) -> None:
        variance = self._squares / self._count
        precision = self._gram / variance + np.diag(self._precision)
        covariance = np.linalg.inv(precision)
        self._mean: Floats = covariance @ (self._moment / variance + self._precision * self._prior)
        self._root: Floats = np.linalg.cholesky(covariance)
