"""Policies to be valued: what is known of the arms of some decisions to the probability of choosing each.

Values and probabilities have shape (n, a): n decisions, the columns of a row its arms. Columns that a row does not
have hold the value -inf and get probability 0. If `none` is an arm of a row, it is in column 0, and wins ties.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.rules import PolicyRules
from stream_coupons.lab.offline.logged_decisions import LoggedDecisions

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOST = {"epsilon": 1.0, "softmax": math.inf}
"""The kinds of policies that may have a number, and how large it may be."""
KINDS = "greedy, epsilon[:RATIO], softmax[:TEMPERATURE], random, logged, always:ARM"


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


def parse(text: str, arms: Collection[str]) -> Policy:
    """A policy from what was typed.

    Raises
    ------
    BadConfig

    >>> parse("always:c1", {"c1"}), str(parse("epsilon:0.1", {}))
    (Policy(kind='always', parameter='c1'), 'epsilon:0.1')
    """
    kind, _, parameter = text.partition(":")
    if kind == "always" and parameter in arms:
        return Policy(kind, parameter)
    if kind == "always" and parameter:
        some = ", ".join(sorted(arms)[:10])
        raise BadConfig(f"policy {text!r}: the log has no arm {parameter!r}, expected one of {some}")
    if kind not in ("greedy", "random", "logged", *MOST) or (parameter and kind not in MOST):
        raise BadConfig(f"there is no policy {text!r}, expected one of {KINDS}")
    if parameter:
        _check_number(text, parameter, MOST[kind])
    return Policy(kind, parameter)


def _check_number(text: str, parameter: str, most: float) -> None:
    try:
        number = float(parameter)
    except ValueError:
        number = math.nan
    if not 0 < number <= most or math.isinf(number):
        upto = f" and at most {most:g}" if math.isfinite(most) else ""
        raise BadConfig(f"policy {text!r}: {parameter!r}, expected a number above 0{upto}")


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
    if policy.kind == "softmax":
        return everywhere, softmax(worth, policy.number(natural_temperature(worth)))
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

    Exploring tries no NO_COUPON; where a row has no coupon there is nothing to explore.

    >>> values, is_coupon = np.array([[0.0, 3.0, 2.0, 1.0]]), np.array([[False, True, True, True]])
    >>> epsilon_greedy(values, is_coupon, 0.1, best=2).round(6).tolist()
    [[0.0, 0.95, 0.05, 0.0]]
    """
    ranked = np.argsort(-np.where(is_coupon, values, -np.inf), axis=1, kind="stable")
    is_tried = np.zeros_like(is_coupon)
    np.put_along_axis(is_tried, ranked[:, :best], values=True, axis=1)
    is_tried &= is_coupon
    tried = is_tried.sum(axis=1, keepdims=True)
    explored = np.where(tried > 0, epsilon, 0.0)
    drawn: Floats = (1.0 - explored) * greedy(values) + explored * is_tried / np.maximum(tried, 1)
    return drawn


def softmax(values: Floats, temperature: float) -> Floats:
    """Arms in proportion to exp(value / temperature): Boltzmann exploration.

    >>> softmax(np.array([[np.log(1.0), np.log(3.0), -np.inf]]), 1.0).round(6).tolist()
    [[0.25, 0.75, 0.0]]
    """
    above = np.exp((values - values.max(axis=1, keepdims=True)) / temperature)
    drawn: Floats = above / above.sum(axis=1, keepdims=True)
    return drawn


def natural_temperature(values: Floats) -> float:
    """Return the spread of values within a decision: the root of the mean variance among a row's arms; 1 if it is 0.

    A temperature of this size neither ignores the values nor chooses the best alone, whatever unit they have.
    """
    is_arm = np.isfinite(values)
    arms = is_arm.sum(axis=1)
    known = np.where(is_arm, values, 0.0)
    variance = (known**2).sum(axis=1) / arms - (known.sum(axis=1) / arms) ** 2
    return float(np.sqrt(np.maximum(variance, 0.0).mean())) or 1.0


def uniform(is_arm: Mask) -> Floats:
    """Every arm alike, NO_COUPON among them where it is one."""
    drawn: Floats = is_arm / is_arm.sum(axis=1, keepdims=True)
    return drawn
