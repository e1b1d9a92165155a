"""Every metric that a worker or a learner exports, declared once, on an injected registry."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream_coupons import __version__
from stream_coupons.core.reasons import NoCoupon, Rejection
from stream_coupons.kafka.topics import READ_BY_AGENTS

LATENCY_BUCKETS_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 30, 60)
WRITERS = ("users", "neighbours", "budgets", "learner", "clock")
"""Components that send batches to Kafka."""


class Metrics:
    """The worker's metrics; labels come from closed sets, never from users, events or shoppers.

    Parameters
    ----------
    registry : CollectorRegistry
        Takes the metrics.
    settings : str
        Fingerprint of the settings that all processes of a system share.
    namespace : str
        The system's namespace on the brokers.
    """

    def __init__(self, registry: CollectorRegistry, settings: str = "unknown", namespace: str = "") -> None:
        self.registry = registry
        self._about = (__version__, settings, namespace)
        self._events()
        self._unknown()
        self._shoppers()
        self._batches()
        self._processes()
        self._snapshots()
        self._models()
        self._lift()
        self._results()
        self._challengers()
        self._budgets()
        self._campaigns()
        self.catalogue_coupons = self._gauge(
            "catalogue_coupons",
            "Coupons in the catalogue; 0 once the last of a domain is removed, whose budgets are then not exported.",
            "domain",
        )
        self._begin_at_zero()

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"stream_coupons_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(f"stream_coupons_{name}", help_text, labels, registry=self.registry)

    def _of_head(self, name: str, help_text: str) -> Gauge:
        return self._gauge(name, help_text, "domain", "head")

    def _histogram(self, name: str, help_text: str, *labels: str) -> Histogram:
        full_name = f"stream_coupons_{name}"
        return Histogram(full_name, help_text, labels, buckets=LATENCY_BUCKETS_S, registry=self.registry)

    def _events(self) -> None:
        """Make the metrics of records, decisions and coupons."""
        self.records = self._counter("records_total", "Records applied to state.", "topic")
        self.duplicates = self._counter(
            "duplicates_total",
            "Records that had no effect: their event id, lease, or origin of a message between agents was known.",
            "topic",
        )
        self.replays = self._counter(
            "replays_total", "Records delivered again after a restart. Nothing is decided anew.", "topic"
        )
        self.dead_letters = self._counter(
            "dead_letters_total", "Records refused and written to dead-letters.", "topic", "reason"
        )
        self.decisions = self._counter(
            "decisions_total", "Decisions on triggers: given, or the reason why there is no coupon.", "outcome"
        )
        self.new_shoppers = self._counter(
            "new_shoppers_total",
            "Decisions on new shoppers: given a coupon, or held_back as their share of one was drawn.",
            "kind",
        )
        self.rule_errors = self._counter(
            "rule_errors_total",
            "Triggers for which the rule of a coupon raised, by an absent key for instance. It is not given.",
            "domain",
        )
        self.leases = self._counter("leases_total", "Leases of stock and money: granted, or called_back.", "kind")
        self.issues = self._counter("issues_total", "Coupons issued.", "domain")
        self.feedback = self._counter(
            "feedback_total",
            "Feedback: impression, click, purchase, refund, cancel, corrected (a purchase with another amount), "
            "repeated, outdated (a later report counts), early (waits for its issue) or unknown (waited in vain); "
            "used_again (in another order) or used_late (reported after the window) where nothing was held for it; "
            "not_booked (reported too late) or refund_raises where it was refused; and revoked (a purchase with a "
            "code that was revoked), beside its own kind.",
            "kind",
        )

    def _unknown(self) -> None:
        """Make the metrics of what producers send and no decision uses."""
        self.unknown_fields = self._counter(
            "unknown_fields_total",
            "Events with a field that no message has, of one offset in 256. From the 51st field on it is named other.",
            "topic",
            "field",
        )
        self.unknown_domains = self._counter(
            "unknown_domains_total",
            "Events of a domain without coupons, of one offset in 256. From the 51st domain on it is named other.",
            "topic",
            "domain",
        )

    def _shoppers(self) -> None:
        """Make the metrics of observed coupons, of shoppers and of what was learnt of them."""
        self.observed = self._counter(
            "observed_issues_total",
            "Coupons given by other systems: scored, unknown_coupon, or crowded_out by later ones.",
            "outcome",
        )
        self.unseen = self._counter(
            "unseen_issues_total",
            "Coupons whose window closed without an impression where those are reported. Nothing is learnt of them.",
            "domain",
        )
        self.overruns = self._counter(
            "overrun_redemptions_total",
            "Purchases or refunds reported with a larger discount than their coupon may take off. So much is booked.",
            "domain",
        )
        self.interests = self._counter(
            "interests_total",
            "Shoppers considered for a coupon: they turned to what they cared for before (familiar), or not (strange).",
            "kind",
        )
        self.erasures = self._counter(
            "erasures_total",
            "Shoppers forgotten on request (requested) or when idle (idle); events from before a request (ignored).",
            "kind",
        )
        self.ends = self._counter(
            "coupons_ended_total", "Coupons whose money is booked at their end: redeemed or expired.", "outcome"
        )
        self.examples = self._counter("training_examples_total", "Labels learnt.", "domain", "head")
        self.left_out = self._counter(
            "training_examples_left_out_total",
            "Labels that the learner left out of its sample because it was behind; those learnt stand for them.",
            "domain",
            "head",
        )

    def _batches(self) -> None:
        """Make the metrics of batches and of partitions."""
        self.late = self._counter(
            "records_late_total",
            "Records done more than 60 s after their timestamp: applied, known before, replayed or refused.",
            "topic",
        )
        self.decision_latency = self._histogram(
            "decision_latency_seconds", "Time from the append of a trigger to the send of its issue."
        )
        self.batch_seconds = self._histogram("batch_seconds", "Time from taking a batch to acknowledging it.", "agent")
        self.batch_failures = self._counter(
            "batch_failures_total", "Attempts to send a batch that failed or are overdue. They are repeated.", "agent"
        )
        self.changelog_skipped = self._counter(
            "changelog_skipped_total", "Records of a changelog that no agent wrote, skipped in recovery.", "agent"
        )
        self.lag = self._gauge(
            "lag_records",
            "Records of a partition that are not yet committed.",
            "topic",
            "partition",
        )
        self.lag_seconds = self._gauge(
            "lag_seconds", "Age of the record that the learner took last, since its append; 0 if none waits.", "topic"
        )
        self.stopped = self._gauge(
            "stopped",
            "1 while an agent holds a topic back because most of its records are bad, by their commonest reason.",
            "agent",
            "topic",
            "reason",
        )

    def _processes(self) -> None:
        """Make the metrics of a worker and of a learner."""
        self.ready = self._gauge("ready", "1 while the worker owns recovered state and is able to write.")
        self.learner_ready = self._gauge("learner_ready", "1 while a learner learns, or stands by for one that does.")
        self.build_info = self._gauge(
            "build_info",
            "1, with the version of the program, a fingerprint of the settings that all processes share, and "
            "kafka.namespace.",
            "version",
            "settings",
            "kafka_namespace",
        )
        self.build_info.labels(*self._about).set(1)

    def _snapshots(self) -> None:
        """Make the metrics of the catalogue and of model snapshots in use."""
        self.model_version = self._gauge("model_version", "Version of the model snapshot in use.", "domain")
        self.model_age = self._gauge(
            "model_age_seconds", "Seconds since the model snapshot in use was received.", "domain"
        )
        self.coupons_refused = self._counter(
            "coupons_refused_total", "Records of the catalogue that are no coupon or no campaign."
        )
        self.snapshots_refused = self._counter(
            "snapshots_refused_total", "Model snapshots that do not fit this program."
        )

    def _budgets(self) -> None:
        """Make the metrics of budgets that this worker owns."""
        self.budget_left = self._gauge(
            "budget_left_ratio",
            "Smallest share of budget left among the coupons that this worker owns.",
            "domain",
        )
        self.budget_remaining = self._gauge(
            "budget_remaining_minor",
            "Money neither held nor spent, over the coupons with a budget that this worker owns, in minor units.",
            "domain",
        )
        self.stock_exhausted = self._gauge(
            "coupons_exhausted", "Coupons that this worker owns without stock or budget.", "domain"
        )
        self.overspent = self._gauge(
            "overspent_minor",
            "Money spent beyond the budgets that this worker owns, in minor units; of those that hold the maximum, "
            "held or spent.",
            "domain",
            "hold",
        )
        self.overspent_ratio = self._gauge(
            "overspent_ratio",
            "Largest share of a budget that is spent beyond it, among the budgets that this worker owns.",
            "domain",
        )

    def _begin_at_zero(self) -> None:
        """Make the series that alerts look at: one that is born at 300 has not increased, to Prometheus."""
        for topic in READ_BY_AGENTS:
            for counter in (self.records, self.duplicates, self.replays, self.late):
                counter.labels(topic.name)
            for reason in Rejection:
                self.dead_letters.labels(topic.name, reason)
        for outcome in ("given", *NoCoupon):
            self.decisions.labels(outcome)
        for kind in ("impression", "click", "purchase", "refund", "cancel", "corrected", "revoked"):
            self.feedback.labels(kind)
        for kind in ("used_again", "used_late", "not_booked", "refund_raises"):
            self.feedback.labels(kind)
        for kind in ("familiar", "strange"):
            self.interests.labels(kind)
        for kind in ("given", "held_back"):
            self.new_shoppers.labels(kind)
        for kind in ("granted", "called_back"):
            self.leases.labels(kind)
        for outcome in ("redeemed", "expired"):
            self.ends.labels(outcome)
        for kind in ("requested", "ignored", "idle"):
            self.erasures.labels(kind)
        for agent in WRITERS:
            self.batch_failures.labels(agent)

    def _campaigns(self) -> None:
        """Make the metrics of campaigns; the worker that owns the account exports those of money."""
        self.staged = self._counter(
            "staged_decisions_total", "Decisions that would have given a coupon of a staged campaign.", "campaign"
        )

        def of_campaign(name: str, help_text: str) -> Gauge:
            return self._gauge(name, help_text, "campaign")

        self.campaign_budget = of_campaign(
            "campaign_budget_minor", "Budget of a campaign in minor units; none without a limit."
        )
        self.campaign_spent = of_campaign(
            "campaign_spent_minor", "Money that a campaign's coupons have taken off, less what was returned."
        )
        self.campaign_held = of_campaign("campaign_held_minor", "Money held for a campaign's open coupons.")
        self.campaign_is_spent = of_campaign(
            "campaign_is_spent",
            "1 while a campaign's budget pays for none of its coupons any more, so that it has paused by itself.",
        )
        self.campaign_price = of_campaign(
            "campaign_price", "Price of a campaign's budget: value that a minor unit of expected cost must bring."
        )
        self.campaign_due = of_campaign(
            "campaign_due_ratio",
            "Share of a campaign's budget that should be spent by now, by its curve; none if it is not steered.",
        )

    def _models(self) -> None:
        """Make the metrics of served predictions, scored as their labels arrive."""
        self.model_log_loss = self._of_head(
            "model_log_loss",
            "Progressive log loss of what is served: each prediction is scored before it is learnt from.",
        )
        self.model_base_log_loss = self._of_head(
            "model_base_log_loss", "Log loss of always predicting the base rate as it was at that time."
        )
        self.model_roc_auc = self._of_head("model_roc_auc_ratio", "Progressive ROC AUC of what is served.")
        self.model_level = self._of_head(
            "model_level_ratio",
            "Observed over predicted where chance drew the coupon from all candidates: redemptions (effect), orders "
            "without a coupon (demand).",
        )
        self.model_thinning = self._gauge(
            "model_thinning_level",
            "Level of thinning of a learner that is behind: 0 if it learns all examples, each level halves those in "
            "which nothing happened.",
            "domain",
        )
        self.model_prior_decides = self._of_head(
            "model_prior_decides", "1 while the level of the model is off and the prior decides in its place."
        )

    def _lift(self) -> None:
        """Make the metrics of the measured lift, which the active learner exports."""
        self.lift = self._gauge(
            "lift_minor",
            "Margin per shopper who may get coupons, less that per shopper who gets none, in minor units: mid, and the "
            "ends low and high of an interval that holds at all looks together.",
            "domain",
            "bound",
        )
        self.lift_shoppers = self._gauge(
            "lift_shoppers", "Shoppers that lift is measured on: treated, or without coupons.", "domain", "kind"
        )
        self.lift_total = self._gauge(
            "lift_total_minor",
            "Margin that coupons brought in all: predicted, predicted_closed (of coupons whose window has closed), and "
            "measured: low, mid, high.",
            "domain",
            "kind",
        )
        self.lift_mismatch = self._gauge(
            "lift_sample_ratio_mismatch", "1 if the arms of lift have not the shares that they were drawn by.", "domain"
        )
        self.lift_disagrees = self._gauge(
            "lift_disagrees", "1 if the predicted values are outside of the interval of the measured lift.", "domain"
        )
        self.lift_brake = self._gauge(
            "lift_brake", "1 while a domain gives few coupons because its lift lies below zero.", "domain"
        )
        self.lift_value_ratio = self._gauge(
            "lift_value_ratio", "Factor of all values of a domain, by its measured lift.", "domain"
        )

    def _results(self) -> None:
        """Make the metrics of what coupons led to, which the active learner exports."""
        self.coupon_results = self._gauge(
            "coupon_results",
            "Coupons of the last 7 days of the shop that were given, seen, clicked and used so far, by coupon: the 50 "
            "given most, and all others as other.",
            "coupon",
            "kind",
        )
        self.coupon_discount = self._gauge(
            "coupon_discount_minor", "Discounts of the coupons that coupon_results counts, in minor units.", "coupon"
        )

        self.guardrail_actions = self._counter(
            "guardrail_actions_total",
            "Campaigns stopped by a guardrail: its metric, and the action hold or pause.",
            "campaign",
            "metric",
            "action",
        )

    def _challengers(self) -> None:
        """Make the metrics of champions and challengers."""
        self.model_champion = self._gauge(
            "model_champion", "1 for the model that serves, 0 for its challengers.", "domain", "head", "model"
        )
        self.model_recent_log_loss = self._gauge(
            "model_recent_log_loss",
            "Log loss of each model since the last promotion, tested before it learns, recent examples counting more.",
            "domain",
            "head",
            "model",
        )
        self.model_promotions = self._counter(
            "model_promotions_total", "Changes of champion, by the model that took over.", "domain", "head", "model"
        )
        self.model_drifts = self._counter(
            "model_drifts_total", "Drifts detected. The models then learn faster.", "domain", "head"
        )
