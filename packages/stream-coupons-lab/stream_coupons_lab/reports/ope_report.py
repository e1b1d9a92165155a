"""The report of `ope`: policies and their values, how far to believe them, and the effects of coupons."""

import math
from collections.abc import Sequence

from stream_coupons.models.metrics import Interval
from stream_coupons_lab.offline.arm_effects import Targeting
from stream_coupons_lab.ope.ope import Estimator
from stream_coupons_lab.ope.own_valuation import Lift, OwnReport
from stream_coupons_lab.ope.rewards import Reward
from stream_coupons_lab.ope.valuation import WEIGHT_LEVELS, Valued
from stream_coupons_lab.ope.valuation import ValuationReport as Values
from stream_coupons_lab.reports.axes import DAY_S, Axis, Unit, format_interval, format_value
from stream_coupons_lab.reports.effect_charts import add_effects
from stream_coupons_lab.reports.report import HtmlReport

TITLES = {Estimator.IPS: "IPS", Estimator.SNIPS: "SNIPS", Estimator.DR: "doubly robust"}
UNITS: dict[Reward, Unit] = {
    Reward.CLICK: "percent",
    Reward.PURCHASE: "percent",
    Reward.MARGIN: "money",
    Reward.ORDER_VALUE: "money",
}
NOUNS = {
    Reward.CLICK: "clicks",
    Reward.PURCHASE: "purchases",
    Reward.MARGIN: "margin",
    Reward.ORDER_VALUE: "order value",
}
MAX_WEIGHT_LINES = 8


def page(name: str, found: Values) -> HtmlReport:
    """Return the report of a valuation; `name` is the log's."""
    unit, noun = UNITS[found.reward], NOUNS[found.reward]
    subtitle = (
        f"What policies would have earned: {noun} for each of {found.decisions:,} decisions about "
        f"{found.shoppers:,} shoppers, {found.arms:,} arms. Propensities are {found.propensities}."
    )
    report = HtmlReport(f"Policies on {name}", subtitle)
    _values(report, found.valued, noun, unit)
    _trust(report, found.valued, found.warnings, found.notes)
    _targets(report, found.targeting, noun, unit)
    add_effects(report, found.effects, noun, unit)
    return report


def own_page(name: str, found: OwnReport) -> HtmlReport:
    """Return the report of policies on the engine's own decisions; `name` is the log's, or the broker's address."""
    subtitle = (
        f"Margin within {found.window_s / DAY_S:g} days of {found.decisions:,} decisions about {found.shoppers:,} "
        f"shoppers of {found.domain}, {found.coupons:,} coupons, {found.sold_out:.1%} of them sold out."
    )
    report = HtmlReport(f"Policies on {name}", subtitle)
    _values(report, found.valued, "margin", "money")
    _trust(report, found.valued, found.warnings, found.notes)
    if found.lift is not None:
        _lift(report, found.lift)
    return report


def _lift(report: HtmlReport, lift: Lift) -> None:
    report.section(
        "Lift over the control group",
        "What shoppers who may get coupons bring more than those of the permanent control group, from their first "
        "decision on. Both groups are drawn by lot and followed by the same orders.",
    )
    total = lift.total_minor
    report.stats(
        [
            ("Lift per shopper", format_value(lift.lift.value, "money"), _span(lift.lift)),
            ("All together", format_value(total.value, "money"), _span(total)),
            ("May get coupons", format_value(lift.treated_mean, "money"), f"a shopper, of {lift.treated:,}"),
            ("Control group", format_value(lift.holdout_mean, "money"), f"a shopper, of {lift.holdout:,}"),
        ]
    )


def _span(interval: Interval) -> str:
    ends = format_interval(interval.low, interval.high, "money")
    return f"95% {ends}" if ends else ""


