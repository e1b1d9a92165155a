"""Sections of a report on the effects of coupons: Qini curves."""

from collections.abc import Sequence

from stream_coupons_lab.offline.arm_effects import ArmEffect
from stream_coupons_lab.reports import tables
from stream_coupons_lab.reports.axes import Axis, Unit
from stream_coupons_lab.reports.report import HtmlReport

ABOUT = (
    "Each coupon against giving none, where either could be chosen, by the inverse of the propensities. "
    "Curves go from the decisions with the highest predicted effect to those with the lowest."
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
    means = [(one.arm, one.uplift.mean) for one in effects]
    rows = [(arm, mean.value, mean.low, mean.high) for arm, mean in means]
    report.point_chart("Effect observed", rows, axis, note="Against giving none, with bootstrap 95% intervals.")
    report.table(*tables.effects(effects, unit))
    report.line_chart(
        "Qini curves above a random order",
        {one.arm: _above_random(one) for one in effects},
        x=Axis("share of the decisions", "percent", from_zero=True),
        y=axis,
        note="Additional reward for each treated decision, less that of a random order, which is zero everywhere. "
        "The Qini coefficient is the area.",
    )


def _above_random(one: ArmEffect) -> list[tuple[float, float]]:
    curve = one.uplift.curve
    above = curve.qini - curve.share * curve.qini[-1]
    return list(zip(curve.share.tolist(), above.tolist(), strict=True))
