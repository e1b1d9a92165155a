"""`evaluate`: learn from the log of another system record by record, and say how good the predictions were."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct
from rich import box
from rich.table import Table

from stream_coupons.cli import terminal
from stream_coupons.cli.foreign_logs import (
    DecisionsOption,
    LogArgument,
    MappingOption,
    WindowOption,
    doubts,
    feed_all,
    read_log,
    report_refused,
    require_writable,
    write_decisions,
)
from stream_coupons.cli.options import ConfigOption, JsonOption, settings_from
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.codec import encode
from stream_coupons.lab.datasets.foreign import WINDOW_S

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.lab.offline.baselines import Beside
    from stream_coupons.lab.offline.evaluated import Evaluated
    from stream_coupons.lab.offline.inspection import Change, ServedModel
    from stream_coupons.lab.offline.order_anyway import OrderAnyway
    from stream_coupons.lab.offline.quality import Quality, Slice
    from stream_coupons.lab.offline.scored import Scored
    from stream_coupons.models.progressive import Interval

COUPONS_SHOWN, SEGMENTS_SHOWN, UNKNOWN_SHOWN = 10, 20, 5


class Prediction(Struct, frozen=True, kw_only=True):
    """A line of `--predictions`: the probabilities at the moment of issue, and the labels as they are in the end.

    P(click) and P(redeem) are of a coupon that is seen, as far as the log reports impressions; `seen` is None where it
    does not. They are None where nothing was given.
    """

    issue_id: str
    user_id: str
    arm: str
    occurred_at: float
    p_click: float | None
    p_redeem: float | None
    p_order: float
    clicked: bool | None
    redeemed: bool | None
    seen: bool | None
    model_version: int


class Evaluation(Struct, frozen=True, kw_only=True):
    """What `--json` prints."""

    records: Mapping[str, int]
    refused_lines: Mapping[str, int]
    refused_feedback: Mapping[str, int]
    feedback_before_issue: Mapping[str, int]
    feedback_on_none: Mapping[str, int]
    redescribed_coupons: Mapping[str, int]
    inferred_scopes: Mapping[str, str]
    unknown_keys: Mapping[str, int]
    issues: int
    labelled: int
    doubtful_impressions: Mapping[str, int]
    heads: Sequence[Quality]
    order_anyway: OrderAnyway | None
    slices: Sequence[Slice]
    models: Sequence[ServedModel]
    changes: Sequence[Change]
    baselines: Sequence[Beside]
    interrupted: bool


def evaluate(  # noqa: PLR0913 - the options of a command
    log: LogArgument,
    mapping: MappingOption = None,
    mapping_template: Annotated[
        bool, typer.Option("--mapping-template", help="Print a mapping for the table LOG, to be completed, and stop.")
    ] = False,
    predictions: Annotated[
        Path | None, typer.Option(help="Write the probabilities of every issue here, as JSON lines.")
    ] = None,
    decisions: DecisionsOption = None,
    report: Annotated[Path | None, typer.Option(help="Write a page with plots here.")] = None,
    baselines: Annotated[
        bool,
        typer.Option("--baselines", help="Learn a River logistic regression and boosted trees beside ours, too."),
    ] = False,
    window: WindowOption = WINDOW_S,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Learn from the log of another system and say how good the predictions
    were.

    Every issue is scored with the model as it stood at its moment, from the
    records before it. It is learnt when its window has closed: at its
    expires_at, or after its coupon's redeem_within_s, or after --window.
    What a line may hold: schemas/foreign-log.v1.schema.json. A line that
    cannot be used is refused with its number, and exit code 1 says so.

    A .csv or .parquet has one row per decision; --mapping names its columns.
    With --report and --decisions every arm of an issue is scored, which
    takes longer; the page then has the effect of each coupon, too.

    Examples: stream-coupons evaluate examples/ecommerce/log.jsonl
              stream-coupons evaluate examples/travel/log.jsonl --json
              stream-coupons evaluate log.jsonl --predictions scored.jsonl
              stream-coupons evaluate log.jsonl --report log.html --window 86400
              stream-coupons evaluate sent.csv --mapping-template > sent.toml
              stream-coupons evaluate sent.csv --mapping sent.toml \\
                --report sent.html --decisions decisions.parquet --baselines
    """
    from stream_coupons.lab.offline.evaluated import evaluated
    from stream_coupons.lab.offline.progressive_run import ProgressiveRun
    from stream_coupons.lab.reports import evaluation_report

    if mapping_template:
        _print_template(log)
        return
    _require_other(log, {"--predictions": predictions, "--report": report, "--decisions": decisions})
    require_writable(decisions)
    settings = settings_from(config, None)
    in_depth = report is not None or decisions is not None
    with terminal.replaced(report) as page_sink:
        with terminal.replaced(predictions) as sink:
            foreign = read_log(log, window, mapping)
            running = ProgressiveRun(foreign, settings, score_arms=in_depth)
            interrupted = feed_all(running, foreign, "learning")
            with terminal.fraction_progress("comparing", 1) as progress:
                found = evaluated(
                    running,
                    settings.policy,
                    in_depth=in_depth,
                    with_baselines=baselines and not interrupted,
                    on_progress=lambda done, total: progress.update(progress.task_ids[0], completed=done, total=total),
                )
            if sink is not None:
                in_order = sorted(found.scored, key=lambda issue: issue.line)
                sink.writelines(encode(_prediction(issue)) + b"\n" for issue in in_order)
        write_decisions(found.scored, decisions)
        evaluation = _judge(found, interrupted=interrupted)
        if page_sink is not None:
            title = f"{log.name}, interrupted after {len(found.scored)} issues" if interrupted else log.name
            page_sink.write(evaluation_report.page(title, found).html().encode())
    report_refused(foreign, log)
    with terminal.results():
        if json:
            typer.echo(encode(evaluation).decode())
        else:
            _print(evaluation, [*_warnings(evaluation), *doubts(foreign)])
    if interrupted:
        terminal.stderr().print(f"interrupted after {len(found.scored)} issues: all results are of these", markup=False)
        raise typer.Exit(terminal.INTERRUPTED)
    raise typer.Exit(1 if foreign.refusals.count else 0)


