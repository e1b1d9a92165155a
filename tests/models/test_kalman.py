"""The filter is near the exact posterior, learns from few examples, and knows who came with whom."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from stream_coupons.core.coupons import Floats
from stream_coupons.core.features import DIMENSIONS, FeatureRows
from stream_coupons.core.numeric import NUMERIC
from stream_coupons.core.scoring import HEADS
from stream_coupons.models.champion import log_loss
from stream_coupons.models.encoding import BIAS, BINS, CONSTANT, FIRST_BIN, is_of_terms
from stream_coupons.models.inputs import Row
from stream_coupons.models.kalman import JOINED_AFTER, MOST_JOINT, KalmanFilter, mode
from stream_coupons.models.learner import DomainModel
from stream_coupons.models.linear import prior_of
from stream_coupons.models.registry import make_model
from stream_coupons.models.rules import LearningRules, ModelName
from stream_coupons.models.sigmoid import sigmoid

from .builders import example


@given(st.floats(-30, 30), st.floats(0, 1e6), st.booleans())
def test_the_mode_solves_its_equation(logit: float, variance: float, label: bool) -> None:
    z = mode(logit, variance, label)
    slope = 1.0 + variance * sigmoid(z) * (1.0 - sigmoid(z))
    assert abs(z - logit - variance * (label - sigmoid(z))) <= 1e-6 * slope
    assert (z >= logit) if label else (z <= logit)


def correlated(seed: int, size: int) -> list[tuple[Row, bool]]:
    """Labels by the difference of two places that mostly come together, among as many that mean nothing."""
    rng = np.random.default_rng(seed)
    stream = []
    for _ in range(size):
        both, first, second = rng.random() < 0.6, rng.random() < 0.5, rng.random() < 0.5
        places = [7] * (both or first) + [8] * (both or second) + rng.integers(20, 30, 3).tolist()
        logit = 3.0 * (7 in places) - 3.0 * (8 in places)
        stream.append((Row([0.0] * len(NUMERIC), places), bool(rng.random() < sigmoid(logit))))
    return stream


def test_it_is_near_the_posterior_mode_of_all_examples_at_once() -> None:
    stream = correlated(1, 1500)
    model = KalmanFilter({})
    for row, label in stream:
        model.learn_one(Row([float(7 in row.hashed), float(8 in row.hashed), *[0.0] * (len(NUMERIC) - 2)], []), label)
    x = np.array([[7 in row.hashed, 8 in row.hashed, CONSTANT] for row, _ in stream], np.float64)
    y = np.array([label for _, label in stream])
    variance = np.array([0.33, 0.33, 1 / CONSTANT**2])

    def negative_log_posterior(w: Floats) -> float:
        z = x @ w
        return float(np.logaddexp(0.0, np.where(y, -z, z)).sum() + (w * w / variance / 2).sum())

    exact = minimize(negative_log_posterior, np.zeros(3)).x
    known = model.weights()
    one, other = (known[DIMENSIONS] + known[FIRST_BIN + 2], known[DIMENSIONS + 1] + known[FIRST_BIN + BINS + 2])
    assert [one, other, known[BIAS]] == pytest.approx(exact.tolist(), rel=0.1)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_learns_more_from_few_examples_than_gradient_steps(seed: int) -> None:
    losses = dict.fromkeys((ModelName.KALMAN, ModelName.ADAGRAD), 0.0)
    for name in losses:
        model = make_model(name, "redeem", LearningRules())
        losses[name] = sum(log_loss(model.learn_one(row, label), label) for row, label in correlated(seed, 400))
    assert losses[ModelName.KALMAN] < 0.95 * losses[ModelName.ADAGRAD]


def test_what_is_seen_often_gets_covariances_and_no_more_than_there_is_room_for() -> None:
    model, row = KalmanFilter({}), Row([0.5] * len(NUMERIC), [7, 9])
    for n in range(JOINED_AFTER - 1):
        model.learn_one(row, n % 2 == 0)
    assert not {7, 9} & set(model.state()["joint"].tolist())
    assert {BIAS, DIMENSIONS} <= set(model.state()["joint"].tolist())
    model.learn_one(row, True)
    assert {7, 9} <= set(model.state()["joint"].tolist())
    many = Row([0.0] * len(NUMERIC), list(range(100, 100 + 2 * MOST_JOINT)))
    for n in range(JOINED_AFTER + 10):
        model.learn_one(many, n % 2 == 0)
    assert len(model.state()["joint"]) == MOST_JOINT


def test_hashed_places_give_way_to_numbers_and_keep_their_own_variance() -> None:
    model, many = KalmanFilter({}), Row([0.0] * len(NUMERIC), list(range(1, 2 * MOST_JOINT)))
    for n in range(JOINED_AFTER + 1):
        model.learn_one(many, n % 2 == 0)
    before = model.state()
    assert len(before["joint"]) == MOST_JOINT
    assert before["joint"].min() < DIMENSIONS
    model.learn_one(Row([0.5] * len(NUMERIC), []), True)
    after = model.state()
    numbers = set(range(DIMENSIONS, FIRST_BIN))
    assert not numbers & set(before["joint"].tolist())
    assert numbers | {BIAS} <= set(after["joint"].tolist())
    rows, columns = np.triu_indices(MOST_JOINT)
    variance_of = dict(zip(before["joint"].tolist(), before["covariance"][rows == columns], strict=True))
    left = set(variance_of) - set(after["joint"].tolist())
    kept = dict(zip(after["places"].tolist(), after["variances"].tolist(), strict=True))
    assert len(left) == 2 * len(NUMERIC)
    assert {place: kept[place] for place in left} == {place: pytest.approx(variance_of[place]) for place in left}


def test_variances_shrink_and_quickening_widens_none_beyond_its_beginning() -> None:
    model = KalmanFilter(prior_of("redeem"))
    rng = np.random.default_rng(5)
    for _ in range(50):
        model.learn_one(Row(rng.random(len(NUMERIC)).tolist(), [3]), bool(rng.random() < 0.3))
    learnt = model.state()
    for _ in range(10):
        model.quicken(0.25)
    wide = model.state()
    rows, columns = np.triu_indices(len(wide["joint"]))
    diagonal = wide["covariance"][rows == columns]
    assert (diagonal >= learnt["covariance"][rows == columns] - 1e-12).all()
    first = dict(zip(wide["places"].tolist(), wide["first_variances"].tolist(), strict=True))
    assert (diagonal <= [first[index] + 1e-9 for index in wide["joint"].tolist()]).all()
    covariance = np.zeros((len(diagonal), len(diagonal)))
    covariance[rows, columns] = covariance[columns, rows] = wide["covariance"]
    assert np.linalg.eigvalsh(covariance).min() > -1e-9


def test_orders_start_from_redemptions_but_not_from_what_a_coupon_takes_off() -> None:
    model = DomainModel("shop", LearningRules())
    rng = np.random.default_rng(6)
    share, depth = NUMERIC.index("demand_share"), NUMERIC.index("discount_depth")
    assert is_of_terms(DIMENSIONS + depth)
    for n in range(2000):
        numeric = [0.0] * len(NUMERIC)
        numeric[share], numeric[depth] = float(rng.uniform(-1, 1)), float(rng.uniform(0, 1))
        label = bool(rng.random() < sigmoid(-2 + 2 * numeric[share] + 2 * numeric[depth]))
        model.learn(example(example_id=f"{n}", head="redeem", label=label, numeric=numeric, hashed=[]))
    rows = FeatureRows(np.zeros((4, len(NUMERIC))), np.zeros((4, 0), np.uint32))
    rows.numeric[:, share], rows.numeric[:, depth] = [-1, 1, 0, 0], [0.3, 0.3, 0, 1]
    predicted = model.scorer().predict(rows)
    low, high, shallow, deep = predicted[:, HEADS.index("order")].tolist()
    assert high > 3 * low
    assert shallow == deep
    assert predicted[3, HEADS.index("redeem")] > 2 * predicted[2, HEADS.index("redeem")]
