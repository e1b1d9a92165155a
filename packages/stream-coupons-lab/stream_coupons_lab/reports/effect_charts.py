"""Sections of a report on the effects of coupons: uplift, Qini and cost curves, deciles of predicted effect."""

from collections.abc import Sequence

from stream_coupons.models.metrics import Interval
from stream_coupons_lab.offline.arm_effects import ArmEffect, covered
from stream_coupons_lab.reports.axes import Axis, Unit, format_interval, format_value
from stream_coupons_lab.reports.report import HtmlReport

MAX_GROUP_CHARTS = 6
COLUMNS = (
    "coupon", "treated", "controls", "observed", "95%", "predicted", "AUUC", "Qini", "95% of Qini", "AUCC",
    "95% of AUCC",
)  # fmt: skip
ABOUT = (
    "Each coupon against giving none, where either could be chosen, by the inverse of the propensities. "
    "Curves go from the decisions with the highest predicted effect to those with the lowest. "
    "In a random order the uplift curve is a straight line to its end."
)


def add_effects(report: HtmlReport, effects: Sequence[ArmEffect], what: str, unit: Unit) -> None:
    """Add the effects of coupons to a report.

    Parameters
    ----------
    what : str
        The reward, such as `purchases`.
    unit : {"number", "percent", "money"}
        Of the reward for each decision.
    """
    report.section("Effect of each coupon", ABOUT)
    if not effects:
        report.table(
            ["effects"],
            [["Not measured: it takes 50 decisions with the coupon, and 50 without, where both could be chosen."]],
        )
        return
    axis = Axis(f"additional {what} for each decision", unit)
    rows = [(one.arm, *_ends(one.uplift.mean)) for one in effects]
    report.point_chart("Effect observed", rows, axis, note="Against giving none, with bootstrap 95% intervals.")
    report.table(COLUMNS, [_row(one, unit) for one in effects])
    _curves(report, effects, what, axis)
    _groups(report, effects, unit)


def _curves(report: HtmlReport, effects: Sequence[ArmEffect], what: str, axis: Axis) -> None:
    share = Axis("share of the decisions", "percent", from_zero=True)
    report.line_chart(
        "Uplift curves",
        {one.arm: _points(one.uplift.curve.share.tolist(), one.uplift.curve.uplift.tolist()) for one in effects},
        x=share,
        y=axis,
        note="Gain for each decision if only the best share of them gets the coupon.",
    )
    report.line_chart(
        "Qini curves above a random order",
        {one.arm: _above_random(one) for one in effects},
        x=share,
        y=axis,
        note="Additional reward for each treated decision, less that of a random order, which is zero everywhere. "
        "The Qini coefficient is the area.",
    )
    costly = {
        one.arm: _points(one.cost_share.tolist(), one.gain_share.tolist()) for one in effects if len(one.cost_share)
    }
    if costly:
        report.line_chart(
            "Cost curves",
            {**costly, "random order": [(0.0, 0.0), (1.0, 1.0)]},
            x=Axis("share of the additional cost", "percent", from_zero=True),
            y=Axis(f"share of the additional {what}", "percent"),
            note="Best effect for each unit of cost first. Costs are the discounts of redeemed coupons; one unit a "
            "redemption where the log states no discount. Only coupons that bring something more have a curve.",
        )


def _groups(report: HtmlReport, effects: Sequence[ArmEffect], unit: Unit) -> None:
    several = [one for one in effects if len(one.groups) > 1][:MAX_GROUP_CHARTS]
    held, count = covered(several)
    if several:
        report.stats(
            [("Predicted within observed", f"{held} of {count}", "groups whose 95% interval holds the prediction")]
        )
    for one in several:
        groups = one.groups[::-1]
        observed = [(group.predicted, group.observed.value) for group in groups]
        ends = sorted({observed[0][0], observed[-1][0]})
        report.line_chart(
            f"Predicted and observed effect: {one.arm}",
            {"observed": observed, "as predicted": [(end, end) for end in ends]},
            x=Axis("predicted effect", unit),
            y=Axis("observed effect", unit),
            bands={"observed": [(group.predicted, group.observed.low, group.observed.high) for group in groups]},
            note=f"{len(groups)} groups of equal size by predicted effect, with 95% intervals.",
        )


def _above_random(one: ArmEffect) -> list[tuple[float, float]]:
    curve = one.uplift.curve
    return _points(curve.share.tolist(), (curve.qini - curve.share * curve.qini[-1]).tolist())


def _row(one: ArmEffect, unit: Unit) -> list[str | float]:
    return [
        one.arm,
        one.treated,
        one.controls,
        format_value(one.uplift.mean.value, unit),
        _span(one.uplift.mean, unit),
        format_value(one.predicted, unit),
        format_value(one.uplift.auuc.value, unit),
        format_value(one.uplift.qini.value, unit),
        _span(one.uplift.qini, unit),
        format_value(one.aucc.value),
        _span(one.aucc, "number"),
    ]


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


def _span(interval: Interval, unit: Unit) -> str:
    return format_interval(interval.low, interval.high, unit)


def _points(x: list[float], y: list[float]) -> list[tuple[float, float]]:
    return list(zip(x, y, strict=True))
