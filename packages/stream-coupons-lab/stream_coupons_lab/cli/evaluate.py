"""`evaluate`: learn from the log of another system record by record, and say how good the predictions were."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, NoReturn

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import ConfigOption, JsonOption, settings_from
from stream_coupons.cli.own_records import is_own, read_recording
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.kafka.codec import encode
from stream_coupons_lab.cli.evaluate_text import json_of, print_evaluation, print_metrics, warnings_of
from stream_coupons_lab.cli.foreign_logs import (
    LogArgument,
    MappingOption,
    WindowOption,
    doubts,
    feed_all,
    read_log,
    report_refused,
    require_distinct,
)
from stream_coupons_lab.cli.output import ReportOption, replaced
from stream_coupons_lab.datasets.foreign import WINDOW_S
from stream_coupons_lab.datasets.table_files import is_table

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.settings import Settings
    from stream_coupons_lab.datasets.foreign import ForeignLog
    from stream_coupons_lab.offline.evaluated import Evaluated
    from stream_coupons_lab.offline.scored import Scored


PREDICTION = (
    "issue_id", "user_id", "arm", "occurred_at", "p_click", "p_redeem", "p_order", "clicked", "redeemed", "seen",
    "model_version",
)  # fmt: skip
"""Fields of a line of `--predictions`: probabilities at the moment of issue, and labels as they are in the end."""


def evaluate(  # noqa: PLR0913 - the options of a command
    log: LogArgument,
    mapping: MappingOption = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Write the probabilities of every issue here, as JSON lines.")
    ] = None,
    report: ReportOption = None,
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

    A LOG of our own topic training-examples, as `tail --recording` writes
    it, is not learnt: it has the predictions that were served, and what
    came of them.

    A .csv or .parquet has one row per decision; --mapping names its columns.
    With --report every arm of an issue is scored, which
    takes longer; the page then has the effect of each coupon, too.

    Examples: stream-coupons evaluate examples/ecommerce/log.jsonl
              stream-coupons evaluate examples/travel/log.jsonl --json
              stream-coupons evaluate log.jsonl --predictions scored.jsonl
              stream-coupons evaluate log.jsonl --report log.html --window 86400
              stream-coupons evaluate sent.csv --mapping sent.toml \\
                --report sent.html --baselines
    """
    from stream_coupons_lab.reports import evaluation_report

    require_distinct({"LOG": log, "--predictions": predictions, "--report": report})
    if str(log) != "-" and not is_table(log) and is_own(log):
        _evaluate_own(log, predictions, bool(mapping or report or baselines), json=json)
    settings = settings_from(config, None)
    with replaced(report) as page_sink, replaced(predictions) as sink:
        foreign = read_log(log, window, mapping)
        found = _learn(foreign, settings, in_depth=report is not None, with_baselines=baselines)
        _write_predictions(found.scored, sink)
        if page_sink is not None:
            page_sink.write(evaluation_report.page(log.name, found).html().encode())
    report_refused(foreign, log)
    warnings = chain(warnings_of(found), doubts(foreign))
    terminal.show(json_of(found), lambda _: print_evaluation(found, warnings), as_json=json)
    raise typer.Exit(1 if foreign.refusals.count else 0)


def _evaluate_own(path: Path, predictions: Path | None, has_others: bool, *, json: bool) -> NoReturn:
    """Print the quality of the engine's own predictions, and exit; no option besides these applies."""
    from stream_coupons_lab.offline.own_examples import OwnExamples
    from stream_coupons_lab.offline.quality import judged, quality

    if has_others:
        raise BadConfig("--mapping, --report and --baselines are for logs of other systems, not for own topics")
    own = OwnExamples()
    bad_lines = read_recording(path, own.take)
    scored = own.scored()
    if not scored:
        raise BadConfig(
            f"{path}: no issue with an outcome; write the topic with `stream-coupons tail training-examples "
            "--recording --from-beginning --timeout 5`"
        )
    with replaced(predictions) as sink:
        _write_predictions(scored, sink)
    heads = [quality(one) for one in judged(scored)]
    conclusions = [head.conclusion() for head in heads]
    found = {"issues": len(scored), "unreadable": own.unreadable, "heads": heads, "conclusions": conclusions}
    terminal.show(found, lambda _: print_metrics(heads), as_json=json)
    for conclusion in [] if json else conclusions:
        terminal.say(conclusion)
    if unusable := bad_lines + own.unreadable:
        terminal.warn(f"{unusable} records cannot be read and are left out")
    raise typer.Exit(1 if unusable else 0)


def _learn(log: ForeignLog, settings: Settings, *, in_depth: bool, with_baselines: bool) -> Evaluated:
    """Return what a run over the log found."""
    from stream_coupons_lab.offline.evaluated import evaluated
    from stream_coupons_lab.offline.progressive_run import ProgressiveRun

    running = ProgressiveRun(log, settings, score_arms=in_depth)
    feed_all(running, "learning")
    with terminal.fraction_progress("comparing", 1) as progress:
        return evaluated(
            running,
            settings.policy,
            in_depth=in_depth,
            with_baselines=with_baselines,
            on_progress=lambda done, total: progress.update(progress.task_ids[0], completed=done, total=total),
        )


def _write_predictions(scored: Iterable[Scored], sink: IO[bytes] | None) -> None:
    """Write the predictions in the order of the log, if a file is asked for.

    P(click) and P(redeem) are of a coupon that is seen, as far as the log reports impressions; `seen` is null where it
    does not. They are null where nothing was given.
    """
    if sink is None:
        return
    for issue in sorted(scored, key=lambda issue: issue.line):
        fields = {name: getattr(issue, name) for name in PREDICTION}
        if issue.coupon_id == NO_COUPON:
            fields |= {"p_click": None, "p_redeem": None}
        sink.write(encode(fields) + b"\n")
