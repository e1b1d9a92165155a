"""The report of `ope`: policies and their values, how far to believe them, and the effects of coupons."""

from collections.abc import Sequence

from stream_coupons_lab.ope.ope import Estimator
from stream_coupons_lab.ope.own_valuation import OwnReport
from stream_coupons_lab.ope.valuation import ValuationReport as Values
from stream_coupons_lab.ope.valuation import Valued
from stream_coupons_lab.reports import tables
from stream_coupons_lab.reports.axes import DAY_S, Axis, Unit
from stream_coupons_lab.reports.effect_charts import add_effects
from stream_coupons_lab.reports.report import HtmlReport


def page(name: str, found: Values) -> HtmlReport:
    """Return the report of a valuation; `name` is the log's."""
    subtitle = (
        f"What policies would have earned: {found.reward.noun} for each of {found.decisions:,} decisions about "
        f"{found.shoppers:,} shoppers, {found.arms:,} arms."
    )
    report = _page(name, subtitle, found)
    add_effects(report, found.effects, found.reward.in_unit(found.currency), found.reward.unit(found.currency))
    return report


def own_page(name: str, found: OwnReport) -> HtmlReport:
    """Return the report of policies on the engine's own decisions; `name` is the log's, or the broker's address."""
    subtitle = (
        f"Margin within {found.window_s / DAY_S:g} days of {found.decisions:,} decisions about {found.shoppers:,} "
        f"shoppers of {found.domain}, {found.coupons:,} coupons, {found.sold_out:.1%} of them sold out."
    )
    return _page(name, subtitle, found)


def _page(name: str, subtitle: str, found: Values | OwnReport) -> HtmlReport:
    report = HtmlReport(f"Policies on {name}", subtitle)
    report.section(
        "Value of each policy",
        f"{found.conclusion}\n\nThe doubly robust estimate comes first: it uses the model where the log has little, "
        "and is unbiased whatever the model if the propensities are right. Intervals are 95% and draw whole shoppers.",
    )
    for valued, note in tables.by_decisions(found.valued, found.decisions):
        _values(report, valued, note, found.reward.in_unit(found.currency), found.reward.unit(found.currency))
    _trust(report, found.valued, found.warnings, found.notes)
    return report


def _values(report: HtmlReport, valued: Sequence[Valued], note: str, noun: str, unit: Unit) -> None:
    highlight = "greedy" if any(one.policy == "greedy" for one in valued) else None
    rows = [(one.policy, *_ends(one, Estimator.DR)) for one in valued]
    report.point_chart("By doubly robust", rows, Axis(f"{noun} for each decision", unit), note, highlight=highlight)
    gains = [(one.policy, *_ends(one, Estimator.DR, is_gain=True)) for one in valued if one.policy != "logged"]
    if gains:
        report.point_chart(
            "Above the logging policy",
            gains,
            Axis(f"additional {noun} for each decision", unit),
            note="Doubly robust. Paired: an interval above zero is a gain beyond chance, for that policy alone.",
        )
    report.table(*tables.values(valued, unit))


def _trust(report: HtmlReport, valued: Sequence[Valued], warnings: Sequence[str], notes: Sequence[str]) -> None:
    report.section(
        "How far to believe it",
        "Each logged decision counts by its weight: the probability with which the policy would have chosen what was "
        "logged, over the propensity. The mean weight (w) should be 1. With a few large weights, a few decisions "
        "decide: ESS is the effective sample size. Nothing is known of the share that was never logged.",
    )
    report.table(*tables.checks(valued))
    if warnings or notes:
        report.table(
            ["", "what to know"],
            [*(["warning", text] for text in warnings), *(["note", text] for text in notes)],
        )


def _ends(one: Valued, estimator: Estimator, *, is_gain: bool = False) -> tuple[float, float, float]:
    found = (one.valuation.gains if is_gain else one.valuation.values)[estimator]
    return found.value, found.low, found.high
