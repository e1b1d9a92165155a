"""Calibration follows what is systematically wrong, and leaves alone what is right."""

import math

import numpy as np
import pytest

from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.models.calibration import INTERCEPTS, SLOPES, Calibrator, logit


def fed(slope: float, intercept: float, size: int, base: float = -3.0) -> Calibrator:
    """A calibrator of a model whose log-odds z are truly slope z + intercept."""
    rng, calibrator = np.random.default_rng(1), Calibrator(5000)
    for z in rng.normal(base, 1.5, size):
        truth = 1 / (1 + math.exp(-(slope * z + intercept)))
        calibrator.learn_one(1 / (1 + math.exp(-z)), bool(rng.random() < truth))
    return calibrator


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, -0.5), (1.5, 0.5), (1.0, 1.0)])
def test_it_finds_slope_and_intercept(slope: float, intercept: float) -> None:
    found = fed(slope, intercept, 20_000)
    assert found.slope == pytest.approx(slope, abs=0.15)
    assert found.intercept == pytest.approx(intercept, abs=0.4)


def test_little_evidence_moves_it_little() -> None:
    found = fed(0.5, 1.0, 10)
    assert abs(found.slope - 1.0) < 0.5
    assert abs(found.intercept) < 0.5


def test_nonsense_stays_within_bounds() -> None:
    calibrator = Calibrator(1000)
    for n in range(5000):
        calibrator.learn_one(float(n % 2), n % 2 == 0)
    assert SLOPES[0] <= calibrator.slope <= SLOPES[1]
    assert INTERCEPTS[0] <= calibrator.intercept <= INTERCEPTS[1]


def test_it_goes_on_from_its_state_to_the_last_bit() -> None:
    one, other = fed(0.5, 0.5, 500), Calibrator(5000)
    other.restore(one.state())
    for n in range(100):
        one.learn_one(n / 100, n % 7 == 0)
        other.learn_one(n / 100, n % 7 == 0)
    assert (one.slope, one.intercept) == (other.slope, other.intercept)


@pytest.mark.parametrize("part", ["line", "curvature"])
def test_a_state_that_does_not_fit_is_refused(part: str) -> None:
    state = Calibrator(10).state()
    with pytest.raises(SnapshotMismatch, match=part):
        Calibrator(10).restore(state | {part: np.array([math.nan, 1.0, 1.0])})


def test_log_odds_are_bounded() -> None:
    assert logit(0.5) == 0.0
    assert logit(0.0) == -logit(1.0) == logit(1e-9)
