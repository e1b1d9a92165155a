"""An example that stands for several counts as often, in all that is counted beside the filters."""

import numpy as np
import pytest
from river import linear_model, naive_bayes

from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.models.champion import Duel
from stream_coupons.models.drift import DriftDetector
from stream_coupons.models.effect import RedemptionCurve
from stream_coupons.models.incremental import IncrementalLearner
from stream_coupons.models.inputs import Row, Sample
from stream_coupons.models.level import Level
from stream_coupons.models.metrics import BinaryMetrics
from stream_coupons.models.river_model import RiverModel

WEIGHT = 8


def test_metrics_count_an_example_as_often_as_it_stands_for() -> None:
    one, each = BinaryMetrics(), BinaryMetrics()
    one.update(0.2, False, WEIGHT)
    one.update(0.7, True)
    for _ in range(WEIGHT):
        each.update(0.2, False)
    each.update(0.7, True)
    assert (one.examples, one.positives, one.roc_auc) == (each.examples, each.positives, each.roc_auc)
    assert one.log_loss == pytest.approx(each.log_loss)


def test_a_level_counts_an_outcome_as_often_as_it_stands_for() -> None:
    one, each = Level(1000), Level(1000)
    for level, times, weight in ((one, 10, WEIGHT), (each, 10 * WEIGHT, 1)):
        for _ in range(times):
            level.update(0.1, 0.05, False, weight=weight)
        level.update(0.1, 0.05, True)
    assert one.ratio == pytest.approx(each.ratio, rel=0.01)


def test_a_duel_weighs_losses_and_its_effective_number_is_of_draws() -> None:
    one, each = Duel(), Duel()
    for _ in range(50):
        one.update(0.1, 0.3, 1.0, WEIGHT)
        for _ in range(WEIGHT):
            each.update(0.1, 0.3, 1.0)
    assert one.log_loss == pytest.approx(each.log_loss)
    assert (one.examples, each.examples) == (50, 50 * WEIGHT)


def test_the_share_of_use_counts_a_holder_as_often_as_it_stands_for() -> None:
    one, each = IncrementalLearner(), IncrementalLearner()
    one.learn_use(0.2, ordered=False, redeemed=False, weight=WEIGHT)
    for _ in range(WEIGHT):
        each.learn_use(0.2, ordered=False, redeemed=False)
    assert one.uses_ratio == pytest.approx(each.uses_ratio)


@pytest.mark.parametrize("weight", [1, 16, 64])
def test_a_sample_of_a_world_that_stays_is_no_drift(weight: int) -> None:
    rng, detector = np.random.default_rng(2), DriftDetector()
    for label in rng.random(30_000) < 0.015:
        if label or rng.random() * weight < 1.0:
            assert not detector.update(0.015, bool(label), 1 if label else weight)


@pytest.mark.parametrize("weight", [1, 16])
def test_a_drift_shows_in_a_sample(weight: int) -> None:
    rng, detector = np.random.default_rng(3), DriftDetector()
    for _ in range(400):
        detector.update(0.015, False, 1 if weight == 1 else weight)
    found = [
        detector.update(0.015, bool(label), 1 if label else weight)
        for label in rng.random(20_000) < 0.06
        if label or rng.random() * weight < 1.0
    ]
    assert any(found)


def test_the_odds_of_a_sample_turn_a_redemption_into_what_it_says_of_all() -> None:
    """In the mean over outcomes of the sample, a step at the right probability goes nowhere."""
    curve, odds = RedemptionCurve(0.03, 0.05), 16.0
    p = curve.probability
    shares = (odds * p, 1.0 - p)
    moves = [curve.step(curve.slope_of_effect, 0.0, 0.0, label, odds)[0] for label in (True, False)]
    assert shares[0] * moves[0] + shares[1] * moves[1] == pytest.approx(0.0, abs=1e-9)
    assert moves[0] < curve.step(curve.slope_of_effect, 0.0, 0.0, True)[0]


def test_orders_without_the_coupon_that_are_learnt_whole_lower_the_odds_of_redemptions() -> None:
    sample = Sample(1, 64.0)
    assert sample.also_whole(0.0) == sample
    assert sample.also_whole(1.0).odds == 1.0
    curve = RedemptionCurve(0.03, 0.05, uses=0.6)
    assert curve.unused == pytest.approx(0.4 * 0.05 / (1.0 - curve.probability))
    assert sample.also_whole(curve.unused).odds == pytest.approx(1.0 / (curve.unused + (1 - curve.unused) / 64))


@pytest.mark.parametrize("classifier", [linear_model.LogisticRegression, naive_bayes.GaussianNB])
def test_a_classifier_of_river_learns_an_example_as_often_as_it_stands_for(classifier: type) -> None:
    model = RiverModel(classifier(), {}, PUBLIC_KEY)
    row = Row([0.5] * len(NUMERIC), [], Sample(WEIGHT, 8.0))
    model.learn_one(row, False)
    assert model.state()["progress"].tolist() == [WEIGHT, 0.0, 0.0]
    row.anyway = 0.0
    model.learn_one(row, False)
    assert model.state()["progress"].tolist()[0] == pytest.approx(2 * WEIGHT, abs=1.0)
