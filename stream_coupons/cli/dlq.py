"""`dlq`: list and show dead letters; `dlq redrive` is in `dlq_redrive`."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from stream_coupons.cli import terminal
from stream_coupons.cli.dlq_redrive import ReasonOption, TopicOption, known_topic, redrive
from stream_coupons.cli.options import (
    BootstrapOption,
    ConfigOption,
    JsonOption,
    parse_time,
    require_broker,
    settings_from,
)
from stream_coupons.core.plurals import counted

if TYPE_CHECKING:  # it takes NumPy and kafka-python, which no help needs
    from stream_coupons.kafka.letters import Letter
    from stream_coupons.kafka.redrive import Sending

app = typer.Typer(no_args_is_help=True)

SHOWN_DETAIL = 100


@app.command("list")
def show_list(  # noqa: PLR0913 - the options of a command
    reason: ReasonOption = None,
    topic: TopicOption = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only those refused from this time on.")] = None,
    limit: Annotated[int, typer.Option(help="List at most so many; the totals count all.", min=0)] = 100,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """List the newest dead letters, the newest last, and count all of them by
    reason and topic.

    A letter is named by its partition and offset in dead-letters. "Sent
    again" says when its record was, and "was" which letter came back. "Cut"
    is one whose record was too long for it: it has the beginning.

    Examples: stream-coupons dlq list
              stream-coupons dlq list --reason wrong_partition --since 2026-01-02
              stream-coupons dlq list --topic coupon-feedback --limit 20 --json
    """
    from stream_coupons.kafka import letters, redrive

    settings = settings_from(config, bootstrap)
    since_at = None if since is None else parse_time(since, settings)
    selection, brokers = letters.Selection(reason, known_topic(topic), since_at=since_at), settings.kafka
    require_broker(brokers)
    sent = redrive.sendings(brokers)
    count: Counter[tuple[str, str]] = Counter()
    again: Counter[tuple[str, str]] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for letter in selection.of(letters.read_letters(brokers)):
            row = row_of(letter, sent.get(letter.digest()))
            count[letter.reason, letter.topic] += 1
            again[letter.reason, letter.topic] += row["sent_again_at"] is not None
            yield row

    newest = heapq.nlargest(limit, rows(), key=lambda row: (row["at"], letters.numbers_of(row["letter"])))[::-1]
    totals = [(*of, count[of], again[of]) for of in sorted(count)]
    if json:
        names = ("reason", "topic", "letters", "sent_again")
        terminal.print_json({"letters": newest, "totals": [dict(zip(names, one, strict=True)) for one in totals]})
        return
    for row in newest:
        terminal.stdout().print(line_of(row), soft_wrap=True)
    if totals:
        terminal.print_table(("reason", "topic"), [[*map(str, one)] for one in totals], ("letters", "sent again"))
    terminal.say(f"{counted(count.total(), 'dead letter')}, {again.total()} of them sent again")
    if count.total() > len(newest):
        terminal.remark(f"listed the newest {len(newest)}; --limit lists more")


def row_of(letter: Letter, sending: Sending | None) -> dict[str, Any]:
    """Return the fields of a letter for a script, given the last sending of its record; times in UTC epoch seconds."""
    return {
        "letter": letter.place,
        "at": letter.at,
        "reason": letter.reason,
        "source": letter.source,
        "key": None if letter.key is None else letter.key.decode(errors="replace"),
        "bytes": letter.value_bytes or 0,
        "is_cut": letter.is_cut,
        "detail": letter.detail,
        "sent_again_at": None if sending is None else sending.at,
        "came_back_of": letter.came_back_of,
    }


def line_of(row: dict[str, Any]) -> Text:
    """Return a letter on one line, for a person."""
    detail, again = row["detail"], row["sent_again_at"]
    parts = [
        (row["letter"], "bold"),
        (terminal.utc(row["at"]), "dim"),
        (row["reason"], "bold red"),
        (row["source"], ""),
        ("no key" if row["key"] is None else row["key"], "bold cyan"),
        (f"{row['bytes']} bytes" if row["bytes"] else "empty value", ""),
        ("cut" if row["is_cut"] else "", "yellow"),
        (f"was {row['came_back_of']}" if row["came_back_of"] is not None else "", "yellow"),
        ("" if again is None else f"sent again {terminal.utc(again)}", "green"),
        (detail if len(detail) <= SHOWN_DETAIL else detail[: SHOWN_DETAIL - 1] + "…", ""),
    ]
    return Text("  ").join(Text(terminal.printable(text), style=style) for text, style in parts if text)


@app.command("show")
def show(
    letter: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="Which letter, as `dlq list` names it.")],
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Show all of one dead letter: its headers, the record's key and its value as
    text, or in hexadecimal digits if it is not UTF-8.

    Examples: stream-coupons dlq show 0:17
              stream-coupons dlq show 0:17 --json
    """
    from stream_coupons.kafka import letters, redrive

    place = letters.place_of(letter)
    brokers = settings_from(config, bootstrap).kafka
    require_broker(brokers)
    [found] = letters.named(frozenset({place}), letters.read_letters(brokers))
    sending = redrive.sendings(brokers).get(found.digest())
    text, digits = text_or_digits(found.value)
    if json:
        whole = {"headers": found.headers, "value": text, "value_hex": digits, "cannot_be_sent": found.hindrance()}
        terminal.print_json(row_of(found, sending) | whole)
        return
    rows = {
        "letter": found.place,
        "refused": terminal.utc(found.at),
        "sent again": "no" if sending is None else f"{terminal.utc(sending.at)}, as {sending.letter}",
        "can be sent": found.hindrance() or "yes",
        **{f"header {name}": value for name, value in found.headers.items()},
        "key": _readable(*text_or_digits(found.key)) + _rest_of(found.key, found.key_bytes),
        "value": f"{len(found.value)} bytes{_rest_of(found.value, found.value_bytes)}, as they follow"
        if found.value
        else "empty value",
    }
    console = terminal.stdout()
    console.print(terminal.summary_table({terminal.printable(k): terminal.printable(v) for k, v in rows.items()}))
    if found.value:
        console.print(Text(_readable(text, digits)), soft_wrap=True)


def _rest_of(part: bytes | None, whole_bytes: int | None) -> str:
    """Return a note with the full length of a key or value, empty if the dead letter has all of it."""
    return "" if part is None or len(part) == whole_bytes else f" (the first of {whole_bytes} bytes)"


def text_or_digits(data: bytes | None) -> tuple[str | None, str | None]:
    """Return bytes as text, or in hexadecimal digits if they are not UTF-8."""
    try:
        return None if data is None else data.decode(), None
    except UnicodeDecodeError:
        return None, (data or b"").hex()


def _readable(text: str | None, digits: str | None) -> str:
    if digits is not None:
        return f"not UTF-8: {digits}"
    return "none" if text is None else terminal.printable_lines(text)


app.command("redrive")(redrive)