def _values(report: HtmlReport, valued: Sequence[Valued], noun: str, unit: Unit) -> None:
    report.section(
        "Value of each policy",
        "The doubly robust estimate comes first: it uses the model where the log has little, and is unbiased whatever "
        "the model if the propensities are right. Intervals are 95% and draw whole shoppers.",
    )
    axis = Axis(f"{noun} for each decision", unit)
    highlight = "greedy" if any(one.policy == "greedy" for one in valued) else None
    for estimator in (Estimator.DR, Estimator.SNIPS, Estimator.IPS):
        rows = [(one.policy, *_ends(one, estimator)) for one in valued]
        report.point_chart(f"By {TITLES[estimator]}", rows, axis, highlight=highlight)
    gains = [(one.policy, *_ends(one, Estimator.DR, is_gain=True)) for one in valued if one.policy != "logged"]
    if gains:
        report.point_chart(
            "Above the logging policy",
            gains,
            Axis(f"additional {noun} for each decision", unit),
            note="Doubly robust. Paired: an interval above zero is a gain beyond chance, for that policy alone.",
        )
    report.table(
        ["policy", *(text for title in TITLES.values() for text in (title, "95%"))],
        [[one.policy, *_cells(one, unit)] for one in valued],
    )


def _trust(report: HtmlReport, valued: Sequence[Valued], warnings: Sequence[str], notes: Sequence[str]) -> None:
    report.section(
        "How far to believe it",
        "Each logged decision counts by its weight: the probability with which the policy would have chosen what was "
        "logged, over the propensity. The mean weight should be 1. With a few large weights, a few decisions decide.",
    )
    report.bar_chart(
        "Effective sample size",
        {one.policy: one.valuation.diagnostics.effective for one in valued},
        Axis("decisions", from_zero=True),
        note="So many decisions of the policy itself would tell as much.",
    )
    others = [one for one in valued if one.policy != "logged"]
    lines = {one.policy: list(zip(WEIGHT_LEVELS, one.weights, strict=True)) for one in others}
    if lines:
        report.line_chart(
            "Distribution of the weights",
            dict(list(lines.items())[:MAX_WEIGHT_LINES]),
            x=Axis("share of the decisions with at most this weight", "percent", from_zero=True),
            y=Axis("weight", from_zero=True),
        )
    report.table(
        ["policy", "decisions", "effective", "rewarded", "agrees", "largest weight", "mean weight", "never logged"],
        [_checks(one) for one in valued],
    )
    if warnings or notes:
        report.table(
            ["", "what to know"],
            [*(["warning", text] for text in warnings), *(["note", text] for text in notes)],
        )


def _targets(report: HtmlReport, targeting: Sequence[Targeting], noun: str, unit: Unit) -> None:
    if not targeting:
        return
    report.section(
        "Does it find those whom a coupon moves?",
        "Decisions by predicted effect, the highest first. A Qini coefficient above zero means that the order is "
        "better than a random one.",
    )
    report.point_chart(
        "Qini coefficient",
        [(one.coupon, one.uplift.qini.value, one.uplift.qini.low, one.uplift.qini.high) for one in targeting],
        Axis(f"area above a random order, {noun}", unit),
    )
    report.line_chart(
        "Uplift curve",
        {
            one.coupon: list(zip(one.uplift.curve.share.tolist(), one.uplift.curve.uplift.tolist(), strict=True))
            for one in targeting
        },
        x=Axis("share of the decisions", "percent", from_zero=True),
        y=Axis(f"additional {noun} for each decision", unit),
    )


def _ends(one: Valued, estimator: Estimator, *, is_gain: bool = False) -> tuple[float, float, float]:
    found = (one.valuation.gains if is_gain else one.valuation.values)[estimator]
    return found.value, found.low, found.high


def _cells(one: Valued, unit: Unit) -> list[str]:
    cells: list[str] = []
    for estimator in TITLES:
        value, low, high = _ends(one, estimator)
        cells += [format_value(value, unit), format_interval(low, high, unit)]
    return cells


def _checks(one: Valued) -> list[str | float]:
    found = one.valuation.diagnostics
    return [
        one.policy,
        found.decisions,
        round(found.effective),
        found.rewarded,
        format_value(found.agreement, "percent"),
        format_value(found.largest_weight),
        format_value(found.mean_weight.value) if not math.isnan(found.mean_weight.value) else "",
        format_value(one.unsupported, "percent"),
    ]
