"""Policies that can be valued on the engine's own decisions: the probability of giving each arm, sold out or not."""

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.rules import PolicyRules
from stream_coupons.evaluation.own_decisions import OwnDecisions, probabilities
from stream_coupons.evaluation.policies import Policy

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

KINDS = "logged, greedy[:MIN_VALUE], epsilon[:RATIO], average, random, none, always:COUPON"
NUMBERED = {"greedy": (-math.inf, math.inf), "epsilon": (0.0, 1.0)}
"""Kinds that may have a number, and its range."""
DEFAULT = ("logged", "greedy", "epsilon", "average", "random", "none")


def parse(text: str, coupons: Collection[str]) -> Policy:
    """Return a policy from what was typed.

    Raises
    ------
    BadConfig

    >>> str(parse("greedy:25", {})), parse("always:c1", {"c1"}).parameter
    ('greedy:25', 'c1')
    """
    kind, _, parameter = text.partition(":")
    if kind == "always" and parameter:
        if parameter not in coupons:
            some = ", ".join(sorted(coupons)[:10])
            raise BadConfig(f"policy {text!r}: the log has no coupon {parameter!r}, expected one of {some}")
        return Policy(kind, parameter)
    if kind not in DEFAULT or (parameter and kind not in NUMBERED):
        raise BadConfig(f"there is no policy {text!r}, expected one of {KINDS}")
    if parameter:
        low, high = NUMBERED[kind]
        try:
            number = float(parameter)
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise BadConfig(f"policy {text!r}: {parameter!r}, expected a number from {low:g} to {high:g}")
    return Policy(kind, parameter)


def target(policy: Policy, decisions: OwnDecisions, rules: PolicyRules) -> Floats:
    """Return the probability with which a policy gives each arm, shape (n, a).

    - `greedy` is the live policy without exploration: its ranking falls back on the next coupon when one is sold out.
      It gives nothing where no coupon is worth more than `min_value_minor`, or than the policy's number.
    - `epsilon` explores besides, as the live policy does.
    - `average` ranks coupons for all shoppers alike, by their mean value in the log.
    - `random` draws among all coupons, as exploring does, and `always` gives one coupon wherever it could be given;
      what is sold out leads to nothing.
    """
    nobody = np.zeros(len(decisions), dtype=np.intp)
    is_coupon, value = decisions.is_coupon, decisions.value
    always, never = np.ones(len(decisions)), np.zeros(len(decisions))
    match policy.kind:
        case "logged":
            return decisions.logging
        case "greedy":
            reached = reach(value, policy.number(rules.min_value_minor), rules.alternatives, decisions)
            return probabilities(reached, is_coupon, never, decisions.available)
        case "epsilon":
            reached = reach(value, rules.min_value_minor, rules.alternatives, decisions)
            ratio = policy.number(rules.exploration_ratio)
            return probabilities(reached, is_coupon, always * ratio, decisions.available)
        case "average":
            reached = reach(_average(decisions), rules.min_value_minor, rules.alternatives, decisions)
            return probabilities(reached, is_coupon, never, decisions.available)
        case "random":
            return probabilities(nobody, is_coupon, always, decisions.available)
        case "none":
            return probabilities(nobody, is_coupon, never, decisions.available)
    arm = decisions.names.index(policy.parameter)
    return probabilities(nobody, decisions.arm == arm, always, decisions.available)


def reach(score: Floats, above: float, alternatives: int, decisions: OwnDecisions) -> Rows:
    """Return the column that a ranking comes to: the best that can be had of the first few, 0 if none can.

    Parameters
    ----------
    score : array, shape (n, a)
    above : float
        What a coupon has to score more than.
    alternatives : int
        How many coupons are asked for at most.
    """
    wanted = np.where(decisions.is_coupon & (score > above), score, -np.inf)
    ranked = np.argsort(-wanted, axis=1, kind="stable")[:, :alternatives]
    can = np.take_along_axis(decisions.available & np.isfinite(wanted), ranked, axis=1)
    first = can.argmax(axis=1)
    reached: Rows = np.where(can.any(axis=1), ranked[np.arange(len(ranked)), first], 0)
    return reached


def _average(decisions: OwnDecisions) -> Floats:
    """The mean value of each column's coupon over all decisions, shape (n, a)."""
    is_arm = decisions.arm >= 0
    arms = decisions.arm[is_arm]
    size = len(decisions.names)
    mean = np.bincount(arms, decisions.value[is_arm], size) / np.maximum(np.bincount(arms, minlength=size), 1)
    averages: Floats = np.where(is_arm, mean[decisions.arm], -np.inf)
    return averages
