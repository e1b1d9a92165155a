"""The filter is near the exact posterior, learns from few examples, and knows who came with whom."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, GROUPS
from stream_coupons.models import relevance as relevance_module
from stream_coupons.models.champion import log_loss
from stream_coupons.models.effect import mode, sigmoid
from stream_coupons.models.encoding import BIAS, BINS, CONSTANT, FIRST_BIN
from stream_coupons.models.inputs import Row
from stream_coupons.models.kalman import JOINED_AFTER, MOST_JOINT, KalmanFilter
from stream_coupons.models.linear import prior_weights
from stream_coupons.models.registry import WALK
from stream_coupons.models.relevance import LEAST_RELEVANCE, MOST_RELEVANCE
from stream_coupons.models.variances import VARIANCE_OF_BIN, VARIANCE_OF_NUMBER


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
    of_number = VARIANCE_OF_NUMBER + VARIANCE_OF_BIN
    variance = np.array([of_number, of_number, 1 / CONSTANT**2])

    def negative_log_posterior(w: Floats) -> float:
        z = x @ w
        return float(np.logaddexp(0.0, np.where(y, -z, z)).sum() + (w * w / variance / 2).sum())

    exact = minimize(negative_log_posterior, np.zeros(3)).x
    known = model.dense
    one, other = (known[DIMENSIONS] + known[FIRST_BIN + 2], known[DIMENSIONS + 1] + known[FIRST_BIN + BINS + 2])
    assert [one, other, known[BIAS]] == pytest.approx(exact.tolist(), rel=0.1)


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
    model = KalmanFilter(prior_weights("effect"))
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


SLIGHT, STRONG = 5, 9
"""Groups, of which one decides little and the other much."""


def grouped(seed: int, size: int) -> list[tuple[Row, bool]]:
    """Labels by one of 60 places of a group that decides; five of 300 of another one do not."""
    rng = np.random.default_rng(seed)
    effects, stream = rng.normal(0.0, 2.0, 60), []
    for _ in range(size):
        strong, slight = int(rng.integers(0, 60)), rng.choice(300, 5, replace=False) + 1000
        hashed = [1 + strong + STRONG * DIMENSIONS, *(slight + SLIGHT * DIMENSIONS).tolist()]
        stream.append((Row([0.0] * len(NUMERIC), hashed), bool(rng.random() < sigmoid(effects[strong]))))
    return stream


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_how_much_hangs_on_a_group_is_learnt(seed: int) -> None:
    stream = grouped(seed, 1500)
    one_group = [(Row(row.numeric, row.places), label) for row, label in stream]
    model, other = KalmanFilter({}), KalmanFilter({})
    loss, loss_of_one_group = (
        sum(log_loss(each.learn_one(row, label), label) for row, label in rows)
        for each, rows in ((model, stream), (other, one_group))
    )
    assert loss < 0.95 * loss_of_one_group
    relevance = model.state()["relevance"]
    assert relevance[STRONG] > 5.0 > 0.5 > relevance[SLIGHT]
    assert set(np.delete(relevance, [STRONG, SLIGHT]).tolist()) == {1.0}


def in_bursts(seed: int, bursts: int) -> list[tuple[Row, bool]]:
    """Forty labels of one shopper at a time, who is in the mood then or is not; that says nothing of the next time."""
    rng, stream = np.random.default_rng(seed), []
    for _ in range(bursts):
        shopper, mood = int(rng.integers(0, 25)), float(rng.normal(0.0, 2.0))
        for _ in range(40):
            row = Row([0.0] * len(NUMERIC), [1 + shopper + STRONG * DIMENSIONS])
            stream.append((row, bool(rng.random() < sigmoid(mood))))
    return stream


@pytest.mark.long
def test_what_labels_that_come_together_say_counts_as_far_as_it_holds_later(monkeypatch: pytest.MonkeyPatch) -> None:
    model, credulous = KalmanFilter({}), KalmanFilter({})
    for row, label in in_bursts(8, 150):
        model.learn_one(row, label)
    monkeypatch.setattr(relevance_module, "TRUSTED", np.inf)
    for row, label in in_bursts(8, 150):
        credulous.learn_one(row, label)
    assert model.state()["relevance"][STRONG] < 0.5 * credulous.state()["relevance"][STRONG]


def beliefs(model: KalmanFilter) -> tuple[Floats, Floats]:
    """Covariance of the joint indices, and their variances before learning."""
    state = model.state()
    size = len(state["joint"])
    rows, columns = np.triu_indices(size)
    covariance = np.zeros((size, size))
    covariance[rows, columns] = covariance[columns, rows] = state["covariance"]
    first = dict(zip(state["places"].tolist(), state["first_variances"].tolist(), strict=True))
    return covariance, np.array([first[index] for index in state["joint"].tolist()])


@pytest.mark.parametrize("factor", [0.01, 0.25, 0.9])
def test_no_more_is_ever_forgotten_than_was_learnt(factor: float) -> None:
    """Or else a covariance without an inverse would follow, and weights without end."""
    model = KalmanFilter(prior_weights("effect"))
    stream, rng = grouped(4, 900), np.random.default_rng(7)
    for n, (row, label) in enumerate(stream):
        numbers = Row(rng.random(len(NUMERIC)).tolist(), row.hashed)
        model.learn_one(numbers, label if n < 450 else not label)
        if n % 90 == 89:
            model.quicken(factor)
            covariance, first = beliefs(model)
            scaled = covariance / np.sqrt(first[:, None] * first)
            learnt = np.linalg.eigvalsh(np.eye(len(first)) - scaled)
            assert learnt.min() > -1e-6
            assert np.linalg.eigvalsh(scaled).min() > 0.0
    assert abs(model.dense).max() < 20.0
    state = model.state()
    assert state["relevance"].min() >= LEAST_RELEVANCE
    assert state["relevance"].max() <= MOST_RELEVANCE
    assert (state["variances"] <= state["first_variances"] * (1 + 1e-9)).all()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_base_rate_that_walks_is_followed_and_the_weights_stay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    walking, standing = KalmanFilter({}, walk=WALK), KalmanFilter({})
    number, late = [0.0] * len(NUMERIC), []
    for n, wanted in enumerate(rng.random(12000) < 0.5):
        row = Row([float(wanted), *number[1:]], [5])
        rate = sigmoid(-2.5 - 1.0 * (n > 6000) + 1.5 * wanted)
        label = bool(rng.random() < rate)
        said = [model.learn_one(row, label) for model in (walking, standing)]
        if n > 9000:
            late.append([*said, rate])
    followed, stayed, true = np.sum(late, axis=0)
    assert abs(followed / true - 1.0) < 0.15 < 0.3 < stayed / true - 1.0
    of_wanted = [model.dense[[DIMENSIONS, FIRST_BIN + 2]].sum() for model in (walking, standing)]
    assert of_wanted[0] == pytest.approx(of_wanted[1], abs=0.1)
    assert of_wanted[0] == pytest.approx(1.5, abs=0.4)


def test_a_base_rate_that_nothing_contradicts_becomes_no_wider_than_the_prior() -> None:
    model, nothing = KalmanFilter({}, of_constant=0.01, walk=1.0), Row([0.0] * len(NUMERIC), [])
    for _ in range(400):
        model.learn_one(nothing, False)
    assert model.variance(nothing) <= 0.01 * CONSTANT**2
    assert np.isfinite(model.log_odds(nothing))


def test_what_is_forgotten_begins_anew_from_where_it_is() -> None:
    model = KalmanFilter({})
    for row, label in grouped(5, 300):
        model.learn_one(row, label)
    before = model.state()
    model.quicken(1e-9)
    after = model.state()
    assert after["weights"].tolist() == before["weights"].tolist()
    assert after["centres"].tolist() == pytest.approx(after["weights"].tolist(), abs=1e-3)
    covariance, first = beliefs(model)
    assert covariance.diagonal().tolist() == pytest.approx(first.tolist(), rel=1e-3)
    is_apart = ~np.isin(after["places"], after["joint"])
    assert after["variances"][is_apart].tolist() == pytest.approx(after["first_variances"][is_apart].tolist(), rel=1e-3)
    assert after["relevance"].tolist() == before["relevance"].tolist()
    [lessons] = after["lessons"].tolist()
    assert lessons == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"groups": np.array([float(GROUPS)])},
        {"groups": np.array([-1.0])},
        {"relevance": np.zeros(GROUPS)},
        {"relevance": np.ones(GROUPS + 1)},
        {"slope_score": np.full(GROUPS, np.nan)},
        {"slope_information": np.full(GROUPS, -1.0)},
        {"lessons": np.array([-1])},
        {"lessons": np.array([1.0])},
        {"centres": np.array([np.nan])},
        {"first_variances": np.zeros(1)},
        {"weight": np.ones(1)},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_state_that_cannot_be_is_refused_and_nothing_is_lost(wrong: dict[str, Floats]) -> None:
    model = KalmanFilter({})
    state = model.state()
    state |= {"places": np.array([7], np.uint32)} | {
        name: np.ones(1)
        for name in ("weights", "centres", "reviewed", "variances", "first_variances", "seen", "groups")
    }
    model.restore(state)
    before = model.state()
    with pytest.raises(SnapshotMismatch):
        model.restore(state | wrong)
    after = model.state()
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
