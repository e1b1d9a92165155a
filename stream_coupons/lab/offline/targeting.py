"""The quality of targeting by predicted uplift, where the log sometimes gave no coupon."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream_coupons.lab.offline import uplift
from stream_coupons.lab.offline.logged_decisions import LoggedDecisions
from stream_coupons.lab.offline.uplift import Trial, Uplift
from stream_coupons.lab.ope import policies
from stream_coupons.lab.ope.rewards import Rewards

Floats = NDArray[np.float64]

CURVE_POINTS = 101


@dataclass(frozen=True, slots=True)
class Targeting:
    """The quality of targeting one coupon rule by predicted uplift."""

    coupon: str
    treated: int
    controls: int
    uplift: Uplift


def measure(decisions: LoggedDecisions, found: Rewards, propensity: Floats, seed: int) -> list[Targeting]:
    """Return the uplift over `none` of a coupon drawn at random, and of the one that our policy would give.

    The weight of a decision with a coupon is the probability of that coupon under the rule over its propensity. The
    weight of a decision without one is the inverse propensity. So both groups represent all shoppers.
    """
    rows = np.arange(len(decisions))
    can_compare = decisions.is_none.any(axis=1) & decisions.is_coupon.any(axis=1)
    is_treated = ~decisions.is_none[rows, decisions.chosen]
    if not (can_compare & is_treated).any() or not (can_compare & ~is_treated).any():
        return []
    coupon_worth = np.where(decisions.is_coupon, found.worth, -np.inf)
    coupon_worth[~can_compare, 0] = 0.0
    of_none = np.where(decisions.is_none, found.predicted, 0.0).sum(axis=1)
    result = []
    rules = {
        "any coupon, drawn evenly": policies.uniform(np.isfinite(coupon_worth)),
        "the coupon of our policy": policies.greedy(coupon_worth),
    }
    for name, given in rules.items():
        weight = np.where(is_treated, given[rows, decisions.chosen], 1.0) / propensity
        kept = can_compare & (weight > 0)
        treated = int((kept & is_treated).sum())
        if not treated:
            continue
        score = (given * found.predicted).sum(axis=1) - of_none
        trial = Trial(score[kept], is_treated[kept], found.reward[kept], weight[kept])
        measured = uplift.uplift(trial, decisions.shopper[kept], seed=seed)
        drawn = replace(measured, curve=measured.curve.thinned(CURVE_POINTS))
        result.append(Targeting(name, treated, int(kept.sum()) - treated, drawn))
    return result
