r"""The effect of each coupon against giving none: predicted and observed, and how well the model finds whom it moves.

For each arm, decisions count in which both it and `none` could be chosen and one of them was, by the inverse of their
propensities. Beside the curves of `uplift` there are

- deciles: decisions in groups of equal size by predicted effect, and the effect observed in each. Intervals sum
  influence values by shopper; where rewards are 0 or 1 they are not shorter than those of Agresti and Caffo [1]_, for a
  group without any reward is not certain to have none.
- the cost curve [2]_: decisions by predicted effect for each unit of predicted cost, best first; x is the share of the
  additional cost, y the share of the additional reward. Its area AUCC is 0.5 for a random order. It is not defined
  where the coupon, given to all, brings nothing more.

References
----------
.. [1] Agresti, A., and Caffo, B. (2000). Simple and effective confidence intervals for proportions and differences of
       proportions result from adding two successes and two failures. The American Statistician 54(4).
.. [2] Du, S., Lee, J., and Ghaffarizadeh, F. (2019). Improve user retention with causal learning. Proceedings of
       Machine Learning Research 104.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.decision.scoring import REDEEM
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.models.metrics import Interval
from stream_coupons_lab.offline import uplift
from stream_coupons_lab.offline.logged_decisions import LoggedDecisions
from stream_coupons_lab.offline.uplift import CURVE_POINTS, Trial, Uplift, area_below
from stream_coupons_lab.ope import policies
from stream_coupons_lab.ope.rewards import Rewards, costs_of

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

GROUPS = 10
LEAST_IN_GROUP = 20
"""Treated and controls that a group has at least: else there are fewer groups."""
LEAST_IN_ARM = 50
MAX_EFFECTS = 13
ANY = "any coupon, drawn evenly"
OURS = "the coupon of our policy"
REPEATS = 300
Z = 1.959964


@dataclass(frozen=True, slots=True)
class EffectGroup:
    """Decisions of about the same predicted effect: its mean, and the effect observed."""

    predicted: float
    observed: Interval
    treated: int
    controls: int

    @property
    def is_covered(self) -> bool:
        """True if the prediction lies within the interval."""
        return self.observed.low <= self.predicted <= self.observed.high


@dataclass(frozen=True, slots=True)
class ArmEffect:
    """The effect of one coupon.

    Attributes
    ----------
    predicted : float
        Mean predicted effect, over all decisions that count.
    uplift : Uplift
        Both curves and their areas; its mean is the effect observed.
    groups : list of EffectGroup
        By falling predicted effect.
    cost_share, gain_share : array, shape (p,)
        The cost curve; empty where it is not defined.
    aucc : Interval
        NaN where it is not defined.
    """

    arm: str
    treated: int
    controls: int
    predicted: float
    uplift: Uplift
    groups: list[EffectGroup]
    cost_share: Floats
    gain_share: Floats
    aucc: Interval


@dataclass(frozen=True, slots=True)
class Targeting:
    """The quality of targeting one rule's coupons by predicted uplift."""

    coupon: str
    treated: int
    controls: int
    uplift: Uplift


@dataclass(frozen=True, slots=True)
class _Sample:
    """The decisions of one arm: arrays of shape (n,)."""

    trial: Trial
    shopper: Rows
    cost: Floats
    gross: Floats
    predicted_cost: Floats

    @property
    def treated(self) -> int:
        """Number of the treated."""
        return int(self.trial.is_treated.sum())


def measure(decisions: LoggedDecisions, found: Rewards, propensity: Floats, seed: int = 0) -> list[ArmEffect]:
    """Return the effect of any coupon, and of each that was given often enough beside enough controls.

    The most given come first. `ANY` stands for a coupon drawn evenly among those that could be given.

    Parameters
    ----------
    found : Rewards
        What decisions brought, and what was predicted of every arm.
    propensity : array, shape (n,)
        Probability with which each choice was made.
    """
    coupons = [number for number, name in enumerate(decisions.names) if name != NO_COUPON]
    given: dict[str, Floats] = {}
    if len(coupons) > 1:
        given[ANY] = _any(decisions)
    given |= {decisions.names[number]: (decisions.arm == number).astype(np.float64) for number in coupons}
    effects: list[ArmEffect] = []
    for name, rule in given.items():
        if len(effects) < MAX_EFFECTS:
            sample = _sample(decisions, found, propensity, rule)
            if sample is not None:
                effects.append(_effect(name, sample, seed))
    return effects


