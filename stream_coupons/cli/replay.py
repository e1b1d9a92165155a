"""`replay`: the same agents and steps over a recording, without a broker; the same bytes every time."""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import msgspec
import typer
from msgspec import Raw, Struct

from stream_coupons.cli import terminal
from stream_coupons.cli.catalog_file import CAMPAIGNS, COUPONS, Kind, read_entries
from stream_coupons.cli.catalog_file import Entry as CatalogEntry
from stream_coupons.cli.options import ConfigOption, JsonOption, settings_from
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.messages.inputs import Tick
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.lab.interrupts import Interruptions
from stream_coupons.lab.recordings import (
    Entry,
    Refusals,
    has_ticks,
    key_of,
    lines,
    not_readable,
    parse,
)
from stream_coupons.settings import Settings

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.kafka.records import Output
    from stream_coupons.runtime.attempt import Result

NOT_OUTPUTS = {topic.name for topic in (*topics.INPUTS, topics.TICKS)}


class ReplaySummary(Struct, frozen=True, kw_only=True):
    """Results of a replay; `decisions_sha256` is the hash of the file that `--out` writes.

    `state_blake2b` has, by agent, the digest that `state digest` prints of a system. `key` is the fingerprint of
    the key of the draws; `workers_key` is the workers' fingerprint if `--bootstrap` is given.
    """

    key: str
    workers_key: str | None

    lines: int
    refused: dict[str, int]
    events: int
    ticks: int
    applied: int
    duplicates: int
    dead_letters: dict[str, int]
    decisions: dict[str, int]
    issues: int
    feedback: dict[str, int]
    examples: int
    decisions_sha256: str
    state_blake2b: dict[str, str]
    interrupted: bool


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
    bootstrap: Annotated[
        str | None, typer.Option("--bootstrap", "-b", help="Ask the workers' topics here which key they draw by.")
    ] = None,
) -> None:
    """Decide over a recording exactly as the workers do, without a broker.

    Twice the same recording, catalogue, settings and secret give
    byte-identical decisions and the same state digest. Without secret_file
    it draws by a public key, so other shoppers are in the holdout than live;
    the summary states the fingerprint. With --bootstrap it says whether the
    workers there draw by the same key. A line that is no envelope is
    refused with its number, and exit code 1 says so, or that nothing was
    applied; a message that is not valid becomes a dead letter, as live. A
    recording without ticks gets them from event time: at every full
    interval that two events have reached, so that one event from the
    future does not end everything.

    Examples: stream-coupons replay examples/travel/events.jsonl \\
                --catalog examples/travel/catalog.json
              stream-coupons replay log.jsonl --catalog c.json --out issues.jsonl
              stream-coupons replay log.jsonl --catalog coupons.json --json
    """
    from stream_coupons.secret import draw_key, kept_fingerprint

    if not log.is_file():
        raise BadConfig(f"{log}: is no file; it is read twice, so it cannot be a pipe")
    _require_other(out, log, catalog, *([] if campaigns is None else [campaigns]))
    coupons = _read(COUPONS, catalog)
    shared = [] if campaigns is None else _read(CAMPAIGNS, campaigns)
    with terminal.opened(log) as source:
        derive_every_s = None if has_ticks(source) else tick_every
    settings = settings_from(config, bootstrap)
    key = draw_key(settings)
    workers_key = None if bootstrap is None else kept_fingerprint(settings.kafka)
    if workers_key not in (None, key.fingerprint):
        text = f"warning: draws by the key {key.fingerprint}, the workers draw by {workers_key}: set their secret_file"
        terminal.stderr().print(text, markup=False, soft_wrap=True)
    with terminal.opened(log) as source, terminal.written(out) as sink:
        replaying = Replay(settings, coupons, derive_every_s, _Writer(sink, everything), shared)
        interrupted = _run(replaying, source, terminal.size_of(log))
    summary = replaying.summary(interrupted, key.fingerprint, workers_key)
    _report(summary, replaying.refusals, json)


@dataclass(slots=True)
class BatchTally:
    """Counts of the results of batches."""

    applied: int = 0
    duplicates: int = 0
    facts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, result: Result) -> None:
        """Count one batch; only what came from outside counts as applied or duplicate."""
        self.applied += sum(result.applied[topic.name] for topic in topics.INPUTS)
        self.duplicates += sum(result.duplicates[topic.name] for topic in topics.INPUTS)
        self.facts.update(result.facts)

    def kinds(self, noun: str) -> dict[str, int]:
        """The counts of one kind of fact."""
        return {str(kind): count for (name, kind), count in sorted(self.facts.items()) if name == noun}


class _Writer:
    """Outputs as JSON lines into a file, if there is one, and into a digest."""

    def __init__(self, sink: IO[bytes] | None, everything: bool) -> None:
        self._sink = sink
        self._everything = everything
        self.digest = hashlib.sha256()

    def __call__(self, output: Output) -> None:
        if self._everything:
            line = encode(
                {
                    "topic": output.topic,
                    "key": None if output.key is None else output.key.decode(errors="replace"),
                    "value": _json_value(output.value),
                    "headers": {name: value.decode(errors="replace") for name, value in output.headers},
                }
            )
        elif output.topic == topics.ISSUES.name and output.value is not None:
            line = output.value
        else:
            return
        self.digest.update(line + b"\n")
        if self._sink is not None:
            self._sink.write(line + b"\n")


