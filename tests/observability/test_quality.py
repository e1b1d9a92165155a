"""What the learner exports of its models."""

import logging

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from stream_coupons.models.champion import Promotion
from stream_coupons.models.heads import Drift, News
from stream_coupons.models.learner import Trainer
from stream_coupons.models.rules import LearningRules, ModelName
from stream_coupons.observability.metrics import Metrics
from stream_coupons.observability.quality import report_model, report_news
from tests.models.builders import examples

OTHER = "river.linear_model:LogisticRegression"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def test_promotions_and_drifts_are_counted_and_logged(metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
    promotion = Promotion(OTHER, ModelName.KALMAN, 0.4, 0.3, 1200.0)
    with caplog.at_level(logging.WARNING):
        report_news([News("tea", "redeem", promotion), News("tea", "click", Drift(500))], metrics)
    value = metrics.registry.get_sample_value
    assert value("stream_coupons_model_promotions_total", {"domain": "tea", "head": "redeem", "model": "kalman"}) == 1
    assert value("stream_coupons_model_drifts_total", {"domain": "tea", "head": "click"}) == 1
    took_over, drifted = caplog.messages
    assert f"kalman takes over from {OTHER}" in took_over
    assert "learning.pinned" in took_over
    assert "tea, click: drift" in drifted


def test_every_head_that_learnt_is_exported_with_all_its_models(metrics: Metrics) -> None:
    trainer = Trainer(LearningRules(models=[ModelName.KALMAN, OTHER]))
    for offset, example in enumerate(examples(1, 600)):
        trainer.learn(replace(example, predicted=example.numeric[0] / 3), offset, None)
    report_model(trainer.models["ecommerce"], metrics)
    samples = {
        (sample.name, sample.labels.get("model")): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.labels.get("head") == "redeem"
    }
    assert samples["stream_coupons_model_champion", "kalman"] == 1
    assert samples["stream_coupons_model_champion", OTHER] == 0
    assert samples["stream_coupons_model_recent_log_loss", OTHER] > 0
    quality = trainer.models["ecommerce"].heads["effect"].quality
    assert samples["stream_coupons_model_log_loss", None] == quality.log_loss
    assert samples["stream_coupons_model_roc_auc_ratio", None] == quality.roc_auc


def test_what_is_not_defined_is_not_exported(metrics: Metrics) -> None:
    trainer = Trainer(LearningRules())
    trainer.learn(examples(1, 1)[0], 0, None)
    report_model(trainer.models["ecommerce"], metrics)
    names = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    assert "stream_coupons_model_log_loss" in names
    assert "stream_coupons_model_roc_auc_ratio" not in names
