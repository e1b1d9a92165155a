"""The report of `tune`: the search trial by trial, and the comparison on unseen issues."""

import math
from collections.abc import Sequence

from optuna.trial import FrozenTrial

from stream_coupons_lab.reports import tables
from stream_coupons_lab.reports.axes import Axis
from stream_coupons_lab.reports.report import HtmlReport
from stream_coupons_lab.tuning.objective import Tuned, verdict
from stream_coupons_lab.tuning.search_space import rounded


def page(tuned: Tuned, tried: Sequence[FrozenTrial]) -> HtmlReport:
    """Return the report of a search.

    Parameters
    ----------
    tried : sequence of FrozenTrial
        All trials that are done, in order.
    """
    report = HtmlReport(f"Tuning on {tuned.log.name}", f"Settings that predict P({tuned.head}) better, by log loss.")
    _result(report, tuned)
    _search(report, tuned, tried)
    return report


def _result(report: HtmlReport, tuned: Tuned) -> None:
    text = verdict(tuned)
    report.section("Result", text[0].upper() + text[1:] + ".")
    held_out = tuned.held_out
    report.stats(
        [
            ("Log loss with today's settings", round(held_out.first, 4), "on the issues that the search has not seen"),
            ("Log loss with those found", round(held_out.second, 4), f"{held_out.issues:,} issues"),
        ]
    )
    gains = [("searched", tuned.searched.gain), ("held out", held_out.gain)]
    report.point_chart(
        "Gain",
        [(name, gain.value, gain.low, gain.high) for name, gain in gains],
        Axis("gain in log loss", from_zero=True),
        note="Found against today's, with paired bootstrap 95% intervals over shoppers. Settings were chosen on "
        "the part searched: only the part held out says what they are worth.",
        highlight="held out",
    )
    report.table(*tables.tuned_settings(tuned))


def _search(report: HtmlReport, tuned: Tuned, tried: Sequence[FrozenTrial]) -> None:
    text = f"{len(tried)} trials by the method {tuned.method}"
    if tuned.failed:
        text += f"; {tuned.failed} have no quality"
    report.section("Search", f"{text}.")
    best: list[tuple[float, float]] = []
    for trial in tried:
        if trial.value is not None:
            best.append((float(trial.number), min([trial.value, *(value for _, value in best[-1:])])))
    report.line_chart("Best so far", {"best so far": best}, x=Axis("trial"), y=Axis("log loss"))
    rows = [[trial.number, *rounded(trial.params).values(), trial.value or math.nan] for trial in tried]
    report.table(["trial", *tuned.found, "log loss"], rows)
