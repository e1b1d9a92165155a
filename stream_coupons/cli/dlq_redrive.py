"""`dlq redrive`: send the records of dead letters again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, publisher_of, settings_with_topics
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.ops.interrupts import Interruptions

if TYPE_CHECKING:  # it takes NumPy and kafka-python, which no help needs
    from stream_coupons.kafka.letters import Letter
    from stream_coupons.kafka.redrive import Done, Redrive, RedriveOutcome

OVERTAKEN = f"{topics.EXAMPLES.name}: a record is a duplicate if a later one of its source was applied to its key"

ReasonOption = Annotated[Rejection | None, typer.Option("--reason", "-r", help="Only those refused for this.")]
TopicOption = Annotated[str | None, typer.Option("--topic", "-t", help="Only those that came in here.")]


def redrive(  # noqa: PLR0913 - the options of a command
    letters: Annotated[
        list[str] | None,
        typer.Argument(metavar="PARTITION:OFFSET", help="These letters, as `dlq list` names them."),
    ] = None,
    reason: ReasonOption = None,
    topic: TopicOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also records that were sent again before.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also what this release would refuse again; workers may be of another.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; say what would be done.")] = False,
    json: JsonOption = False,
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
    event_id, and of their own messages a second copy changes nothing.

    What cannot succeed is not sent: what is no valid message of its topic to
    this release, or has a key that is not the id inside. After an upgrade
    that may be another answer. Fix the producer; --force sends it all the same.

    Exit code 1 says that a letter was not sent for that, or cannot be, such
    as one without key or one that is cut.

    Examples: stream-coupons dlq redrive --reason wrong_partition --dry-run
              stream-coupons dlq redrive --topic coupon-feedback
              stream-coupons dlq redrive 0:17 2:4 --again
    """
    from stream_coupons.kafka.letters import Selection, place_of, read_letters
    from stream_coupons.kafka.redrive import Redrive, RedriveOutcome, sendings

    selection = Selection(reason, known_topic(topic), places=frozenset(map(place_of, letters or ())))
    ways = (bool(letters), reason is not None or topic is not None, everything)
    if sum(ways) != 1:
        raise BadConfig("which letters? expected one of: PARTITION:OFFSET ..., --reason or --topic or both, --all")
    kafka = settings_with_topics(config, bootstrap).kafka
    chosen = selection.of(read_letters(kafka))
    before = {} if again else sendings(kafka)
    rows: list[dict[str, str]] | None = [] if json else None
    with nullcontext() if dry_run else publisher_of(kafka) as publisher, Interruptions() as interruptions:
        work = Redrive(publisher, before, kafka.partitions, force)
        counts, refused_again = _redrive(work, interruptions.each(chosen), rows, dry_run=dry_run)
    if rows is None:
        terminal.say(_sums(counts, refused_again, dry_run=dry_run))
    else:
        sums = {outcome.name.lower(): counts[outcome] for outcome in RedriveOutcome}
        found = {"dry_run": dry_run, "letters": rows, "counts": sums, "refused_again": refused_again}
        terminal.print_json(found | {"interrupted": interruptions.happened})
    if interruptions.happened:
        raise typer.Exit(terminal.INTERRUPTED)
    raise typer.Exit(1 if counts[RedriveOutcome.IMPOSSIBLE] or counts[RedriveOutcome.HOPELESS] else 0)


def _redrive(
    work: Redrive, letters: Iterable[Letter], rows: list[dict[str, str]] | None, *, dry_run: bool
) -> tuple[Counter[RedriveOutcome], Counter[str]]:
    """Send the records, show each outcome as soon as it is certain, and count outcomes and reasons of refusals."""
    from stream_coupons.kafka.redrive import RedriveOutcome

    counts: Counter[RedriveOutcome] = Counter()
    refused_again: Counter[str] = Counter()
    overtaken = 0
    for done in _send(work, letters):
        counts[done.outcome] += 1
        refused_again.update([done.again_for] if done.again_for else [])
        overtaken += done.outcome is RedriveOutcome.SENT and done.letter.topic == topics.EXAMPLES.name
        _show(done, rows, dry_run=dry_run)
    if overtaken:
        terminal.warn(OVERTAKEN)
    return counts, refused_again


def _send(work: Redrive, letters: Iterable[Letter]) -> Iterator[Done]:
    """Send the records, and yield the outcome of each letter as soon as it is certain."""
    for letter in letters:
        yield from work.take(letter)
    yield from work.finish()


def _show(done: Done, rows: list[dict[str, str]] | None, *, dry_run: bool) -> None:
    """Print the outcome of a letter, or add it to the rows for a script."""
    if rows is None:
        terminal.stdout().print(line_of_done(done, dry_run=dry_run), soft_wrap=True)
        return
    letter = done.letter
    row = {"letter": letter.place, "reason": letter.reason, "source": letter.source}
    rows.append(row | {"outcome": done.outcome.name.lower(), "note": done.note})


def _sums(counts: Counter[RedriveOutcome], refused_again: Counter[str], *, dry_run: bool) -> str:
    from stream_coupons.kafka.redrive import RedriveOutcome

    sent, before, impossible, hopeless = (counts[outcome] for outcome in RedriveOutcome)
    what = "would be sent: --dry-run" if dry_run else "sent again"
    text = f"{sent} {what}, {before} sent before, {impossible} cannot be sent"
    if not hopeless:
        return text
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(refused_again.items()))
    return f"{text}, {hopeless} would be refused again ({reasons}): fix the producer, or --force"


def line_of_done(done: Done, *, dry_run: bool) -> Text:
    """Return the outcome of a dead letter on one line."""
    from stream_coupons.kafka.redrive import RedriveOutcome

    what = {
        RedriveOutcome.SENT: "would be sent" if dry_run else "sent",
        RedriveOutcome.BEFORE: "skipped: sent again before",
        RedriveOutcome.IMPOSSIBLE: "cannot be sent:",
        RedriveOutcome.HOPELESS: "not sent, it would be refused again:",
    }[done.outcome]
    letter = done.letter
    parts = (letter.place, letter.reason, letter.source, f"{what} {done.note}")
    return Text("  ".join(terminal.printable(part) for part in parts))


def known_topic(topic: str | None) -> str | None:
    """Return the name of a topic that agents read.

    Raises
    ------
    BadConfig
    """
    names = [known.name for known in topics.READ_BY_AGENTS]
    if topic is not None and topic not in names:
        raise BadConfig(f"--topic {topic!r}: no agent reads it, expected one of {', '.join(names)}")
    return topic
