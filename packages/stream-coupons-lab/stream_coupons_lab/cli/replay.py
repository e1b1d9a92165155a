"""`replay`: the same agents and steps over a recording, without a broker; the same bytes every time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.catalog_entries import read_file
from stream_coupons.cli.options import ConfigOption, JsonOption, settings_from
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.kafka import topics
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS, Kind, ParsedFile
from stream_coupons.ops.interrupts import Interruptions
from stream_coupons.ops.recordings import Refusals, lines, parse
from stream_coupons.settings import Settings
from stream_coupons_lab.cli.output import fields_table

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons_lab.offline.replay import Replay, ReplaySummary


def replay(  # noqa: PLR0913 - the options of a command
    log: Annotated[Path, typer.Argument(help="A recording: JSON lines of topic and message, or of ticks.")],
    catalog: Annotated[Path, typer.Option("--catalog", help="Coupons, as `catalog push` reads them.")],
    campaigns: Annotated[
        Path | None, typer.Option(help="Campaigns of the coupons, as `campaigns push` reads them.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write every coupon-issue here, as JSON lines, in order.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Write every output, not only issues: topic, key, value and headers.")
    ] = False,
    tick_every: Annotated[
        float, typer.Option(help="Seconds of event time between ticks, if the recording has none.", min=1)
    ] = 3600.0,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Decide over a recording exactly as the workers do, without a broker.

    Twice the same recording, catalogue, settings and secret give
    byte-identical decisions and the same state digest. Without secret_file
    it draws by a public key, so other shoppers are in the holdout than live;
    the summary states the fingerprint; `secret show` has the workers'. A
    line that is no envelope is refused with its number, and exit code 1 says so, or that nothing was
    applied; a message that is not valid becomes a dead letter, as live. A
    recording without ticks gets them from event time: at every full
    interval that two events have reached, so that one event from the
    future does not end everything.

    Examples: stream-coupons replay examples/travel/events.jsonl \\
                --catalog examples/travel/catalog.json
              stream-coupons replay log.jsonl --catalog c.json --out issues.jsonl
              stream-coupons replay log.jsonl --catalog coupons.json --json
    """
    from stream_coupons.secret import draw_key
    from stream_coupons_lab.offline.replay import OutputWriter, Replay

    if not log.is_file():
        raise BadConfig(f"{log}: is no file; it is read twice, so it cannot be a pipe")
    _require_other(out, log, catalog, *([] if campaigns is None else [campaigns]))
    settings = settings_from(config, None)
    entries = _read(COUPONS, catalog, settings)
    shared = entries.campaigns if campaigns is None else _read(CAMPAIGNS, campaigns, settings).campaigns
    with terminal.opened(log) as source:
        derive_every_s = None if _has_ticks(source) else tick_every
    with terminal.opened(log) as source, terminal.written(out) as sink:
        writer = OutputWriter(sink, everything)
        replaying = Replay(settings, list(entries.coupons.values()), derive_every_s, writer, list(shared.values()))
        interrupted = _run(replaying, source, terminal.size_of(log))
    summary = replaying.summary(interrupted, draw_key(settings).fingerprint)
    _report(summary, replaying.refusals, json)


def _has_ticks(stream: Iterable[bytes]) -> bool:
    """Return True if a recording contains a valid tick."""
    for line in lines(stream):
        if b'"tick"' not in line.text:
            continue
        try:
            if parse(line.text).topic is topics.TICKS:
                return True
        except BadMessage:
            continue
    return False


def _run(replaying: Replay, source: IO[bytes], size: int | None) -> bool:
    """Feed all lines; say whether it was interrupted."""
    with terminal.byte_progress("replaying", size) as progress, Interruptions() as interruptions:
        for line in interruptions.each(lines(source)):
            replaying.lines += 1
            try:
                entry = parse(line.text)
            except BadMessage as bad:
                replaying.refusals.add(line, bad)
            else:
                replaying.feed(entry)
            issues = replaying.pipeline.sent.get(topics.ISSUES.name, 0)
            progress.update(progress.task_ids[0], advance=line.size, note=f"{issues} issues")
        return interruptions.happened


def _require_other(out: Path | None, *inputs: Path) -> None:
    for path in inputs:
        if out is not None and out.exists() and path.exists() and out.samefile(path):
            raise BadConfig(f"--out {out}: is a file to read, expected another one")


def _read(kind: Kind[Any], file: Path, settings: Settings) -> ParsedFile:
    reading = read_file(kind, file, settings)
    if reading.refused:
        raise BadConfig(f"{file}: {reading.refused} entries are refused, expected none")
    return reading


def _report(summary: ReplaySummary, refusals: Refusals, json: bool) -> None:
    terminal.report_refusals(refusals)
    if json:
        terminal.print_json(summary)
    else:
        key = f"{summary.key} (public)" if summary.key == PUBLIC_KEY.fingerprint else summary.key
        terminal.stdout().print(fields_table(summary, {"key": key}))
    if summary.interrupted:
        terminal.stop_interrupted(f" after {summary.lines} lines: all outputs are partial")
    if not summary.applied:
        terminal.remark("nothing was applied")
    raise typer.Exit(0 if summary.applied and not refusals.count else 1)
