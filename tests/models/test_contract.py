"""What every model does, whatever it is: one suite for all."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, HASHED, FeatureRows
from stream_coupons.models.inputs import MAX_NUMBER, Row
from stream_coupons.models.linear import PRIOR_RATE
from stream_coupons.models.model import Model
from stream_coupons.models.registry import make_model
from stream_coupons.models.rules import LearningRules, ModelName
from stream_coupons.models.snapshots import pack, unpack

from .builders import each_row, predict, random_rows

RIVER = "tests.plugins.model_plugin.shop_models:scaled"
MODELS: list[str] = [*ModelName, RIVER]
every_model = pytest.mark.parametrize("name", MODELS)

Stream = list[tuple[Row, bool]]


def new(name: str, **rules: Any) -> Model:
    return make_model(name, "effect", LearningRules(**rules))


def rows_of(stream: Stream) -> FeatureRows:
    return FeatureRows(
        np.array([row.numeric for row, _ in stream]), np.array([row.hashed for row, _ in stream], np.uint32)
    )


def separable(seed: int, size: int) -> Stream:
    """Labels that hang on one number and agree with one of two places."""
    rng = np.random.default_rng(seed)
    stream = []
    for _ in range(size):
        label = bool(rng.random() < 0.3)
        numeric = rng.random(len(NUMERIC)).round(4).tolist()
        numeric[3] = round(float(rng.uniform(2, 3) if label else rng.uniform(0, 0.5)), 4)
        hashed = [11 if label else 12, *rng.integers(100, 160, len(HASHED) - 1).tolist()]
        stream.append((Row(numeric, hashed), label))
    return stream


def noise(seed: int, size: int) -> Stream:
    """Labels that hang on a number and on chance, with zeros, empty places and places hit twice."""
    rng = np.random.default_rng(seed)
    rows = each_row(random_rows(seed, size))
    return [(row, bool(rng.random() < row.numeric[0] / 3)) for row in rows]


def learn(model: Model, stream: Sequence[tuple[Row, bool]]) -> list[float]:
    return [model.learn_one(row, label) for row, label in stream]


@pytest.mark.long
@every_model
def test_it_learns_what_can_be_separated(name: str) -> None:
    model, later = new(name), separable(2, 300)
    learn(model, separable(1, 5000))
    labels = np.array([label for _, label in later])
    predicted = predict(model, rows_of(later))
    assert predicted.shape == (300,)
    assert ((predicted > 0.5) == labels).mean() > 0.95
    assert np.quantile(predicted[labels], 0.05) > np.quantile(predicted[~labels], 0.95)


@every_model
def test_learning_tells_what_was_predicted_before(name: str) -> None:
    model = new(name)
    learn(model, separable(3, 200))
    for row, label in separable(4, 20):
        [expected] = predict(model, rows_of([(row, label)]))
        assert model.learn_one(row, label) == pytest.approx(expected, abs=1e-9)


@every_model
@pytest.mark.parametrize("cut", [0, 1, 333])
def test_going_on_from_a_state_is_the_same_to_the_last_bit(name: str, cut: int) -> None:
    stream = noise(5, 500)
    whole, resumed = new(name), new(name)
    learn(whole, stream[:cut])
    resumed.restore({part: unpack(pack(array)) for part, array in whole.state().items()})
    assert learn(whole, stream[cut:]) == learn(resumed, stream[cut:])
    rows = rows_of(noise(6, 50))
    assert predict(whole, rows).tolist() == predict(resumed, rows).tolist()
    mine, theirs = whole.state(), resumed.state()
    assert mine.keys() == theirs.keys()
    # Equal objects may be pickled in different bytes; what they predict is compared above.
    assert all(mine[part].tobytes() == theirs[part].tobytes() for part in mine.keys() - {"pickle", "signature"})


@every_model
def test_a_state_does_not_change_with_what_is_learnt_later(name: str) -> None:
    model = new(name)
    learn(model, noise(7, 100))
    state = model.state()
    before = {part: array.copy() for part, array in state.items()}
    learn(model, noise(8, 100))
    assert all(state[part].tobytes() == before[part].tobytes() for part in state)


@every_model
def test_the_same_stream_makes_the_same_model(name: str) -> None:
    one, other = new(name), new(name)
    assert learn(one, noise(9, 300)) == learn(other, noise(9, 300))


@every_model
def test_it_starts_near_the_base_rates_of_the_trade(name: str) -> None:
    rows = FeatureRows(np.zeros((1, len(NUMERIC))), np.array([[0, 5, 9]], np.uint32))
    assert predict(new(name), rows) == pytest.approx([PRIOR_RATE["effect"]], abs=0.02)


@every_model
@pytest.mark.parametrize("prior_variance", [1e-6, 1.0, 400.0])
def test_probabilities_stay_in_range_whatever_comes(name: str, prior_variance: float) -> None:
    model = new(name, prior_variance=prior_variance)
    rng = np.random.default_rng(11)
    for n in range(300):
        numeric = (rng.choice([-1, 0, 1], len(NUMERIC)) * MAX_NUMBER).tolist()
        hashed = rng.choice([0, 1, 7, DIMENSIONS - 1], rng.integers(0, 60)).tolist()
        assert 0.0 <= model.learn_one(Row(numeric, hashed), n % 3 == 0) <= 1.0
    predicted = predict(model, random_rows(12, 100))
    assert ((predicted >= 0) & (predicted <= 1)).all()
    resumed = new(name, prior_variance=prior_variance)
    resumed.restore(model.state())


@every_model
def test_rows_without_places_and_no_rows_are_fine(name: str) -> None:
    model = new(name)
    model.learn_one(Row([0.0] * len(NUMERIC), []), True)
    assert predict(model, FeatureRows(np.zeros((2, len(NUMERIC))), np.zeros((2, 0), np.uint32))).shape == (2,)
    assert predict(model, FeatureRows(np.zeros((0, len(NUMERIC))), np.zeros((0, 3), np.uint32))).shape == (0,)


@every_model
def test_places_never_seen_say_nothing_much(name: str) -> None:
    model = new(name)
    learn(model, separable(13, 500))
    row = separable(14, 1)[0][0]
    strange = Row(row.numeric, [*row.hashed, 40_001, 40_002])
    [one] = predict(model, rows_of([(row, True)]))
    [other] = predict(model, rows_of([(strange, True)]))
    assert other == pytest.approx(one, abs=0.1)


@pytest.mark.long
@every_model
def test_quickened_it_follows_a_change_at_least_as_fast(name: str) -> None:
    before, after = separable(15, 2000), [(row, not label) for row, label in separable(16, 100)]
    usual, quick = new(name), new(name)
    learn(usual, before)
    learn(quick, before)
    quick.quicken(0.05)
    rows = rows_of(before[:50])
    assert predict(quick, rows) == pytest.approx(predict(usual, rows), abs=1e-9)
    labels = np.array([label for _, label in after])
    slow, fast = (np.abs(np.array(learn(model, after)) - labels).mean() for model in (usual, quick))
    assert fast <= slow


def broken(state: dict[str, Any]) -> list[dict[str, Any]]:
    """States that do not fit, made from one that does."""
    name, array = next((name, array) for name, array in state.items() if array.dtype.kind == "f" and array.size)
    spoilt = array.copy()
    spoilt.flat[0] = np.nan
    return [
        {},
        state | {"other": array},
        {part: values for part, values in state.items() if part != name},
        state | {name: np.concatenate((array.ravel(), array.ravel()))},
        state | {name: array.astype(np.int64)},
        state | {name: spoilt},
    ]


@every_model
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(name: str) -> None:
    model = new(name)
    learn(model, noise(17, 100))
    rows = random_rows(18, 20)
    before = predict(model, rows).tolist()
    for state in broken(model.state()):
        with pytest.raises(SnapshotMismatch):
            model.restore(state)
        assert predict(model, rows).tolist() == before
