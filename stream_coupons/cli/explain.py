"""`explain`: why a shopper got a coupon, and why not the others."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from stream_coupons.cli.topic_reading import Read, reading
from stream_coupons.core.errors import BadConfig, StreamCouponsError
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.plurals import counted
from stream_coupons.core.rules import Rules
from stream_coupons.kafka import topics
from stream_coupons.ops.catalogue_files import COUPONS
from stream_coupons.settings import Settings

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.ops.explain.explanation import IssueExplanation, ShopperExplanation


class Unknown(StreamCouponsError):
    """No issue or no shopper of this id."""


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
            issue = _of_issue(issue_id, settings, read)
            terminal.show(issue, lambda found: _print(explain_text.of_issue(found, settings.shop)), as_json=json)
        elif user is not None:
            rules = settings.rules(require_workers_key(settings))
            shopper = _of_shopper(user, moment, settings, rules, coupons, read)
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


def _of_issue(issue_id: str, settings: Settings, read: Read) -> IssueExplanation:
    from stream_coupons.ops.explain.evidence import find_message
    from stream_coupons.ops.explain.explanation import explain_issue

    records = read("looking for the issue", (topics.ISSUES.name,))
    issue = find_message(records, topics.ISSUES, "issue_id", issue_id)
    if issue is None:
        days = topics.ISSUES.retention_ms // topics.DAY_MS
        raise Unknown(
            f"issue {issue_id!r} is not in {topics.ISSUES.name}, which keeps {days} days; expected the issue_id of a "
            "coupon issued since, see `stream-coupons tail --from-beginning`"
        )
    records = read("looking for its decision", (topics.DECISIONS.name,), issue.user_id.encode())
    decision = find_message(records, topics.DECISIONS, "decision_id", issue_id)
    return explain_issue(issue, decision, settings.policy)


def _of_shopper(
    user_id: str, at: float, settings: Settings, rules: Rules, coupons: list[Coupon] | None, read: Read
) -> ShopperExplanation:
    from stream_coupons.ops.explain.evidence import USERS, ShopperEvidence
    from stream_coupons.ops.explain.explanation import explain_shopper

    evidence = ShopperEvidence(rules, user_id, settings.kafka.partitions, settings.learning)
    for record in read("reading what is known", evidence.READ):
        evidence.take(record)
    for record in read("reading the shopper's state", (USERS,), user_id.encode()):
        evidence.take(record)
    if evidence.now is None:
        raise Unknown(
            f"shopper {user_id!r} is not known, expected the user_id of someone of whom the workers have read an event"
        )
    return explain_shopper(user_id, evidence.now, at, evidence.knowledge(coupons), evidence.funds())


def _print(parts: Iterable[RenderableType]) -> None:
    console = terminal.stdout()
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text))
