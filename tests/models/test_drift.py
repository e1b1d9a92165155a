"""A drift is noticed when the loss is higher than the model expects, and only then."""

import math

import numpy as np
import pytest

from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.models.drift import DriftDetector


def watch(detector: DriftDetector, size: int, base: float, shift: float, seed: int = 1) -> list[int]:
    """Examples at which a drift is noticed, of a model whose log-odds are off by `shift` times their own sign."""
    rng = np.random.default_rng(seed)
    noticed = []
    for n in range(size):
        z = rng.normal(math.log(base / (1 - base)), 1.5)
        truth = 1 / (1 + math.exp(-(z + shift)))
        if detector.update(1 / (1 + math.exp(-z)), bool(rng.random() < truth)):
            noticed.append(n)
    return noticed


@pytest.mark.parametrize("base", [0.005, 0.05, 0.4])
@pytest.mark.parametrize("seed", range(3))
def test_a_calibrated_model_does_not_drift(base: float, seed: int) -> None:
    assert watch(DriftDetector(), 30_000, base, 0.0, seed) == []


@pytest.mark.parametrize("base", [0.005, 0.05])
def test_a_change_is_noticed_soon(base: float) -> None:
    detector = DriftDetector()
    assert watch(detector, 5000, base, 0.0) == []
    noticed = watch(detector, 5000, base, 1.5, seed=2)
    assert noticed
    assert noticed[0] < 3000


def test_certainty_that_is_right_is_no_drift() -> None:
    detector = DriftDetector()
    assert not any(detector.update(0.0, False) for _ in range(1000))


@pytest.mark.parametrize("cut", [0, 50, 3000])
def test_it_goes_on_from_its_state_to_the_last_bit(cut: int) -> None:
    one, other = DriftDetector(), DriftDetector()
    watch(one, cut, 0.05, 0.0)
    other.restore(one.state())
    for shift in (0.0, 1.5):
        noticed = watch(one, 4000, 0.05, shift, seed=3)
        assert noticed == watch(other, 4000, 0.05, shift, seed=3)
    assert noticed
    assert {name: array.tolist() for name, array in one.state().items()} == {
        name: array.tolist() for name, array in other.state().items()
    }


def test_a_model_that_was_off_from_the_start_does_not_drift() -> None:
    # That is for calibration to mend.
    assert watch(DriftDetector(), 5000, 0.05, 1.0) == []


def test_a_state_that_does_not_fit_is_refused() -> None:
    state = DriftDetector().state()
    for part, array in state.items():
        with pytest.raises(SnapshotMismatch):
            DriftDetector().restore(state | {part: array[:1]})
