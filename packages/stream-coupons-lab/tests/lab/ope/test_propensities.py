"""Propensities from how often each arm was chosen."""

import numpy as np
import pytest

from stream_coupons_lab.ope.propensities import frequencies


def test_frequencies_by_time_are_the_propensities_of_a_policy_that_changes() -> None:
    rng = np.random.default_rng(2)
    n = 4000
    at = np.arange(n, dtype=float)
    probability = np.where((at < 2000)[:, None], [0.7, 0.2, 0.1], [0.1, 0.2, 0.7])
    chosen = (rng.random((n, 1)) > probability.cumsum(axis=1)).sum(axis=1)
    order = rng.permutation(n)
    offered = np.tile(np.arange(3), (n, 1))
    found = frequencies(at[order], chosen[order], offered)
    assert np.abs(found - probability[order]).max() < 0.08
    assert found.sum(axis=1) == pytest.approx(1.0)


def test_frequencies_take_an_arm_only_where_it_could_be_chosen() -> None:
    # Arm 2 can be chosen in every second decision, and is in half of those; the others are drawn evenly otherwise.
    rng = np.random.default_rng(5)
    n = 100_000
    has_it = np.arange(n) % 2 == 0
    offered = np.tile([0, 1, 2], (n, 1))
    offered[~has_it, 2] = -1
    draw = rng.random(n)
    chosen = np.where(has_it & (draw < 0.5), 2, rng.integers(0, 2, n))
    found = frequencies(np.arange(n, dtype=float), chosen, offered)
    assert (found[~has_it, 2] == 0).all()
    assert found[~has_it, 0].mean() == pytest.approx(0.5, abs=0.01)
    assert (found[np.arange(n), chosen] > 0).all()
