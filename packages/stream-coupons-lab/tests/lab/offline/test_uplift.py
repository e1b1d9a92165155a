"""Uplift and Qini curves against cases computed by hand, and against randomness."""

import numpy as np
import pytest

from stream_coupons_lab.offline.uplift import Trial, curve, uplift


def trial(score: list[float], treated: list[int], reward: list[float], weight: list[float] | None = None) -> Trial:
    return Trial(
        np.array(score, float),
        np.array(treated, bool),
        np.array(reward, float),
        np.ones(len(score)) if weight is None else np.array(weight, float),
    )


def simulated(n: int, seed: int) -> tuple[Trial, np.ndarray, np.ndarray]:
    """A trial with uplift between -.1 and .3 that the score knows; true uplift and shopper of each row."""
    rng = np.random.default_rng(seed)
    effect = rng.uniform(-0.1, 0.3, n)
    treated = rng.random(n) < 0.5
    reward = (rng.random(n) < 0.2 + effect * treated).astype(float)
    return Trial(effect, treated, reward, np.ones(n)), effect, np.arange(n) // 2


def test_the_case_computed_by_hand() -> None:
    # Sorted: T1 C0 | C1 T1 | T0 C1, in steps of two rows with one prediction each.
    found = curve(trial([3, 3, 2, 2, 1, 1], [1, 0, 0, 1, 1, 0], [1, 0, 1, 1, 0, 1]))
    assert found.share == pytest.approx([0, 1 / 3, 2 / 3, 1])
    # Means: 1 - 0; 2/2 - 1/2; 2/3 - 2/3.
    assert found.uplift == pytest.approx([0, 1 / 3 * 1, 2 / 3 * 1 / 2, 0])
    # Y_T - Y_C N_T / N_C, of three treated: (1 - 0) / 3; (2 - 1) / 3; (2 - 2) / 3.
    assert found.qini == pytest.approx([0, 1 / 3, 1 / 3, 0])
    # Trapezes of width 1/3: (1/6 + 1/3 + 1/6) / 3.
    assert found.qini_coefficient == pytest.approx(2 / 9)


def test_groups_of_different_size_are_compared_by_their_rates() -> None:
    # Two controls for one treated. First step: T1 C0 C1; second: T0 C0 C0.
    found = curve(trial([2, 2, 2, 1, 1, 1], [1, 0, 0, 1, 0, 0], [1, 0, 1, 0, 0, 0]))
    assert found.uplift == pytest.approx([0, 0.5 * (1 - 0.5), 0.5 - 0.25])
    assert found.qini == pytest.approx([0, (1 - 1 * 1 / 2) / 2, (1 - 1 * 2 / 4) / 2])


def test_a_constant_score_has_a_coefficient_of_exactly_zero() -> None:
    found = curve(trial([1] * 5, [1, 0, 1, 0, 0], [1, 0, 1, 1, 0]))
    assert found.qini_coefficient == 0.0


def test_ties_do_not_depend_on_the_order_of_rows() -> None:
    one, _, _ = simulated(500, 1)
    tied = Trial(np.round(one.score, 1), one.is_treated, one.reward, one.weight)
    order = np.random.default_rng(0).permutation(500)
    shuffled = Trial(tied.score[order], tied.is_treated[order], tied.reward[order], tied.weight[order])
    assert curve(tied).qini_coefficient == pytest.approx(curve(shuffled).qini_coefficient, abs=1e-12)


def test_a_weight_of_two_is_the_row_twice() -> None:
    weighted = curve(trial([3, 2, 1, 0], [1, 0, 1, 0], [1, 0, 0, 1], [2, 1, 1, 2]))
    repeated = curve(trial([3, 3, 2, 1, 0, 0], [1, 1, 0, 1, 0, 0], [1, 1, 0, 0, 1, 1]))
    assert weighted.uplift[-1] == pytest.approx(repeated.uplift[-1])
    assert weighted.qini == pytest.approx(repeated.qini)


def test_a_random_score_is_worth_nothing_and_a_reversed_one_less() -> None:
    rng = np.random.default_rng(5)
    coefficients = []
    for seed in range(200):
        one, _, _ = simulated(1000, seed)
        coefficients.append(curve(Trial(rng.random(1000), one.is_treated, one.reward, one.weight)).qini_coefficient)
    error = np.std(coefficients) / np.sqrt(200)
    assert abs(np.mean(coefficients)) < 3 * error < 0.003
    one, effect, _ = simulated(5000, 3)
    reverse = Trial(-effect, one.is_treated, one.reward, one.weight)
    assert curve(reverse).qini_coefficient < 0 < curve(one).qini_coefficient


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    # Effects are uniform in (-.1, .3): the expected Qini curve is .3 x - .2 x^2, the line .1 x: 1/30 between them.
    covered = {"mean": 0, "qini": 0}
    truth = {"mean": 0.1, "qini": 1 / 30}
    for seed in range(150):
        one, _, shopper = simulated(1500, seed)
        found = uplift(one, shopper, repeats=200, seed=seed)
        for name, true in truth.items():
            covered[name] += getattr(found, name).low <= true <= getattr(found, name).high
    assert all(0.89 <= count / 150 <= 0.99 for count in covered.values()), covered


def test_unequal_propensities_are_weighed_out() -> None:
    """Shoppers whom a coupon moves more are treated more often: unweighted, the mean uplift would be wrong."""
    rng = np.random.default_rng(8)
    n = 200_000
    moved = rng.random(n) < 0.5
    propensity = np.where(moved, 0.8, 0.2)
    treated = rng.random(n) < propensity
    reward = (rng.random(n) < 0.1 + 0.4 * moved * treated).astype(float)
    weight = 1 / np.where(treated, propensity, 1 - propensity)
    found = curve(Trial(moved.astype(float), treated, reward, weight))
    assert found.share == pytest.approx([0, 0.5, 1], abs=0.005)
    assert found.uplift == pytest.approx([0, 0.5 * 0.4, 0.2], abs=0.01)
