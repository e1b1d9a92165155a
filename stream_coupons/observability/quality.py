"""Metrics and log lines of the learner's models."""

import logging
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import Gauge

from stream_coupons.core.decision.brake import LiftReader
from stream_coupons.models.level import GUARDED
from stream_coupons.models.linear import HEAD_OF
from stream_coupons.observability.metrics import Metrics

if TYPE_CHECKING:  # they import River
    from stream_coupons.models.heads import Head, News
    from stream_coupons.models.learner import DomainModel

log = logging.getLogger(__name__)


def report_news(news: Iterable["News"], metrics: Metrics) -> None:
    """Log and count promotions and drifts.

    Parameters
    ----------
    news : iterable of News
        Promotions and drifts, in order.
    metrics : Metrics
        Its counters are raised.
    """
    from stream_coupons.models.champion import Promotion

    for each in news:
        domain, head, happening = each.domain, each.head, each.happening
        if isinstance(happening, Promotion):
            metrics.model_promotions.labels(domain, head, happening.new).inc()
            log.warning(
                "%s, %s: %s takes over from %s, log loss %.4f instead of %.4f over %.0f examples; "
                "learning.pinned takes it back",
                domain,
                head,
                happening.new,
                happening.old,
                happening.new_log_loss,
                happening.old_log_loss,
                happening.examples,
            )
        else:
            metrics.model_drifts.labels(domain, head).inc()
            log.warning(
                "%s, %s: drift, the loss is higher than the model expects: its models learn faster", domain, head
            )


def report_model(model: "DomainModel", metrics: Metrics) -> None:
    """Set the gauges of all heads of a domain.

    Parameters
    ----------
    model : DomainModel
        Model of the domain.
    metrics : Metrics
        Its gauges are set.
    """
    metrics.model_thinning.labels(model.domain).set(model.thinning)
    for label in GUARDED:
        level = model.heads[HEAD_OF[label]].level
        metrics.model_level.labels(model.domain, label).set(level.ratio)
        metrics.model_prior_decides.labels(model.domain, label).set(level.is_off)
    for label, head in HEAD_OF.items():
        _report_head(model.domain, label, model.heads[head], metrics)


def report_lift(reader: LiftReader, metrics: Metrics) -> None:
    """Set the gauges of the measured lift of all domains.

    Parameters
    ----------
    reader : LiftReader
        The lift and the brake of each domain.
    metrics : Metrics
        Its gauges are set.
    """
    for domain, lift in reader.lifts.items():
        for bound, value in (("low", lift.low), ("mid", lift.mid), ("high", lift.high)):
            metrics.lift.labels(domain, bound).set(value)
            metrics.lift_total.labels(domain, bound).set(lift.treated * value)
        metrics.lift_total.labels(domain, "predicted").set(lift.predicted)
        metrics.lift_total.labels(domain, "predicted_closed").set(lift.closed)
        metrics.lift_shoppers.labels(domain, "treated").set(lift.treated)
        metrics.lift_shoppers.labels(domain, "without").set(lift.without)
        metrics.lift_mismatch.labels(domain).set(lift.is_mismatch)
        metrics.lift_disagrees.labels(domain).set(not lift.agrees)
        metrics.lift_brake.labels(domain).set(reader.brakes[domain].is_on)
        metrics.lift_value_ratio.labels(domain).set(reader.brakes[domain].value_ratio)


def _report_head(domain: str, head: str, models: "Head", metrics: Metrics) -> None:
    contest = models.contest
    for name, duel in contest.duels.items():
        metrics.model_champion.labels(domain, head, name).set(name == contest.champion)
        _set(metrics.model_recent_log_loss, duel.log_loss, domain, head, name)
    _set(metrics.model_log_loss, models.quality.log_loss, domain, head)
    _set(metrics.model_base_log_loss, models.quality.base_log_loss, domain, head)
    _set(metrics.model_roc_auc, models.quality.roc_auc, domain, head)


def _set(gauge: Gauge, value: float, *labels: str) -> None:
    """Set what is defined; a gauge that was never set is not exported."""
    if not math.isnan(value):
        gauge.labels(*labels).set(value)
