"""The exported names are an interface: dashboards and alerts of others ask for them."""

import re

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream_coupons import __version__
from stream_coupons.core.reasons import NoCoupon, Rejection
from stream_coupons.kafka import topics
from stream_coupons.observability.metrics import WRITERS, Metrics

# Exported name (of a counter, with _total; of a histogram, without its suffixes): its type and its labels.
EXPORTED = {
    "stream_coupons_records_total": (Counter, ("topic",)),
    "stream_coupons_duplicates_total": (Counter, ("topic",)),
    "stream_coupons_replays_total": (Counter, ("topic",)),
    "stream_coupons_records_late_total": (Counter, ("topic",)),
    "stream_coupons_dead_letters_total": (Counter, ("topic", "reason")),
    "stream_coupons_unknown_fields_total": (Counter, ("topic", "field")),
    "stream_coupons_unknown_domains_total": (Counter, ("topic", "domain")),
    "stream_coupons_decisions_total": (Counter, ("outcome",)),
    "stream_coupons_leases_total": (Counter, ("kind",)),
    "stream_coupons_issues_total": (Counter, ("domain",)),
    "stream_coupons_feedback_total": (Counter, ("kind",)),
    "stream_coupons_observed_issues_total": (Counter, ("outcome",)),
    "stream_coupons_unseen_issues_total": (Counter, ("domain",)),
    "stream_coupons_overrun_redemptions_total": (Counter, ("domain",)),
    "stream_coupons_rule_errors_total": (Counter, ("domain",)),
    "stream_coupons_interests_total": (Counter, ("kind",)),
    "stream_coupons_staged_decisions_total": (Counter, ("campaign",)),
    "stream_coupons_new_shoppers_total": (Counter, ("kind",)),
    "stream_coupons_erasures_total": (Counter, ("kind",)),
    "stream_coupons_coupons_ended_total": (Counter, ("outcome",)),
    "stream_coupons_training_examples_total": (Counter, ("domain", "head")),
    "stream_coupons_training_examples_left_out_total": (Counter, ("domain", "head")),
    "stream_coupons_lag_seconds": (Gauge, ("topic",)),
    "stream_coupons_model_thinning_level": (Gauge, ("domain",)),
    "stream_coupons_decision_latency_seconds": (Histogram, ()),
    "stream_coupons_batch_seconds": (Histogram, ("agent",)),
    "stream_coupons_batch_failures_total": (Counter, ("agent",)),
    "stream_coupons_changelog_skipped_total": (Counter, ("agent",)),
    "stream_coupons_lag_records": (Gauge, ("topic", "partition")),
    "stream_coupons_stopped": (Gauge, ("agent", "topic", "reason")),
    "stream_coupons_ready": (Gauge, ()),
    "stream_coupons_learner_ready": (Gauge, ()),
    "stream_coupons_build_info": (Gauge, ("version", "settings", "kafka_namespace")),
    "stream_coupons_model_version": (Gauge, ("domain",)),
    "stream_coupons_model_age_seconds": (Gauge, ("domain",)),
    "stream_coupons_coupons_refused_total": (Counter, ()),
    "stream_coupons_snapshots_refused_total": (Counter, ()),
    "stream_coupons_model_log_loss": (Gauge, ("domain", "head")),
    "stream_coupons_model_base_log_loss": (Gauge, ("domain", "head")),
    "stream_coupons_model_roc_auc_ratio": (Gauge, ("domain", "head")),
    "stream_coupons_model_level_ratio": (Gauge, ("domain", "head")),
    "stream_coupons_model_prior_decides": (Gauge, ("domain", "head")),
    "stream_coupons_lift_minor": (Gauge, ("domain", "bound")),
    "stream_coupons_lift_shoppers": (Gauge, ("domain", "kind")),
    "stream_coupons_lift_total_minor": (Gauge, ("domain", "kind")),
    "stream_coupons_lift_sample_ratio_mismatch": (Gauge, ("domain",)),
    "stream_coupons_lift_disagrees": (Gauge, ("domain",)),
    "stream_coupons_lift_brake": (Gauge, ("domain",)),
    "stream_coupons_lift_value_ratio": (Gauge, ("domain",)),
    "stream_coupons_coupon_results": (Gauge, ("coupon", "kind")),
    "stream_coupons_coupon_discount_minor": (Gauge, ("coupon",)),
    "stream_coupons_guardrail_actions_total": (Counter, ("campaign", "metric", "action")),
    "stream_coupons_model_champion": (Gauge, ("domain", "head", "model")),
    "stream_coupons_model_recent_log_loss": (Gauge, ("domain", "head", "model")),
    "stream_coupons_model_promotions_total": (Counter, ("domain", "head", "model")),
    "stream_coupons_model_drifts_total": (Counter, ("domain", "head")),
    "stream_coupons_budget_left_ratio": (Gauge, ("domain",)),
    "stream_coupons_budget_remaining_minor": (Gauge, ("domain",)),
    "stream_coupons_coupons_exhausted": (Gauge, ("domain",)),
    "stream_coupons_catalogue_coupons": (Gauge, ("domain",)),
    "stream_coupons_overspent_minor": (Gauge, ("domain", "hold")),
    "stream_coupons_overspent_ratio": (Gauge, ("domain",)),
    "stream_coupons_campaign_budget_minor": (Gauge, ("campaign",)),
    "stream_coupons_campaign_spent_minor": (Gauge, ("campaign",)),
    "stream_coupons_campaign_held_minor": (Gauge, ("campaign",)),
    "stream_coupons_campaign_is_spent": (Gauge, ("campaign",)),
    "stream_coupons_campaign_price": (Gauge, ("campaign",)),
    "stream_coupons_campaign_due_ratio": (Gauge, ("campaign",)),
}
CAPPED_LABELS = {"coupon"}
"""Ids, of the first few only: see `TopCoupons`."""
CLOSED_LABELS = {
    "topic", "partition", "reason", "outcome", "kind", "agent", "domain", "head", "model", "version", "campaign",
    "hold", "bound", "field", "settings", "kafka_namespace", "metric", "action",
}  # fmt: skip