def _print_template(log: Path) -> None:
    from stream_coupons.lab.datasets import tables

    if not tables.is_table(log):
        raise BadConfig(f"--mapping-template {log}: expected a table whose name ends in .csv, .tsv or .parquet")
    typer.echo(tables.template(tables.read_table(log), log.name), nl=False)


def _require_other(log: Path, outputs: Mapping[str, Path | None]) -> None:
    named = {option: path for option, path in outputs.items() if path is not None}
    if any(log.exists() and path.exists() and path.samefile(log) for path in named.values()):
        raise BadConfig(f"{log}: is the log, expected another file to write to")
    seen: dict[Path, str] = {}
    for option, path in named.items():
        first = seen.setdefault(path.absolute(), option)
        if first != option:
            raise BadConfig(f"{first} and {option}: both are {path.absolute()}, expected two files")


def _prediction(issue: Scored) -> Prediction:
    fields = {name: getattr(issue, name) for name in Prediction.__struct_fields__}
    if issue.coupon_id == NO_COUPON:
        fields.update(p_click=None, p_redeem=None)
    return Prediction(**fields)


def _judge(found: Evaluated, *, interrupted: bool) -> Evaluation:
    foreign, running = found.log, found.running
    return Evaluation(
        records=foreign.counts,
        refused_lines=foreign.refusals.by_reason,
        refused_feedback=running.refused,
        feedback_before_issue=+foreign.before_issue,
        feedback_on_none=+foreign.without_coupon,
        redescribed_coupons=foreign.redescribed,
        inferred_scopes=foreign.scopes,
        unknown_keys={f"{kind}.{key}": lines for (kind, key), lines in foreign.unknown_keys.items()},
        issues=running.issues,
        labelled=running.labelled,
        doubtful_impressions=running.doubtful_impressions,
        heads=found.qualities,
        order_anyway=found.anyway,
        slices=found.slices,
        models=found.models,
        changes=found.changes,
        baselines=found.baselines,
        interrupted=interrupted,
    )


