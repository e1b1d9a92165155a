"""The report of a log: how good its predictions were."""

import math
from collections.abc import Sequence

import numpy as np

from stream_coupons.models.metrics import Interval
from stream_coupons_lab.offline.metrics import log_loss
from stream_coupons_lab.offline.quality import HeadMetrics, LabelledIssues, Slice, rate_interval
from stream_coupons_lab.reports import tables
from stream_coupons_lab.reports.axes import Axis, Unit, format_interval, format_value
from stream_coupons_lab.reports.report import HtmlReport

TITLES = {"click": "Click", "redeem": "Purchase with the coupon", "order": "Purchase without a coupon"}
WINDOWS = 30
CALIBRATION_BINS = 10


def page(
    name: str,
    series: Sequence[LabelledIssues],
    qualities: Sequence[HeadMetrics],
    slices: Sequence[Slice],
) -> HtmlReport:
    """Return the report of a log.

    Parameters
    ----------
    name : str
        Name of the log.
    series, qualities : sequences
        The issues of each head, and their metrics.
    slices : sequence of Slice
        By coupon and by segment, of all heads.
    """
    subtitle = "Each issue was scored before its outcome was known, and learnt when its window had closed."
    report = HtmlReport(f"Evaluation of {name}", subtitle)
    report.section("Quality of the probabilities", tables.METRICS_NOTE)
    report.table(*tables.metrics(qualities))
    for judged, quality in zip(series, qualities, strict=True):
        report.section(TITLES[judged.head], _about(quality))
        if not len(judged):
            continue
        _progress(report, judged)
        if 0 < quality.positives < quality.examples:
            _calibration(report, judged)
        _slices(report, [each for each in slices if each.head == judged.head])
    return report


def _about(quality: HeadMetrics) -> str:
    if not quality.examples:
        return "No issue of this kind had a label by the end of the log."
    about = f"{quality.examples:,} issues with a label, {quality.positives:,} of them positive."
    if quality.issues == "seen":
        about += f" {quality.unseen:,} more were never seen: they are neither learnt nor judged."
    return about


def _progress(report: HtmlReport, judged: LabelledIssues) -> None:
    size, rate = math.ceil(len(judged) / WINDOWS), float(judged.labels.mean())
    losses, base = [], []
    for start in range(0, len(judged), size):
        window = judged.at(range(start, min(start + size, len(judged))))
        end = float(start + len(window))
        losses.append((end, log_loss(window.probabilities, window.labels)))
        base.append((end, log_loss(np.full(len(window), rate), window.labels)))
    labels = Axis("labels so far")
    lines = {"model": losses, "base rate": base}
    report.line_chart("Log loss over time", lines, x=labels, note=f"{WINDOWS} windows of equal size")


def _calibration(report: HtmlReport, judged: LabelledIssues) -> None:
    points, band = [], []
    order = np.argsort(judged.probabilities, kind="stable")
    for rows in np.array_split(order, min(CALIBRATION_BINS, len(order))):
        predicted = float(judged.probabilities[rows].mean())
        observed = rate_interval(int(judged.labels[rows].sum()), len(rows))
        points.append((predicted, observed.value))
        band.append((predicted, observed.low, observed.high))
    ends = [(x, x) for x in (points[0][0], points[-1][0])]
    report.line_chart(
        "Calibration",
        {"observed": points, "calibrated": ends},
        x=Axis("predicted", "percent"),
        y=Axis("observed", "percent", from_zero=True),
        bands={"observed": band},
        note=f"{CALIBRATION_BINS} groups of equal size by prediction, with Wilson's 95% intervals",
    )


def _slices(report: HtmlReport, slices: Sequence[Slice]) -> None:
    report.table(
        ["by", "value", "issues", "positive", "observed", "95%", "predicted", "log loss", "ROC AUC"],
        [
            [
                each.by,
                each.value,
                each.examples,
                each.positives,
                format_value(each.observed.value, "percent"),
                _span(each.observed, "percent"),
                format_value(each.predicted, "percent"),
                round(each.log_loss, 4),
                format_value(each.roc_auc),
            ]
            for each in slices
        ],
    )


def _span(interval: Interval, unit: Unit = "number") -> str:
    return format_interval(interval.low, interval.high, unit)