def targeting(decisions: LoggedDecisions, found: Rewards, propensity: Floats, seed: int = 0) -> list[Targeting]:
    """Return the uplift over `none` of a coupon drawn at random, and of the one that our policy would give."""
    worth = np.where(decisions.is_coupon, found.worth, -np.inf)
    result = []
    for name, rule in {ANY: _any(decisions), OURS: policies.greedy(worth) * decisions.is_coupon}.items():
        sample = _sample(decisions, found, propensity, rule, least=1)
        if sample is not None:
            measured = uplift.uplift(sample.trial, sample.shopper, seed=seed)
            result.append(Targeting(name, sample.treated, len(sample.trial) - sample.treated, measured.thinned()))
    return result


def _any(decisions: LoggedDecisions) -> Floats:
    """The probability of every arm if any coupon of the row is given, all alike."""
    drawn: Floats = decisions.is_coupon / np.maximum(decisions.is_coupon.sum(axis=1, keepdims=True), 1)
    return drawn


def _sample(
    decisions: LoggedDecisions, found: Rewards, propensity: Floats, rule: Floats, least: int = LEAST_IN_ARM
) -> _Sample | None:
    """The decisions that say what a rule brings that gives coupons with these probabilities; None if too few do.

    Both a coupon and `none` could be chosen in each. The weight is the probability of the coupon that was given, or 1
    if none was, over the propensity: so both groups stand for all shoppers.
    """
    could = np.logical_and(decisions.is_none.any(axis=1), decisions.is_coupon.any(axis=1))
    given = rule * could[:, None]
    every = np.arange(len(decisions))
    gave_none: Mask = decisions.is_none[every, decisions.chosen]
    probability = given[every, decisions.chosen]
    rows = np.flatnonzero((given.sum(axis=1) > 0) & (gave_none | (probability > 0)))
    is_treated: Mask = np.logical_not(gave_none[rows])
    if min(int(is_treated.sum()), int((~is_treated).sum())) < least:
        return None
    given, predicted = given[rows], found.predicted[rows]
    paid, typical = costs_of(decisions)
    without = np.where(decisions.is_none[rows], predicted, 0.0).sum(axis=1)
    score = (given * np.where(given > 0, predicted, 0.0)).sum(axis=1) - without
    weight = np.where(is_treated, probability[rows], 1.0) / propensity[rows]
    spent = decisions.probability[rows][..., REDEEM] * typical[rows]
    return _Sample(
        trial=Trial(score, is_treated, found.reward[rows], weight),
        shopper=decisions.shopper[rows],
        cost=np.where(is_treated, paid[rows], 0.0),
        gross=found.gross(paid)[rows],
        predicted_cost=(given * spent).sum(axis=1),
    )


def _effect(name: str, sample: _Sample, seed: int) -> ArmEffect:
    trial = sample.trial
    measured = uplift.uplift(trial, sample.shopper, repeats=REPEATS, seed=seed)
    cost_share, gain_share, aucc = _cost_curve(sample, seed)
    return ArmEffect(
        arm=name,
        treated=sample.treated,
        controls=len(trial) - sample.treated,
        predicted=float(np.average(trial.score, weights=trial.weight)),
        uplift=measured.thinned(),
        groups=groups_of(trial, sample.shopper),
        cost_share=cost_share,
        gain_share=gain_share,
        aucc=aucc,
    )


