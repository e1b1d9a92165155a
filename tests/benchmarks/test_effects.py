"""`benchmarks.effects`: levels and deciles of predictions that are known to be right, or wrong."""

import numpy as np

from benchmarks.effects import DECILES, WEEK, Decile, deciles, draws_of, levels
from benchmarks.money_runs import Configuration


def test_levels_are_predicted_over_true_by_week() -> None:
    day = np.array([0.5, 3.0, WEEK + 1.0])
    predicted = np.array([[0.2, 0.1, 0.1], [0.4, 0.1, 0.2], [0.1, 0.1, 0.1]])
    true = np.array([[0.1, 0.1, 0.2], [0.2, 0.3, 0.1], [0.1, 0.1, 0.4]])
    first, second = levels(day, predicted, true)
    assert [round(first[part], 9) for part in first] == [2.0, 0.5, 1.0]
    assert [round(second[part], 9) for part in second] == [1.0, 1.0, 0.25]


def _drawn(slope: float) -> list[Decile]:
    rng = np.random.default_rng(1)
    true = rng.beta(1.0, 20.0, 2000)
    noisy = np.clip(true * rng.lognormal(0.0, 0.1, 2000), 0.0, 1.0)
    return deciles([f"u{n % 300}" for n in range(2000)], true * slope, noisy)


def test_right_predictions_lie_within_the_intervals_of_their_deciles() -> None:
    found = _drawn(1.0)
    assert len(found) == DECILES
    assert sum(one.issues for one in found) == 2000
    assert [one.predicted for one in found] == sorted(one.predicted for one in found)
    assert sum(one.holds for one in found) >= 8


def test_predictions_of_half_the_truth_do_not() -> None:
    assert not any(one.holds for one in _drawn(0.5))


def test_only_what_chance_drew_is_compared() -> None:
    rows = draws_of(1, Configuration(shoppers=60, days=5))
    assert 1 <= len(rows) <= 30, "a twentieth of some 180 issues"
    for _, day, predicted, true in rows:
        assert 0.0 <= day <= 5.0
        assert all(0.0 <= p <= 1.0 for p in (*predicted[:2], *true))
