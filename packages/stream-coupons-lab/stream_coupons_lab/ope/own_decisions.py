"""The engine's own decisions as arrays: arms, how likely each was, what was given.

The arms of a decision are the coupons that could be had at that moment. What was sold out is recorded beside them, and
had no probability.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.decisions import LoggedDecision
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.rules import PolicyRules
from stream_coupons_lab.ope.policies import ArmScores, ArmTable

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]
PRIORITY_MINOR = 1e9
"""Weight of one step of priority, minor units: more than any value."""


@dataclass(frozen=True, slots=True)
class OwnDecisions(ArmTable):
    """n decisions in order of time; every row can give nothing, and what was sold out has no column.

    Attributes
    ----------
    value : array, shape (n, a)
        Value of each arm at that moment, minor units, before the price of its budgets; 0 for none, -inf in columns that
        a row does not have.
    price : array, shape (n, a)
        Price of each arm's expected cost by its budgets, minor units; 0 for none.
    priority : array, shape (n, a)
        Priority of each arm above the least one.
    logging : array, shape (n, a)
        Probability of each arm by the policy that decided; rows sum to 1.
    chosen : array of int, shape (n,)
        Column of what was given.
    user_ids : list of str
    shopper : array of int, shape (n,)
    at : array, shape (n,)
        Time of the decision.
    sold_out : array of int, shape (n,)
        How many coupons were no arms because they were sold out.
    left_out : Counter of str
        Decisions that are not among these, by result.
    """

    value: Floats
    price: Floats
    priority: Floats
    logging: Floats
    chosen: Rows
    user_ids: list[str]
    shopper: Rows
    at: Floats
    sold_out: Rows
    left_out: Counter[str]

    @property
    def propensity(self) -> Floats:
        """Probability of what was given, shape (n,)."""
        probability: Floats = self.logging[np.arange(len(self)), self.chosen]
        return probability

    def choices(self, rules: PolicyRules) -> ArmScores:
        """Return what policies choose by: priority, then value less price; a coupon is drawn where there is one."""
        score = self.value - self.price
        score += np.where(score > rules.min_value_minor, PRIORITY_MINOR * self.priority, 0.0)
        score[:, 0] = rules.min_value_minor
        drawn = self.is_coupon
        drawn[:, 0] = ~drawn.any(axis=1)
        return ArmScores(self.names, self.arm, score, drawn)


def arrays(decisions: Sequence[LoggedDecision], domain: str, until: float) -> OwnDecisions:
    """Return the decisions of a domain, up to a time, that the policy alone decided.

    The permanent control group and shoppers whom the brake leaves out do not count.

    Raises
    ------
    BadConfig
        If none is left.
    """
    ordered = sorted((one for one in decisions if one.domain == domain), key=lambda one: (one.at, one.decision_id))
    kept, left_out = [], Counter[str]()
    for one in ordered:
        if is_withheld(one):
            left_out["holdout" if one.is_holdout else "lift below zero"] += 1
        elif one.at > until:
            left_out["window still open"] += 1
        else:
            kept.append(one)
    if not kept:
        why = ", ".join(f"{count} {result}" for result, count in left_out.most_common()) or "there is none"
        raise BadConfig(f"no decision of domain {domain!r} can be valued: {why}")
    names = (NO_COUPON, *sorted({arm for one in kept for arm in one.arms}))
    index = {name: number for number, name in enumerate(names)}
    n, width = len(kept), 1 + max(len(one.arms) for one in kept)
    arm, value = np.full((n, width), -1), np.full((n, width), -np.inf)
    price, priority, logging = np.zeros((3, n, width))
    arm[:, 0] = value[:, 0] = 0
    for row, one in enumerate(kept):
        arm[row, 1 : 1 + len(one.arms)] = [index[name] for name in one.arms]
        value[row, 1 : 1 + len(one.arms)] = one.values_minor
        price[row, 1 : 1 + len(one.prices_minor)] = one.prices_minor
        priority[row, 1 : 1 + len(one.priorities)] = one.priorities
        logging[row, : 1 + len(one.arms)] = np.roll(probabilities(one), 1)
    users: dict[str, int] = {}
    return OwnDecisions(
        names=names,
        arm=arm,
        value=value,
        price=price,
        priority=priority - priority.min(axis=1, keepdims=True),
        logging=logging,
        chosen=np.array([1 + one.arms.index(one.coupon_id) if one.result == "given" else 0 for one in kept]),
        shopper=np.array([users.setdefault(one.user_id, len(users)) for one in kept]),
        user_ids=list(users),
        at=np.array([one.at for one in kept]),
        sold_out=np.array([len(one.sold_out) for one in kept]),
        left_out=left_out,
    )


def is_withheld(one: LoggedDecision) -> bool:
    """Return True if no policy would give the shopper a coupon: in the holdout, or left out by the brake."""
    return one.is_holdout or one.result == "lift_below_zero"


def probabilities(one: LoggedDecision) -> list[float]:
    """Return the probability of each arm, and last that of none, by the policy that decided; they sum to 1.

    Examples
    --------
    >>> one = LoggedDecision(
    ...     decision_id="d", user_id="ann", domain="tea", at=0.0, trigger_id="t", result="control", model_version=1,
    ...     arms=["a", "b"], values_minor=[2.0, 1.0], best=0, exploration_ratio=0.5, control_ratio=0.2,
    ... )
    >>> [round(probability, 3) for probability in probabilities(one)]
    [0.6, 0.2, 0.2]
    """
    found = [0.0] * len(one.arms) + [1.0 - one.exploration_ratio]
    if one.shares:
        found = list(one.shares)
    else:
        if one.best is not None:
            found[one.best], found[-1] = found[-1], 0.0
        tried = one.tried or range(len(one.arms)) or [-1]
        for row in tried:
            found[row] += one.exploration_ratio / len(tried)
    found = [(1.0 - one.control_ratio) * probability for probability in found]
    found[-1] += one.control_ratio
    return found
