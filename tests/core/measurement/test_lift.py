"""Intervals of lift hold the effect at every look, and adjustment makes them shorter without a bias."""

from dataclasses import replace

import numpy as np
import pytest

from stream_coupons.core.measurement.lift import (
    FIRST_LOOK,
    FOLDS,
    RIDGE,
    boundary_start,
    contrast,
    critical_value,
    sums,
)
from tests.core.lift_streams import WORLDS, stream

SEEDS = range(143)
"""Times seven worlds, some 1,000 streams."""


def shoppers(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    covariates = rng.normal(size=(n, 2)) * [1.0, 30.0] + [5.0, 100.0]
    is_holdout = rng.random(n) < 0.2
    return covariates, covariates @ [40.0, 2.0] + rng.normal(size=n), is_holdout


def test_without_covariates_it_is_the_difference_of_the_means() -> None:
    _, outcome, is_holdout = shoppers(200)
    found = contrast(sums(np.zeros((200, 0)), outcome, is_holdout))
    arms = outcome[~is_holdout], outcome[is_holdout]
    welch = np.sqrt(sum(arm.var(ddof=1) / len(arm) for arm in arms))
    assert found.value == pytest.approx(arms[0].mean() - arms[1].mean())
    assert welch <= found.error < 1.3 * welch


def test_the_error_of_a_holdout_that_hardly_varies_is_that_of_all_shoppers() -> None:
    outcome, is_holdout = np.arange(100.0), np.arange(100) >= 90
    outcome[is_holdout] = 0.0
    found = contrast(sums(np.zeros((100, 0)), outcome, is_holdout))
    assert found.error > 0.9 * outcome[~is_holdout].std() / np.sqrt(10)


def test_an_effect_is_found_among_what_was_known_before() -> None:
    covariates, outcome, is_holdout = shoppers(2000)
    outcome = outcome + 5.0 * ~is_holdout
    adjusted = contrast(sums(covariates, outcome, is_holdout))
    plain = contrast(sums(np.zeros((2000, 0)), outcome, is_holdout))
    assert adjusted.value == pytest.approx(5.0, abs=4 * adjusted.error)
    assert adjusted.error < 0.05 * plain.error


def test_predictions_for_a_shopper_are_fitted_to_other_folds() -> None:
    covariates, outcome, is_holdout = shoppers(400)
    fold, residual = np.arange(400) % FOLDS, np.empty(400)
    centred = covariates - covariates.mean(axis=0)
    for held in range(FOLDS):
        train = fold != held
        within_x, within_y = covariates[train].copy(), outcome[train].copy()
        for arm in (False, True):
            some = is_holdout[train] == arm
            within_x[some] -= within_x[some].mean(axis=0)
            within_y[some] -= within_y[some].mean()
        gram = within_x.T @ within_x
        slopes = np.linalg.solve(gram + np.diag(np.diag(gram)) * RIDGE / train.sum(), within_x.T @ within_y)
        residual[fold == held] = (outcome - centred @ slopes)[fold == held]
    found = contrast(sums(covariates, outcome, is_holdout))
    assert found.value == pytest.approx(residual[~is_holdout].mean() - residual[is_holdout].mean())


def test_looks_are_computed_together_as_alone() -> None:
    each = [sums(*shoppers(100, seed)) for seed in range(3)]
    together = contrast(np.stack(each))
    assert together.value.tolist() == pytest.approx([float(contrast(one).value) for one in each])
    assert together.error.tolist() == pytest.approx([float(contrast(one).error) for one in each])


def test_what_does_not_vary_adjusts_nothing() -> None:
    _, outcome, is_holdout = shoppers(60)
    plain = contrast(sums(np.zeros((60, 0)), outcome, is_holdout))
    assert contrast(sums(np.zeros((60, 2)), outcome, is_holdout)).value == pytest.approx(plain.value)


def test_one_shopper_in_an_arm_has_no_error() -> None:
    assert contrast(sums(np.zeros((9, 0)), np.arange(9.0), np.arange(9) == 4)).error == np.inf


def test_the_boundary_is_crossed_by_five_percent_of_brownian_motions() -> None:
    """On a grid of times that grow by a thousandth each, from the first look to twenty times as many orders."""
    clock = FIRST_LOOK * np.exp(np.arange(0, np.log(20.0), 0.001))
    rng, crossed, count = np.random.default_rng(3), 0, 2000
    steps = np.sqrt(np.diff(clock, prepend=0.0))
    boundary = critical_value(clock, clock) * np.sqrt(clock)
    for _ in range(count):
        crossed += bool((np.abs(np.cumsum(steps * rng.normal(size=len(clock)))) > boundary).any())
    assert 0.02 < crossed / count < 0.05
    assert boundary_start(0.01) > boundary_start(0.05) > 1.96


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_at_most_five_percent_of_streams_without_effect_ever_exclude_zero_at_any_event() -> None:
    wrong = {"adjusted": 0, "unadjusted": 0, "by a z-test at each look": 0}
    for kind in WORLDS.values():
        for seed in SEEDS:
            one = stream(kind, seed)
            plain = one.looks(adjusted=False)
            wrong["adjusted"] += one.looks(adjusted=True).ever_excludes(0.0)
            wrong["unadjusted"] += plain.ever_excludes(0.0)
            wrong["by a z-test at each look"] += plain.ever_significant()
    shares = {name: count / (len(WORLDS) * len(SEEDS)) for name, count in wrong.items()}
    print(shares)
    assert shares["adjusted"] <= 0.05
    assert shares["unadjusted"] <= 0.05
    assert shares["by a z-test at each look"] > 0.05  # or the streams would show nothing


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", WORLDS)
def test_intervals_hold_an_effect_at_every_look_and_are_shorter_by_adjustment(name: str) -> None:
    kind, held, widths, seen = replace(WORLDS[name], more=0.4, cheaper=0.1), 0, [], 0
    for seed in SEEDS:
        one = stream(kind, seed)
        adjusted, plain = (one.looks(adjusted=way) for way in (True, False))
        held += not adjusted.ever_excludes(adjusted.truth)
        if adjusted.has_interval.any():
            widths.append(adjusted.half[-1] / plain.half[-1])
            seen += 1
    print(name, held / len(SEEDS), float(np.mean(widths)))
    assert held / len(SEEDS) >= 0.93
    assert np.mean(widths) < 0.9
    assert seen > 0.9 * len(SEEDS)
