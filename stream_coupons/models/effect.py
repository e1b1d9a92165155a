r"""The effect of a coupon apart from demand: P(persuaded), learnt from redemptions.

Demand without a coupon has two parts: an order within the visit, with probability v, and otherwise one after it, with
probability b:

.. math:: P(\text{order}) = a = v + (1 - v)\,b

Visits teach v within the hour, whatever was given; orders of shoppers who were given nothing teach b.

Of those who would order in a coupon's scope anyway, with probability a, a share u uses it. Of the others the coupon
persuades some, with probability :math:`\tau`, and they use it:

.. math:: P(\text{redeem}) = (1 - a)\,\tau + u\,a

Redemptions teach :math:`\tau` and b, each by how much P(redeem) depends on it and by how little is known of it: a
redemption that did not come says that b was too high as well as that :math:`\tau` was. Were a taken as known, all that
it is too high by would be taken off :math:`\tau`, most for the coupons that are given most. The uplift,
:math:`(1 - a)\,\tau`, is then a quantity of its own that is never below zero, not the difference of two estimates that
err apart.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.incremental import USES_RATIO
from stream_coupons.core.decision.scoring import ORDER, REDEEM, VISIT
from stream_coupons.models.inputs import Row

MAX_LOGIT = 30.0
"""Log-odds beyond this are cut to it: so no exponential overflows, and no probability is 0 or 1."""
MOST_STEPS = 50
PRECISION = 1e-10


def sigmoid(logit: float) -> float:
    """Return the probability of log-odds, which are cut to `MAX_LOGIT`."""
    return 1.0 / (1.0 + math.exp(-min(max(logit, -MAX_LOGIT), MAX_LOGIT)))


def sigmoids(logits: Floats) -> Floats:
    """Return the probabilities of an array of log-odds, which are cut to `MAX_LOGIT`."""
    probabilities: Floats = 1.0 / (1.0 + np.exp(-np.minimum(np.maximum(logits, -MAX_LOGIT), MAX_LOGIT)))
    return probabilities


def mode(logit: float, variance: float, label: bool) -> float:
    """Return the z with z = logit + variance (label - sigmoid(z)): the mode after one label of a Gaussian prior.

    Newton's method from the point between the bounds of z that is nearest to 0, where the sigmoid turns: from there
    it never steps over the solution.

    Parameters
    ----------
    logit, variance : float
        Mean and variance of the log-odds before the label.
    label : bool
        The outcome.

    Examples
    --------
    >>> round(mode(0.0, 0.0, True), 6), round(mode(0.0, 4.0, True), 6)
    (0.0, 1.042597)
    """
    low, high = (logit, logit + variance) if label else (logit - variance, logit)
    z = min(max(0.0, low), high)
    for _ in range(MOST_STEPS):
        p = sigmoid(z)
        step = (z - logit - variance * (label - p)) / (1.0 + variance * p * (1.0 - p))
        z -= step
        if abs(step) < PRECISION:
            break
    return z


LEAST = 1e-9
MAX_STEP = 3.0
"""Largest step of the log-odds of an effect or a demand, by one redemption."""

Probability = TypeVar("Probability", float, Floats)


def either(later: Probability, visit: Probability) -> Probability:
    """Return P(order): within the visit, or else after it.

    Parameters
    ----------
    later : float or array
        P(order after the visit | none within it), in [0, 1].
    visit : float or array
        P(order within the visit), in [0, 1]; of the same shape.

    Examples
    --------
    >>> round(either(0.5, 0.2), 3)
    0.6
    """
    return redemption(later, visit, 1.0)


def redemption(effect: Probability, anyway: Probability, uses: Any = USES_RATIO) -> Probability:
    """Return P(redeem): a coupon persuades some shoppers, and a share of the others uses it.

    Parameters
    ----------
    effect : float or array
        P(persuaded | would not order), in [0, 1].
    anyway : float or array
        P(order without the coupon), in [0, 1]; of the same shape.
    uses : float or array
        The share, in [0, 1].

    Examples
    --------
    >>> round(redemption(0.1, 0.5), 3)
    0.35
    """
    found: Probability = (1.0 - anyway) * effect + uses * anyway
    return found


def probabilities(log_odds: Floats, uses_ratio: float | Floats = USES_RATIO) -> Floats:
    """Return the probabilities of all outcomes.

    Parameters
    ----------
    log_odds : array, shape (n, 4)
        Columns as in `ALL_HEADS`.
    uses_ratio : float or array, shape (n,)
        Share of the orders that would be placed anyway, on which a coupon is used.

    Returns
    -------
    array, shape (n, 4)
        Columns as in `LABELS`.
    """
    p = sigmoids(log_odds)
    p[:, ORDER] = redemption(p[:, ORDER], p[:, VISIT], 1.0)  # `either`
    p[:, REDEEM] = redemption(p[:, REDEEM], p[:, ORDER], uses_ratio)
    return p


def evidence(effect: float, anyway: float, label: bool, uses: float = USES_RATIO) -> float:
    """Return the weight of a label as an observation of the effect.

    It is the probability that the shopper could be persuaded: given a redemption, that it was not an order that would
    have been placed anyway. A logistic step with this weight is the gradient of the log-likelihood of the label
    (Fisher's identity).

    Parameters
    ----------
    effect, anyway : float
        P(persuaded | would not order) and P(order without the coupon), as predicted.
    label : bool
        True for a redemption.
    uses : float
        Share of the others who use the coupon, in [0, 1].

    Returns
    -------
    float
        Within [0, 1].

    Examples
    --------
    >>> evidence(0.1, 0.0, True), round(evidence(0.1, 0.5, True), 3)
    (1.0, 0.143)
    """
    p = redemption(effect, anyway, uses)
    part = (1.0 - anyway) * effect if label else (1.0 - anyway) * (1.0 - effect)
    return part / max(p if label else 1.0 - p, LEAST)


@dataclass(frozen=True, slots=True)
class RedemptionCurve:
    """P(redeem) as a function of the log-odds of one of its two parts.

    Parameters
    ----------
    effect, anyway : float
        P(persuaded | would not order) and P(order without the coupon), as predicted.
    uses : float
        Share of the orders without the coupon that use it.
    visit : float
        The part of `anyway` that is an order within the visit.
    """

    effect: float
    anyway: float
    uses: float = USES_RATIO
    visit: float = 0.0

    @property
    def probability(self) -> float:
        """P(redeem)."""
        return redemption(self.effect, self.anyway, self.uses)

    @property
    def unused(self) -> float:
        """P(order without the coupon, given and not used | no redemption)."""
        return min((1.0 - self.uses) * self.anyway / max(1.0 - self.probability, LEAST), 1.0)

    @property
    def slope_of_effect(self) -> float:
        """Derivative of P(redeem) by the log-odds of the effect."""
        return (1.0 - self.anyway) * self.effect * (1.0 - self.effect)

    @property
    def slope_of_demand(self) -> float:
        """Derivative of P(redeem) by the log-odds of P(order after the visit).

        Examples
        --------
        >>> RedemptionCurve(0.1, 0.5).slope_of_demand > 0 > RedemptionCurve(0.9, 0.5).slope_of_demand
        True
        """
        return (self.uses - self.effect) * (self.anyway - self.visit) * (1.0 - self.anyway) / (1.0 - self.visit)

    @property
    def slope_of_visit(self) -> float:
        """Derivative of P(redeem) by the log-odds of P(order within the visit)."""
        return (self.uses - self.effect) * self.visit * (1.0 - self.anyway)

    def step(self, slope: float, doubt: float, variance: float, label: bool, odds: float = 1.0) -> tuple[float, float]:
        """Return how far a label moves the log-odds of one part: one bounded step of Fisher's scoring.

        The log-likelihood of a redemption is not concave in the log-odds of its parts: there is no mode to solve for.

        Parameters
        ----------
        slope : float
            One of the slopes.
        doubt : float
            Variance of P(redeem) by the other part, which adds to that of the label.
        variance : float
            Variance of the log-odds of this part.
        label : bool
            True for a redemption.
        odds : float
            Factor on the odds of the label among the examples learnt: see `inputs.Sample`.

        Returns
        -------
        move : float
            Step of the log-odds, in units of `variance`.
        information : float
            Inverse variance that the label adds.

        Examples
        --------
        >>> one = RedemptionCurve(0.1, 0.0)
        >>> move, information = one.step(one.slope_of_effect, 0.0, 1.0, True)
        >>> round(move, 3), round(information, 3)
        (0.826, 0.09)
        """
        p = self.probability
        learnt = 1.0 + (odds - 1.0) * p
        by_p = odds / (learnt * learnt)
        p, slope = odds * p / learnt, by_p * slope
        spread = max(p * (1.0 - p), PRECISION) + by_p * by_p * doubt
        information = slope * slope / spread
        move = slope * (label - p) / spread / (1.0 + information * variance)
        most = MAX_STEP / max(variance, PRECISION)
        return min(max(move, -most), most), information


def redemption_by(row: Row, logit: float) -> RedemptionCurve | None:
    """Return P(redeem) as a function of the log-odds of the part that a row is for.

    Parameters
    ----------
    row : Row
        What is known of the other parts: `anyway`, or `effect` and `visit`.
    logit : float
        Log-odds of this part.

    Returns
    -------
    RedemptionCurve or None
        None if the row's label depends on this part alone.
    """
    if row.anyway is not None:
        return RedemptionCurve(sigmoid(logit), row.anyway, row.uses)
    if row.effect is None:
        return None
    return RedemptionCurve(row.effect, either(sigmoid(logit), row.visit), row.uses, visit=row.visit)


def step_of(row: Row, logit: float, variance: float, label: bool) -> tuple[float, float]:
    """Return how far a label moves the log-odds of what a row is for.

    Parameters
    ----------
    row : Row
        Features, and what is known of the other part of P(redeem).
    logit, variance : float
        Mean and variance of the log-odds before learning.
    label : bool
        The outcome.

    Returns
    -------
    move : float
        Step of the log-odds, in units of `variance`: to the mode, or one bounded step if the label is a redemption.
    information : float
        Inverse variance that the label adds.
    """
    redeemed = redemption_by(row, logit)
    if redeemed is None:
        probability = sigmoid(mode(logit + math.log(row.sample.odds), variance, label))
        return label - probability, probability * (1.0 - probability)
    slope = redeemed.slope_of_effect if row.effect is None else redeemed.slope_of_demand
    return redeemed.step(slope, row.doubt, variance, label, row.sample.odds)