def _print(evaluation: Evaluation, warnings: Sequence[str]) -> None:
    from stream_coupons.lab.offline.segments import COUPON

    console = terminal.stdout()
    console.print(terminal.summary_table(_summary(evaluation)))
    if evaluation.labelled:
        console.print(_metrics_table(evaluation.heads))
    for text in _worse_than_the_base_rate(evaluation.heads):
        console.print(text, markup=False, soft_wrap=True)
    if evaluation.order_anyway is not None:
        console.print()
        console.print(terminal.summary_table(_anyway(evaluation.order_anyway)))
    for text in _what_served(evaluation.models, evaluation.changes):
        console.print(text, markup=False, soft_wrap=True)
    if evaluation.baselines:
        console.print(_baselines_table(evaluation.baselines))
    for head in ("click", "redeem", "order"):
        slices = [each for each in evaluation.slices if each.head == head]
        coupons = [each for each in slices if each.by == COUPON]
        shown = coupons[:COUPONS_SHOWN] + [each for each in slices if each.by != COUPON][:SEGMENTS_SHOWN]
        if shown:
            console.print(_slices_table(head, shown))
        if len(slices) > len(shown):
            console.print(f"... and {len(slices) - len(shown)} more; --json and --report have all", markup=False)
    for warning in warnings:
        terminal.warn(warning)


def _summary(evaluation: Evaluation) -> dict[str, object]:
    return {
        "records": evaluation.records,
        "refused lines": evaluation.refused_lines,
        "feedback not joined": evaluation.refused_feedback,
        "issues": evaluation.issues,
        "with a label": evaluation.labelled,
    }


def _worse_than_the_base_rate(heads: Sequence[Quality]) -> Iterator[str]:
    for head in heads:
        loss, base = head.log_loss.value, head.base_log_loss
        if 0 < head.positives < head.examples and loss > base:
            yield f"P({head.head}) is worse than always saying the base rate: log loss {loss:.4f} against {base:.4f}"


def _what_served(models: Sequence[ServedModel], changes: Sequence[Change]) -> Iterator[str]:
    for each in models:
        if each.is_served:
            drifts = [one for one in changes if (one.domain, one.head) == (each.domain, each.head)]
            text = "; ".join(f"{one.kind} on {terminal.utc(one.at)}" for one in drifts)
            yield f"{each.domain} P({each.head}): {each.model} serves{f'; {text}' if text else ', no drift'}"


