"""Coupons and campaigns in their topics: read, publish, remove, pause and resume them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic

import typer
from msgspec import Raw, Struct

from stream_coupons.cli import terminal
from stream_coupons.cli.options import client_of_topics, publisher_of
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.kafka.codec import Decoder, with_fields
from stream_coupons.ops.campaign_life import ChangeLog, ForbiddenTransition, settled
from stream_coupons.ops.catalogue_files import (
    CAMPAIGNS,
    COUPONS,
    Entry,
    EntryFault,
    Kind,
    ParsedFile,
    changed_holdouts,
    overlooked,
    read_entries,
    unissuable,
)
from stream_coupons.ops.worst_cases import SpendingBound, worst_cases
from stream_coupons.settings import Settings

MAX_WORST_CASES = 10
"""Maximum number of budgets whose worst case is printed; `--json` has all of them."""


class Published(Struct, Generic[Entry]):
    """The records of a topic as they are now.

    Attributes
    ----------
    entries : dict
        By id, in its order.
    unreadable : dict
        By key, what is wrong with a record that workers ignore.
    records : dict
        Values of all of them, by key.
    """

    entries: dict[str, Entry]
    unreadable: dict[str, str]
    records: dict[str, bytes]


def published(settings: Settings, kind: Kind[Entry]) -> Published[Entry]:
    """Read the topic of a kind to its end."""
    from stream_coupons.kafka.clients import Reader

    found: Published[Entry] = Published({}, {}, {})
    decode = Decoder(kind.topic)
    with Reader(settings.kafka, [kind.topic.name], from_beginning=True) as reader:
        for record in reader.read_to_end():
            key = (record.key or b"").decode(errors="replace")
            for by_key in (found.entries, found.unreadable, found.records):
                by_key.pop(key, None)
            if record.value is None:
                continue
            found.records[key] = record.value
            try:
                found.entries[key] = decode(record.value)
            except BadMessage as bad:
                found.unreadable[key] = bad.detail
    found.entries = dict(sorted(found.entries.items()))
    return found


def warn_of_unreadable(found: Published[Entry], kind: Kind[Entry]) -> None:
    """Print a warning for each record that is no entry."""
    for key, detail in found.unreadable.items():
        terminal.warn(f"key {key} of {kind.topic.name} is no {kind.noun}, workers ignore it: {detail}")


def read_file(kind: Kind[Any], file: Path, settings: Settings) -> ParsedFile:
    """Read a file of entries, and print its faults.

    Raises
    ------
    BadConfig
    """
    with terminal.opened(file) as source:
        reading = read_entries(kind, source.read(), str(file), time.time(), settings.shop.zone)
    for fault in reading.faults:
        terminal.print_error(f"{file}, {fault}")
    return reading


def compared(reading: ParsedFile, settings: Settings | None) -> list[str]:
    """Return warnings of a file's entries beside those that are published; without settings these are not known."""
    campaigns, others, changed = reading.campaigns, dict[str, Coupon](), list[str]()
    if settings is not None:
        known = published(settings, CAMPAIGNS).entries
        changed, campaigns = changed_holdouts(campaigns, known), known | campaigns
        others = published(settings, COUPONS).entries
    touched = {name: each for name, each in others.items() if each.campaign_id in reading.campaigns}
    touched |= {n: each for n, each in reading.coupons.items() if settings is not None or each.campaign_id in campaigns}
    return overlooked(reading.coupons.values(), others.values()) + unissuable(touched.values(), campaigns) + changed


def settle(reading: ParsedFile, before: Mapping[str, Campaign], settings: Settings) -> None:
    """Give the campaigns of a file the states that they shall have, and refuse those that cannot have theirs."""
    for campaign_id, entry in list(reading.campaigns.items()):
        states, needs_approval = campaign_id in reading.with_state, settings.approval.required > 0
        try:
            reading.campaigns[campaign_id] = settled(
                entry, before.get(campaign_id), states=states, needs_approval=needs_approval
            )
        except ForbiddenTransition as error:
            del reading.campaigns[campaign_id]
            reading.refused += 1
            reading.faults.append(EntryFault(0, "state", str(error), campaign=campaign_id))


