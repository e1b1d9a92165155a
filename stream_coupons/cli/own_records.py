"""Records of our own topics, from the broker or from a recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from msgspec import Raw, Struct

from stream_coupons.cli import terminal
from stream_coupons.cli.options import require_broker
from stream_coupons.cli.topic_reading import reading
from stream_coupons.ops.interrupts import Interruptions
from stream_coupons.ops.recordings import lines
from stream_coupons.settings import Settings

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.kafka.topics import Topic
    from stream_coupons.ops.topic_log import TopicLog


RecordingArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[RECORDING]",
        help="Records of the topics, as `tail --recording` and `replay --all` write them; - for standard input. "
        "Without it, the topics of the broker.",
    ),
]


class _Line(Struct):
    """A record in a recording of topics: `tail --recording` calls its value message, `replay --all` value."""

    topic: str
    message: Raw = Raw()
    value: Raw = Raw()


_decode_line = msgspec.json.Decoder(_Line).decode


def is_own(path: Path) -> bool:
    """Return whether the first line of a file is a record of a topic, and not of another system's log."""
    with terminal.opened(path) as source:
        head = source.peek(1 << 16) if hasattr(source, "peek") else b""
    first = next(iter(lines(head.splitlines()[:1])), None)
    if first is None:
        return False
    try:
        _decode_line(first.text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # The start of a long line says enough.
        return first.text.startswith(b'{"topic":')
    return True


def take_records(
    log: TopicLog, read: tuple[Topic, ...], path: Path | None, settings: Settings, since: float | None = None
) -> int:
    """Let a log take the records of some topics, or of a recording; return the number of lines that are none.

    Parameters
    ----------
    since : float, optional
        Time of the oldest records that are needed, UTC epoch seconds; a recording is read as a whole.

    Raises
    ------
    BadConfig
    """
    if path is not None:
        return read_recording(path, log.take)
    require_broker(settings.kafka)
    with reading(settings.kafka, since) as read_topics:
        for record in read_topics("reading", tuple(topic.name for topic in read)):
            log.take(record.topic, record.value)
    return 0


def read_recording(path: Path, take: Callable[[str, bytes | None], None]) -> int:
    """Call `take` with the topic and the value of every record, in order; return how many lines are no record."""
    bad = 0
    with (
        terminal.opened(path) as source,
        terminal.byte_progress("reading", terminal.size_of(path)) as progress,
        Interruptions() as interruptions,
    ):
        for line in interruptions.each(lines(source)):
            progress.update(progress.task_ids[0], advance=line.size)
            try:
                record = _decode_line(line.text)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                bad += b'"tick"' not in line.text
                continue
            take(record.topic, bytes(record.message) or bytes(record.value))
    if interruptions.happened:
        raise typer.Exit(terminal.INTERRUPTED)
    return bad
