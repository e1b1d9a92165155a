"""Policies to be valued: what is known of the arms of some decisions to the probability of choosing each.

All take and give arrays of shape (n, a): n decisions, the columns of a row its arms. Columns that a row does not have
hold the value -inf and get probability 0. If NO_COUPON is an arm of a row, it is in column 0, and wins ties.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def greedy(values: Floats) -> Floats:
    """The arm of the greatest value.

    >>> greedy(np.array([[0.0, 3.0, 2.0], [0.0, 0.0, -np.inf]])).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    chosen = np.zeros(values.shape)
    chosen[np.arange(len(values)), values.argmax(axis=1)] = 1.0
    return chosen


def epsilon_greedy(values: Floats, is_coupon: Mask, epsilon: float) -> Floats:
    """As `core.policy.choose` draws: with probability epsilon any of the coupons, otherwise the greedy arm.

    Exploring tries no NO_COUPON; where a row has no coupon there is nothing to explore.

    >>> epsilon_greedy(np.array([[0.0, 3.0, 2.0]]), np.array([[False, True, True]]), 0.1).round(6).tolist()
    [[0.0, 0.95, 0.05]]
    """
    coupons = is_coupon.sum(axis=1, keepdims=True)
    explored = np.where(coupons > 0, epsilon, 0.0)
    drawn: Floats = (1.0 - explored) * greedy(values) + explored * is_coupon / np.maximum(coupons, 1)
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
    """How much values differ within a decision: the root of the mean variance among a row's arms; 1 if not.

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
