"""Verbs that `catalog` and `campaigns` share: push, list, remove, pause, resume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Generic

import typer

from stream_coupons.cli import catalog_entries, terminal
from stream_coupons.cli.catalog_entries import Published
from stream_coupons.cli.options import (
    BootstrapOption,
    ConfigOption,
    DryRunOption,
    JsonOption,
    settings_from,
    settings_with_topics,
)
from stream_coupons.core.rules import ShopRules
from stream_coupons.ops.catalogue_files import Entry, Kind
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
    name, id_of_one : str
        Name of the group and id of an entry, for the examples.
    about_list, removal, pausable : str
        Parts of the help: first paragraphs of `list`, the effect of removal, and the coupons that are paused.
    listed : callable
        Returns the entries to list.
    show : callable
        Prints them as a table.
    """

    name: str
    kind: Kind[Entry]
    id_of_one: str
    about_list: str
    removal: str
    pausable: str
    listed: Callable[[Published[Entry], Settings], Sequence[Any]] = lambda found, _: [*found.entries.values()]
    show: Callable[[Sequence[Any], ShopRules], None]


def app_of(group: EntryGroup[Entry]) -> typer.Typer:
    """Return the verbs of a group."""
    act = partial(_on_ids, group.kind)
    verbs = [_push(group), _list(group), act(catalog_entries.remove)]
    verbs += [act(partial(catalog_entries.set_paused, paused=paused)) for paused in (True, False)]
    app = typer.Typer(no_args_is_help=True)
    for verb, (name, text) in zip(verbs, _texts(group).items(), strict=True):
        app.command(name, help=text)(verb)
    return app


def _push(group: EntryGroup[Entry]) -> Verb:
    def push(
        file: FileArgument,
        skip_invalid: Annotated[
            bool, typer.Option("--skip-invalid", help="Publish the good ones if some are bad.")
        ] = False,
        dry_run: DryRunOption = False,
        json: JsonOption = False,
        config: ConfigOption = None,
        bootstrap: BootstrapOption = None,
    ) -> None:
        settings = settings_from(config, bootstrap)
        catalog_entries.push(group.kind, file, settings, skip_invalid=skip_invalid, dry_run=dry_run, json=json)

    return push


def _list(group: EntryGroup[Entry]) -> Verb:
    def show(json: JsonOption = False, config: ConfigOption = None, bootstrap: BootstrapOption = None) -> None:
        settings = settings_with_topics(config, bootstrap)
        found = catalog_entries.published(settings, group.kind)
        catalog_entries.warn_of_unreadable(found, group.kind)
        listed = group.listed(found, settings)
        if json:
            terminal.print_json(listed, indent=2)
        else:
            group.show(listed, settings.shop)
            unit = "" if settings.shop.currencies else "; money in minor units (cents)"
            terminal.say(f"{len(listed)} {group.kind.noun}s{unit}")

    return show


def _on_ids(kind: Kind[Entry], act: Verb) -> Verb:
    def verb(
        ids: Annotated[list[str], typer.Argument(metavar="ID", help="Which entries, by their ids.")],
        json: JsonOption = False,
        config: ConfigOption = None,
        bootstrap: BootstrapOption = None,
    ) -> None:
        act(kind, ids, settings_with_topics(config, bootstrap), json=json)

    return verb


def _texts(group: EntryGroup[Entry]) -> dict[str, str]:
    """Return the help of each verb; those of pause and resume last."""
    noun, command = group.kind.noun, f"stream-coupons {group.name}"
    return _file_texts(group.name, noun, command) | {
        "list": f"""{group.about_list}

Examples: {command} list
          {command} list --json > {group.name}.json""",
        "remove": f"""Take {noun}s out: {group.removal}.

Exit code 1 says that one of them was not there; the others are removed
all the same.

Example: {command} remove {group.id_of_one}""",
        "pause": f"""Stop issuing {group.pausable} until they are resumed; those that were issued stay good.

It is in effect as soon as the workers have read it, within a second. Exit
code 1 says that one of them is not known.

Example: {command} pause {group.id_of_one}""",
        "resume": f"""Issue {group.pausable} again.

Exit code 1 says that one of them is not known.

Example: {command} resume {group.id_of_one}""",
    }


def _file_texts(name: str, noun: str, command: str) -> dict[str, str]:
    """Return the help of the verbs that read a file."""
    return {
        "push": f"""Check {noun}s and publish them; workers take them into use at once.

Nothing is published unless every entry is good. An entry replaces the one
of the same id; all others stay. A file may hold both, as `campaigns: [...]`
and `coupons: [...]`. Its times are ISO 8601, in the shop's time zone
(shop.time_zone) without an offset, or epoch seconds. An end that is a date
alone includes that day.

Examples: {command} push {name}.yaml
          {command} push {name}.json --dry-run""",
    }
