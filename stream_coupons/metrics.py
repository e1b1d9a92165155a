"""Every metric that a worker exports, declared once, on an injected registry."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream_coupons import __version__
from stream_coupons.core.reasons import NoCoupon, Rejection
from stream_coupons.topics import READ_BY_AGENTS

LATENCY_BUCKETS_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
WRITERS = ("users", "neighbours", "budgets", "learner", "clock")
"""Who sends batches to Kafka."""


class Metrics:
    """The worker's metrics; labels come from closed sets, never from users, events or shoppers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"stream_coupons_{name}", help_text, labels, registry=registry)

        def gauge(name: str, help_text: str, *labels: str) -> Gauge:
            return Gauge(f"stream_coupons_{name}", help_text, labels, registry=registry)

        def histogram(name: str, help_text: str, *labels: str) -> Histogram:
            return Histogram(
                f"stream_coupons_{name}",
                help_text,
                labels,
                buckets=LATENCY_BUCKETS_S,
                registry=registry,
            )

        self.registry = registry
        self.records = counter("records_total", "Records applied to state, by topic.", "topic")
        self.duplicates = counter("duplicates_total", "Events whose event_id was seen before, by topic.", "topic")
        self.replays = counter(
            "replays_total",
            "Records delivered again after a restart; nothing is decided anew.",
            "topic",
        )
        self.dead_letters = counter(
            "dead_letters_total",
            "Records sent to dead-letters, by topic and reason.",
            "topic",
            "reason",
        )
        self.decisions = counter(
            "decisions_total",
            "Decisions on triggers: proposed, or the reason why there is no coupon.",
            "outcome",
        )
        self.reservations = counter("reservations_total", "Reservations asked of the budgets, by outcome.", "outcome")
        self.issues = counter("issues_total", "Coupons issued, by domain.", "domain")
        self.feedback = counter("feedback_total", "Feedback joined to its issue, by kind.", "kind")
        self.observed = counter(
            "observed_issues_total",
            "Coupons given by others: scored, of an unknown coupon, or crowded out by later ones.",
            "outcome",
        )
        self.unseen = counter(
            "unseen_issues_total",
            "Coupons whose window closed unseen where impressions are reported, by domain: nothing is learnt of them.",
            "domain",
        )
        self.overruns = counter(
            "overrun_redemptions_total",
            "Redemptions said to have taken off more than is held for them, by domain: what is held is booked.",
            "domain",
        )
        self.interests = counter(
            "interests_total",
            "Shoppers considered for a coupon: turned to what is familiar to them, or strange.",
            "kind",
        )
        self.erasures = counter(
            "erasures_total",
            "Shoppers who asked to be forgotten or were idle for long, and events of before a request, ignored.",
            "kind",
        )
        self.settlements = counter("settlements_total", "Settlements sent, by outcome.", "outcome")
        self.examples = counter("training_examples_total", "Examples learnt, by domain and head.", "domain", "head")
        self.decision_latency = histogram(
            "decision_latency_seconds", "From the trigger's append time to its coupon-issue sent."
        )
        self.batch_seconds = histogram("batch_seconds", "From taking a batch to acknowledging it, by agent.", "agent")
        self.batch_failures = counter(
            "batch_failures_total", "Batches that could not be sent and are tried again.", "agent"
        )
        self.changelog_skipped = counter(
            "changelog_skipped_total", "Records of a changelog that are none of ours, skipped in recovery.", "agent"
        )
        self.lag = gauge(
            "lag_records",
            "Records between the end of a partition and our position.",
            "topic",
            "partition",
        )
        self.stopped = gauge(
            "stopped",
            "1 while an agent holds a topic back because most of its records are bad, by their commonest reason.",
            "agent",
            "topic",
            "reason",
        )
        self.ready = gauge("ready", "1 while the worker owns recovered state and is able to write.")
        self.build_info = gauge("build_info", "1, with the version of the program as its label.", "version")
        self.build_info.labels(__version__).set(1)
        self.model_version = gauge("model_version", "Version of the snapshot in use.", "domain")
        self.model_age = gauge("model_age_seconds", "Seconds since the snapshot in use was received.", "domain")
        self.coupons_refused = counter("coupons_refused_total", "Records of the catalogue that were no coupon.")
        self.snapshots_refused = counter("snapshots_refused_total", "Snapshots that did not fit.")
        self._models(counter, gauge)
        self.budget_left = gauge(
            "budget_left_ratio",
            "Smallest share of budget left among the coupons that this worker owns, by domain.",
            "domain",
        )
        self.budget_remaining = gauge(
            "budget_remaining_minor",
            "Money not given or held yet, over the coupons with a budget that this worker owns.",
            "domain",
        )
        self.stock_exhausted = gauge("coupons_exhausted", "Coupons of this worker without stock or budget.", "domain")
        self.catalogue_coupons = gauge("catalogue_coupons", "Coupons known, by domain.", "domain")
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Make the series that alerts look at: one that is born at 300 has not increased, to Prometheus."""
        for topic in READ_BY_AGENTS:
            self.records.labels(topic.name)
            for reason in Rejection:
                self.dead_letters.labels(topic.name, reason)
        for outcome in ("proposed", *NoCoupon):
            self.decisions.labels(outcome)
        for kind in ("impression", "click", "purchase"):
            self.feedback.labels(kind)
        for kind in ("familiar", "strange"):
            self.interests.labels(kind)
        for kind in ("requested", "ignored", "idle"):
            self.erasures.labels(kind)
        for agent in WRITERS:
            self.batch_failures.labels(agent)

    def _models(self, counter: Callable[..., Counter], gauge: Callable[..., Gauge]) -> None:
        """How the models do: served predictions are scored as their labels come; the threshold is the working one."""

        def of_head(name: str, help_text: str) -> Gauge:
            return gauge(name, help_text, "domain", "head")

        self.model_log_loss = of_head("model_log_loss", "Progressive log loss of the learner.")
        self.model_base_log_loss = of_head("model_base_log_loss", "Log loss of always predicting the base rate.")
        self.model_log_loss_gap = of_head("model_log_loss_gap", "Recent progressive log loss less that of all.")
        self.model_roc_auc = of_head("model_roc_auc_ratio", "Progressive ROC AUC of the learner.")
        self.model_base_rate_shift = of_head(
            "model_base_rate_shift_logodds", "Shift of the log-odds by what has come before windows closed."
        )
        self.model_calibration_error = of_head(
            "model_calibration_error_ratio", "Expected calibration error over ten groups of equal size."
        )
        self.model_threshold = of_head("model_threshold_ratio", "From here up as many are predicted as are positive.")
        self.model_accuracy = of_head("model_accuracy_ratio", "Share on the right side of the threshold.")
        self.model_precision = of_head("model_precision_ratio", "Positives among those at or above the threshold.")
        self.model_recall = of_head("model_recall_ratio", "Positives at or above the threshold among all positives.")
        self.model_f1 = of_head("model_f1_ratio", "Harmonic mean of precision and recall.")
        self.model_champion = gauge(
            "model_champion", "1 for the model that serves, 0 for its challengers.", "domain", "head", "model"
        )
        self.model_recent_log_loss = gauge(
            "model_recent_log_loss",
            "Log loss of each model, tested before it learns, since the last promotion, the recent counting more.",
            "domain",
            "head",
            "model",
        )
        self.model_promotions = counter(
            "model_promotions_total", "Changes of champion, by the model that took over.", "domain", "head", "model"
        )
        self.model_drifts = counter("model_drifts_total", "Drifts noticed, by domain and head.", "domain", "head")
