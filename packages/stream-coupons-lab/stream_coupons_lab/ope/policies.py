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
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.rules import PolicyRules

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

KINDS: Mapping[str, tuple[float, float] | None] = {
    "logged": None,
    "greedy": (-math.inf, math.inf),
    "epsilon": (0.0, 1.0),
    "average": None,
    "random": None,
}
"""The kinds of policies besides always:ARM, and the range of the number that each may have; None where it has none."""


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


@dataclass(frozen=True, slots=True)
class ArmTable:
    """Arms of n decisions; the columns of a row are those that could be chosen, `none` in the first.

    Attributes
    ----------
    names : tuple of str
        Every arm.
    arm : array of int, shape (n, a)
        Index in `names` of each column; -1 for columns that a row does not have.
    """

    names: tuple[str, ...]
    arm: Rows

    def __len__(self) -> int:
        return len(self.arm)

    @property
    def is_arm(self) -> Mask:
        """Mask of the columns that a row has, shape (n, a)."""
        return self.arm >= 0

    @property
    def is_none(self) -> Mask:
        """Mask of the columns of the arm that gives nothing, shape (n, a)."""
        return self.columns_of(NO_COUPON)

    @property
    def is_coupon(self) -> Mask:
        """Mask of the columns of coupons, shape (n, a)."""
        return self.is_arm & ~self.is_none

    def columns_of(self, name: str) -> Mask:
        """Return the mask of the columns of an arm, shape (n, a)."""
        is_arm: Mask = self.arm == (self.names.index(name) if name in self.names else len(self.names))
        return is_arm


@dataclass(frozen=True, slots=True)
class ArmScores(ArmTable):
    """Arms, and the scores that policies choose by.

    Attributes
    ----------
    score : array, shape (n, a)
        What our policy ranks by; of `none`, what a coupon must exceed; -inf in columns that a row does not have.
    drawn : array of bool, shape (n, a)
        What a policy draws from that chooses at random.
    """

    score: Floats
    drawn: Mask


def parse(text: str, arms: Collection[str]) -> Policy:
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
    ends = KINDS.get(kind)
    if kind not in KINDS or (parameter and ends is None):
        known = ", ".join(f"{name}[:NUMBER]" if ends else name for name, ends in KINDS.items())
        raise BadConfig(f"there is no policy {text!r}, expected one of {known}, always:ARM")
    if parameter and ends is not None:
        try:
            number = float(parameter)
        except ValueError:
            number = math.nan
        if not ends[0] <= number <= ends[1]:
            raise BadConfig(f"policy {text!r}: {parameter!r}, expected a number from {ends[0]:g} to {ends[1]:g}")
    return Policy(kind, parameter)


def target(policy: Policy, choices: ArmScores, rules: PolicyRules) -> Floats:
    """Return the probability with which a policy chooses each arm, shape (n, a).

    - `greedy` is our policy without exploration: the best arm. With a number, a coupon must exceed that to be given.
    - `epsilon` explores besides, as the live policy does.
    - `average` ranks coupons for all shoppers alike, by their mean score in the log.
    - `random` draws.
    - `always` chooses one arm wherever it could be chosen, else none. Rows that could have neither are all 0.
    """
    match policy.kind:
        case "greedy":
            least = np.where(choices.is_none, policy.number(0.0), choices.score)
            return greedy(least if policy.parameter else choices.score)
        case "epsilon":
            return epsilon_greedy(choices, policy.number(rules.exploration_ratio), rules.explored_candidates)
        case "average":
            return greedy(_average(choices))
        case "random":
            return uniform(choices.drawn)
    wanted = choices.columns_of(policy.parameter)
    always: Floats = np.where(wanted.any(axis=1, keepdims=True), wanted, choices.is_none).astype(np.float64)
    return always


def greedy(values: Floats) -> Floats:
    """The arm of the greatest value.

    >>> greedy(np.array([[0.0, 3.0, 2.0], [0.0, 0.0, -np.inf]])).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    chosen = np.zeros(values.shape)
    chosen[np.arange(len(values)), values.argmax(axis=1)] = 1.0
    return chosen


def epsilon_greedy(choices: ArmScores, epsilon: float, best: int) -> Floats:
    """As `core.policy.choose` draws: with probability epsilon one of the best coupons, otherwise the greedy arm.

    >>> values, arm = np.array([[0.0, 3.0, 2.0, 1.0]]), np.array([[0, 1, 2, 3]])
    >>> choices = ArmScores(("none", "a", "b", "c"), arm, values, arm > 0)
    >>> epsilon_greedy(choices, 0.1, best=2).round(6).tolist()
    [[0.0, 0.95, 0.05, 0.0]]
    """
    ranked = np.argsort(-np.where(choices.is_coupon, choices.score, -np.inf), axis=1, kind="stable")
    is_tried = np.zeros(choices.arm.shape, np.bool_)
    np.put_along_axis(is_tried, ranked[:, :best], values=True, axis=1)
    return explored(choices.score.argmax(axis=1), is_tried & choices.is_coupon, np.full(len(ranked), epsilon))


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


def uniform(drawn: Mask) -> Floats:
    """Return the probabilities of drawing one of the columns of each row, all alike."""
    alike: Floats = drawn / drawn.sum(axis=1, keepdims=True)
    return alike


def _average(choices: ArmScores) -> Floats:
    """Return the scores, those of each coupon replaced by its mean over all decisions, shape (n, a)."""
    is_coupon, size = choices.is_coupon, len(choices.names)
    arms = choices.arm[is_coupon]
    mean = np.bincount(arms, choices.score[is_coupon], size) / np.maximum(np.bincount(arms, minlength=size), 1)
    averages: Floats = np.where(is_coupon, mean[choices.arm], choices.score)
    return averages
