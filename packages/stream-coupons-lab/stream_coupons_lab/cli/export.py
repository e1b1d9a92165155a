"""`export`: the decisions on record and their outcomes as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import (
    BootstrapOption,
    ConfigOption,
    JsonOption,
    parse_duration,
    parse_time,
    settings_from,
)
from stream_coupons.cli.own_records import RecordingArgument, take_records
from stream_coupons.core.errors import BadConfig
from stream_coupons_lab.cli.output import replaced

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.settings import Settings
    from stream_coupons_lab.ope.decision_rows import DecisionRows

CLOCKS_DIFFER_S = 86400.0
"""Records are read from this long before the time that is asked for: a producer's clock may be ahead."""


def export(  # noqa: PLR0913 - the options of a command
    file: Annotated[Path, typer.Argument(help="The file to write: .parquet, .csv or .jsonl.")],
    recording: RecordingArgument = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Leave out earlier decisions: ISO 8601, epoch seconds, or 7d ago."),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            parser=parse_duration,
            metavar="DURATION",
            help="Time after a decision in which orders count, such as 7d; by default as long as a coupon can be used.",
        ),
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Write the decisions on record and what came of them as a table.

    One row for each arm of each decision, giving none among them: value,
    price and propensity; for the arm given also clicks, redemption, discount,
    and the orders and the margin that the shopper brought in the window after.
    Each column of a Parquet file has its description.

    Without RECORDING the topics decisions, coupon-issues, order-events,
    coupon-feedback and coupon-catalog are read, without a group. Decisions
    pass through; orders, feedback and issues are kept in memory. The file is
    in place when it is complete, and not at all after Ctrl-C.

    Exit code 1 says that records could not be read and are left out.

    Examples: stream-coupons export decisions.parquet --since 7d
              stream-coupons export may.csv --since 2026-05-01T00:00Z
              stream-coupons export decisions.jsonl own.jsonl --window 3d
    """
    settings = settings_from(config, bootstrap)
    begins_at = None if since is None else parse_time(since, settings)
    rows, unusable = _write(file, recording, settings, begins_at, window)
    found = {"decisions": rows.decisions, "rows": rows.rows, "unusable": unusable}
    terminal.show(found, lambda _: terminal.say(f"{rows.decisions:,} decisions, {rows.rows:,} rows"), as_json=json)
    if unusable:
        terminal.warn(f"{unusable} records cannot be read and are left out")
    raise typer.Exit(1 if unusable else 0)


def _write(
    file: Path, recording: Path | None, settings: Settings, since: float | None, window_s: float | None
) -> tuple[DecisionRows, int]:
    """Read outcomes, then decisions, whose rows are written; return these and the number of unusable records."""
    from stream_coupons.kafka.topics import DECISIONS
    from stream_coupons_lab.ope.decision_rows import DecisionRows
    from stream_coupons_lab.ope.own_log import OUTCOMES, OutcomeLog
    from stream_coupons_lab.ope.row_files import row_writer

    if recording is not None and not recording.is_file():
        raise BadConfig(f"{recording}: is no file; it is read twice, so it cannot be standard input or a pipe")
    start = None if since is None else max(since - CLOCKS_DIFFER_S, 0.0)
    outcomes = OutcomeLog(OUTCOMES, settings.policy)
    with replaced(file) as sink:
        assert sink is not None  # a path is given
        with row_writer(file, sink) as write:
            bad_lines = take_records(outcomes, OUTCOMES, recording, settings, start)
            rows = DecisionRows(outcomes, write, since or 0.0, window_s)
            take_records(rows, (DECISIONS,), recording, settings, start)
            rows.flush()
    return rows, bad_lines + outcomes.unreadable + rows.unreadable