def push(  # noqa: PLR0913 - the options of the verb
    kind: Kind[Any], file: Path, settings: Settings, *, skip_invalid: bool, dry_run: bool, json: bool, reason: str
) -> None:
    """Check a file and publish its entries, unless one is bad."""
    reading, before = read_file(kind, file, settings), dict[str, Campaign]()
    if (skip_invalid or not reading.refused) and not dry_run:
        with client_of_topics(settings.kafka):
            pass
        before = published(settings, CAMPAIGNS).entries if reading.campaigns else before
        faults = len(reading.faults)
        settle(reading, before, settings)
        for fault in reading.faults[faults:]:
            terminal.print_error(f"{file}, {fault}")
    is_good = skip_invalid or not reading.refused
    is_sent = is_good and not dry_run
    reading.warnings += compared(reading, settings if is_sent else None)
    for warning in reading.warnings:
        terminal.warn(warning)
    worst: list[SpendingBound] = worst_cases(entry for _, entry in reading.entries)
    count = len(reading.campaigns) + len(reading.coupons)
    if is_sent:
        with publisher_of(settings.kafka) as publisher:
            log = ChangeLog(publisher, "push", reason, settings.approval.operator)
            log.write((name, before.get(name), entry) for name, entry in reading.campaigns.items())
            for topic, entry in reading.entries:
                publisher.send(topic, entry)
    if json:
        report = {"good": count, "published": count if is_sent else 0, "refused": reading.refused}
        terminal.print_json(report | {"faults": reading.faults, "warnings": reading.warnings, "worst_cases": worst})
    else:
        for one in worst[:MAX_WORST_CASES]:
            terminal.say(terminal.printable(str(one)))
        if worst[MAX_WORST_CASES:]:
            terminal.say(f"{len(worst) - MAX_WORST_CASES} more budgets: --json states their worst cases")
        what = "good, nothing published: --dry-run" if dry_run else "published" if is_good else "good, none published"
        terminal.say(f"{_counts(reading, kind)} {what}; {reading.refused} refused")
    raise typer.Exit(1 if reading.refused else 0)


def _counts(reading: ParsedFile, kind: Kind[Any]) -> str:
    counts = {"campaign": len(reading.campaigns), "coupon": len(reading.coupons)}
    return " and ".join(f"{count} {noun}s" for noun, count in counts.items() if count or noun == kind.noun)


def remove(ids: Sequence[str], settings: Settings, *, json: bool) -> None:
    """Remove coupons, also those that cannot be read."""
    _publish(ids, dict.fromkeys(published(settings, COUPONS).records), settings, "removed", json=json)


def set_paused(ids: Sequence[str], settings: Settings, *, paused: bool, json: bool) -> None:
    """Publish coupons again, paused or not; all their other fields stay byte for byte."""
    found, news = published(settings, COUPONS), {"paused": Raw(b"true")} if paused else {}
    values = {entry_id: with_fields(found.records[entry_id], news, ("paused",)) for entry_id in found.entries}
    _publish(ids, values, settings, "paused" if paused else "resumed", json=json)


def _publish(
    ids: Sequence[str], values: Mapping[str, bytes | None], settings: Settings, done: str, *, json: bool
) -> None:
    """Publish new values of some coupons; say which are not there, and exit with 1 if there is one."""
    wanted = list(dict.fromkeys(ids))
    known = [entry_id for entry_id in wanted if entry_id in values]
    unknown = [entry_id for entry_id in wanted if entry_id not in values]
    with publisher_of(settings.kafka) as publisher:
        for entry_id in known:
            publisher.send_bytes(COUPONS.topic, entry_id.encode(), values[entry_id])
    if json:
        terminal.print_json({done: known, "unknown": unknown})
    for entry_id in () if json else wanted:
        what = done if entry_id in values else f"no such {COUPONS.noun} in {COUPONS.topic.name}"
        terminal.say(f"{terminal.printable(entry_id)}: {what}")
    raise typer.Exit(1 if unknown else 0)


def span(since: float, until: float) -> Iterator[str]:
    """Yield the two ends of a time to read, those left out that are no bound."""
    if since:
        yield f"from {terminal.utc(since)[:10]}"
    if until < END_OF_TIME:
        yield f"until {terminal.utc(until)[:10]}"
