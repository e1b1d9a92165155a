"""`dlq redrive`: send the records of dead letters again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
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

BY_ORIGIN = {topics.EXAMPLES.name}
"""Topics whose readers know second copies by their origin alone."""

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
    that may be another answer. Mend the sender; --force sends it all the same.

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
    with nullcontext() if dry_run else publisher_of(kafka) as publisher:
        work = Redrive(publisher, before, kafka.partitions, force)
        told = RedrivePrinter(dry_run, as_json=json)
        interrupted = _send(work, chosen, told)
    told.report(interrupted=interrupted)
    if interrupted:
        raise typer.Exit(terminal.INTERRUPTED)
    raise typer.Exit(1 if told.counts[RedriveOutcome.IMPOSSIBLE] or told.counts[RedriveOutcome.HOPELESS] else 0)


class RedrivePrinter:
    """Prints what became of every letter, and of all of them; as JSON at the end, if asked for."""

    def __init__(self, dry_run: bool, *, as_json: bool) -> None:
        self.counts: Counter[RedriveOutcome] = Counter()
        self._again_for: Counter[str] = Counter()
        self._dry_run = dry_run
        self._rows: list[dict[str, str]] | None = [] if as_json else None

    def __call__(self, done: Done) -> None:
        """Take notice of one letter."""
        self.counts[done.outcome] += 1
        if done.again_for:
            self._again_for[done.again_for] += 1
        if self._rows is None:
            terminal.stdout().print(line_of_done(done, dry_run=self._dry_run), soft_wrap=True)
            return
        letter = done.letter
        row = {"letter": letter.place, "reason": letter.reason, "source": letter.source}
        self._rows.append(row | {"outcome": done.outcome.name.lower(), "note": done.note})

    def report(self, *, interrupted: bool) -> None:
        """Print the sums."""
        from stream_coupons.kafka.redrive import RedriveOutcome

        counts = self.counts
        if self._rows is not None:
            sums = {outcome.name.lower(): counts[outcome] for outcome in RedriveOutcome}
            found = {"dry_run": self._dry_run, "letters": self._rows, "counts": sums}
            found |= {"refused_again": dict(sorted(self._again_for.items())), "interrupted": interrupted}
            terminal.print_json(found)
            return
        text = (
            f"{counts[RedriveOutcome.SENT]} {'would be sent: --dry-run' if self._dry_run else 'sent again'}, "
            f"{counts[RedriveOutcome.BEFORE]} sent before, {counts[RedriveOutcome.IMPOSSIBLE]} cannot be sent"
        )
        if counts[RedriveOutcome.HOPELESS]:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self._again_for.items()))
            text += (
                f", {counts[RedriveOutcome.HOPELESS]} would be refused again ({reasons}): mend the sender, or --force"
            )
        terminal.say(text)


def _send(work: Redrive, chosen: Iterable[Letter], told: RedrivePrinter) -> bool:
    """Send, and say what became of every letter; return whether it was interrupted."""
    from stream_coupons.kafka.redrive import RedriveOutcome

    overtaken: set[str] = set()

    def tell(certain: list[Done]) -> None:
        for done in certain:
            if done.outcome is RedriveOutcome.SENT:
                overtaken.update({done.letter.topic} & BY_ORIGIN)
            told(done)

    with Interruptions() as interruptions:
        for letter in interruptions.each(chosen):
            tell(work.take(letter))
        tell(work.finish())
    for name in sorted(overtaken):
        text = f"{name}: a record counts as a duplicate if a later one of its source was applied to its key meanwhile"
        terminal.warn(text)
    return interruptions.happened


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
