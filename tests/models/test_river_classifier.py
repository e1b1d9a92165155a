"""The Kalman filter keeps River's contract, by River's own checks, and learns as well as River's classifiers do."""

from typing import Any

import pytest
from river import checks, datasets, linear_model, metrics, preprocessing

from stream_coupons.models.river_classifier import KalmanClassifier

CHECKS = list(checks.yield_checks(KalmanClassifier()))


@pytest.mark.long
@pytest.mark.parametrize("check", CHECKS, ids=[f"{check.__name__}-{n}" for n, check in enumerate(CHECKS)])
def test_it_passes_rivers_checks(check: Any) -> None:
    check(KalmanClassifier())


def loss(model: Any) -> float:
    total = metrics.LogLoss()
    for x, y in datasets.Phishing():
        total.update(y, model.predict_proba_one(x))
        model.learn_one(x, y)
    return float(total.get())


@pytest.mark.long
def test_in_a_pipeline_it_learns_faster_than_rivers_logistic_regression() -> None:
    ours, theirs = KalmanClassifier(), linear_model.LogisticRegression()
    assert loss(preprocessing.StandardScaler() | ours) < loss(preprocessing.StandardScaler() | theirs)


def test_texts_are_known_by_value_and_what_is_none_or_0_says_nothing() -> None:
    model = KalmanClassifier()
    for n in range(100):
        model.learn_one({"city": "Bonn" if n % 2 else "Ulm", "is_new": n % 2 == 1}, n % 2 == 1)
    bonn, ulm, nothing = (model.predict_proba_one(x)[True] for x in ({"city": "Bonn"}, {"city": "Ulm"}, {}))
    assert bonn > 0.7 > nothing > 0.3 > ulm
    assert model.predict_proba_one({"city": None, "age": 0})[True] == nothing
