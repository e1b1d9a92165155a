"""Streaming metrics agree with scikit-learn's on the same predictions."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as exact

from stream_coupons.models.metrics import BinaryMetrics

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]


def predictions(size: int, base_rate: float, seed: int = 1) -> tuple[Floats, Labels]:
    """Labels drawn at some base rate and probabilities that know a good deal about them."""
    rng = np.random.default_rng(seed)
    logits = math.log(base_rate / (1 - base_rate)) + rng.normal(0, 1.5, size)
    labels = rng.random(size) < 1 / (1 + np.exp(-logits))
    return 1 / (1 + np.exp(-(logits + rng.normal(0, 0.7, size)))), labels


def scored(probabilities: Floats, labels: Labels) -> BinaryMetrics:
    metrics = BinaryMetrics()
    for probability, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        metrics.update(probability, label)
    return metrics


@pytest.mark.parametrize(("size", "base_rate"), [(20_000, 0.3), (50_000, 0.02), (200_000, 0.001)])
def test_ranking_metrics_are_close_to_the_exact_ones_even_at_a_low_base_rate(size: int, base_rate: float) -> None:
    probabilities, labels = predictions(size, base_rate)
    metrics = scored(probabilities, labels)
    difference = abs(metrics.roc_auc - exact.roc_auc_score(labels, probabilities))
    assert difference < 1e-4


def test_mean_losses_are_exact() -> None:
    probabilities, labels = predictions(20_000, 0.05)
    metrics = scored(probabilities, labels)
    assert metrics.log_loss == pytest.approx(exact.log_loss(labels, probabilities), abs=1e-9)
    assert (metrics.examples, metrics.positives) == (20_000, labels.sum())


def test_the_base_rate_is_that_of_all_labels() -> None:
    metrics = BinaryMetrics()
    for label in (True, False, False, False):
        metrics.update(0.5, label)
    assert metrics.base_log_loss == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    assert metrics.log_loss == pytest.approx(math.log(2))


def test_the_base_rate_loss_nears_the_entropy() -> None:
    labels = np.random.default_rng(3).random(50_000) < 0.1
    metrics = scored(np.full(50_000, 0.5), labels)
    entropy = -0.1 * math.log(0.1) - 0.9 * math.log(0.9)
    assert metrics.base_log_loss == pytest.approx(entropy, abs=0.01)
    assert metrics.log_loss == pytest.approx(math.log(2))
    assert metrics.roc_auc == 0.5


@pytest.mark.parametrize("label", [True, False])
def test_of_labels_that_are_all_the_same_the_base_rate_knows_everything(label: bool) -> None:
    metrics = BinaryMetrics()
    assert math.isnan(metrics.base_log_loss)
    metrics.update(0.5, label)
    assert metrics.base_log_loss == 0.0


def test_certain_errors_stay_finite() -> None:
    metrics = BinaryMetrics()
    metrics.update(0.0, True)
    metrics.update(1.0, False)
    assert metrics.log_loss == pytest.approx(-math.log(1e-6))
    assert metrics.roc_auc == 0.0


@pytest.mark.parametrize("probability", [math.nan, -0.1, 1.1])
def test_what_is_no_probability_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        BinaryMetrics().update(probability, True)


def test_undefined_metrics_are_nan() -> None:
    empty = BinaryMetrics()
    assert all(math.isnan(getattr(empty, name)) for name in ("log_loss", "roc_auc"))
    one_class = BinaryMetrics()
    one_class.update(0.2, False)
    assert math.isnan(one_class.roc_auc)
