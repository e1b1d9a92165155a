"""Policies that can be valued on the engine's own decisions: the probability of giving each arm."""

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.rules import PolicyRules
from stream_coupons.lab.ope.own_decisions import OwnDecisions, probabilities
from stream_coupons.lab.ope.policies import Policy

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

    - `greedy` is the live policy without exploration: the best of the coupons that could be had. It gives nothing where
      none is worth more than `min_value_minor`, or than the policy's number.
    - `epsilon` explores besides, as the live policy does.
    - `average` ranks coupons for all shoppers alike, by their mean value in the log.
    - `random` draws among the coupons that could be had, as exploring does.
    - `always` gives one coupon wherever it could be had, else nothing.

    Where a policy goes by value, it is the value less the price of the budgets at that moment.
    """
    nobody = np.zeros(len(decisions), dtype=np.intp)
    is_coupon, net, least = decisions.is_coupon, decisions.net, rules.min_value_minor
    always, never = np.ones(len(decisions)), np.zeros(len(decisions))
    match policy.kind:
        case "logged":
            return decisions.logging
        case "greedy":
            return probabilities(_best(net, policy.number(least), decisions), is_coupon, never)
        case "epsilon":
            ratio = policy.number(rules.exploration_ratio)
            return probabilities(_best(net, least, decisions), is_coupon, always * ratio)
        case "average":
            return probabilities(_best(_average(decisions), least, decisions), is_coupon, never)
        case "random":
            return probabilities(nobody, is_coupon, always)
        case "none":
            return probabilities(nobody, is_coupon, never)
    arm = decisions.names.index(policy.parameter)
    return probabilities(nobody, decisions.arm == arm, always)


def _best(score: Floats, above: float, decisions: OwnDecisions) -> Rows:
    """The column of the coupon with the highest score; 0 where none scores above this."""
    wanted = np.where(decisions.is_coupon & (score > above), score, -np.inf)
    best = wanted.argmax(axis=1)
    found: Rows = np.where(np.isfinite(wanted[np.arange(len(decisions)), best]), best, 0)
    return found


def _average(decisions: OwnDecisions) -> Floats:
    """The mean value less price of each column's coupon over all decisions, shape (n, a)."""
    is_arm = decisions.arm >= 0
    arms = decisions.arm[is_arm]
    size = len(decisions.names)
    mean = np.bincount(arms, decisions.net[is_arm], size) / np.maximum(np.bincount(arms, minlength=size), 1)
    averages: Floats = np.where(is_arm, mean[decisions.arm], -np.inf)
    return averages
