"""Exact metrics agree with scikit-learn's, and intervals cover as often as they say."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as exact

from stream_coupons_lab.offline.metrics import bootstrap_interval, roc_auc

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]


def predictions(size: int, base_rate: float, seed: int = 1) -> tuple[Floats, Labels]:
    """Labels drawn at some base rate and probabilities that know a good deal about them."""
    rng = np.random.default_rng(seed)
    logits = math.log(base_rate / (1 - base_rate)) + rng.normal(0, 1.5, size)
    labels = rng.random(size) < 1 / (1 + np.exp(-logits))
    return 1 / (1 + np.exp(-(logits + rng.normal(0, 0.7, size)))), labels


def test_exact_area_counts_ties_half() -> None:
    rng = np.random.default_rng(5)
    probabilities, labels = np.round(rng.random(2_000), 1), rng.random(2_000) < 0.3
    assert roc_auc(probabilities, labels) == pytest.approx(exact.roc_auc_score(labels, probabilities), abs=1e-12)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    # Two unit normals one apart: the area is Phi(1 / sqrt(2)).
    truth, rng = 0.7602499389, np.random.default_rng(11)
    labels = np.arange(300) < 60
    covered = []
    for _ in range(200):
        interval = bootstrap_interval(roc_auc, rng.normal(labels.astype(float), 1.0), labels)
        covered.append(interval.low <= truth <= interval.high)
    assert 0.9 <= np.mean(covered) <= 0.98


def test_bootstrap_is_seeded_and_wider_where_groups_repeat_a_row() -> None:
    probabilities, labels = predictions(500, 0.3)
    tenfold, groups = np.repeat(probabilities, 10), np.repeat(np.arange(500), 10)
    alone = bootstrap_interval(roc_auc, tenfold, np.repeat(labels, 10))
    grouped = bootstrap_interval(roc_auc, tenfold, np.repeat(labels, 10), groups)
    assert grouped == bootstrap_interval(roc_auc, tenfold, np.repeat(labels, 10), groups)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)
