"""`what-if`: recorded events played with a catalogue file beside the published one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.catalog_entries import read_file
from stream_coupons.cli.entry_verbs import FileArgument
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, parse_time, settings_with_topics
from stream_coupons.cli.own_records import take_records
from stream_coupons.cli.topic_reading import reading
from stream_coupons.core.errors import BadConfig
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS
from stream_coupons.ops.published import published
from stream_coupons.ops.topic_log import TopicLog

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.kafka.topics import Topic
    from stream_coupons_lab.offline.what_if import Event, Side, WhatIf

LEGEND = (
    "given, shoppers: counts of the plays. spend, value: predicted, minor units. Budgets began full, and shoppers "
    "without a past. margin: measured, doubly robust, minor units a decision above what was decided, without "
    "exploration; the interval is of 95 %"
)


def what_if(
    file: FileArgument,
    since: Annotated[str, typer.Option(metavar="TIME", help="Play events since: ISO 8601, or 7d ago.")] = "7d",
    max_spend: Annotated[
        int | None, typer.Option(min=0, help="Exit code 1 if more is expected to be spent, minor units.")
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Play recorded events with a catalogue file beside the published one, and compare the decisions.

    Reads the events since a time, and decides on them twice with the models
    that serve now: as published, and with the entries of the file in place of
    those of the same ids. Its campaigns are played as running unless an entry
    names a state. Nothing is published. Decisions on record say what the
    margin would have been where their coupons had a chance, too. The file is
    YAML or JSON, as `catalog push` reads it.

    Call it with the settings of the workers. Exit code 1 says that
    --max-spend is exceeded.

    Examples: stream-coupons what-if new.yaml --since 7d
              stream-coupons what-if new.yaml --max-spend 500000 --json
    """
    from stream_coupons.ops.explain.evidence import ShopperEvidence
    from stream_coupons.secret import rules_of
    from stream_coupons_lab.offline.what_if import EVENTS, Entries, compared
    from stream_coupons_lab.ope.own_log import READ, OwnLog

    settings = settings_with_topics(config, bootstrap)
    begins_at, found = parse_time(since, settings), read_file(COUPONS, file, settings)
    if found.refused:
        raise BadConfig(f"{file}: {found.refused} entries are refused, expected none")
    present = Entries(published(settings, COUPONS).entries, published(settings, CAMPAIGNS).entries)
    new = Entries({**present.coupons, **found.coupons}, {**present.campaigns, **found.campaigns})
    evidence = ShopperEvidence(rules_of(settings), "-", settings.kafka.partitions, settings.learning)
    with reading(settings.kafka) as read:
        for record in read("reading models", evidence.READ):
            evidence.take(record)
    played = _Events(EVENTS, begins_at)
    take_records(played, EVENTS, None, settings, begins_at)
    if not played.events:
        raise BadConfig(f"--since {since}: no event since then, expected some to play")
    log = OwnLog(settings.policy)
    take_records(log, READ, None, settings)
    result = compared(settings, played.events, (present, new), evidence.knowledge().scorers, log, _watched)
    terminal.show(result, _print, as_json=json)
    if max_spend is not None and result.new.spend_minor > max_spend:
        terminal.warn(f"expected spend is {result.new.spend_minor:.0f}, expected at most --max-spend {max_spend}")
        raise typer.Exit(1)


class _Events(TopicLog):
    """The events since a time."""

    def __init__(self, read: Sequence[Topic], begins_at: float) -> None:
        super().__init__(read)
        self._begins_at = begins_at
        self.events: list[Event] = []

    def note(self, message: Any) -> None:
        if message.occurred_at >= self._begins_at:
            self.events.append(message)


def _watched(what: str, events: Sequence[Event]) -> Iterator[Event]:
    with terminal.fraction_progress(what, len(events)) as progress:
        yield from progress.track(events, task_id=progress.task_ids[0])


def _print(found: WhatIf) -> None:
    terminal.say(f"{found.changed:,} of {found.decisions:,} decisions change, on {found.events:,} events")
    names = sorted(found.present.coupons.keys() | found.new.coupons.keys())
    rows = [[terminal.printable(name), *_figures(found.present, name), *_figures(found.new, name)] for name in names]
    rows.append(["all", *_totals(found.present), *_totals(found.new)])
    heads = [f"{side} {column}" for side in ("present", "new") for column in ("given", "shoppers", "spend", "value")]
    terminal.print_table(("coupon", *heads), rows, heads)
    for name, side in (("present", found.present), ("new", found.new)):
        for one in side.margin:
            gain, about = one.gain_minor, f"{name}, {terminal.printable(one.domain)}: margin"
            if gain is not None:
                about += f" {gain.value:+.2f} ({gain.low:+.2f} to {gain.high:+.2f})"
            terminal.say(f"{about} on {one.decisions:,} decisions; {one.left_out:,} cannot be measured")
    terminal.say(LEGEND)


def _figures(side: Side, name: str) -> list[str]:
    one = side.coupons.get(name)
    return ["0"] * 4 if one is None else _texts(one.given, one.shoppers, one.spend_minor, one.value_minor)


def _totals(side: Side) -> list[str]:
    return _texts(sum(one.given for one in side.coupons.values()), side.shoppers, side.spend_minor, side.value_minor)


def _texts(given: int, shoppers: int, spend: float, value: float) -> list[str]:
    return [f"{given:,}", f"{shoppers:,}", f"{spend:,.0f}", f"{value:,.0f}"]
