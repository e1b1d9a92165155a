"""River estimators of this package pass River's own checks, and learn as well as River's."""

import importlib
import pickle
import pkgutil
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from river import base, checks, datasets, linear_model, metrics, preprocessing

from stream_coupons import models
from stream_coupons.models.river_classifier import KalmanClassifier
from stream_coupons.models.river_model import MAX_PICKLE_BYTES

ESTIMATORS: list[Callable[[], base.Estimator]] = [
    each
    for module in pkgutil.iter_modules(models.__path__, "stream_coupons.models.")
    for each in vars(importlib.import_module(module.name)).values()
    if isinstance(each, type) and issubclass(each, base.Estimator) and each.__module__ == module.name
]
"""All classes of the engine that claim to be estimators."""
CHECKS = [
    pytest.param(make, check, id=f"{make.__name__}-{check.__name__}-{n}")
    for make in ESTIMATORS
    for n, check in enumerate(checks.yield_checks(make()))
]


def test_the_kalman_filter_is_an_estimator() -> None:
    assert KalmanClassifier in ESTIMATORS


@pytest.mark.long
@pytest.mark.parametrize(("make", "check"), CHECKS)
def test_it_passes_rivers_checks(make: Callable[[], base.Estimator], check: Any) -> None:
    check(make())


def test_its_pickle_is_small_and_goes_on_to_the_last_bit() -> None:
    model, stream = KalmanClassifier(2.0), list(datasets.Phishing().take(200))
    for x, y in stream[:100]:
        model.learn_one(x, y)
    pickled = pickle.dumps(model)
    assert len(pickled) < MAX_PICKLE_BYTES / 20
    resumed = pickle.loads(pickled)
    assert resumed.prior_variance == 2.0
    for x, y in stream[100:]:
        assert resumed.predict_proba_one(x) == model.predict_proba_one(x)
        model.learn_one(x, y)
        resumed.learn_one(x, y)


@pytest.mark.long
def test_frames_are_learnt_as_dictionaries_are() -> None:
    by_one, by_many = KalmanClassifier(), KalmanClassifier()
    stream = list(datasets.Phishing().take(300))
    for x, y in stream:
        by_one.learn_one(x, y)
    frame = pd.DataFrame([x for x, _ in stream])
    by_many.learn_many(frame[:100], [y for _, y in stream[:100]])
    by_many.learn_many(frame[100:], [y for _, y in stream[100:]])
    expected = pd.DataFrame([by_one.predict_proba_one(x) for x, _ in stream])
    pd.testing.assert_frame_equal(by_many.predict_proba_many(frame), expected, check_exact=False, rtol=1e-9)


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
