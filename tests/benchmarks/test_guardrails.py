"""The benchmark of guardrails: what it counts as lost, and that the evidence of a loss stops a campaign."""

import pytest

from benchmarks.guardrails import BUDGET_MINOR, HEADERS, Run, play, row_of


def test_what_a_campaign_loses_follows_from_the_true_probabilities() -> None:
    runs = [Run(name, 0, True, 24, 100, 9, 9) for name in ("loses", "breaks even", "earns")]
    assert [run.lost_minor for run in runs] == [pytest.approx(100 * 300), 0.0, pytest.approx(-100 * 150)]


def test_a_campaign_that_loses_is_held_before_it_has_lost_a_tenth_of_its_budget() -> None:
    found = play(1, "loses", 1500)
    assert found == play(1, "loses", 1500)
    assert found.is_held
    assert 0 < found.lost_minor < BUDGET_MINOR / 10
    assert found.visits > found.given > 0.4 * found.visits


def test_a_row_counts_runs_of_its_campaign_that_were_held() -> None:
    runs = [Run("loses", seed, seed < 2, 24 * (seed + 1), 100 * (seed + 1) ** 3, 0, 0) for seed in range(3)]
    assert len(HEADERS) == len(row_of("loses", runs))
    assert row_of("loses", runs) == ["loses", "2 of 3", "1.5 days", "13.5%", "24.0%", "1"]
    assert row_of("earns", [Run("earns", 0, False, 9, 9, 9, 9)])[1:3] == ["0 of 1", ""]
