"""Verbs that `catalog` and `campaigns` share: push, remove, pause, resume."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from stream_coupons.cli import catalog_entries
from stream_coupons.cli.catalog_entries import checked_settings
from stream_coupons.cli.catalog_file import Entry, Kind
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption
from stream_coupons.settings import Settings


class Words(NamedTuple):
    """Parts of the help of one group.

    Attributes
    ----------
    group, id_of_one : str
        Name of the group and id of an entry, for the examples.
    push : str
        Effect on entries that are there already.
    remove, pause, resume : str
        First sentence of the verb.
    """

    group: str
    id_of_one: str
    push: str
    remove: str
    pause: str
    resume: str


def add_verbs(
    app: typer.Typer,
    kind: Kind[Entry],
    compare: Callable[[Sequence[Entry], Settings | None], list[str]],
    words: Words,
) -> None:
    """Add the verbs to a group; `compare` is that of `catalog_entries.push`."""
    noun, command = kind.noun, f"stream-coupons {words.group}"
    Ids = Annotated[list[str], typer.Argument(metavar=f"{noun.upper()}_ID", help=f"Which {noun}s.")]  # noqa: N806
    unknown = f"Exit code 1 says that one of them is not known.\n\nExample: {command}"

    def push(
        file: Annotated[
            Path,
            typer.Argument(
                help=f"{noun.capitalize()}s as a JSON array or as JSON lines; - for standard input.", allow_dash=True
            ),
        ],
        skip_invalid: Annotated[
            bool, typer.Option("--skip-invalid", help="Publish the good ones if some are bad.")
        ] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file only; needs no broker.")] = False,
        json: JsonOption = False,
        config: ConfigOption = None,
        bootstrap: BootstrapOption = None,
    ) -> None:
        settings = partial(checked_settings, config, bootstrap)
        catalog_entries.push(kind, file, settings, compare, skip_invalid=skip_invalid, dry_run=dry_run, json=json)

    def remove(
        ids: Ids, json: JsonOption = False, config: ConfigOption = None, bootstrap: BootstrapOption = None
    ) -> None:
        catalog_entries.remove(kind, ids, checked_settings(config, bootstrap), json=json)

    def pause(
        ids: Ids, json: JsonOption = False, config: ConfigOption = None, bootstrap: BootstrapOption = None
    ) -> None:
        catalog_entries.set_paused(kind, ids, checked_settings(config, bootstrap), paused=True, json=json)

    def resume(
        ids: Ids, json: JsonOption = False, config: ConfigOption = None, bootstrap: BootstrapOption = None
    ) -> None:
        catalog_entries.set_paused(kind, ids, checked_settings(config, bootstrap), paused=False, json=json)

    file = f"{words.group}.json"
    texts: dict[Callable[..., None], str] = {
        push: f"""Check {noun}s and publish them; workers take them into use at once.

Nothing is published unless every {noun} is good. {words.push}

Examples: {command} push {file}
          {command} push {file} --dry-run""",
        remove: f"""{words.remove}

Exit code 1 says that one of them was not there; the others are removed
all the same.

Example: {command} remove {words.id_of_one}""",
        pause: f"""{words.pause}

It is in effect as soon as the workers have read it, within a second.
{unknown} pause {words.id_of_one}""",
        resume: f"{words.resume}\n\n{unknown} resume {words.id_of_one}",
    }
    for verb, text in texts.items():
        verb.__doc__ = text
        app.command(verb.__name__)(verb)
