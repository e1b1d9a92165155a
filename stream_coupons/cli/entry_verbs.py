"""Verbs that `catalog` and `campaigns` share, push and list, and those of `catalog` by ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Generic

import typer

from stream_coupons.cli import catalog_entries, terminal
from stream_coupons.cli.options import (
    BootstrapOption,
    ConfigOption,
    DryRunOption,
    JsonOption,
    settings_from,
    settings_with_topics,
)
from stream_coupons.core.plurals import counted
from stream_coupons.core.rules import ShopRules
from stream_coupons.ops.catalogue_files import Entry, Kind
from stream_coupons.ops.published import Published, published
from stream_coupons.settings import Settings

Verb = Callable[..., None]
FileArgument = Annotated[
    Path, typer.Argument(help="Entries as YAML, JSON or JSON lines; - for standard input.", allow_dash=True)
]


@dataclass(frozen=True, kw_only=True)
class EntryGroup(Generic[Entry]):
    """Differences between the groups.

    Attributes
    ----------
    name : str
        Name of the group, for the examples.
    about_list : str
        First paragraphs of the help of `list`.
    listed : callable
        Returns the entries to list.
    show : callable
        Prints them as a table.
    """

    name: str
    kind: Kind[Entry]
    about_list: str
    listed: Callable[[Published[Entry], Settings], Sequence[Any]] = lambda found, _: [*found.entries.values()]
    show: Callable[[Sequence[Any], ShopRules], None]


def app_of(group: EntryGroup[Entry]) -> typer.Typer:
    """Return the verbs of a group that it shares with the other one."""
    app, command = typer.Typer(no_args_is_help=True), f"stream-coupons {group.name}"
    app.command("push", help=_text_of_push(group.name, group.kind.noun, command))(_push(group))
    about = f"{group.about_list}\n\nExamples: {command} list\n          {command} list --json > {group.name}.json"
    app.command("list", help=about)(_list(group))
    return app


def add_verbs_by_id(app: typer.Typer) -> None:
    """Add the verbs of `catalog` that take ids of coupons."""
    pauses = (partial(catalog_entries.set_paused, paused=paused) for paused in (True, False))
    verbs: list[Verb] = [catalog_entries.remove, *pauses]
    for verb, (name, text) in zip(verbs, TEXTS_BY_ID.items(), strict=True):
        app.command(name, help=text)(_on_ids(verb))


def _push(group: EntryGroup[Entry]) -> Verb:
    def push(  # noqa: PLR0913 - its options
        file: FileArgument,
        skip_invalid: Annotated[
            bool, typer.Option("--skip-invalid", help="Publish the good ones if some are bad.")
        ] = False,
        dry_run: DryRunOption = False,
        reason: Annotated[str, typer.Option("--reason", help="Why, for the history of campaigns.")] = "",
        json: JsonOption = False,
        config: ConfigOption = None,
        bootstrap: BootstrapOption = None,
    ) -> None:
        settings = settings_from(config, bootstrap)
        catalog_entries.push(
            group.kind, file, settings, skip_invalid=skip_invalid, dry_run=dry_run, json=json, reason=reason
        )

    return push


def _list(group: EntryGroup[Entry]) -> Verb:
    def show(json: JsonOption = False, config: ConfigOption = None, bootstrap: BootstrapOption = None) -> None:
        settings = settings_with_topics(config, bootstrap)
        found = published(settings, group.kind)
        catalog_entries.warn_of_unreadable(found, group.kind)
        listed = group.listed(found, settings)
        if json:
            terminal.print_json(listed, indent=2)
        else:
            group.show(listed, settings.shop)
            unit = "" if settings.shop.currencies else "; money in minor units (cents)"
            terminal.say(f"{counted(len(listed), group.kind.noun)}{unit}")

    return show


def _on_ids(act: Verb) -> Verb:
    def verb(
        ids: Annotated[list[str], typer.Argument(metavar="ID", help="Which entries, by their ids.")],
        json: JsonOption = False,
        config: ConfigOption = None,
        bootstrap: BootstrapOption = None,
    ) -> None:
        act(ids, settings_with_topics(config, bootstrap), json=json)

    return verb


TEXTS_BY_ID = {
    "remove": """Take coupons out: from now on they are not issued.

Exit code 1 says that one of them was not there; the others are removed
all the same.

Example: stream-coupons catalog remove coffee-15-percent""",
    "pause": """Stop issuing coupons until they are resumed; those that were issued stay good.

It is in effect as soon as the workers have read it, within a second. Exit
code 1 says that one of them is not known.

Example: stream-coupons catalog pause coffee-15-percent""",
    "resume": """Issue coupons again.

Exit code 1 says that one of them is not known.

Example: stream-coupons catalog resume coffee-15-percent""",
}


def _text_of_push(name: str, noun: str, command: str) -> str:
    return f"""Check {noun}s and publish them; workers take them into use at once.

Nothing is published unless every entry is good. An entry replaces the one
of the same id; all others stay. A file may hold both, as `campaigns: [...]`
and `coupons: [...]`. Its times are ISO 8601, in the shop's time zone
(shop.time_zone) without an offset, or epoch seconds. An end that is a date
alone includes that day. A campaign keeps its state unless the entry names
one; a new one is running, or a draft where approval.required asks for
approvals.

Examples: {command} push {name}.yaml
          {command} push {name}.json --dry-run"""
