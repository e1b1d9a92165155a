"""Forgetting: the rate follows how the world changes, stays where it does not, and is part of the state."""

import numpy as np
import pytest

from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS
from stream_coupons.models.champion import log_loss
from stream_coupons.models.forgetting import PERIOD, SIZE, Forgetting
from stream_coupons.models.inputs import Row
from stream_coupons.models.kalman import KalmanFilter
from stream_coupons.models.sigmoid import sigmoid

RATES = [1.0, 0.7]
NOTHING = [0.0] * len(NUMERIC)


def labelled(size: int, seed: int, turns_every: int | None) -> list[tuple[Row, bool]]:
    """Labels by three of twelve places; what they say turns round again and again, or never."""
    chance = np.random.default_rng(seed)
    effects = chance.normal(0.0, 1.5, 12)
    log = []
    for n in range(size):
        places = chance.choice(12, 3, replace=False)
        sign = -1.0 if turns_every is not None and n // turns_every % 2 else 1.0
        label = bool(chance.random() < sigmoid(sign * float(effects[places].sum())))
        log.append((Row(NOTHING, [int(place) + 1 + DIMENSIONS for place in places]), label))
    return log


def loss(model: KalmanFilter, log: list[tuple[Row, bool]]) -> float:
    return sum(log_loss(model.learn_one(row, label), label) for row, label in log) / len(log)


def searching() -> KalmanFilter:
    return KalmanFilter({}, forgetting=Forgetting({}, RATES))


def test_where_nothing_changes_the_filter_is_the_one_that_never_forgets() -> None:
    log, model, plain = labelled(4000, 1, None), searching(), KalmanFilter({})
    assert loss(model, log) == loss(plain, log)
    assert model.forgetting.rate == 1.0


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_where_the_world_turns_the_filter_learns_to_forget_and_is_better_for_it(seed: int) -> None:
    log, model, plain = labelled(6000, seed, 1500), searching(), KalmanFilter({})
    assert loss(model, log) < loss(plain, log) - 0.005
    assert model.forgetting.rate == 0.7


@pytest.mark.long
def test_once_the_world_is_still_the_filter_forgets_no_more() -> None:
    model = searching()
    loss(model, labelled(6000, 1, 1500))
    assert model.forgetting.rate == 0.7
    loss(model, labelled(9000, 1, None))
    assert model.forgetting.rate == 1.0


def test_a_rate_alone_is_always_in_use_and_bounds_what_is_known() -> None:
    model, row = KalmanFilter({}, forgetting=Forgetting({}, [0.5])), Row(NOTHING, [1 + DIMENSIONS])
    for n in range(6 * PERIOD):
        model.learn_one(row, n % 2 == 0)
    indices, values = row.arrays
    slots = model._slots[indices]
    variance = values @ model._covariance[np.ix_(slots, slots)] @ values
    # Half of PERIOD examples stay, a quarter of those before, and so on: each says p (1 - p) = 1/4.
    assert variance == pytest.approx(1.0 / (0.25 * PERIOD), rel=0.1)


def test_going_on_from_a_state_is_going_on() -> None:
    log, one, other = labelled(3000, 2, 700), searching(), searching()
    loss(one, log[:1700])
    other.restore(one.state())
    assert loss(one, log[1700:]) == loss(other, log[1700:])
    mine, theirs = one.state(), other.state()
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_a_state_of_other_rates_begins_the_comparison_anew() -> None:
    one, other = searching(), KalmanFilter({}, forgetting=Forgetting({}, [1.0, 0.9]))
    log = labelled(6000, 1, 1500)
    loss(one, log)
    other.restore(one.state())
    assert one.forgetting.rate == 0.7
    assert other.forgetting.rate == 1.0
    row = log[0][0]
    assert one.log_odds(row) == other.log_odds(row)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rates", np.ones((2, 2))),
        ("rates", np.ones(0)),
        ("rate", np.array([2], np.int64)),
        ("rate", np.array([-1], np.int64)),
        ("rate_examples", np.array([1.0])),
        ("rate_duels", np.zeros(9)),
        ("rate_duels", np.full(10, -1.0)),
        ("rate_filters", np.zeros(SIZE, np.float32)),
        ("rate_filters", np.full(5 * SIZE, np.nan, np.float32)),
        ("rate_filters", np.full(5 * SIZE, -1.0, np.float32)),
        ("rate_filters", np.tile(np.array([0, 0, 1, 0, 1], np.float32), SIZE)),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_the_filter_stays(name: str, value: np.ndarray) -> None:
    model = searching()
    loss(model, labelled(50, 1, None))
    before = model.state()
    with pytest.raises(SnapshotMismatch):
        model.restore(before | {name: value})
    after = model.state()
    assert all(np.array_equal(before[each], after[each]) for each in before)
