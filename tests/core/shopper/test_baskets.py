"""Values of orders as a distribution: what a minimum spend leaves of them, against draws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.shopper.baskets import NEAR_RATIO, PULL, Baskets, OrderValues, pieces_reached

DRAWS = 400_000


def drawn(mean: float, sigma: float) -> np.ndarray:
    return np.exp(mean + sigma * np.random.default_rng(3).standard_normal(DRAWS))


def raised(values: np.ndarray, threshold: float) -> np.ndarray:
    """Orders of holders of a coupon, of whom some raise theirs to the threshold."""
    is_near = (values >= NEAR_RATIO * threshold) & (values < threshold)
    is_pulled = is_near & (np.random.default_rng(4).random(DRAWS) < PULL)
    return np.where(is_pulled, threshold, values)


@pytest.mark.parametrize("terms", [(10.0, 0.0, 400.0), (10.0, 0.0, 1e9), (0.0, 300.0, 300.0), (0.0, 900.0, 500.0)])
@pytest.mark.parametrize("threshold", [500.0, 2000.0, 6000.0])
def test_what_is_expected_is_the_mean_of_draws(terms: tuple[float, float, float], threshold: float) -> None:
    values = drawn(7.6, 0.5)
    orders, least = OrderValues(np.array([7.6]), np.array([0.5])), np.array([threshold])
    paid = raised(values, threshold)
    reached = paid >= threshold
    percent, fixed, most = terms
    taken = np.minimum(percent / 100.0 * paid + fixed, most)
    assert orders.reached(least)[0] == pytest.approx(reached.mean(), abs=0.003)
    assert orders.discount_minor(np.array([terms]).T, least)[0] == pytest.approx(taken[reached].mean(), rel=0.02)
    assert orders.raised_minor(least)[0] == pytest.approx((paid - values).mean(), rel=0.05, abs=2.0)


@settings(max_examples=40, derandomize=True)
@given(st.floats(5.0, 10.0), st.floats(0.1, 1.2), st.floats(50.0, 50_000.0), st.floats(1.01, 3.0))
def test_a_higher_threshold_is_reached_less_often(mean: float, sigma: float, least: float, times: float) -> None:
    orders = OrderValues(np.full(2, mean), np.full(2, sigma))
    low, high = orders.reached(np.array([least, least * times])).tolist()
    assert 0.0 <= high <= low + 0.03  # a pull from just below is no more than this
    assert low <= 1.0


def test_a_shopper_is_known_by_their_own_orders() -> None:
    small, large, nobody = Baskets(), Baskets(), Baskets()
    for value in (900.0, 1100.0, 1000.0, 950.0, 1050.0, 1000.0):
        small, large = small.added(value, 1.0, 1.0, 1.0), large.added(8 * value, 6.0, 1.0, 1.0)
    owner, typical = np.array([0, 1, 2, 1]), np.full(4, 2000.0)
    of_shop = OrderValues.of([small, large, nobody], owner, typical, np.array([1.0, 1.0, 1.0, 0.0]))
    low, high, unknown, elsewhere = of_shop.reached(np.full(4, 3000.0)).tolist()
    assert low < 0.05 < unknown < 0.5 < 0.9 < high
    assert elsewhere == pytest.approx(unknown, abs=0.2), "other orders do not tell those of a scope"


@pytest.mark.parametrize("median", [1500.0, 3000.0, 6000.0])
def test_the_share_of_orders_that_reach_a_threshold_is_predicted_within_a_tenth(median: float) -> None:
    """Shoppers differ in their median and spread; each has twelve orders, and the next thousand are asked about."""
    chance, predicted, found = np.random.default_rng(5), [], []
    for _ in range(300):
        mean, sigma = np.log(median) + 0.4 * chance.standard_normal(), float(chance.uniform(0.3, 0.8))
        known = Baskets()
        for value in np.exp(mean + sigma * chance.standard_normal(12)).tolist():
            known = known.added(value, 1.0, 1.0, 1.0)
        orders = OrderValues.of([known], np.array([0]), np.array([3000.0]), np.ones(1))
        predicted.append(1.0 - float(orders.below(np.array([3000.0]))[0]))
        found.append(float((np.exp(mean + sigma * chance.standard_normal(1000)) >= 3000.0).mean()))
    assert np.mean(predicted) == pytest.approx(np.mean(found), rel=0.1)


def test_a_shopper_of_single_pieces_rarely_reaches_three() -> None:
    single, many = Baskets(), Baskets()
    for _ in range(6):
        single, many = single.added(1000.0, 1.0, 1.0, 1.0), many.added(1000.0, 6.0, 1.0, 1.0)
    found = pieces_reached(
        [single, many, Baskets()], np.array([0, 1, 2, 0]), np.ones(4), np.array([3.0, 3.0, 3.0, 1.0])
    )
    low, high, unknown, anything = found.tolist()
    assert low < 0.1 < unknown < 0.5 < high
    assert anything == 1.0


@pytest.mark.parametrize("mean", [1.5, 3.0, 6.0])
def test_the_share_of_orders_with_so_many_pieces_is_that_of_draws(mean: float) -> None:
    pieces = np.random.default_rng(6).geometric(1.0 / mean, DRAWS)
    known = Baskets(weight=1e6, pieces=1e6 * mean)
    for least in (2.0, 3.0, 5.0):
        is_added = (pieces == least - 1) & (np.random.default_rng(7).random(DRAWS) < PULL)
        [found] = pieces_reached([known], np.array([0]), np.ones(1), np.array([least])).tolist()
        assert found == pytest.approx(((pieces >= least) | is_added).mean(), abs=0.005)