Metric = Counter | Gauge | Histogram


def declared() -> dict[str, Metric]:
    """Every metric by its exported name."""
    found = {}
    for metric in vars(Metrics(CollectorRegistry())).values():
        if isinstance(metric, Metric):
            family = next(iter(metric.describe()))
            found[family.name + ("_total" if family.type == "counter" else "")] = metric
    return found


def test_the_exported_metrics_are_these() -> None:
    assert {name: type(metric) for name, metric in declared().items()} == {
        name: kind for name, (kind, _) in EXPORTED.items()
    }


@pytest.mark.parametrize("name", EXPORTED)
def test_a_metric_has_these_labels(name: str) -> None:
    metric, labels = declared()[name], EXPORTED[name][1]
    child = metric.labels(**dict.fromkeys(labels, "x")) if labels else metric
    if isinstance(child, Histogram):
        child.observe(0.1)
    else:
        child.inc()
    samples = [sample for family in metric.collect() for sample in family.samples]
    assert {label for sample in samples for label in sample.labels} - {"le"} == set(labels)
    assert set(labels) <= CLOSED_LABELS | CAPPED_LABELS


def test_counters_that_alerts_look_at_are_there_before_they_count() -> None:
    exported = Metrics(CollectorRegistry()).registry
    for topic in topics.READ_BY_AGENTS:
        assert exported.get_sample_value("stream_coupons_records_total", {"topic": topic.name}) == 0
        for reason in Rejection:
            labels = {"topic": topic.name, "reason": reason}
            assert exported.get_sample_value("stream_coupons_dead_letters_total", labels) == 0
    for outcome in ("given", *NoCoupon):
        assert exported.get_sample_value("stream_coupons_decisions_total", {"outcome": outcome}) == 0
    for kind in ("granted", "called_back"):
        assert exported.get_sample_value("stream_coupons_leases_total", {"kind": kind}) == 0
    for kind in ("purchase", "refund", "cancel", "corrected"):
        assert exported.get_sample_value("stream_coupons_feedback_total", {"kind": kind}) == 0
    for outcome in ("redeemed", "expired"):
        assert exported.get_sample_value("stream_coupons_coupons_ended_total", {"outcome": outcome}) == 0
    for agent in WRITERS:
        assert exported.get_sample_value("stream_coupons_batch_failures_total", {"agent": agent}) == 0


def test_nothing_is_exported_that_is_not_declared_here() -> None:
    metrics = Metrics(CollectorRegistry())
    names = {family.name for family in metrics.registry.collect()}
    assert names == {name.removesuffix("_total") for name in EXPORTED}


def test_names_follow_the_convention_and_helps_explain() -> None:
    for name, metric in declared().items():
        family = next(iter(metric.describe()))
        assert re.fullmatch(r"stream_coupons_[a-z0-9_]+", name)
        assert name.endswith("_total") == (family.type == "counter"), name
        assert family.documentation.endswith("."), name
        if isinstance(metric, Histogram):
            assert name.endswith("_seconds"), name


def test_version_settings_and_namespace_are_labels() -> None:
    registry = Metrics(CollectorRegistry(), "abc", "shop-a.").registry
    labels = {"version": __version__, "settings": "abc", "kafka_namespace": "shop-a."}
    assert registry.get_sample_value("stream_coupons_build_info", labels) == 1


def test_two_registries_do_not_share_their_counts() -> None:
    first, second = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    first.ready.set(1)
    assert first.registry.get_sample_value("stream_coupons_ready") == 1
    assert second.registry.get_sample_value("stream_coupons_ready") == 0
