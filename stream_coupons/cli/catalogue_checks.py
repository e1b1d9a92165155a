"""`catalog lint` and `catalog diff`: a catalogue file by itself, and beside what is published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.catalog_entries import read_file
from stream_coupons.cli.entry_verbs import FileArgument
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, settings_from, settings_with_topics
from stream_coupons.core.errors import BadConfig
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS
from stream_coupons.ops.catalogue_push import compared, settle
from stream_coupons.ops.published import published


def lint(
    file: FileArgument,
    events: Annotated[Path | None, typer.Option(help="A recording of events: warn of scopes not sold.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Check a file of coupons, and warn of what is allowed but doubtful.

    Beyond the warnings of push: a cap that does not bind, coupons alike at
    the same time, a campaign with two currencies, and with --events
    categories, brands and items that the shop does not sell by. Exit code 1
    says that there is an error or a warning.

    Example: stream-coupons catalog lint catalog.yaml --events events.jsonl
    """
    from stream_coupons.ops.catalogue_lint import find_doubts, sold_in
    from stream_coupons.ops.recordings import lines_or_elements

    settings, sold = settings_from(config, None), None
    reading = read_file(COUPONS, file, settings)
    if events is not None:
        with terminal.opened(events) as source:
            sold = sold_in(lines_or_elements(source, str(events)))
    warnings = [*reading.warnings, *compared(reading, None)]
    warnings += find_doubts(reading.coupons.values(), settings.shop.currencies, sold)
    for warning in warnings:
        terminal.warn(warning)
    if json:
        terminal.print_json({"faults": reading.faults, "warnings": warnings})
    else:
        terminal.say(f"{file}: {len(reading.faults)} errors, {len(warnings)} warnings")
    raise typer.Exit(1 if reading.faults or warnings else 0)


def diff(
    file: FileArgument, json: JsonOption = False, config: ConfigOption = None, bootstrap: BootstrapOption = None
) -> None:
    """Compare a file with the catalogue that is published, field by field.

    Exit code 1 says that they differ. `push` adds and changes entries; those
    that are published only stay until `remove`.

    Example: stream-coupons catalog diff catalog.yaml
    """
    from stream_coupons.ops.catalogue_diff import Difference, differences, shared_currency, shown

    settings = settings_with_topics(config, bootstrap)
    reading = read_file(COUPONS, file, settings)
    coupons, found = published(settings, COUPONS).entries, list[Difference]()
    if reading.campaigns:
        before = published(settings, CAMPAIGNS).entries
        settle(reading, before, settings)
        found += differences(CAMPAIGNS, before, reading.campaigns)
    if reading.refused:
        raise BadConfig(f"{file}: {reading.refused} entries are refused, expected none: {reading.faults[0]}")
    if reading.coupons:
        found += differences(COUPONS, coupons, reading.coupons)
    if json:
        terminal.print_json(found)
    known = (coupons | reading.coupons).values()
    for one in () if json else found:
        of = CAMPAIGNS if one.kind == CAMPAIGNS.noun else COUPONS
        members = (each for each in known if getattr(each, of.topic.key) == one.id)
        currency = shared_currency(members, settings.shop.currencies)
        terminal.say(f"{one.kind} {terminal.printable(one.id)}: {one.change}")
        for name, values in one.fields.items():
            old, new = (terminal.printable(shown(of.message, name, value, currency)) for value in values)
            terminal.say(f"  {name}: {old} -> {new}")
    if not (found or json):
        terminal.say(f"{file} is what is published")
    raise typer.Exit(1 if found else 0)
