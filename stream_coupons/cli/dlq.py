"""`dlq`: list and show dead letters; `dlq redrive` is in `dlq_redrive`."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from msgspec import Struct
from rich.table import Table
from rich.text import Text

from stream_coupons.cli import terminal
from stream_coupons.cli.dlq_redrive import ReasonOption, TopicOption, known_topic, redrive
from stream_coupons.cli.options import (
    TIME_FORMATS,
    BootstrapOption,
    ConfigOption,
    JsonOption,
    require_broker,
    settings_from,
)

if TYPE_CHECKING:  # it takes NumPy and kafka-python, which no help needs
    from stream_coupons.kafka.letters import Letter
    from stream_coupons.kafka.redrive import Sending

app = typer.Typer(help="List and show dead letters, and send their records again.", no_args_is_help=True)

SHOWN_DETAIL = 100


class DeadLetterRow(Struct, frozen=True, kw_only=True):
    """One letter of the list.

    Attributes
    ----------
    at, sent_again_at : float
        UTC epoch seconds: when it was refused, and when its record was last sent again.
    bytes : int
        Length of the record's value, also if the letter is cut, which has only the beginning of it.
    """

    letter: str
    at: float
    reason: str
    source: str
    key: str | None
    bytes: int
    is_cut: bool = False
    detail: str
    sent_again_at: float | None
    came_back_of: str | None


class Total(Struct, frozen=True, kw_only=True):
    """Number of dead letters of one reason and topic, and of those whose records were sent again."""

    reason: str
    topic: str
    letters: int
    sent_again: int


@app.command("list")
def show_list(  # noqa: PLR0913 - the options of a command
    reason: ReasonOption = None,
    topic: TopicOption = None,
    since: Annotated[
        datetime | None, typer.Option(formats=TIME_FORMATS, help="Only those refused from this time on (UTC).")
    ] = None,
    limit: Annotated[int, typer.Option(help="List at most so many; the totals count all.", min=0)] = 100,
    before: Annotated[
        str | None, typer.Option(metavar="PARTITION:OFFSET", help="List those that are older than this letter.")
    ] = None,
    newest_first: Annotated[bool, typer.Option("--newest-first", help="Begin with the newest.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """List the newest dead letters, the newest last, and count all of them by
    reason and topic.

    Those before them are the next page: --before the oldest that is listed.
    A letter is named by its partition and offset in dead-letters. "Sent
    again" says when its record was, and "was" which letter came back. "Cut"
    is one whose record was too long for it: it has the beginning.

    Examples: stream-coupons dlq list
              stream-coupons dlq list --reason wrong_partition --since 2026-01-02
              stream-coupons dlq list --topic coupon-feedback --json
              stream-coupons dlq list --newest-first --limit 20 --before 2:17
    """
    from stream_coupons.kafka import letters, redrive

    since_at = None if since is None else since.replace(tzinfo=UTC).timestamp()
    selection = letters.Selection(reason, known_topic(topic), since_at=since_at)
    cursor = None if before is None else letters.place_of(before)
    brokers = settings_from(config, bootstrap).kafka
    require_broker(brokers)
    oldest = None if cursor is None else letters.moment_of(brokers, cursor)
    counts = LetterCounts(redrive.sendings(brokers), oldest)
    rows = counts.rows(selection.of(letters.read_letters(brokers)))
    page = heapq.nlargest(limit, rows, key=lambda row: (row.at, letters.numbers_of(row.letter)))
    older = page[-1].letter if page and counts.older > len(page) else None
    listed, totals = page if newest_first else page[::-1], counts.totals()
    if json:
        terminal.print_json({"letters": listed, "totals": totals, "older": older})
    else:
        _print_list(listed, totals)
    if counts.older > len(page):
        older_ones = f"the next page: --before {older}" if older is not None else "--limit lists them"
        text = f"listed {len(page)} of {counts.older} dead letters{'' if before is None else f' before {before}'}"
        terminal.remark(f"{text}; {older_ones}")


class LetterCounts:
    """Counts dead letters by reason and topic while their rows are made.

    Parameters
    ----------
    sent : dict of Sending
        The last sending of each record, by its digest.
    oldest : tuple, optional
        Moment of the letter that the listed ones are older than.

    Attributes
    ----------
    older : int
        Number of the letters that may be listed.
    """

    def __init__(self, sent: dict[bytes, Sending], oldest: tuple[float, tuple[int, int]] | None) -> None:
        self.older = 0
        self._sent = sent
        self._oldest = oldest
        self._letters: Counter[tuple[str, str]] = Counter()
        self._again: Counter[tuple[str, str]] = Counter()

    def rows(self, letters: Iterable[Letter]) -> Iterator[DeadLetterRow]:
        """Count all letters, and yield the rows of those that may be listed."""
        for letter in letters:
            row = row_of(letter, self._sent.get(letter.digest()))
            self._letters[letter.reason, letter.topic] += 1
            self._again[letter.reason, letter.topic] += row.sent_again_at is not None
            if self._oldest is None or letter.moment < self._oldest:
                self.older += 1
                yield row

    def totals(self) -> list[Total]:
        """Return the counts."""
        return [
            Total(reason=why, topic=where, letters=count, sent_again=self._again[why, where])
            for (why, where), count in sorted(self._letters.items())
        ]


def row_of(letter: Letter, sending: Sending | None) -> DeadLetterRow:
    """Return the row of the list for a letter, given the last sending of its record."""
    return DeadLetterRow(
        letter=letter.place,
        at=letter.at,
        reason=letter.reason,
        source=letter.source,
        key=None if letter.key is None else letter.key.decode(errors="replace"),
        bytes=letter.value_bytes or 0,
        is_cut=letter.is_cut,
        detail=letter.detail,
        sent_again_at=None if sending is None else sending.at,
        came_back_of=letter.came_back_of,
    )


def line_of(row: DeadLetterRow) -> Text:
    """A letter on one line, for a person."""
    detail = row.detail if len(row.detail) <= SHOWN_DETAIL else row.detail[: SHOWN_DETAIL - 1] + "…"
    parts = [
        (row.letter, "bold"),
        (terminal.utc(row.at), "dim"),
        (row.reason, "bold red"),
        (row.source, ""),
        ("no key" if row.key is None else row.key, "bold cyan"),
        (f"{row.bytes} bytes" if row.bytes else "empty value", ""),
        ("cut" if row.is_cut else "", "yellow"),
        (f"was {row.came_back_of}" if row.came_back_of is not None else "", "yellow"),
        (f"sent again {terminal.utc(row.sent_again_at)}" if row.sent_again_at is not None else "", "green"),
        (detail, ""),
    ]
    return Text("  ").join(Text(terminal.printable(text), style=style) for text, style in parts if text)


def _print_list(rows: list[DeadLetterRow], totals: list[Total]) -> None:
    console = terminal.stdout()
    for row in rows:
        console.print(line_of(row), soft_wrap=True)
    table = Table("reason", "topic", "letters", "sent again")
    for total in totals:
        cells = (total.reason, total.topic, str(total.letters), str(total.sent_again))
        table.add_row(*(Text(terminal.printable(cell), overflow="fold") for cell in cells))
    if totals:
        console.print(table)
    letters, again = sum(total.letters for total in totals), sum(total.sent_again for total in totals)
    terminal.say(f"{letters} dead letters, the records of {again} sent again")


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
    if json:
        terminal.print_json(shown_of(found, sending))
        return
    again = "no" if sending is None else f"{terminal.utc(sending.at)}, as {sending.letter}"
    rows = {
        "letter": found.place,
        "refused": terminal.utc(found.at),
        "sent again": again,
        "can be sent": _why_not(found) or "yes",
        **{f"header {name}": text for name, text in found.headers.items()},
        "key": text_of(found.key) + _rest_of(found.key, found.key_bytes),
        "value": f"{len(found.value)} bytes{_rest_of(found.value, found.value_bytes)}, as they follow"
        if found.value
        else "empty value",
    }
    console = terminal.stdout()
    console.print(terminal.summary_table({terminal.printable(k): terminal.printable(v) for k, v in rows.items()}))
    if found.value:
        console.print(Text(text_of(found.value)), soft_wrap=True)


class Shown(DeadLetterRow, frozen=True, kw_only=True):
    """A whole dead letter, as `dlq show --json` prints it.

    Attributes
    ----------
    value, value_hex : str, optional
        The record's value as text, or in hexadecimal digits if it is not UTF-8; both null if it has none.
    cannot_be_sent : str, optional
        Reason why its record cannot be sent again, or would be refused again.
    """

    headers: dict[str, str]
    value: str | None
    value_hex: str | None
    cannot_be_sent: str | None


def shown_of(letter: Letter, sending: Sending | None) -> Shown:
    """Return all of a letter for a script."""
    try:
        text, digits = None if letter.value is None else letter.value.decode(), None
    except UnicodeDecodeError:
        text, digits = None, (letter.value or b"").hex()
    return Shown(
        **msgspec.structs.asdict(row_of(letter, sending)),
        headers=letter.headers,
        value=text,
        value_hex=digits,
        cannot_be_sent=_why_not(letter),
    )


def _why_not(letter: Letter) -> str | None:
    """Return why the record of a dead letter cannot be sent again or would be refused again, None if it can."""
    if (obstacle := letter.obstacle()) is not None:
        return obstacle
    refusal = letter.refusal()
    return None if refusal is None else f"it would be refused again: {': '.join(refusal)}"


def _rest_of(part: bytes | None, whole_bytes: int | None) -> str:
    """Return a note with the full length of a key or value, empty if the dead letter has all of it."""
    return "" if part is None or len(part) == whole_bytes else f" (the first of {whole_bytes} bytes)"


def text_of(data: bytes | None) -> str:
    """Bytes of strangers to read: UTF-8 text line by line, else hexadecimal digits."""
    if data is None:
        return "none"
    try:
        return "\n".join(terminal.printable(line) for line in data.decode().split("\n"))
    except UnicodeDecodeError:
        return f"not UTF-8: {data.hex(' ')}"


app.command("redrive")(redrive)
