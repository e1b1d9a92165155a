"""`dlq`: list and show dead letters, and send their records again."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from msgspec import Struct
from rich.table import Table
from rich.text import Text

from stream_coupons import admin, dead_letters, topics
from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, settings_from
from stream_coupons.clients import Publisher
from stream_coupons.connection import Connection
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.reasons import Rejection
from stream_coupons.dead_letters import Done, Letter, Outcome, Redrive, Selection, Sending
from stream_coupons.settings import Settings

app = typer.Typer(help="List and show dead letters, and send their records again.", no_args_is_help=True)

TIME_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%SZ"]
SHOWN_DETAIL = 100
BY_ORIGIN = {topics.PROPOSALS.name, topics.SETTLEMENTS.name, topics.EXAMPLES.name, topics.OPEN.name}
"""Topics whose readers know second copies by their origin alone."""

ReasonOption = Annotated[Rejection | None, typer.Option("--reason", "-r", help="Only those refused for this.")]
TopicOption = Annotated[str | None, typer.Option("--topic", "-t", help="Only those that came in here.")]


class Row(Struct, frozen=True, kw_only=True):
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
    """How many letters of one reason and topic there are, and the records of how many were sent again."""

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
    limit: Annotated[int, typer.Option(help="List the newest so many; the totals count all.", min=0)] = 100,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """List dead letters, the newest last, and count them by reason and topic.

    A letter is named by its partition and offset in dead-letters. "Sent
    again" says when its record was, and "was" which letter came back. "Cut"
    is one whose record was too long for it: it has the beginning.

    Examples: stream-coupons dlq list
              stream-coupons dlq list --reason wrong_partition --since 2026-01-02
              stream-coupons dlq list --topic coupon-feedback --json
    """
    since_at = None if since is None else since.replace(tzinfo=UTC).timestamp()
    selection = Selection(reason, _known(topic), since_at=since_at)
    brokers = _reachable(settings_from(config, bootstrap))
    sent = dead_letters.sendings(brokers)
    counted: Counter[tuple[str, str]] = Counter()
    again: Counter[tuple[str, str]] = Counter()

    def rows() -> Iterator[Row]:
        for letter in selection.of(dead_letters.letters(brokers)):
            row = row_of(letter, sent)
            counted[letter.reason, letter.topic] += 1
            again[letter.reason, letter.topic] += row.sent_again_at is not None
            yield row

    newest = heapq.nlargest(limit, rows(), key=lambda row: (row.at, dead_letters.numbers_of(row.letter)))
    totals = [
        Total(reason=why, topic=where, letters=count, sent_again=again[why, where])
        for (why, where), count in sorted(counted.items())
    ]
    if json:
        typer.echo(msgspec.json.encode({"letters": newest[::-1], "totals": totals}).decode())
    else:
        _print_list(newest[::-1], totals)
    if len(newest) < counted.total():
        text = f"the newest {len(newest)} of {counted.total()} dead letters; --limit lists more"
        terminal.stderr().print(text, markup=False)


def row_of(letter: Letter, sent: dict[bytes, Sending]) -> Row:
    """What the list says of a letter."""
    sending = sent.get(letter.digest())
    return Row(
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


def line_of(row: Row) -> Text:
    """A letter on one line, for a person."""
    detail = row.detail if len(row.detail) <= SHOWN_DETAIL else row.detail[: SHOWN_DETAIL - 1] + "…"
    parts = [
        (row.letter, "bold"),
        (utc(row.at), "dim"),
        (row.reason, "bold red"),
        (row.source, ""),
        ("no key" if row.key is None else row.key, "bold cyan"),
        (f"{row.bytes} bytes", ""),
        ("cut" if row.is_cut else "", "yellow"),
        (f"was {row.came_back_of}" if row.came_back_of is not None else "", "yellow"),
        (f"sent again {utc(row.sent_again_at)}" if row.sent_again_at is not None else "", "green"),
        (detail, ""),
    ]
    return Text("  ").join(Text(terminal.printable(text), style=style) for text, style in parts if text)


def _print_list(rows: list[Row], totals: list[Total]) -> None:
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
    console.print(f"{letters} dead letters, the records of {again} sent again", markup=False)


@app.command("show")
def show(
    letter: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="Which letter, as `dlq list` names it.")],
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Show all of one dead letter: its headers, the record's key and its value as
    text, or in hexadecimal digits if it is not UTF-8.

    Example: stream-coupons dlq show 0:17
    """
    place = dead_letters.place_of(letter)
    brokers = _reachable(settings_from(config, bootstrap))
    [found] = dead_letters.named(frozenset({place}), dead_letters.letters(brokers))
    sending = dead_letters.sendings(brokers).get(found.digest())
    again = "no" if sending is None else f"{utc(sending.at)}, as {sending.letter}"
    rows = {
        "letter": found.place,
        "refused": utc(found.at),
        "sent again": again,
        "can be sent": found.obstacle() or "yes",
        **{f"header {name}": text for name, text in found.headers.items()},
        "key": text_of(found.key) + _rest_of(found.key, found.key_bytes),
        "value": f"{len(found.value)} bytes{_rest_of(found.value, found.value_bytes)}, as they follow"
        if found.value is not None
        else "none",
    }
    console = terminal.stdout()
    console.print(terminal.summary_table({terminal.printable(k): terminal.printable(v) for k, v in rows.items()}))
    if found.value is not None:
        console.print(Text(text_of(found.value)), soft_wrap=True)


