"""`evaluate`: learn from the log of another system record by record, and say how good the predictions were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, NoReturn

import typer
from msgspec import Struct

from stream_coupons.cli import terminal
from stream_coupons.cli.options import ConfigOption, JsonOption, settings_from
from stream_coupons.cli.own_records import is_own
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.kafka.codec import encode
from stream_coupons_lab.cli.evaluate_text import json_of, print_evaluation, warnings_of
from stream_coupons_lab.cli.foreign_logs import (
    DecisionsOption,
    LogArgument,
    MappingOption,
    WindowOption,
    doubts,
    end,
    feed_all,
    read_log,
    report_refused,
    require_writable,
    title_of,
    write_decisions,
)
from stream_coupons_lab.cli.output import ReportOption, replaced
from stream_coupons_lab.datasets.foreign import WINDOW_S
from stream_coupons_lab.datasets.table_files import is_table

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.settings import Settings
    from stream_coupons_lab.datasets.foreign import ForeignLog
    from stream_coupons_lab.offline.evaluated import Evaluated
    from stream_coupons_lab.offline.scored import Scored


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

    A LOG of our own topics, as `tail --recording` writes coupon-issues,
    training-examples and model-snapshots, is not learnt: every issue is
    scored again by the snapshot that it names. Exit code 1 says that a
    probability is not the recorded one.

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
    from stream_coupons_lab.reports import evaluation_report

    if mapping_template:
        _print_template(log)
        return
    _require_other(log, {"--predictions": predictions, "--report": report, "--decisions": decisions})
    if str(log) != "-" and not is_table(log) and is_own(log):
        _score_again(log, config, predictions, bool(mapping or decisions or report or baselines), json=json)
    settings = settings_from(config, None)
    with replaced(report) as page_sink, replaced(predictions) as sink:
        foreign = read_log(log, window, mapping)
        found, interrupted = _learn(foreign, settings, in_depth=bool(report or decisions), with_baselines=baselines)
        _write_predictions(found.scored, sink)
        write_decisions(found.scored, decisions)
        if page_sink is not None:
            title = title_of(log, len(found.scored), interrupted=interrupted)
            page_sink.write(evaluation_report.page(title, found).html().encode())
    report_refused(foreign, log)
    shown, warnings = json_of(found, interrupted=interrupted), warnings_of(found, interrupted=interrupted)
    terminal.show(shown, lambda _: print_evaluation(found, chain(warnings, doubts(foreign))), as_json=json)
    end(foreign, len(found.scored), interrupted=interrupted)


def _score_again(
    path: Path, config: Path | None, predictions: Path | None, has_others: bool, *, json: bool
) -> NoReturn:
    """Score own issues again, print and exit; no option besides these applies."""
    from stream_coupons_lab.cli.evaluate_own import print_own, score_again

    if has_others:
        raise BadConfig(
            "--mapping, --decisions, --report and --baselines are for logs of other systems, not for own topics"
        )
    settings = settings_from(config, None)
    with replaced(predictions) as sink:
        found, scored, bad_lines = score_again(path, settings)
        _write_predictions(scored, sink)
    terminal.show(found, lambda _: print_own(found, bad_lines), as_json=json)
    raise typer.Exit(1 if bad_lines or found.unreadable or found.different else 0)


def _learn(log: ForeignLog, settings: Settings, *, in_depth: bool, with_baselines: bool) -> tuple[Evaluated, bool]:
    """Return what a run over the log found, and whether it was interrupted."""
    from stream_coupons_lab.offline.evaluated import evaluated
    from stream_coupons_lab.offline.progressive_run import ProgressiveRun

    running = ProgressiveRun(log, settings, score_arms=in_depth)
    interrupted = feed_all(running, log, "learning")
    with terminal.fraction_progress("comparing", 1) as progress:
        found = evaluated(
            running,
            settings.policy,
            in_depth=in_depth,
            with_baselines=with_baselines and not interrupted,
            on_progress=lambda done, total: progress.update(progress.task_ids[0], completed=done, total=total),
        )
    return found, interrupted


def _print_template(log: Path) -> None:
    from stream_coupons.contracts.docstrings import attribute_docs
    from stream_coupons_lab.datasets import table_files
    from stream_coupons_lab.datasets.mapping import Mapping as ColumnMapping

    if not is_table(log):
        raise BadConfig(f"--mapping-template {log}: expected a table whose name ends in .csv, .tsv or .parquet")
    frame = table_files.read_table(log)
    typer.echo(table_files.template(frame, log.name, attribute_docs(ColumnMapping)), nl=False)


def _require_other(log: Path, outputs: Mapping[str, Path | None]) -> None:
    named = {option: path for option, path in outputs.items() if path is not None}
    if any(log.exists() and path.exists() and path.samefile(log) for path in named.values()):
        raise BadConfig(f"{log}: is the log, expected another file to write to")
    seen: dict[Path, str] = {}
    for option, path in named.items():
        first = seen.setdefault(path.absolute(), option)
        if first != option:
            raise BadConfig(f"{first} and {option}: both are {path.absolute()}, expected two files")
    require_writable(outputs["--decisions"])


def _write_predictions(scored: Iterable[Scored], sink: IO[bytes] | None) -> None:
    """Write the predictions in the order of the log, if a file is asked for."""
    if sink is None:
        return
    for issue in sorted(scored, key=lambda issue: issue.line):
        fields = {name: getattr(issue, name) for name in Prediction.__struct_fields__}
        if issue.coupon_id == NO_COUPON:
            fields.update(p_click=None, p_redeem=None)
        sink.write(encode(Prediction(**fields)) + b"\n")
