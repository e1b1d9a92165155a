"""`tail`: watch what comes out, or anything else that passes through a topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, require_broker, settings_from
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.plurals import counted
from stream_coupons.core.validation_hints import near
from stream_coupons.kafka import topics
from stream_coupons.ops.interrupts import Interruptions

TIME_FIELDS = ("occurred_at", "issued_at", "at")
LONGEST_TEXT = 200


def tail(  # noqa: PLR0913 - the options of a command
    topic: Annotated[str, typer.Argument(help="Which topic.")] = topics.ISSUES.name,
    json: Annotated[
        bool, typer.Option("--json", help="Print the messages themselves, one line each, for a script.")
    ] = False,
    recording: Annotated[
        bool, typer.Option("--recording", help="Print lines that `publish` and `replay` read: topic, key and message.")
    ] = False,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="All that the topic still holds, then what comes.")
    ] = False,
    maximum: Annotated[int | None, typer.Option("--max", help="Stop after so many messages.", min=1)] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Stop when there was no message for so many seconds.", min=0)
    ] = None,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Watch a topic: one line a message, oldest first within a partition, until
    Ctrl-C.

    Nothing is committed and no consumer is disturbed. Refused records are
    in dead-letters, with the reason. With --json these are objects of
    reason, detail, where they came from, and their text. Exit code 1 says
    that --timeout came before --max messages.

    Examples: stream-coupons tail
              stream-coupons tail dead-letters --from-beginning
              stream-coupons tail coupon-issues --json --max 1 --timeout 30
    """
    from stream_coupons.kafka.clients import Reader

    write = _writer(json=json, recording=recording)
    _require_known(topic)
    settings = settings_from(config, bootstrap)
    require_broker(settings.kafka)
    seen = 0
    with (
        Reader(settings.kafka, [topic], from_beginning=from_beginning) as reader,
        Interruptions() as interruptions,
    ):
        there = reader.read_to_end() if from_beginning else ()
        for record in interruptions.each(chain(there, until_quiet(reader.poll, timeout, time.monotonic))):
            write(record)
            seen += 1
            if seen == maximum:
                return
    if interruptions.happened:
        raise typer.Exit(terminal.INTERRUPTED)
    if maximum is not None:
        terminal.remark(f"{counted(seen, 'message')} within the time, expected {maximum}")
        raise typer.Exit(1)


def until_quiet(poll: Callable[[], list[Any]], timeout: float | None, clock: Callable[[], float]) -> Iterator[Any]:
    """Records as they come, until none came for `timeout` seconds."""
    quiet_since = clock()
    while True:
        records = poll()
        yield from records
        if records:
            quiet_since = clock()
        elif timeout is not None and clock() - quiet_since >= timeout:
            return


def _require_known(name: str) -> None:
    if name not in topics.BY_NAME:
        raise BadConfig(f"there is no topic {name!r}: see `stream-coupons topics list`{near(name, topics.BY_NAME)}")


def _writer(*, json: bool, recording: bool) -> Callable[[Any], None]:
    if json and recording:
        raise BadConfig("--json and --recording: expected one of them")
    if json or recording:
        line_of = recording_line if recording else json_line
        return lambda record: typer.echo(line_of(record))
    console = terminal.stdout()
    style: dict[str, Any] = {"no_wrap": True, "overflow": "ellipsis"} if console.is_terminal else {"soft_wrap": True}
    return lambda record: console.print(pretty_line(record), **style)


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="replace")


def json_line(record: Any) -> bytes:
    """Return the message on one line; for what is no JSON, and for dead letters, an object that holds it as text."""
    if record.topic != topics.DEAD_LETTERS.name and _fields(record.value) is not None:
        return bytes(msgspec.json.format(record.value, indent=-1))
    headers = {name: _text(value or b"") for name, value in record.headers or ()}
    return msgspec.json.encode(headers | {"key": _text(record.key), "text": _text(record.value)})


def recording_line(record: Any) -> bytes:
    """Return the message in the envelope that `publish` and `replay` read; text that is no JSON becomes a string."""
    is_json = _fields(record.value) is not None
    message = (
        msgspec.json.format(record.value, indent=-1) if is_json else msgspec.json.encode(_text(record.value or b""))
    )
    return msgspec.json.encode(
        {"topic": record.topic, "key": _text(record.key or b""), "message": msgspec.Raw(message)}
    )


def pretty_line(record: Any) -> Text:
    """Return time, key and message, for a person."""
    at, fields = record.timestamp / 1000.0, _fields(record.value)
    if record.topic == topics.DEAD_LETTERS.name:
        main = _dead_letter(record)
    elif fields is None:
        what = "removed" if record.value is None else f"not JSON: {record.value[:LONGEST_TEXT]!r}"
        main = Text(what, style="dim")
    else:
        at = next((fields[name] for name in TIME_FIELDS if isinstance(fields.get(name), int | float)), at)
        main = Text(terminal.printable(msgspec.json.format(record.value, indent=-1).decode()))
    key = terminal.printable(_text(record.key) or "no key")
    return Text.assemble((terminal.utc(at), "dim"), "  ", (key, "bold cyan"), "  " if main else "", main)


def _dead_letter(record: Any) -> Text:
    from stream_coupons.kafka.letters import letter_of

    letter = letter_of(record)
    rest = terminal.printable(f"  {letter.source}  {letter.detail}")
    return Text.assemble((terminal.printable(letter.reason), "bold red"), rest)


def _fields(value: bytes | None) -> dict[str, Any] | None:
    try:
        fields = msgspec.json.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None
