"""Something that exports a worker's metrics without being a worker."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from prometheus_client import CollectorRegistry

from benchmarks.background import in_background
from stream_coupons.core.decision.brake import LiftReader
from stream_coupons.core.decision.live_lift import LiveLift
from stream_coupons.core.messages.learning import LiftBrake
from stream_coupons.core.reasons import NoCoupon, Rejection
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka.topics import READ_BY_AGENTS
from stream_coupons.observability.endpoint import Endpoint
from stream_coupons.observability.metrics import Metrics
from stream_coupons.observability.quality import report_lift

COUNT_EVERY_S = 0.1


@contextmanager
def running_exporter(*missing: str) -> Iterator[str]:
    """host:port of an exporter that counts on while it is looked at, and is ready if nothing is missing.

    The metrics are the worker's own; what counts is not. A running worker may take its place.
    """
    metrics = Metrics(CollectorRegistry())
    populate(metrics)
    endpoint = Endpoint("127.0.0.1", 0, metrics.registry, {"/ready": lambda: missing})

    def count_on(is_over: threading.Event) -> None:
        while not is_over.wait(COUNT_EVERY_S):
            populate(metrics)

    with closing(endpoint), in_background(count_on, "counting"):
        yield f"127.0.0.1:{endpoint.port}"


def populate(metrics: Metrics) -> None:
    """Count something of everything, with the labels that a worker gives."""
    for topic in READ_BY_AGENTS:
        metrics.records.labels(topic=topic.name).inc(20)
        metrics.duplicates.labels(topic=topic.name).inc()
        metrics.replays.labels(topic=topic.name).inc()
        metrics.late.labels(topic=topic.name).inc()
        for partition in range(2):
            metrics.lag.labels(topic=topic.name, partition=str(partition)).set(3)
        for reason in Rejection:
            metrics.dead_letters.labels(topic=topic.name, reason=reason).inc()
        metrics.unknown_fields.labels(topic=topic.name, field="itme").inc()
        metrics.unknown_domains.labels(topic=topic.name, domain="ecomerce").inc()
    for outcome in ("given", *NoCoupon):
        metrics.decisions.labels(outcome=outcome).inc()
    for kind in ("granted", "called_back"):
        metrics.leases.labels(kind=kind).inc()
    for outcome in ("redeemed", "expired"):
        metrics.ends.labels(outcome=outcome).inc()
    for outcome in ("scored", "unknown_coupon", "crowded_out"):
        metrics.observed.labels(outcome=outcome).inc()
    for kind in (
        "early", "impression", "click", "purchase", "refund", "cancel", "corrected", "outdated", "repeated", "unknown"
    ):  # fmt: skip
        metrics.feedback.labels(kind=kind).inc()
    for kind in ("familiar", "strange"):
        metrics.interests.labels(kind=kind).inc()
    for agent in ("users", "neighbours", "budgets"):
        metrics.batch_seconds.labels(agent=agent).observe(0.03)
        metrics.batch_failures.labels(agent=agent).inc()
        metrics.changelog_skipped.labels(agent=agent).inc()
        metrics.stopped.labels(agent=agent, topic="cart-events", reason=Rejection.INVALID).set(1)
    metrics.decision_latency.observe(0.08)
    metrics.ready.set(1)
    metrics.learner_ready.set(1)
    metrics.coupons_refused.inc()
    metrics.snapshots_refused.inc()
    metrics.lag_seconds.labels(topic="training-examples").set(2)
    _populate_domain(metrics, "ecommerce")
    reader = LiftReader(PolicyRules())
    reader.lifts["ecommerce"] = LiveLift(900, 50, -20.0, 50.0, 120.0, 30.0, 41_000.0, 40_000.0, is_mismatch=False)
    reader.brakes["ecommerce"] = LiftBrake()
    report_lift(reader, metrics)
    for kind in ("given", "seen", "clicked", "used"):
        metrics.coupon_results.labels(coupon="tea", kind=kind).set(40)
    metrics.coupon_discount.labels(coupon="tea").set(900)
    metrics.campaign_budget.labels(campaign="spring").set(100000)
    metrics.campaign_spent.labels(campaign="spring").set(41000)
    metrics.campaign_held.labels(campaign="spring").set(2500)
    metrics.campaign_is_spent.labels(campaign="spring").set(0)
    metrics.overspent_ratio.labels(domain="ecommerce").set(0.0)
    metrics.campaign_price.labels(campaign="spring").set(0.7)
    metrics.guardrail_actions.labels(campaign="spring", metric="lift", action="hold").inc()
    metrics.staged.labels(campaign="spring").inc()
    metrics.campaign_due.labels(campaign="spring").set(0.43)


def _populate_domain(metrics: Metrics, domain: str) -> None:
    metrics.issues.labels(domain=domain).inc()
    metrics.unseen.labels(domain=domain).inc()
    metrics.overruns.labels(domain=domain).inc()
    metrics.rule_errors.labels(domain=domain).inc()
    metrics.model_version.labels(domain=domain).set(12)
    metrics.model_age.labels(domain=domain).set(4)
    metrics.budget_left.labels(domain=domain).set(0.7)
    metrics.budget_remaining.labels(domain=domain).set(70000)
    for hold in ("quantile", "maximum"):
        metrics.overspent.labels(domain=domain, hold=hold).set(0)
    metrics.stock_exhausted.labels(domain=domain).set(1)
    metrics.catalogue_coupons.labels(domain=domain).set(9)
    metrics.model_thinning.labels(domain=domain).set(2)
    metrics.model_level.labels(domain=domain, head="effect").set(1.1)
    metrics.model_prior_decides.labels(domain=domain, head="effect").set(0)
    for head in ("click", "redeem", "order"):
        metrics.examples.labels(domain=domain, head=head).inc()
        metrics.left_out.labels(domain=domain, head=head).inc()
        metrics.model_log_loss.labels(domain=domain, head=head).set(0.4)
        metrics.model_base_log_loss.labels(domain=domain, head=head).set(0.5)
        metrics.model_roc_auc.labels(domain=domain, head=head).set(0.7)
        metrics.model_drifts.labels(domain=domain, head=head).inc()
        for model in ("kalman", "shop_models:scaled_numbers"):
            metrics.model_champion.labels(domain=domain, head=head, model=model).set(model == "kalman")
            metrics.model_recent_log_loss.labels(domain=domain, head=head, model=model).set(0.4)
            metrics.model_promotions.labels(domain=domain, head=head, model=model).inc()
