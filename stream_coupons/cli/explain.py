"""`explain`: why a shopper got a coupon, and why not the others."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from stream_coupons.cli import terminal
from stream_coupons.cli.catalog_entries import read_file
from stream_coupons.cli.options import (
    BootstrapOption,
    ConfigOption,
    JsonOption,
    client_of_topics,
    parse_time,
    settings_from,
)
from stream_coupons.cli.topic_reading import reading
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.plurals import counted
from stream_coupons.kafka import topics
from stream_coupons.ops.catalogue_files import COUPONS
from stream_coupons.settings import Settings


def explain(  # noqa: PLR0913 - the options of a command
    issue_id: Annotated[str | None, typer.Argument(metavar="ISSUE_ID", help="Of a coupon that was issued.")] = None,
    user: Annotated[str | None, typer.Option(help="A shopper's user_id: what would be decided for them?")] = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="When, with --user; now if left out.")] = None,
    catalog: Annotated[
        Path | None, typer.Option(help="Coupons from this file in place of the catalogue that the workers have.")
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Say why a coupon was issued and why no other, or what a shopper would get.

    Of an issue: its reasons in words, its probabilities and value, how it
    was chosen, and of every other coupon that could be given its value, its
    price and the reason why not. All of it was recorded with the decision, in
    coupon-issues and decisions; nothing is computed again.

    Of a shopper: for every coupon its value and rank, or the reason why not,
    if an event came at that moment of which only the time were known. The
    shopper's partition of the users' changelog is read, the catalogue, the
    campaigns and the models. Call it with the settings of the workers:
    --config.

    Disturbs no worker, and none has to run.

    Examples: stream-coupons explain i4b1d9c0e52f7a8136d1e0c99b7a4f202
              stream-coupons explain --user shopper-1042
              stream-coupons explain --user shopper-1042 --at 2026-01-02T18:00
              stream-coupons explain --user shopper-1042 --catalog catalog.json
    """
    from stream_coupons.cli import explain_text
    from stream_coupons.ops.explain.from_topics import issue_explained, shopper_explained
    from stream_coupons.secret import require_workers_key

    if (issue_id is None) == (user is None):
        raise BadConfig("ISSUE_ID, --user: expected one of them")
    if user is None and not (at is None and catalog is None):
        raise BadConfig("--at, --catalog: an issue is as it was recorded, expected them with --user only")
    settings = settings_from(config, bootstrap)
    moment = time.time() if at is None else parse_time(at, settings)
    coupons = _coupons(catalog, settings) if catalog is not None else None
    _warn_if_behind(settings)
    with reading(settings.kafka) as read:
        if issue_id is not None:
            issue = issue_explained(issue_id, settings, read)
            terminal.show(issue, lambda found: _print(explain_text.of_issue(found, settings.shop)), as_json=json)
        elif user is not None:
            rules = settings.rules(require_workers_key(settings))
            shopper = shopper_explained(user, moment, settings, rules, coupons, read)
            terminal.show(shopper, lambda found: _print(explain_text.of_shopper(found, settings.shop)), as_json=json)


def _coupons(file: Path, settings: Settings) -> list[Coupon]:
    reading = read_file(COUPONS, file, settings)
    if reading.refused:
        raise BadConfig(f"{file}: {reading.refused} entries are refused, expected none")
    return list(reading.coupons.values())


def _warn_if_behind(settings: Settings) -> None:
    from stream_coupons.kafka import admin

    with client_of_topics(settings.kafka) as client:
        lag = admin.lag(client, settings.kafka)
    # Ticks come all the time, and change nothing that is asked here.
    behind = sum(count for name, count in lag.items() if name != topics.TICKS.name)
    if behind:
        terminal.warn(f"the workers have not committed {counted(behind, 'record')} yet: this is the state before them")


def _print(parts: Iterable[RenderableType]) -> None:
    console = terminal.stdout()
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text))
