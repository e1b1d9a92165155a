"""A wrong share of the holdout is found, a right one is hardly ever called wrong, looked at after every shopper."""

import math

import numpy as np
import pytest

from stream_coupons.core.measurement.sample_ratio import MISMATCH_ALPHA, is_mismatch, log_evidence

SHOPPERS, STREAMS = 1500, 100


def ever_mismatched(drawn_by: float, expected: float) -> float:
    """Share of streams that are ever called a mismatch."""
    rng, wrong = np.random.default_rng(5), 0
    for _ in range(STREAMS):
        holdout = np.cumsum(rng.random(SHOPPERS) < drawn_by).tolist()
        wrong += any(is_mismatch(count, n - count, expected) for n, count in enumerate(holdout, start=1))
    return wrong / STREAMS


@pytest.mark.parametrize("ratio", [0.05, 0.5])
def test_a_correct_assignment_is_hardly_ever_called_a_mismatch(ratio: float) -> None:
    assert ever_mismatched(ratio, ratio) <= 3 * MISMATCH_ALPHA


def test_a_wrong_share_is_found() -> None:
    assert ever_mismatched(0.1, 0.05) > 0.95


def test_an_arm_that_should_be_empty_must_be() -> None:
    assert log_evidence(0, 9, 0.0) == 0.0
    assert log_evidence(9, 0, 1.0) == 0.0
    assert log_evidence(1, 9, 0.0) == math.inf
    assert is_mismatch(9, 1, 1.0)