def _baselines_table(baselines: Sequence[Beside]) -> Table:
    table = Table(title="\nbeside plain models", title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("", "model"):
        table.add_column(name)
    for name in ("log loss", "above ours", "95%", "AUC"):
        table.add_column(name, no_wrap=True, justify="right")
    for each in baselines:
        lead = each.lead
        is_other = each.model != baselines[0].model
        table.add_row(
            each.head,
            each.model,
            _number(each.log_loss),
            f"{lead.value:+.4f}" if is_other else "",
            f"{lead.low:+.4f} to {lead.high:+.4f}" if is_other else "",
            _number(each.roc_auc, 3),
        )
    return table


def _anyway(found: OrderAnyway) -> dict[str, object]:
    observed = found.observed_without
    return {
        "P(order) with a coupon": f"{found.predicted_with_coupon:.4f}, mean of {found.with_coupon:,} issues",
        "P(order) without": f"{found.predicted_without:.4f}, mean of {found.without:,}; observed {observed.value:.4f} "
        f"({_span(observed)})",
        "P(redeem) < P(order)": f"{found.below_zero_ratio:.1%} of the issues with a coupon: uplift below zero",
    }


def _warnings(evaluation: Evaluation) -> Iterator[str]:
    open_windows = evaluation.issues - evaluation.labelled
    if not evaluation.labelled:
        end = "when it was interrupted" if evaluation.interrupted else "by the end of the log"
        yield f"no window had closed {end}, so nothing was learnt and nothing is judged; see --window"
    elif open_windows:
        yield f"the windows of {open_windows} issues are open at the end of the log: these have no label"
    if late := evaluation.refused_feedback.get(Rejection.LATE):
        yield (
            f"{late} records of feedback came after the window of their issue had closed: at its expires_at, after its "
            "coupon's redeem_within_s, or where a line says neither, after --window"
        )
    for domain, responses in evaluation.doubtful_impressions.items():
        yield (
            f"in {domain} {responses} coupons were clicked or used without an impression, more than a tenth of what "
            "shoppers respond to, each shopper counting the same: what has none was not always "
            "unseen, so its silence is learnt as a no; see attribution.impression_domains"
        )
    if evaluation.unknown_keys:
        named = sorted(evaluation.unknown_keys.items(), key=lambda entry: -entry[1])[:UNKNOWN_SHOWN]
        keys = ", ".join(f"{key} ({count} lines)" for key, count in named)
        more = len(evaluation.unknown_keys) - len(named)
        yield f"keys that are not known were skipped: {keys}{f' and {more} more' if more else ''}; are they misspelt?"
    if changed := len(evaluation.redescribed_coupons):
        times = sum(evaluation.redescribed_coupons.values())
        yield (
            f"{changed} coupons are described in more than one way, {times} times otherwise than first: the first "
            "counts; put into `context` what changes from issue to issue"
        )


def _metrics_table(heads: Sequence[Quality]) -> Table:
    table = Table("", *(head.head for head in heads), box=box.SIMPLE_HEAD)
    rows: tuple[tuple[str, Callable[[Quality], str]], ...] = (
        ("issues", lambda head: head.issues),
        ("  never seen", lambda head: f"{head.unseen:,}"),
        ("examples", lambda head: f"{head.examples:,}"),
        ("positives", lambda head: f"{head.positives:,}"),
        ("log loss", lambda head: _number(head.log_loss.value)),
        ("  95%", lambda head: _span(head.log_loss)),
        ("  of base rate", lambda head: _number(head.base_log_loss)),
        ("ROC AUC", lambda head: _number(head.roc_auc.value)),
        ("  95%", lambda head: _span(head.roc_auc)),
        ("average precision", lambda head: _number(head.average_precision)),
        ("Brier score", lambda head: _number(head.brier)),
        ("calibration ratio", lambda head: _number(head.calibration_ratio)),
        ("accuracy", lambda head: _number(head.working.accuracy)),
        ("precision", lambda head: _number(head.working.precision)),
        ("recall", lambda head: _number(head.working.recall)),
        ("F1", lambda head: _number(head.working.f1)),
        ("  last threshold", lambda head: _number(head.working.threshold)),
        ("recent log loss", lambda head: _with_gap(head.recent.log_loss, head.recent.log_loss_gap)),
        ("recent ROC AUC", lambda head: _with_gap(head.recent.roc_auc, head.recent.roc_auc_gap)),
    )
    for name, text in rows:
        table.add_row(name, *(text(head) if head.examples else "" for head in heads))
    table.caption = (
        "Intervals are bootstraps over shoppers. Each issue is called positive or not by the threshold of greatest F1 "
        "on the labels known before it. Recent is the last fifth of the labels, in brackets recent minus all. "
        "Calibration is predicted over observed. The base rate is the share of positives, which only hindsight knows."
    )
    table.caption_justify = "left"
    return table


def _slices_table(head: str, slices: Sequence[Slice]) -> Table:
    table = Table(title=f"\n{head}", title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("", min_width=16, overflow="fold")
    for name in ("issues", "observed", "95%", "predicted", "AUC", "95%"):
        table.add_column(name, no_wrap=True, justify="right")
    for each in slices:
        table.add_row(
            terminal.printable(f"{each.by} {each.value}"),
            f"{each.examples:,}",
            _number(each.observed.value, 3),
            _span(each.observed, 3),
            _number(each.predicted, 3),
            _number(each.roc_auc.value, 3),
            _span(each.roc_auc, 3),
        )
    return table


def _number(value: float, decimals: int = 4) -> str:
    return "" if math.isnan(value) else f"{value:.{decimals}f}"


def _span(interval: Interval, decimals: int = 4) -> str:
    return "" if math.isnan(interval.low) else f"{interval.low:.{decimals}f}-{interval.high:.{decimals}f}"


def _with_gap(value: float, gap: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f} ({gap:+.4f})"
