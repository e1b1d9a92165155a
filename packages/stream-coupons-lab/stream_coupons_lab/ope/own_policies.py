"""Policies that can be valued on the engine's own decisions: the probability of giving each arm."""

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.rules import PolicyRules
from stream_coupons_lab.ope import policies
from stream_coupons_lab.ope.own_decisions import OwnDecisions
from stream_coupons_lab.ope.policies import Policy, explored

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

KINDS: policies.Kinds = {
    "logged": None,
    "greedy": (-math.inf, math.inf),
    "epsilon": (0.0, 1.0),
    "average": None,
    "random": None,
    "none": None,
}
"""The kinds of policies, by default all of them; a number of `greedy` is the least value that is given for."""
parse = partial(policies.parse, kinds=KINDS)


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
            return explored(_best(net, policy.number(least), decisions), is_coupon, never)
        case "epsilon":
            ratio = policy.number(rules.exploration_ratio)
            return explored(_best(net, least, decisions), is_coupon, always * ratio)
        case "average":
            return explored(_best(_average(decisions), least, decisions), is_coupon, never)
        case "random":
            return explored(nobody, is_coupon, always)
        case "none":
            return explored(nobody, is_coupon, never)
    arm = decisions.names.index(policy.parameter)
    return explored(nobody, decisions.arm == arm, always)


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
