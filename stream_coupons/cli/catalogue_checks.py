"""`lint` and `diff` of a catalogue file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.catalog_entries import compared, published, read_file
from stream_coupons.core.errors import BadConfig
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS, Kind
from stream_coupons.settings import Settings

if TYPE_CHECKING:  # imported where it is used: no help needs it
    from stream_coupons.ops.catalogue_diff import Difference


def lint_file(kind: Kind[Any], file: Path, events: Path | None, settings: Settings, *, json: bool) -> None:
    """Print all errors and warnings of a file; exit with 1 if there is one."""
    from stream_coupons.ops.catalogue_lint import lint, sold_in
    from stream_coupons.ops.recordings import lines_or_elements

    reading, sold = read_file(kind, file, settings), None
    if events is not None:
        with terminal.opened(events) as source:
            sold = sold_in(lines_or_elements(source, str(events)))
    warnings = [*reading.warnings, *compared(reading, None)]
    warnings += lint(reading.coupons.values(), settings.shop.currencies, sold)
    for warning in warnings:
        terminal.warn(warning)
    if json:
        terminal.print_json({"faults": reading.faults, "warnings": warnings})
    else:
        terminal.say(f"{file}: {len(reading.faults)} errors, {len(warnings)} warnings")
    raise typer.Exit(1 if reading.faults or warnings else 0)


def diff_file(kind: Kind[Any], file: Path, settings: Settings, *, json: bool) -> None:
    """Print how a file differs from what is published; exit with 1 if it does.

    Raises
    ------
    BadConfig
        If the file has faults.
    """
    from stream_coupons.ops.catalogue_diff import currency_of, differences, shown

    reading = read_file(kind, file, settings)
    if reading.refused:
        raise BadConfig(f"{file}: {reading.refused} entries are refused, expected none")
    campaigns, coupons = published(settings, CAMPAIGNS).entries, published(settings, COUPONS).entries
    found: list[Difference] = []
    if reading.campaigns or kind is CAMPAIGNS:
        found += differences(CAMPAIGNS, campaigns, reading.campaigns)
    if reading.coupons or (kind is COUPONS and not reading.campaigns):
        found += differences(COUPONS, coupons, reading.coupons)
    if json:
        terminal.print_json(found)
    known = coupons | reading.coupons
    for one in () if json else found:
        of = CAMPAIGNS if one.kind == CAMPAIGNS.noun else COUPONS
        currency = currency_of(of, one.id, known, settings.shop.currencies)
        terminal.say(f"{one.kind} {terminal.printable(one.id)}: {one.change}")
        for name, values in one.fields.items():
            old, new = (terminal.printable(shown(of.message, name, value, currency)) for value in values)
            terminal.say(f"  {name}: {old} -> {new}")
    if not (found or json):
        terminal.say(f"{file} is what is published")
    raise typer.Exit(1 if found else 0)