def _json_value(value: bytes | None) -> Raw | str | None:
    if value is None:
        return None
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return value.decode(errors="replace")
    return Raw(value)


class EventClock:
    """Ticks out of event time: every full interval that two events have reached."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._latest = -math.inf
        self._second = -math.inf
        self._ticked_at = -math.inf

    def advance(self, occurred_at: float) -> float | None:
        """The tick that is due before an event of this time, if one is."""
        self._second = max(self._second, min(self._latest, occurred_at))
        self._latest = max(self._latest, occurred_at)
        if self._second == -math.inf:
            return None
        tick_at = self._second // self._every_s * self._every_s
        if tick_at <= self._ticked_at:
            return None
        self._ticked_at = tick_at
        return tick_at


class _Timed(Struct):
    occurred_at: float = math.nan


_decode_timed = msgspec.json.Decoder(_Timed).decode


class Replay:
    """One replay, fed line by line."""

    def __init__(
        self,
        settings: Settings,
        coupons: list[Coupon],
        tick_every_s: float | None,
        write: _Writer,
        campaigns: Iterable[Campaign] = (),
    ) -> None:
        from stream_coupons.testing import LocalPipeline

        self.refusals = Refusals()
        self.lines = 0
        self._write = write
        self._clock = None if tick_every_s is None else EventClock(tick_every_s)
        self._tally = BatchTally()
        self._fed: Counter[str] = Counter()
        self._dead: Counter[str] = Counter()
        self.pipeline = LocalPipeline(
            settings, coupons, on_output=self._take, on_result=self._tally.add, campaigns=campaigns
        )

    def _take(self, output: Output) -> None:
        if output.topic in NOT_OUTPUTS:
            return
        if output.topic == topics.DEAD_LETTERS.name:
            self._dead[dict(output.headers)["reason"].decode()] += 1
        self._write(output)

    def feed(self, entry: Entry) -> None:
        """Let the system take in one message or tick and come to rest."""
        if self._clock is not None and (tick_at := self._due(entry, self._clock)) is not None:
            self._feed(topics.TICKS.name, b"0", encode(Tick(at=tick_at)))
        key = b"0" if entry.topic is topics.TICKS else key_of(entry.value)
        self._feed(entry.topic.name, key, entry.value)

    def _feed(self, topic: str, key: bytes, value: bytes) -> None:
        self._fed[topic] += 1
        self.pipeline.publish_bytes(topic, key, value)

    def _due(self, entry: Entry, clock: EventClock) -> float | None:
        try:
            occurred_at = _decode_timed(entry.value).occurred_at
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return clock.advance(occurred_at) if 0 <= occurred_at <= END_OF_TIME else None

    def summary(self, interrupted: bool, key: str, workers_key: str | None) -> ReplaySummary:
        """Return the results so far."""
        from stream_coupons.lab.offline.digest import digests_of

        ticks = self._fed[topics.TICKS.name]
        return ReplaySummary(
            key=key,
            workers_key=workers_key,
            lines=self.lines,
            refused=dict(sorted(self.refusals.by_reason.items())),
            events=self._fed.total() - ticks,
            ticks=ticks,
            applied=self._tally.applied,
            duplicates=self._tally.duplicates,
            dead_letters=dict(sorted(self._dead.items())),
            decisions=self._tally.kinds("decision"),
            issues=self.pipeline.sent.get(topics.ISSUES.name, 0),
            feedback=self._tally.kinds("feedback"),
            examples=self.pipeline.sent.get(topics.EXAMPLES.name, 0),
            decisions_sha256=self._write.digest.hexdigest(),
            state_blake2b={agent: one.blake2b for agent, one in digests_of(self.pipeline.states()).items()},
            interrupted=interrupted,
        )


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


def _read(kind: Kind[CatalogEntry], file: Path) -> list[CatalogEntry]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise not_readable(file, error) from None
    reading = read_entries(kind, data, str(file), time.time())
    if reading.refusals.count:
        terminal.report_refusals(reading.refusals, f"{file}, {reading.place}")
        raise BadConfig(f"{file}: {reading.refusals.count} {kind.noun}s are not valid")
    return reading.entries


def _report(summary: ReplaySummary, refusals: Refusals, json: bool) -> None:
    terminal.report_refusals(refusals)
    if json:
        typer.echo(encode(summary).decode())
    else:
        names = {name: name.replace("_", " ") for name in summary.__struct_fields__ if name != "interrupted"}
        rows = {title: getattr(summary, name) for name, title in names.items()}
        rows["key"] = f"{summary.key} (public)" if summary.key == PUBLIC_KEY.fingerprint else summary.key
        terminal.stdout().print(terminal.summary_table(rows))
    if summary.interrupted:
        terminal.stderr().print(f"interrupted after {summary.lines} lines: all outputs are partial", markup=False)
        raise typer.Exit(terminal.INTERRUPTED)
    if not summary.applied:
        terminal.stderr().print("nothing was applied", markup=False)
    raise typer.Exit(0 if summary.applied and not refusals.count else 1)
