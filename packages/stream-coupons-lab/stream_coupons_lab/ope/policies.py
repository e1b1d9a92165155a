"""Policies to be valued: what is known of the arms of some decisions to the probability of choosing each.

Values and probabilities have shape (n, a): n decisions, the columns of a row its arms. Columns that a row does not
have hold the value -inf and get probability 0. If `none` is an arm of a row, it is in column 0, and wins ties.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.rules import PolicyRules
from stream_coupons_lab.offline.logged_decisions import LoggedDecisions

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

Kinds = Mapping[str, tuple[float, float] | None]
"""The range of the number that each kind of policy may have; None where it has none."""
KINDS: Kinds = {"greedy": None, "epsilon": (0.0, 1.0), "random": None, "logged": None}
"""The kinds that can be valued on the log of another system, besides always:ARM."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy by name, such as `greedy`, `epsilon:0.1` or `always:c1`."""

    kind: str
    parameter: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.parameter}" if self.parameter else self.kind

    def number(self, default: float) -> float:
        """The parameter of a policy that may have a number."""
        return float(self.parameter) if self.parameter else default


def parse(text: str, arms: Collection[str], kinds: Kinds = KINDS) -> Policy:
    """A policy from what was typed.

    Raises
    ------
    BadConfig

    >>> parse("always:c1", {"c1"}), str(parse("epsilon:0.1", {}))
    (Policy(kind='always', parameter='c1'), 'epsilon:0.1')
    """
    kind, _, parameter = text.partition(":")
    if kind == "always" and parameter:
        if parameter not in arms:
            some = ", ".join(sorted(arms)[:10])
            raise BadConfig(f"policy {text!r}: the log has no arm {parameter!r}, expected one of {some}")
        return Policy(kind, parameter)
    ends = kinds.get(kind)
    if kind not in kinds or (parameter and ends is None):
        known = ", ".join(f"{name}[:NUMBER]" if ends else name for name, ends in kinds.items())
        raise BadConfig(f"there is no policy {text!r}, expected one of {known}, always:ARM")
    if parameter and ends is not None:
        try:
            number = float(parameter)
        except ValueError:
            number = math.nan
        if not ends[0] <= number <= ends[1]:
            raise BadConfig(f"policy {text!r}: {parameter!r}, expected a number from {ends[0]:g} to {ends[1]:g}")
    return Policy(kind, parameter)


def target(policy: Policy, decisions: LoggedDecisions, worth: Floats, rules: PolicyRules) -> tuple[Mask, Floats]:
    """The rows on which a policy can be valued, and the probabilities with which it would choose.

    Parameters
    ----------
    worth : array, shape (n, a)
        What our policy ranks by.

    Raises
    ------
    BadConfig
        If it always takes an arm that was never chosen.
    """
    everywhere = np.ones(len(decisions), dtype=np.bool_)
    if policy.kind == "greedy":
        return everywhere, greedy(worth)
    if policy.kind == "epsilon":
        return everywhere, epsilon_greedy(
            worth, decisions.is_coupon, policy.number(rules.exploration_ratio), rules.explored_candidates
        )
    if policy.kind == "random":
        return everywhere, uniform(decisions.is_arm)
    arm = decisions.names.index(policy.parameter) if policy.parameter in decisions.names else -2
    if not (decisions.chosen_arm == arm).any():
        raise BadConfig(
            f"policy {policy}: {policy.parameter!r} was chosen in none of the {len(decisions)} decisions that are "
            "valued, so nothing is known of what it brings"
        )
    always = (decisions.arm == arm).astype(np.float64)
    return always.any(axis=1), always


def greedy(values: Floats) -> Floats:
    """The arm of the greatest value.

    >>> greedy(np.array([[0.0, 3.0, 2.0], [0.0, 0.0, -np.inf]])).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    chosen = np.zeros(values.shape)
    chosen[np.arange(len(values)), values.argmax(axis=1)] = 1.0
    return chosen


def epsilon_greedy(values: Floats, is_coupon: Mask, epsilon: float, best: int) -> Floats:
    """As `core.policy.choose` draws: with probability epsilon one of the best coupons, otherwise the greedy arm.

    >>> values, is_coupon = np.array([[0.0, 3.0, 2.0, 1.0]]), np.array([[False, True, True, True]])
    >>> epsilon_greedy(values, is_coupon, 0.1, best=2).round(6).tolist()
    [[0.0, 0.95, 0.05, 0.0]]
    """
    ranked = np.argsort(-np.where(is_coupon, values, -np.inf), axis=1, kind="stable")
    is_tried = np.zeros_like(is_coupon)
    np.put_along_axis(is_tried, ranked[:, :best], values=True, axis=1)
    return explored(values.argmax(axis=1), is_tried & is_coupon, np.full(len(values), epsilon))


def explored(best: Rows, tried: Mask, epsilon: Floats) -> Floats:
    """Return the probability of giving each arm, as `core.policy.Choice.propensity` has it of one, shape (n, a).

    Parameters
    ----------
    best : array of int, shape (n,)
        Column that is given when not exploring.
    tried : array of bool, shape (n, a)
        What exploring draws from, all alike; where there is none of them, exploring gives the first column: nothing.
    epsilon : array, shape (n,)
        Probability of exploring.

    Examples
    --------
    Of three coupons the first is the best, the two others are tried.

    >>> explored(np.array([1]), np.array([[False, False, True, True]]), np.array([0.4])).round(6).tolist()
    [[0.0, 0.6, 0.2, 0.2]]
    """
    count = tried.sum(axis=1)
    given: Floats = epsilon[:, None] * tried / np.maximum(count, 1)[:, None]
    given[:, 0] += np.where(count > 0, 0.0, epsilon)
    given[np.arange(len(best)), best] += 1.0 - epsilon
    return given


def uniform(is_arm: Mask) -> Floats:
    """Every arm alike, NO_COUPON among them where it is one."""
    drawn: Floats = is_arm / is_arm.sum(axis=1, keepdims=True)
    return drawn
