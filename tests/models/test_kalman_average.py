"""The average follows whichever filter foretells better, and a state that does not fit is refused."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features import DIMENSIONS
from stream_coupons.core.numeric import NUMERIC
from stream_coupons.models.champion import log_loss
from stream_coupons.models.inputs import Row
from stream_coupons.models.kalman import KalmanFilter
from stream_coupons.models.kalman_average import DECIDED_AFTER, SCALES, KalmanAverage
from stream_coupons.models.sigmoid import sigmoid

WIDE, MIDDLE, CALM = range(3)


SLOPES = np.array([1.0, -0.5, 0.7])
AS_IT_IS = {DIMENSIONS + number: slope for number, slope in enumerate(SLOPES.tolist())}


def drawn(seed: int, size: int, deviation: float) -> list[tuple[Row, bool]]:
    """Labels by three numbers, and by six of 400 places whose effects deviate by so much."""
    rng = np.random.default_rng(seed)
    effects, slopes = rng.normal(0.0, deviation, 400), SLOPES
    stream = []
    for _ in range(size):
        numbers, places = rng.uniform(0.1, 1.0, 3), rng.choice(400, 6, replace=False)
        logit = float(numbers @ slopes + effects[places].sum())
        row = Row([*numbers.tolist(), *[0.0] * (len(NUMERIC) - 3)], (places + 1).tolist())
        stream.append((row, bool(rng.random() < sigmoid(logit))))
    return stream


def loss(model: KalmanAverage | KalmanFilter, stream: list[tuple[Row, bool]]) -> float:
    """Mean log loss, each label foretold before it is learnt."""
    return float(np.mean([log_loss(model.learn_one(row, label), label) for row, label in stream]))


@pytest.mark.parametrize(("deviation", "best", "worst"), [(2.0, WIDE, CALM), (0.0, CALM, WIDE)])
def test_it_is_nearly_as_good_as_the_best_filter_and_drops_the_worst(deviation: float, best: int, worst: int) -> None:
    stream, average = drawn(3, 3000, deviation), KalmanAverage(AS_IT_IS)
    found = loss(average, stream)
    alone = [loss(KalmanFilter(AS_IT_IS, 1.0, scale), stream) for scale in SCALES]
    assert (int(np.argmin(alone)), int(np.argmax(alone))) == (best, worst)
    assert found < alone[best] + 0.1 * (alone[worst] - alone[best])
    parts = average.parts()
    assert max(parts, key=lambda number: parts[number]) == best
    assert worst not in parts


def test_after_many_examples_one_is_left_however_near_they_are() -> None:
    average, nothing = KalmanAverage({}), Row([0.0] * len(NUMERIC), [])
    for n in range(DECIDED_AFTER - 1):
        average.learn_one(nothing, n % 2 == 0)
    assert len(average.parts()) == len(SCALES)
    average.learn_one(nothing, True)
    assert len(average.parts()) == 1


def test_before_any_label_all_filters_have_an_equal_part() -> None:
    assert KalmanAverage({}).parts() == pytest.approx({WIDE: 1 / 3, MIDDLE: 1 / 3, CALM: 1 / 3})


def spoilt(state: dict[str, NDArray[np.float64]], name: str) -> dict[str, NDArray[np.float64]]:
    """The state with something wrong about it."""
    ways = {
        "no such filter": {"filters": np.array([0, 1, 3], np.uint32)},
        "a filter twice": {"filters": np.array([0, 1, 1], np.uint32)},
        "no filter": {"filters": np.array([], np.uint32), "evidence": np.array([])},
        "no count": {"examples": np.array([1.0])},
        "evidence of one": {"evidence": np.array([-1.0])},
        "evidence without end": {"evidence": np.array([-1.0, -2.0, -np.inf])},
        "arrays of nobody": {"3.weights": state["0.weights"]},
        "another array": {"weight": state["weights"]},
    }
    if name in ways:
        return state | ways[name]
    return {key: array for key, array in state.items() if key != name}


@pytest.mark.parametrize(
    "wrong",
    [
        "no such filter",
        "a filter twice",
        "no filter",
        "no count",
        "evidence of one",
        "evidence without end",
        "arrays of nobody",
        "another array",
        "evidence",
        "places",
        "0.weights",
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_is_lost(wrong: str) -> None:
    average, donor = KalmanAverage({}), KalmanAverage({})
    stream = drawn(4, 60, 0.3)
    for row, label in stream[:30]:
        average.learn_one(row, label)
        donor.learn_one(row, not label)
    before = {name: array.copy() for name, array in average.state().items()}
    with pytest.raises(SnapshotMismatch):
        average.restore(spoilt(donor.state(), wrong))
    after = average.state()
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
