"""`publish`: send events to the topics that upstream services write, each checked before it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from stream_coupons.cli import terminal
from stream_coupons.cli.options import (
    BootstrapOption,
    ConfigOption,
    DryRunOption,
    JsonOption,
    publisher_of,
    settings_from,
    settings_with_topics,
)
from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.core.plurals import counted
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.kafka.topics import Topic
from stream_coupons.ops.publishing import LineReader, Publication, told_of_waiting
from stream_coupons.ops.recordings import Line, Refusals, input_topic

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.kafka.clients import NotAppended


def publish(  # noqa: PLR0913 - the options of a command
    file: Annotated[Path, typer.Argument(help="JSON lines, or one JSON array; - for standard input.", allow_dash=True)],
    topic: Annotated[
        str | None,
        typer.Option("--topic", "-t", help="Lines are bare messages for this topic, without the envelope."),
    ] = None,
    dry_run: DryRunOption = False,
    refused: Annotated[
        Path | None, typer.Option(help="Write every refused line here, with number, reason and text, as JSON lines.")
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Send events of the shop from a file, each checked first.

    They go to browse-events, cart-events, order-events, coupon-feedback,
    observed-issues and erasure-requests. A line, or an element of an array, is an object with "topic" and
    "message". Each message is checked as the workers check it. Bad ones
    are reported and left out, good ones are sent; exit code 1 says that
    there were bad ones. Sending a file again soon does no harm: events
    are known by their event_id, the last 128 of each shopper
    (profile.max_seen_events). With --dry-run, fields that no message of
    the topic has are warned of: workers ignore them, and they may be
    misspelt. So are events too old to lead to a coupon: a clock may be
    behind, or a time not in seconds.

    Examples: stream-coupons publish events.jsonl --dry-run
              stream-coupons publish events.jsonl
              stream-coupons publish orders.jsonl --topic order-events
              tail -f shop.log | stream-coupons publish - --refused refused.jsonl
    """
    _require_other(file, refused)
    bare = None if topic is None else _bare_topic(topic)
    settings = (settings_from if dry_run else settings_with_topics)(config, bootstrap)
    with terminal.opened(file) as source, terminal.written(refused) as sink:
        reader = LineReader(bare, settings.profile, settings.attribution, settings.shop)
        work = Publication(str(file), reader, Refusals(sink), settings.policy.trigger_timeout_s)
        failure = None
        if dry_run:
            with _progress("checking", work, file):
                work.check(source)
        else:
            failure = _send(work, source, file, settings.kafka)
    _report(work, failure, dry_run=dry_run, json=json)


@contextmanager
def _progress(what: str, work: Publication, file: Path) -> Iterator[Console]:
    """Draw how far the lines are; yield the console that it is drawn on."""
    with terminal.byte_progress(what, terminal.size_of(file)) as progress:

        def show(line: Line) -> None:
            note = f"{work.refusals.count} refused" if work.refusals.count else ""
            progress.update(progress.task_ids[0], advance=line.size, note=note)

        work.on_line = show
        yield progress.console


def _send(work: Publication, source: IO[bytes], file: Path, kafka: KafkaSettings) -> NotAppended | None:
    """Send what is good, and wait for the broker to have it; return the error if it has not."""
    from stream_coupons.kafka.clients import NotAppended

    publisher = publisher_of(kafka)
    try:
        with (
            _progress("sending", work, file) as console,
            told_of_waiting(publisher, partial(console.print, markup=False, soft_wrap=True), kafka.bootstrap),
            publisher,
        ):
            work.send(source, publisher)
    except NotAppended as error:
        return error
    finally:
        work.appended = publisher.appended
    return None


def _bare_topic(name: str) -> Topic:
    try:
        return input_topic(name)
    except BadMessage as bad:
        raise BadConfig(f"--{bad.detail}") from None


def _require_other(file: Path, refused: Path | None) -> None:
    if refused is not None and refused.exists() and refused.samefile(file):
        raise BadConfig(f"--refused {refused}: is the file to read, expected another one")


def _report(work: Publication, failure: NotAppended | None, *, dry_run: bool, json: bool) -> None:
    terminal.report_refusals(work.refusals, work.place)
    report, refused = work.report(), work.refusals.count
    for warning in report.warnings:
        terminal.warn(warning)
    if json:
        terminal.print_json(report)
    elif dry_run:
        terminal.say(f"{counted(work.lines, work.place)}, {work.lines - refused} good, {refused} refused")
    else:
        by_topic = ", ".join(f"{name} {count}" for name, count in report.sent.items())
        appended = f"{counted(work.appended, 'event')} appended" + (f" ({by_topic})" if by_topic else "")
        terminal.say(f"{counted(work.lines, work.place)}, {appended}, {refused} refused")
    if dry_run:
        terminal.remark("nothing was sent: --dry-run")
    if failure is not None:
        raise failure
    if work.interrupted:
        terminal.stop_interrupted(": what is reported as appended is with the broker")
    raise typer.Exit(1 if work.refusals.count else 0)
