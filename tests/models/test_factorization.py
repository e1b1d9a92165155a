"""The factorization machine: River's formula, and pairs that no linear model can learn."""

import numpy as np
import pytest
from river import facto

from stream_coupons.core.features import FeatureRows
from stream_coupons.core.numeric import NUMERIC
from stream_coupons.models.encoding import BIAS
from stream_coupons.models.factorization import RANK, FactorizationMachine
from stream_coupons.models.inputs import Row, each_row
from stream_coupons.models.registry import make_model
from stream_coupons.models.rules import LearningRules, ModelName

from .builders import random_rows


def test_it_predicts_what_rivers_does_with_the_same_parameters() -> None:
    model = make_model(ModelName.FM, "click", LearningRules())
    for n, row in enumerate(each_row(random_rows(1, 200))):
        model.learn_one(row, n % 3 == 0)
    state = model.state()
    places = state["places"].tolist()
    weights = dict(zip(places, state["weights"].tolist(), strict=True))
    factors = dict(zip(places, state["factors"].astype(np.float64), strict=True))
    river = facto.FMClassifier(n_factors=RANK, intercept=0.0)
    learnt = random_rows(1, 200)
    rows = FeatureRows(learnt.numeric[:20], learnt.hashed[:20])
    for row, mine in zip(each_row(rows), model.predict(rows).tolist(), strict=True):
        # River knows no scale c: with it in the vectors the formula is ours.
        scale = 1 / np.linalg.norm(row.arrays[1])
        river.weights.clear()
        river.weights.update(weights)
        river.latents.clear()
        river.latents.update({place: scale * factors[place] for place in row.features})
        assert river.predict_proba_one(row.features)[True] == pytest.approx(mine, abs=1e-6)


def pairs(seed: int, size: int) -> list[tuple[Row, bool]]:
    """A yes where shopper and brand are of one kind; neither alone says anything."""
    rng = np.random.default_rng(seed)
    stream = []
    for shopper, brand in rng.integers(0, 20, (size, 2)).tolist():
        stream.append((Row([0.0] * len(NUMERIC), [100 + shopper, 200 + brand]), shopper % 2 == brand % 2))
    return stream


def test_it_learns_pairs_that_a_linear_model_cannot() -> None:
    errors = {}
    for name in (ModelName.ADAGRAD, ModelName.FM):
        model = make_model(name, "redeem", LearningRules(learning_rate=0.2))
        learnt = [abs(model.learn_one(row, label) - label) for row, label in pairs(2, 8000)]
        errors[name] = np.mean(learnt[-500:])
    assert errors[ModelName.ADAGRAD] > 0.45
    assert errors[ModelName.FM] < 0.1


def test_its_state_holds_what_was_learnt_and_no_more() -> None:
    model = FactorizationMachine(0.05, 0.0, {BIAS: -3.0}, seed=0)
    model.learn_one(Row([0.0] * len(NUMERIC), [7, 9]), True)
    assert model.state()["places"].tolist() == [7, 9, BIAS]
