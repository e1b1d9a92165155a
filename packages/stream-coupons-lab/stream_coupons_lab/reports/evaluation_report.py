"""The report of `evaluate`: quality of each head, effects of coupons, baselines."""

from collections.abc import Sequence

from stream_coupons_lab.offline.baselines import Beside
from stream_coupons_lab.offline.evaluated import Evaluated
from stream_coupons_lab.reports import quality_report, tables
from stream_coupons_lab.reports.effect_charts import add_effects
from stream_coupons_lab.reports.report import HtmlReport


def page(name: str, found: Evaluated) -> HtmlReport:
    """Return the report of an evaluation; `name` is the log's."""
    report = quality_report.page(name, found.series, found.qualities, found.slices)
    if found.baselines:
        _baselines(report, found.baselines)
    if any(one.by_arm for one in found.scored):
        add_effects(report, found.effects, f"{found.effects_of or 'purchase'}s", "percent")
        if found.doubts:
            report.table(["what makes it doubtful"], [[doubt] for doubt in found.doubts])
    report.section("Conclusion", "\n\n".join(found.conclusions()))
    return report


def _baselines(report: HtmlReport, baselines: Sequence[Beside]) -> None:
    report.section(
        "Beside plain models",
        "The same issues, with the same delays, by models that see the raw columns only: context, arm, attributes and "
        "terms of the coupon. River's logistic regression learns label by label; the boosted trees are fitted anew "
        "on all labels so far whenever these have grown by half.",
    )
    report.table(*tables.baselines(baselines))