def groups_of(trial: Trial, shopper: Rows) -> list[EffectGroup]:
    """Return groups of equal size by predicted effect, the highest first: ten if there are enough of both kinds."""
    fewest = min(int(trial.is_treated.sum()), int((~trial.is_treated).sum()))
    count = max(1, min(GROUPS, fewest // LEAST_IN_GROUP))
    is_binary = bool(np.isin(trial.reward, (0.0, 1.0)).all())
    groups = []
    for rows in np.array_split(np.argsort(-trial.score, kind="stable"), count):
        part = trial.is_treated[rows], trial.reward[rows], trial.weight[rows], shopper[rows]
        groups.append(
            EffectGroup(
                predicted=float(np.average(trial.score[rows], weights=trial.weight[rows])),
                observed=_difference(*part, is_binary=is_binary),
                treated=int(trial.is_treated[rows].sum()),
                controls=int((~trial.is_treated[rows]).sum()),
            )
        )
    return groups


def _difference(is_treated: Mask, reward: Floats, weight: Floats, shopper: Rows, *, is_binary: bool) -> Interval:
    """The mean of the treated less that of the controls, 95 %."""
    if is_treated.all() or not is_treated.any():
        return Interval(math.nan, math.nan, math.nan)
    mean, influence, variance, shift = 0.0, np.zeros(len(reward)), 0.0, 0.0
    for sign, rows in ((1.0, is_treated), (-1.0, ~is_treated)):
        total = float(weight[rows].sum())
        own = float((weight * reward)[rows].sum()) / total
        mean += sign * own
        influence[rows] = sign * weight[rows] * (reward[rows] - own) / total
        if is_binary:
            effective = total**2 / float((weight[rows] ** 2).sum())
            adjusted = (own * effective + 1.0) / (effective + 2.0)
            variance += adjusted * (1 - adjusted) / (effective + 2.0)
            shift += sign * (adjusted - own)
    by_shopper = np.bincount(np.unique(shopper, return_inverse=True)[1], influence)
    clusters = len(by_shopper)
    clustered = float((by_shopper**2).sum()) * clusters / max(clusters - 1, 1)
    reach = Z * math.sqrt(max(variance, clustered))
    if not reach:
        return Interval(mean, math.nan, math.nan)
    return Interval(mean, mean + shift - reach, mean + shift + reach)


def _cost_curve(sample: _Sample, seed: int) -> tuple[Floats, Floats, Interval]:
    """Points of the cost curve, and its area with a bootstrap interval over shoppers."""
    trial = sample.trial
    per_cost = trial.score / np.maximum(sample.predicted_cost, 1e-9)
    order = np.argsort(-per_cost, kind="stable")
    steps = np.append(np.flatnonzero(np.diff(per_cost[order])), len(order) - 1)
    is_treated, gross, paid = trial.is_treated[order], sample.gross[order], sample.cost[order]
    weight = trial.weight[order]
    cost, gain = _shares(is_treated, gross, paid, weight, steps)
    area = area_below(cost, gain)
    if math.isnan(area):
        return np.empty(0), np.empty(0), Interval(math.nan, math.nan, math.nan)
    draws = uplift.draws(sample.shopper[order], REPEATS, seed)
    areas = [area_below(*_shares(is_treated, gross, paid, weight * times, steps)) for times in draws]
    defined = [one for one in areas if not math.isnan(one)]
    low, high = np.quantile(defined, (0.025, 0.975)) if len(defined) > REPEATS / 2 else (math.nan, math.nan)
    kept = np.unique(np.linspace(0, len(cost) - 1, CURVE_POINTS).astype(int))
    return cost[kept], gain[kept], Interval(area, float(low), float(high))


def _shares(is_treated: Mask, gross: Floats, cost: Floats, weight: Floats, steps: Rows) -> tuple[Floats, Floats]:
    """Shares of the whole additional cost and reward, when more and more get the coupon; NaN if these are none."""
    treated, control = weight * is_treated, weight * ~is_treated
    sums = np.stack((treated, treated * gross, treated * cost, control, control * gross))
    n_t, y_t, c_t, n_c, y_c = np.cumsum(sums, axis=1)[:, steps]
    has_both = (n_t > 0) & (n_c > 0)
    count = n_t + n_c
    safe_t, safe_c = np.where(has_both, n_t, 1.0), np.where(has_both, n_c, 1.0)
    gain = np.append(0.0, np.where(has_both, count * (y_t / safe_t - y_c / safe_c), 0.0))
    spent = np.append(0.0, np.where(has_both, count * c_t / safe_t, 0.0))
    if gain[-1] <= 0 or spent[-1] <= 0:
        return np.full(2, math.nan), np.full(2, math.nan)
    return spent / spent[-1], gain / gain[-1]


def covered(effects: Sequence[ArmEffect]) -> tuple[int, int]:
    """Return how many groups of all effects hold their prediction, and how many there are."""
    groups = [group for effect in effects for group in effect.groups]
    return sum(group.is_covered for group in groups), len(groups)
