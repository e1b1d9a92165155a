"""Intervals of skewed, dependent means; how often they hold the truth is tried in test_ope.py, too."""

import math

import numpy as np
import pytest

from stream_coupons_lab.ope.intervals import skew_corrected


def test_without_skewness_it_is_the_normal_interval() -> None:
    values = np.tile([-1.0, 1.0], 500)
    found = skew_corrected(3.0, values, np.arange(1000))
    assert (found.low, found.high) == pytest.approx((3 - 1.96 / math.sqrt(999), 3 + 1.96 / math.sqrt(999)), abs=1e-4)


def test_a_long_right_tail_lengthens_the_interval_to_the_right_and_a_left_one_to_the_left() -> None:
    values = np.random.default_rng(0).exponential(size=100)
    right, left = (skew_corrected(0.0, sign * (values - values.mean()), np.arange(100)) for sign in (1, -1))
    assert right.high > -right.low > 0
    assert (left.low, left.high) == pytest.approx((-right.high, -right.low))


def test_shoppers_decisions_count_together() -> None:
    """Rewards that are a shopper's, not a decision's: the interval is that of so many shoppers."""
    rng = np.random.default_rng(6)
    reward = np.repeat(rng.integers(0, 2, 100), 20).astype(float)
    alike = skew_corrected(0.5, reward - reward.mean(), np.repeat(np.arange(100), 20))
    apart = skew_corrected(0.5, reward - reward.mean(), np.arange(2000))
    assert (alike.high - alike.low) / (apart.high - apart.low) == pytest.approx(math.sqrt(20), rel=0.05)


def test_nothing_varies_then_nothing_is_known() -> None:
    found = skew_corrected(0.0, np.zeros(10), np.arange(10))
    assert math.isnan(found.low)
    assert math.isnan(found.high)
