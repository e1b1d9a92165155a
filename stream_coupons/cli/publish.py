"""`publish`: send events to the topics that upstream services write, each checked before it leaves."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from msgspec import Struct
from rich.console import Console
from rich.progress import Progress

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, require_topics, settings_from
from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.core.validation_hints import unknown_fields
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, require_not_ahead
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.kafka.topics import Topic
from stream_coupons.lab.interrupts import Interruptions
from stream_coupons.lab.recordings import (
    FIRST_SHOWN,
    INPUT_NAMES,
    Entry,
    Line,
    LineFault,
    Refusals,
    input_topic,
    lines_or_elements,
    parse,
)

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.kafka.clients import NotAppended, Publisher

MEMORY_BYTES = 16 * topics.MIB
# A sleep lasts a little too long: without this, a high rate would never be reached.
CATCH_UP_S = 0.1
YEAR_2000 = 946_684_800
TRIGGERS = (topics.BROWSE, topics.CART, topics.ORDER)
SAID_AFTER_S = 5.0
"""A person wonders after this long why nothing happens."""


class PublishReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Counts of the lines by result."""

    lines: int
    sent: dict[str, int]
    appended: int
    refused: dict[str, int]
    interrupted: bool
    warnings: list[str] = []


def publish(  # noqa: PLR0913 - the options of a command
    file: Annotated[Path, typer.Argument(help="JSON lines, or one JSON array; - for standard input.", allow_dash=True)],
    topic: Annotated[
        str | None,
        typer.Option("--topic", "-t", help="Lines are bare messages for this topic, without the envelope."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Check all lines first; send none if any is bad.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file only; needs no broker.")] = False,
    refused: Annotated[
        Path | None, typer.Option(help="Write every refused line here, with number, reason and text, as JSON lines.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="At most so many events a second.", min=0.001)] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Send events of the shop from a file, each checked first.

    They go to browse-events, cart-events, order-events, coupon-feedback,
    observed-issues and erasure-requests. A line, or an element of an array, is an object with "topic" and
    "message". Each message is checked as the workers check it. Bad ones
    are reported and left out, good ones are sent; exit code 1 says that
    there were bad ones. Sending a file again does no harm: events are
    known by their event_id. With --strict or --dry-run, fields that no
    message of the topic has are warned of: workers ignore them, and they
    may be misspelt. So are events too old to lead to a coupon: a clock
    may be behind, or a time not in seconds.

    Examples: stream-coupons publish events.jsonl --dry-run
              stream-coupons publish events.jsonl
              stream-coupons publish orders.jsonl --topic order-events --strict
              tail -f shop.log | stream-coupons publish - --refused refused.jsonl
    """
    _require_other(file, refused)
    bare = None if topic is None else _bare_topic(topic)
    settings = settings_from(config, bootstrap)
    if not dry_run:
        require_topics(settings.kafka)
    with _source(file, rewindable=strict and not dry_run) as source, terminal.written(refused) as sink:
        refusals = Refusals(sink)
        reader = LineReader(bare, settings.profile.max_ahead_s)
        work = _Work(str(file), reader, refusals, terminal.size_of(file), rate, settings.policy.trigger_timeout_s)
        if strict or dry_run:
            work.check(source)
        stopped_by = "--dry-run" if dry_run else "--strict" if strict and refusals.count else None
        failure = None
        if stopped_by is None and not work.interrupted:
            if strict:
                source.seek(0)
                work.lines = 0
            failure = work.send(source, settings.kafka)
    _report(work, json, failure, stopped_by)


class LineReader:
    """Lines to checked messages.

    Parameters
    ----------
    bare : Topic, optional
        Every line is a message of this topic; else they are envelopes.
    max_ahead_s : float
        Maximum time by which an event may be dated after now.
    """

    def __init__(self, bare: Topic | None, max_ahead_s: float) -> None:
        self._bare = bare
        self._max_ahead_s = max_ahead_s
        self._decoders = {topic.name: Decoder(topic) for topic in topics.INPUTS}

    def __call__(self, text: bytes) -> tuple[Entry, bytes]:
        """The entry of a line and its key.

        Raises
        ------
        BadMessage
        """
        entry = self._opened(text) if self._bare is None else Entry(self._bare, text)
        if entry.topic is topics.TICKS:
            raise BadMessage(LineFault.NOT_AN_INPUT, "a tick: only `replay` takes these, live systems have clocks")
        message = self._decoders[entry.topic.name](entry.value)
        require_not_ahead(message, time.time(), self._max_ahead_s)
        return entry, entry.topic.key_of(message)

    def _opened(self, text: bytes) -> Entry:
        try:
            return parse(text)
        except BadMessage as bad:
            hint = ", or --topic for messages of one topic" if bad.reason == LineFault.NOT_AN_ENVELOPE else ""
            raise BadMessage(bad.reason, bad.detail + hint) from None


@dataclass
class _Work:
    """One run: counts what it does."""

    name: str
    reader: LineReader
    refusals: Refusals
    total_bytes: int | None
    rate: float | None
    timeout_s: float
    """Events that are older lead to no coupon."""
    lines: int = 0
    place: str = "line"
    appended: int = 0
    interrupted: bool = False
    sent: Counter[str] = field(default_factory=Counter)
    doubts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """The first warnings, each with the number of its first line and how many lines it is of."""

    def check(self, source: IO[bytes]) -> None:
        """Read everything and send nothing; what workers would ignore, or give no coupon for, is warned of."""
        with terminal.byte_progress("checking", self.total_bytes) as progress:
            for number, entry, _ in self._accepted(source, progress):
                found = msgspec.json.decode(entry.value)
                for text in (*unknown_fields(found, entry.topic.message), *self._age_of(entry.topic, found)):
                    doubt = f"{entry.topic.name}: {text}"
                    if doubt in self.doubts or len(self.doubts) < FIRST_SHOWN:
                        first, count = self.doubts.get(doubt, (number, 0))
                        self.doubts[doubt] = (first, count + 1)

    def _age_of(self, topic: Topic, found: dict[str, Any]) -> Iterator[str]:
        if found["occurred_at"] < YEAR_2000:
            yield "occurred_at is before the year 2000, expected UTC epoch seconds"
        elif topic in TRIGGERS and time.time() - found["occurred_at"] > self.timeout_s:
            yield (
                f"occurred_at is more than policy.trigger_timeout_s ({self.timeout_s:g} s) ago: the event counts in "
                "the profile and leads to no coupon"
            )

    def warnings(self) -> list[str]:
        """The first doubts, each once."""
        return [
            f"{self.place} {first}: {doubt}" + (f" ({count} times)" if count > 1 else "")
            for doubt, (first, count) in self.doubts.items()
        ]

    def send(self, source: IO[bytes], kafka: KafkaSettings) -> NotAppended | None:
        """Send what is good and wait for the broker to have it."""
        from stream_coupons.kafka.clients import NotAppended, Publisher

        publisher = Publisher(kafka, kafka.partitions)
        wait = pacer(self.rate) if self.rate is not None else None
        try:
            with (
                terminal.byte_progress("sending", self.total_bytes) as progress,
                _impatience(publisher, kafka.bootstrap, progress.console),
                publisher,
            ):
                for _, entry, key in self._accepted(source, progress, wait):
                    publisher.send_bytes(entry.topic, key, entry.value)
                    self.sent[entry.topic.name] += 1
        except NotAppended as error:
            return error
        finally:
            self.appended = publisher.appended
        return None

    def _accepted(
        self, source: IO[bytes], progress: Progress, wait: Callable[[], None] | None = None
    ) -> Iterator[tuple[int, Entry, bytes]]:
        with Interruptions() as interruptions:
            for line in interruptions.each(_paced(lines_or_elements(source, self.name), wait)):
                self.lines += 1
                self.place = line.place
                try:
                    entry, key = self.reader(line.text)
                except BadMessage as bad:
                    self.refusals.add(line, bad)
                else:
                    yield line.number, entry, key
                note = f"{self.refusals.count} refused" if self.refusals.count else ""
                progress.update(progress.task_ids[0], advance=line.size, note=note)
            self.interrupted = interruptions.happened


@contextmanager
def _impatience(publisher: Publisher, bootstrap: str, console: Console) -> Iterator[None]:
    """Says, once each time, that the broker takes nothing; the producer waits for it without a word."""
    over = threading.Event()

    def watch() -> None:
        appended, is_said = publisher.appended, False
        while not over.wait(SAID_AFTER_S):
            if publisher.appended != appended or not publisher.waiting:
                appended, is_said = publisher.appended, False
            elif not is_said:
                text = f"waiting for the broker at {bootstrap}; events not appended yet: {publisher.waiting}"
                console.print(text, markup=False, soft_wrap=True)
                is_said = True

    thread = threading.Thread(target=watch, name="impatience", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _paced(items: Iterable[Line], wait: Callable[[], None] | None) -> Iterator[Line]:
    for item in items:
        if wait is not None:
            wait()
        yield item


def pacer(
    rate: float, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
) -> Callable[[], None]:
    """A function that returns at most `rate` times a second; of time lost, CATCH_UP_S are made up for."""
    next_at = clock()

    def wait() -> None:
        nonlocal next_at
        early_s = next_at - clock()
        if early_s > 0:
            sleep(early_s)
        next_at = max(next_at, clock() - CATCH_UP_S) + 1.0 / rate

    return wait


def _bare_topic(name: str) -> Topic:
    try:
        return input_topic(name)
    except BadMessage as bad:
        raise BadConfig(f"--{bad.detail}") from None


def _require_other(file: Path, refused: Path | None) -> None:
    if refused is not None and refused.exists() and refused.samefile(file):
        raise BadConfig(f"--refused {refused}: is the file to read, expected another one")


@contextmanager
def _source(file: Path, *, rewindable: bool) -> Iterator[IO[bytes]]:
    """The lines' file; what cannot be read twice is copied if it has to be."""
    with terminal.opened(file) as source:
        must_copy = rewindable and not source.seekable()
        with tempfile.SpooledTemporaryFile(MEMORY_BYTES) if must_copy else nullcontext(source) as readable:
            if must_copy:
                shutil.copyfileobj(source, readable)
                readable.seek(0)
            yield readable


def _report(work: _Work, json: bool, failure: NotAppended | None, stopped_by: str | None) -> None:
    terminal.report_refusals(work.refusals, work.place)
    for warning in work.warnings():
        terminal.warn(warning)
    report = PublishReport(
        lines=work.lines,
        sent=dict(sorted(work.sent.items())),
        appended=work.appended,
        refused=dict(sorted(work.refusals.by_reason.items())),
        interrupted=work.interrupted,
        warnings=work.warnings(),
    )
    if json:
        typer.echo(msgspec.json.encode(report).decode())
    elif stopped_by is not None:
        text = f"{work.lines} {work.place}s, {work.lines - work.refusals.count} good, {work.refusals.count} refused"
        terminal.stdout().print(text, markup=False, soft_wrap=True)
    else:
        by_topic = ", ".join(f"{name} {count}" for name, count in report.sent.items()) or f"none to {INPUT_NAMES}"
        text = (
            f"{work.lines} {work.place}s, {work.appended} events appended ({by_topic}), {work.refusals.count} refused"
        )
        terminal.stdout().print(text, markup=False, soft_wrap=True)
    if stopped_by is not None:
        terminal.stderr().print(f"nothing was sent: {stopped_by}", markup=False)
    if failure is not None:
        raise failure
    if work.interrupted:
        terminal.stderr().print("interrupted: what is reported as appended is with the broker", markup=False)
        raise typer.Exit(terminal.INTERRUPTED)
    raise typer.Exit(1 if work.refusals.count else 0)
