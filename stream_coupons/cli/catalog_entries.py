"""Coupons and campaigns in their topics: read, publish, remove, pause and resume them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import client_of_topics, publisher_of
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.plurals import counted
from stream_coupons.ops.campaign_life import ChangeLog
from stream_coupons.ops.catalogue_files import (
    CAMPAIGNS,
    COUPONS,
    Entry,
    Kind,
    ParsedFile,
    read_entries,
)
from stream_coupons.ops.catalogue_push import compared, settle, write
from stream_coupons.ops.published import Published, paused_values, published
from stream_coupons.ops.worst_cases import SpendingBound, worst_cases
from stream_coupons.settings import Settings

MAX_WORST_CASES = 10
"""Maximum number of budgets whose worst case is printed; `--json` has all of them."""


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
            write(reading, before, ChangeLog(publisher, "push", reason, settings.approval.operator))
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
    return " and ".join(counted(count, noun) for noun, count in counts.items() if count or noun == kind.noun)


def remove(ids: Sequence[str], settings: Settings, *, json: bool) -> None:
    """Remove coupons, also those that cannot be read."""
    _publish(ids, dict.fromkeys(published(settings, COUPONS).records), settings, "removed", json=json)


def set_paused(ids: Sequence[str], settings: Settings, *, paused: bool, json: bool) -> None:
    """Publish coupons again, paused or not; all their other fields stay byte for byte."""
    values = paused_values(published(settings, COUPONS), paused=paused)
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
        raise typer.Exit(1 if unknown else 0)
    for entry_id in known:
        terminal.say(f"{terminal.printable(entry_id)}: {done}")
    for entry_id in unknown:
        terminal.print_error(f"{terminal.printable(entry_id)}: no such {COUPONS.noun} in {COUPONS.topic.name}")
    raise typer.Exit(1 if unknown else 0)


def span(since: float, until: float) -> Iterator[str]:
    """Yield the two ends of a time to read, those left out that are no bound."""
    if since:
        yield f"from {terminal.utc(since)[:10]}"
    if until < END_OF_TIME:
        yield f"until {terminal.utc(until)[:10]}"
