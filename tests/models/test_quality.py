"""Figures of the served predictions: calibration, and what is recent."""

import math

import numpy as np
import pytest

from stream_coupons.models.metrics import BinaryMetrics
from stream_coupons.models.quality import ServedQuality


def fed(base: float, size: int, skill: float = 1.5, bias: float = 0.0, seed: int = 1) -> ServedQuality:
    """Quality of predictions whose log-odds are the true ones plus a bias."""
    rng, quality = np.random.default_rng(seed), ServedQuality(1000)
    for z in rng.normal(math.log(base / (1 - base)), skill, size):
        quality.update(1 / (1 + math.exp(-z - bias)), bool(rng.random() < 1 / (1 + math.exp(-z))))
    return quality


def test_a_model_that_gets_worse_has_a_gap_above_zero() -> None:
    quality = fed(0.2, 5000)
    assert quality.report().log_loss_gap == pytest.approx(0.0, abs=0.03)
    for n in range(2000):
        quality.update(0.9, n % 5 == 0)
    assert quality.report().log_loss_gap > 0.3


def test_what_is_not_defined_is_no_number() -> None:
    quality = ServedQuality(1000)
    quality.update(0.1, False)
    report = quality.report()
    assert math.isnan(report.roc_auc)
    assert quality.summary().roc_auc is None


@pytest.mark.parametrize(("bias", "least", "most"), [(0.0, 0.0, 0.015), (1.0, 0.08, 0.25), (-1.0, 0.05, 0.2)])
def test_the_calibration_error_shows_bias(bias: float, least: float, most: float) -> None:
    error = fed(0.2, 20_000, bias=bias).report().calibration_error
    assert least <= error <= most


def test_the_calibration_error_is_the_gap_within_groups_not_only_overall() -> None:
    metrics = BinaryMetrics()
    for n in range(1000):  # right on average, wrong on either side
        metrics.update(0.1, n % 10 < 3)
        metrics.update(0.5, n % 10 < 3)
    assert metrics.calibration_error() == pytest.approx(0.2, abs=0.005)
    assert math.isnan(BinaryMetrics().calibration_error())
