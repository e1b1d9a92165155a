"""The neural network is scikit-learn's, and its hidden layer tells the linear model what it cannot see alone."""

import numpy as np
import pytest

from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.models import registry
from stream_coupons.models.inputs import Row
from stream_coupons.models.neural import BATCH, FOLD, INPUTS, MAX_INPUT, NeuralNetwork, inputs_of
from stream_coupons.models.rules import LearningRules, ModelName

from .builders import each_row, predict, random_rows


def corners(seed: int, size: int) -> list[tuple[Row, bool]]:
    """A yes where two numbers are both large or both small: exclusive or."""
    rng = np.random.default_rng(seed)
    numbers = np.zeros((size, len(NUMERIC)))
    numbers[:, 3:5] = rng.uniform(0, 3, (size, 2))
    return [(Row(each, []), (each[3] > 1.5) == (each[4] > 1.5)) for each in numbers.tolist()]


def test_it_predicts_what_scikit_learn_does() -> None:
    model = NeuralNetwork(0.04, 1e-6, seed=0)
    for row, label in corners(1, 500):
        model.learn_one(row, label)
    rows = random_rows(2, 30)
    inputs = np.array([inputs_of(row) for row in each_row(rows)])
    assert predict(model, rows) == pytest.approx(model._model.predict_proba(inputs)[:, 1], abs=1e-9)


def test_it_learns_when_a_batch_is_full() -> None:
    model = NeuralNetwork(0.04, 1e-6, seed=0)
    row = Row([1.0] * len(NUMERIC), [])
    seen = []
    for _ in range(2 * BATCH):
        model.learn_one(row, True)
        seen.append(model.probability(row))
    assert len(set(seen)) == 3
    assert seen[0] == seen[BATCH - 2] < seen[BATCH - 1] < seen[-1]


def test_memory_does_not_grow_with_examples() -> None:
    model = NeuralNetwork(0.04, 1e-6, seed=0)
    for row, label in corners(3, 20 * BATCH):
        model.learn_one(row, label)
    assert len(model._model.loss_curve_) == 0


@pytest.mark.slow
def test_its_hidden_layer_tells_the_linear_model_what_it_cannot_see_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = corners(4, 20_000)

    def error(name: ModelName, seed: int) -> float:
        monkeypatch.setattr(registry, "SEED", seed)
        model = registry.make_model(name, "effect", LearningRules())
        return float(np.mean([abs(model.learn_one(row, label) - label) for row, label in examples][-1000:]))

    assert error(ModelName.ADAGRAD, 0) > 0.45
    # Some weights to begin with lead nowhere; which ones do hangs on how many inputs there are.
    assert np.median([error(ModelName.NEURAL, seed) for seed in range(3)]) < 0.4
    assert np.median([error(ModelName.DEEP, seed) for seed in range(3)]) < 0.35


def test_inputs_are_bounded_and_places_folded_with_signs() -> None:
    inputs = inputs_of(Row([1000.0, -1000.0, *[0.5] * (len(NUMERIC) - 2)], [0, 0, 7, 7, 9]))
    assert inputs.shape == (INPUTS,)
    assert inputs[:3].tolist() == [MAX_INPUT, -MAX_INPUT, 0.5]
    folded = inputs[-FOLD:]
    assert sorted(np.abs(folded[folded != 0]).tolist()) == [1.0, 2.0]
