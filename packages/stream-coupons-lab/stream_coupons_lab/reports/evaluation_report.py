"""The report of `evaluate`: quality of each head, effects of coupons, models and their features, baselines."""

from collections.abc import Sequence

from stream_coupons_lab.offline.baselines import OURS, Beside
from stream_coupons_lab.offline.evaluated import Evaluated
from stream_coupons_lab.offline.inspection import Change, FeatureWeight, ServedModel
from stream_coupons_lab.reports import quality_report
from stream_coupons_lab.reports.axes import Axis, format_value
from stream_coupons_lab.reports.effect_charts import add_effects
from stream_coupons_lab.reports.quality_report import TITLES
from stream_coupons_lab.reports.report import HtmlReport

MAX_FEATURES = 20
MAX_CHANGES = 50


def page(name: str, found: Evaluated) -> HtmlReport:
    """Return the report of an evaluation; `name` is the log's."""
    report = quality_report.page(name, found.series, found.qualities, found.slices, found.anyway)
    if found.baselines:
        _baselines(report, found.baselines)
    if any(one.by_arm for one in found.scored):
        add_effects(report, found.effects, f"{found.effects_of or 'purchase'}s", "percent")
        if found.doubts:
            report.table(["what makes it doubtful"], [[doubt] for doubt in found.doubts])
    _models(report, found.models, found.changes)
    _weights(report, found.weights)
    return report


def _baselines(report: HtmlReport, baselines: Sequence[Beside]) -> None:
    report.section(
        "Beside plain models",
        "The same issues, with the same delays, by models that see the raw columns only: context, arm, attributes and "
        "terms of the coupon. River's logistic regression learns label by label; the boosted trees are fitted anew "
        "on all labels so far whenever these have grown by half.",
    )
    for head in dict.fromkeys(one.head for one in baselines):
        those = [one for one in baselines if one.head == head]
        report.bar_chart(
            f"Log loss: {TITLES[head].lower()}",
            {one.model: one.log_loss for one in those},
            Axis("log loss", from_zero=True),
            highlight=OURS,
        )
    report.table(
        ["head", "model", "issues", "log loss", "above ours", "95%", "ROC AUC"],
        [
            [
                one.head,
                one.model,
                one.examples,
                round(one.log_loss, 4),
                "" if one.model == OURS else f"{one.lead.value:+.4f}",
                "" if one.model == OURS else f"{one.lead.low:+.4f} to {one.lead.high:+.4f}",
                round(one.roc_auc, 4),
            ]
            for one in baselines
        ],
    )


def _models(report: HtmlReport, models: Sequence[ServedModel], changes: Sequence[Change]) -> None:
    report.section(
        "Models",
        "All models of a head learn side by side. The one that serves is replaced when another is better beyond doubt. "
        "Log loss here is of the latest examples, before calibration, since the model that serves was last replaced."
        + ("" if changes else "\n\nNo drift was found, and no other model took over."),
    )
    report.table(
        ["domain", "head", "model", "serves", "labels", "log loss"],
        [
            [one.domain, one.head, one.model, "yes" if one.is_served else "", one.examples, format_value(one.log_loss)]
            for one in models
        ],
    )
    if changes:
        report.table(
            ["at", "domain", "head", "change", "detail"],
            [
                [format_value(one.at, "date"), one.domain, one.head, one.kind, one.detail]
                for one in changes[:MAX_CHANGES]
            ],
        )


def _weights(report: HtmlReport, weights: Sequence[FeatureWeight]) -> None:
    heads = list(dict.fromkeys(one.head for one in weights))
    if not heads:
        return
    report.section(
        "What weighs most",
        "Mean size of what a feature adds to the log-odds, by the model at the end of the log, over its latest issues. "
        "Values of one key of the context, or of one attribute, are taken together; a star joins features that are "
        "crossed.",
    )
    for head in heads:
        those = [one for one in weights if one.head == head][:MAX_FEATURES]
        report.bar_chart(
            TITLES[head],
            {one.feature: one.magnitude for one in those},
            Axis("mean size, log-odds", from_zero=True),
        )