def _rest_of(part: bytes | None, whole_bytes: int | None) -> str:
    """That there was more of a key or value, if the letter is cut."""
    return "" if part is None or len(part) == whole_bytes else f" (the first of {whole_bytes} bytes)"


def text_of(data: bytes | None) -> str:
    """Bytes of strangers to read: UTF-8 text line by line, else hexadecimal digits."""
    if data is None:
        return "none"
    try:
        return "\n".join(terminal.printable(line) for line in data.decode().split("\n"))
    except UnicodeDecodeError:
        return f"not UTF-8: {data.hex(' ')}"


@app.command("redrive")
def redrive(  # noqa: PLR0913 - the options of a command
    letters: Annotated[
        list[str] | None,
        typer.Argument(metavar="PARTITION:OFFSET", help="These letters, as `dlq list` names them."),
    ] = None,
    reason: ReasonOption = None,
    topic: TopicOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also records that were sent again before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; say what would be done.")] = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Send the records of dead letters again, to the topic that they came in and
    the partition of their key: the same key, the same bytes.

    Doing it twice changes nothing: what was sent is remembered (in the topic
    redrives, by topic, key and bytes), and neither the letter nor a copy of
    it is sent a second time. A record that is still bad comes back as a new
    letter; that one is sent with --again only. If it is killed, at most the
    last 500 are sent twice by the next one; the workers know events by their
    event_id, and their own messages by their origin.

    Exit code 1 says that a letter cannot be sent, such as one without key or
    one that is cut.

    Examples: stream-coupons dlq redrive --reason wrong_partition --dry-run
              stream-coupons dlq redrive --topic coupon-feedback
              stream-coupons dlq redrive 0:17 2:4 --again
    """
    selection = Selection(reason, _known(topic), places=frozenset(map(dead_letters.place_of, letters or ())))
    ways = (bool(letters), reason is not None or topic is not None, everything)
    if sum(ways) != 1:
        raise BadConfig("which letters? expected one of: PARTITION:OFFSET ..., --reason or --topic or both, --all")
    kafka = settings_from(config, bootstrap).kafka
    with admin.admin_client(kafka) as client:
        admin.apply(client, kafka, check_only=True)
    chosen = selection.of(dead_letters.letters(kafka))
    before = {} if again else dead_letters.sendings(kafka)
    with nullcontext() if dry_run else Publisher(kafka, kafka.partitions) as publisher:
        counts, interrupted = _send(Redrive(publisher, before, kafka.partitions), chosen, dry_run=dry_run)
    _report(counts, dry_run=dry_run)
    if interrupted:
        raise typer.Exit(terminal.INTERRUPTED)
    raise typer.Exit(1 if counts[Outcome.IMPOSSIBLE] else 0)


def _send(work: Redrive, chosen: Iterable[Letter], *, dry_run: bool) -> tuple[Counter[Outcome], bool]:
    """Send and print what became of every letter; whether it was interrupted."""
    counts: Counter[Outcome] = Counter()
    overtaken: set[str] = set()

    def tell(certain: list[Done]) -> None:
        for done in certain:
            counts[done.outcome] += 1
            if done.outcome is Outcome.SENT:
                overtaken.update({done.letter.topic} & BY_ORIGIN)
            terminal.stdout().print(line_of_done(done, dry_run=dry_run), soft_wrap=True)

    with terminal.Interruptions() as interruptions:
        for letter in interruptions.each(chosen):
            tell(work.take(letter))
        tell(work.finish())
    for name in sorted(overtaken):
        text = f"{name}: a record counts as a duplicate if a later one of its source was applied to its key meanwhile"
        terminal.stderr().print(Text.assemble(("warning: ", "yellow"), text), soft_wrap=True)
    return counts, interruptions.happened


def line_of_done(done: Done, *, dry_run: bool) -> Text:
    """What became of a letter, on one line."""
    what = {
        Outcome.SENT: "would be sent" if dry_run else "sent",
        Outcome.BEFORE: "skipped: sent again before",
        Outcome.IMPOSSIBLE: "cannot be sent:",
    }[done.outcome]
    letter = done.letter
    parts = (letter.place, letter.reason, letter.source, f"{what} {done.note}")
    return Text("  ".join(terminal.printable(part) for part in parts))


def _report(counts: Counter[Outcome], *, dry_run: bool) -> None:
    text = (
        f"{counts[Outcome.SENT]} {'would be sent: --dry-run' if dry_run else 'sent again'}, "
        f"{counts[Outcome.BEFORE]} sent before, {counts[Outcome.IMPOSSIBLE]} cannot be sent"
    )
    terminal.stdout().print(text, markup=False)


def utc(at: float) -> str:
    """A moment to read; clients may say any."""
    try:
        return terminal.utc(at)
    except (ValueError, OverflowError, OSError):
        return str(at)


def _known(topic: str | None) -> str | None:
    names = [known.name for known in topics.READ_BY_AGENTS]
    if topic is not None and topic not in names:
        raise BadConfig(f"--topic {topic!r}: no agent reads it, expected one of {', '.join(names)}")
    return topic


def _reachable(settings: Settings) -> Connection:
    """The way to the brokers; it says within seconds that none answers, where a consumer would try for ever."""
    with admin.admin_client(settings.kafka):
        return settings.kafka
