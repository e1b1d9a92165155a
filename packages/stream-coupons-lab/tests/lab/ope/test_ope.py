"""Off-policy estimators on simulated bandits whose truth is known, and on cases computed by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from stream_coupons.core.errors import BadConfig
from stream_coupons_lab.ope.ope import Estimator, Logged, value, value_logged

IPS, SNIPS, DR = Estimator.IPS, Estimator.SNIPS, Estimator.DR
PER_SHOPPER = 3


class Bandit:
    """Shoppers with a taste of their own, arms that suit some contexts, a logging policy that looks at the context."""

    def __init__(self, arms: int = 5, base: float = 0.1) -> None:
        self.slope = np.linspace(-1, 1, arms)
        self.height = math.log(base / (1 - base)) + np.random.default_rng(7).normal(0, 0.4, arms)

    def rates(self, context: np.ndarray, taste: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(self.height + taste[:, None] + 0.7 * context[:, None] * self.slope)))

    def propensities(self, context: np.ndarray) -> np.ndarray:
        weight = np.exp(0.5 * context[:, None] * self.slope[::-1])
        return weight / weight.sum(axis=1, keepdims=True)

    def target(self, context: np.ndarray) -> np.ndarray:
        best = (self.height + 0.7 * context[:, None] * self.slope).argmax(axis=1)
        return 0.1 / len(self.slope) + 0.9 * np.eye(len(self.slope))[best]

    def truth(self) -> float:
        rng = np.random.default_rng(99)
        context, taste = rng.normal(size=1_000_000), rng.normal(0, 0.5, 1_000_000)
        return float((self.target(context) * self.rates(context, taste)).sum(axis=1).mean())

    def log(self, shoppers: int, seed: int) -> tuple[Logged, np.ndarray]:
        rng = np.random.default_rng(seed)
        n = shoppers * PER_SHOPPER
        taste, context = np.repeat(rng.normal(0, 0.5, shoppers), PER_SHOPPER), rng.normal(size=n)
        rates, propensities = self.rates(context, taste), self.propensities(context)
        chosen = (rng.random((n, 1)) > propensities.cumsum(axis=1)).sum(axis=1)
        rows = np.arange(n)
        reward = (rng.random(n) < rates[rows, chosen]).astype(float)
        # The model knows arm and context, not the shopper's taste, and is half as steep as the truth.
        model = 1 / (1 + np.exp(-(self.height + 0.35 * context[:, None] * self.slope)))
        logged = Logged(np.repeat(np.arange(shoppers), PER_SHOPPER), chosen, propensities[rows, chosen], reward, model)
        return logged, self.target(context)


@pytest.fixture(scope="module")
def bandit() -> Bandit:
    return Bandit()


@pytest.fixture(scope="module")
def trials(bandit: Bandit) -> dict[Estimator, np.ndarray]:
    """(value, low, high, low and high of the gain) by estimator, of 400 logs of 250 shoppers."""
    found: dict[Estimator, list[tuple[float, ...]]] = {estimator: [] for estimator in Estimator}
    for seed in range(400):
        valued = value(*bandit.log(250, seed))
        for estimator, rows in found.items():
            one, gain = valued.values[estimator], valued.gains[estimator]
            rows.append((one.value, one.low, one.high, gain.low, gain.high))
    return {estimator: np.array(rows) for estimator, rows in found.items()}


def test_estimates_are_unbiased(bandit: Bandit, trials: dict[Estimator, np.ndarray]) -> None:
    truth = bandit.truth()
    for estimator, found in trials.items():
        error = found[:, 0].std() / math.sqrt(len(found))
        assert abs(found[:, 0].mean() - truth) < 3.5 * error, estimator
        assert error < truth / 50


def test_intervals_hold_the_truth_as_often_as_they_say(bandit: Bandit, trials: dict[Estimator, np.ndarray]) -> None:
    truth = bandit.truth()
    rng = np.random.default_rng(3)
    context, taste = rng.normal(size=1_000_000), rng.normal(0, 0.5, 1_000_000)
    of_log = float((bandit.propensities(context) * bandit.rates(context, taste)).sum(axis=1).mean())
    for estimator, found in trials.items():
        covered = ((found[:, 1] <= truth) & (truth <= found[:, 2])).mean()
        gain_covered = ((found[:, 3] <= truth - of_log) & (truth - of_log <= found[:, 4])).mean()
        # Three standard errors of a share of .95 among 400 are .033.
        assert 0.917 <= covered <= 0.983, estimator
        assert 0.917 <= gain_covered <= 0.983, estimator


def test_a_model_lowers_the_variance(trials: dict[Estimator, np.ndarray]) -> None:
    assert trials[DR][:, 0].var() < 0.95 * trials[IPS][:, 0].var()


@pytest.mark.long
def test_intervals_hold_where_normal_ones_would_miss() -> None:
    """Forty arms drawn evenly and a policy that takes one: few and large weights, a skewed estimate."""
    rng = np.random.default_rng(4)
    covered = normal = 0
    for _ in range(500):
        chosen = rng.integers(0, 40, 3000)
        reward = (rng.random(3000) < 0.05).astype(float)
        logged = Logged(np.arange(3000) // 3, chosen, np.full(3000, 1 / 40), reward, np.full((3000, 40), 0.05))
        target = np.zeros((3000, 40))
        target[:, 0] = 1.0
        found = value(logged, target).values[IPS]
        covered += found.low <= 0.05 <= found.high
        terms = 40 * reward * (chosen == 0)
        normal += abs(terms.mean() - 0.05) <= 1.96 * terms.std() / math.sqrt(3000)
    assert covered / 500 >= 0.93
    assert normal < covered - 10


def test_the_case_computed_by_hand() -> None:
    logged = Logged(
        shopper=np.array([0, 1, 2, 3]),
        chosen=np.array([0, 1, 0, 1]),
        propensity=np.array([0.5, 0.25, 0.8, 0.5]),
        reward=np.array([1.0, 2.0, 0.0, 4.0]),
        predicted=np.array([[1.0, 1.0], [0.0, 2.0], [2.0, 1.0], [1.0, 3.0]]),
    )
    target = np.array([[0.5, 0.5], [0.0, 1.0], [0.2, 0.8], [0.75, 0.25]])
    found = value(logged, target)
    # Weights 1, 4, 1/4, 1/2.
    assert found.values[IPS].value == pytest.approx((1 + 8 + 0 + 2) / 4)
    assert found.values[SNIPS].value == pytest.approx(11 / 5.75)
    # Predicted of the target 1, 2, 1.2, 1.5; corrections 0, 0, -.5, .5.
    assert found.values[DR].value == pytest.approx((1 + 2 + 1.2 - 0.5 + 1.5 + 0.5) / 4)
    assert found.gains[IPS].value == pytest.approx(11 / 4 - 7 / 4)
    diagnostics = found.diagnostics
    assert diagnostics.effective == pytest.approx(5.75**2 / (1 + 16 + 1 / 16 + 1 / 4))
    assert diagnostics.agreement == pytest.approx((0.5 + 1 + 0.2 + 0.25) / 4)
    assert (diagnostics.largest_weight, diagnostics.rewarded, diagnostics.shoppers) == (4.0, 3, 4)
    assert diagnostics.mean_weight.value == pytest.approx(5.75 / 4)


def test_the_logging_policy_is_worth_the_mean_reward(bandit: Bandit) -> None:
    logged, _ = bandit.log(100, seed=0)
    rng = np.random.default_rng(1)
    target = rng.dirichlet(np.ones(5), len(logged))
    same = Logged(
        logged.shopper,
        logged.chosen,
        target[np.arange(len(logged)), logged.chosen],
        logged.reward,
        np.repeat(rng.random((len(logged), 1)), 5, axis=1),
    )
    found = value(same, target)
    exact = value_logged(same)
    for estimator in Estimator:
        assert found.values[estimator].value == pytest.approx(logged.reward.mean(), abs=1e-12)
        assert exact.values[estimator].value == logged.reward.mean()
        gain = found.gains[estimator]
        assert (gain.value, gain.low, gain.high) == pytest.approx((0, 0, 0), abs=1e-12)
    assert found.values[IPS].low == pytest.approx(exact.values[IPS].low)
    assert found.diagnostics.effective == pytest.approx(len(logged))


def test_wrong_propensities_show_in_the_mean_weight(bandit: Bandit) -> None:
    logged, target = bandit.log(2000, seed=3)
    assert not value(logged, target).diagnostics.is_off
    wrong = Logged(logged.shopper, logged.chosen, logged.propensity * 0.7, logged.reward, logged.predicted)
    assert value(wrong, target).diagnostics.is_off


def test_a_policy_that_never_drew_is_no_alarm_for_itself() -> None:
    logged = Logged(np.arange(4), np.array([0, 1, 0, 1]), np.ones(4), np.arange(4.0), np.zeros((4, 2)))
    found = value(logged, np.eye(2)[logged.chosen])
    assert found.diagnostics.mean_weight.value == 1.0
    assert not found.diagnostics.is_off


def test_an_arm_that_was_never_chosen_shows_in_the_mean_weight(bandit: Bandit) -> None:
    logged, target = bandit.log(2000, seed=3)
    kept = logged.at(logged.chosen != 4)
    assert value(kept, target[logged.chosen != 4]).diagnostics.is_off


def test_without_a_rewarded_match_there_is_no_interval() -> None:
    logged = Logged(np.arange(50), np.arange(50) % 2, np.full(50, 0.5), (np.arange(50) % 2) * 1.0, np.zeros((50, 2)))
    found = value(logged, np.tile([1.0, 0.0], (50, 1)))
    assert found.values[IPS].value == 0.0
    assert math.isnan(found.values[IPS].high)
    assert found.diagnostics.rewarded == 0
    assert found.gains[IPS].high < 0


def test_rewards_that_never_differ_do_not_say_how_far_a_model_is_off(bandit: Bandit) -> None:
    logged, target = bandit.log(50, seed=1)
    found = value(replace(logged, reward=np.zeros(len(logged))), target)
    for interval in (found.values[DR], found.gains[DR]):
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)


def test_without_a_match_self_normalising_is_undefined() -> None:
    logged = Logged(np.arange(4), np.zeros(4, int), np.ones(4), np.ones(4), np.zeros((4, 2)))
    found = value(logged, np.tile([0.0, 1.0], (4, 1)))
    assert math.isnan(found.values[SNIPS].value)
    assert (found.values[IPS].value, found.diagnostics.effective, found.diagnostics.is_off) == (0.0, 0.0, True)


def test_one_shopper_has_no_interval() -> None:
    logged = Logged(np.zeros(4, int), np.array([0, 1, 0, 1]), np.full(4, 0.5), np.arange(4.0), np.zeros((4, 2)))
    found = value(logged, np.tile([0.9, 0.1], (4, 1)))
    assert math.isnan(found.values[IPS].low)
    assert math.isnan(found.gains[IPS].low)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"propensity": np.array([0.5, 0.0])}, "decision 1 has propensity 0.0, expected above 0 and at most 1"),
        ({"propensity": np.array([1.5, 0.5])}, "decision 0 has propensity 1.5"),
        ({"propensity": np.array([math.nan, 0.5])}, "decision 0 has propensity nan"),
    ],
)
def test_a_log_that_cannot_be_is_refused(change: dict[str, np.ndarray], named: str) -> None:
    fields = {
        "shopper": np.arange(2), "chosen": np.zeros(2, int), "propensity": np.full(2, 0.5), "reward": np.zeros(2),
        "predicted": np.zeros((2, 2)),
    }  # fmt: skip
    with pytest.raises(BadConfig, match=named):
        Logged(**(fields | change))


def test_a_policy_that_cannot_be_is_refused() -> None:
    logged = Logged(np.arange(2), np.zeros(2, int), np.full(2, 0.5), np.zeros(2), np.zeros((2, 2)))
    with pytest.raises(BadConfig, match=r"decision 1: .*expected a sum of 1"):
        value(logged, np.array([[0.5, 0.5], [0.5, 0.4]]))
    with pytest.raises(BadConfig, match=r"shape \(2, 3\), expected \(2, 2\)"):
        value(logged, np.full((2, 3), 1 / 3))
    with pytest.raises(BadConfig, match="no decision"):
        value(logged.at(np.zeros(2, bool)), np.zeros((0, 2)))
