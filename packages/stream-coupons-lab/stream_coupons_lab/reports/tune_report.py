"""The report of `tune`: the search trial by trial, what each setting matters, and the comparison on unseen issues."""

from collections.abc import Mapping, Sequence

from optuna.trial import FrozenTrial, TrialState

from stream_coupons_lab.reports.axes import Axis
from stream_coupons_lab.reports.report import HtmlReport
from stream_coupons_lab.tuning.objective import Tuned, verdict
from stream_coupons_lab.tuning.search_space import Range, SearchSpace, Value, rounded


def page(
    tuned: Tuned, tried: Sequence[FrozenTrial], importances: Mapping[str, float], space: SearchSpace
) -> HtmlReport:
    """Return the report of a search.

    Parameters
    ----------
    tried : sequence of FrozenTrial
        All trials that are done, in order.
    importances : mapping of str to float
        Share of what explains the quality, by setting; empty if it is unknown.
    """
    metric = tuned.metric.label
    report = HtmlReport(f"Tuning on {tuned.log.name}", f"Settings that predict P({tuned.head}) better, by {metric}.")
    _result(report, tuned, metric)
    _search(report, tuned, tried, metric)
    report.section(
        "What each setting matters",
        "A random forest predicts the quality of the trials that went to their end: the share of its explanation that "
        "is by each setting. A setting with a small share can stay as it is. With few trials chance has its share.",
    )
    if importances:
        report.bar_chart(
            "Importance",
            {name: round(share, 3) for name, share in importances.items()},
            Axis("share of what is explained", "percent", from_zero=True),
        )
    else:
        report.table(["importance"], [["Unknown: it takes five trials with different results that went to their end."]])
    for name in tuned.found:
        _setting(report, name, tried, tuned, space, metric)
    return report


def _result(report: HtmlReport, tuned: Tuned, metric: str) -> None:
    text = verdict(tuned)
    report.section("Result", text[0].upper() + text[1:] + ".")
    held_out = tuned.held_out
    report.stats(
        [
            (f"{metric} with today's settings", round(held_out.first, 4), "on the issues that the search has not seen"),
            (f"{metric} with those found", round(held_out.second, 4), f"{held_out.issues:,} issues"),
        ]
    )
    gains = [("searched", tuned.searched.gain), ("held out", held_out.gain)]
    report.point_chart(
        "Gain",
        [(name, gain.value, gain.low, gain.high) for name, gain in gains],
        Axis(f"gain in {metric}", from_zero=True),
        note="Found against today's, with paired bootstrap 95% intervals over shoppers. Settings were chosen on "
        "the part searched: only the part held out says what they are worth.",
        highlight="held out",
    )
    report.table(
        ["setting", "today", "found"],
        [[name, str(tuned.used_today[name]), str(value)] for name, value in tuned.found.items()],
    )


def _search(report: HtmlReport, tuned: Tuned, tried: Sequence[FrozenTrial], metric: str) -> None:
    text = f"{len(tried)} trials by the method {tuned.method}"
    if tuned.given_up:
        text += f"; {tuned.given_up} were given up on the way, as they were worse than the median of the others"
    if tuned.failed:
        text += f"; {tuned.failed} have no quality"
    report.section("Search", f"{text}.")
    best: list[tuple[float, float]] = []
    choose = max if tuned.metric.sign > 0 else min
    for number, _, quality in _complete(tried):
        best.append((float(number), choose([quality, *(value for _, value in best[-1:])])))
    report.line_chart("Best so far", {"best so far": best}, x=Axis("trial"), y=Axis(metric))


def _complete(tried: Sequence[FrozenTrial]) -> list[tuple[int, dict[str, Value], float]]:
    """Return number, values and quality of the trials that went to their end."""
    complete = (trial for trial in tried if trial.state is TrialState.COMPLETE)
    return [(trial.number, rounded(trial.params), trial.value) for trial in complete if trial.value is not None]


def _setting(
    report: HtmlReport, name: str, tried: Sequence[FrozenTrial], tuned: Tuned, space: SearchSpace, metric: str
) -> None:
    complete = _complete(tried)
    axis = space.axes[name]
    if isinstance(axis, Range):
        report.scatter_chart(
            name,
            [
                (f"trial {number}", float(values[name]), quality, number != tuned.best_trial)
                for number, values, quality in complete
            ],
            Axis(name),
            Axis(metric),
            note="Trials that went to their end; the best in colour.",
            is_log=axis.log,
        )
        return
    rows = []
    for choice in axis.choices:
        found = [quality for _, values, quality in complete if values[name] == choice]
        if found:
            rows.append((str(choice), sum(found) / len(found), min(found), max(found)))
    report.point_chart(
        name,
        rows,
        Axis(metric),
        note="Mean of the trials that went to their end, from the least to the greatest.",
        highlight=str(tuned.found[name]),
    )
