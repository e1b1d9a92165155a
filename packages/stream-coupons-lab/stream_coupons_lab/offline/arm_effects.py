"""The effect of each coupon against giving none: predicted and observed, and how well the model finds whom it moves.

For each arm, decisions count in which both it and `none` could be chosen and one of them was, by the inverse of their
propensities. See `uplift` for the curves.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons_lab.offline import uplift
from stream_coupons_lab.offline.logged_decisions import LoggedDecisions
from stream_coupons_lab.offline.uplift import Trial, Uplift
from stream_coupons_lab.ope import policies
from stream_coupons_lab.ope.rewards import Rewards

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

LEAST_IN_ARM = 50
MAX_EFFECTS = 13
ANY = "any coupon, drawn evenly"
OURS = "the coupon of our policy"
REPEATS = 300


@dataclass(frozen=True, slots=True)
class ArmEffect:
    """The effect of one coupon.

    Attributes
    ----------
    predicted : float
        Mean predicted effect, over all decisions that count.
    uplift : Uplift
        Both curves and the Qini coefficient; its mean is the effect observed.
    """

    arm: str
    treated: int
    controls: int
    predicted: float
    uplift: Uplift


def measure(decisions: LoggedDecisions, found: Rewards, propensity: Floats, seed: int = 0) -> list[ArmEffect]:
    """Return the effect of any coupon, of ours, and of each that was given often enough beside enough controls.

    The most given come first. `ANY` stands for a coupon drawn evenly among those that could be given, `OURS` for the
    one that our policy would give.

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
    given[OURS] = policies.greedy(np.where(decisions.is_coupon, found.worth, -np.inf)) * decisions.is_coupon
    given |= {decisions.names[number]: (decisions.arm == number).astype(np.float64) for number in coupons}
    effects: list[ArmEffect] = []
    for name, rule in given.items():
        if len(effects) < MAX_EFFECTS:
            trial = _trial(decisions, found, propensity, rule)
            if trial is not None:
                effects.append(_effect(name, *trial, seed))
    return effects


def _any(decisions: LoggedDecisions) -> Floats:
    """The probability of every arm if any coupon of the row is given, all alike."""
    drawn: Floats = decisions.is_coupon / np.maximum(decisions.is_coupon.sum(axis=1, keepdims=True), 1)
    return drawn


def _trial(decisions: LoggedDecisions, found: Rewards, propensity: Floats, rule: Floats) -> tuple[Trial, Rows] | None:
    """The trial of giving coupons with these probabilities, and its shoppers; None of too few decisions.

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
    if min(int(is_treated.sum()), int((~is_treated).sum())) < LEAST_IN_ARM:
        return None
    given, predicted = given[rows], found.predicted[rows]
    without = np.where(decisions.is_none[rows], predicted, 0.0).sum(axis=1)
    score = (given * np.where(given > 0, predicted, 0.0)).sum(axis=1) - without
    weight = np.where(is_treated, probability[rows], 1.0) / propensity[rows]
    return Trial(score, is_treated, found.reward[rows], weight), decisions.shopper[rows]


def _effect(name: str, trial: Trial, shopper: Rows, seed: int) -> ArmEffect:
    measured = uplift.uplift(trial, shopper, repeats=REPEATS, seed=seed)
    treated = int(trial.is_treated.sum())
    return ArmEffect(
        arm=name,
        treated=treated,
        controls=len(trial) - treated,
        predicted=float(np.average(trial.score, weights=trial.weight)),
        uplift=measured.thinned(),
    )
