"""Verbs that `catalog`, `campaigns` and `margins` share: push, remove, pause, resume."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from stream_coupons.cli import catalog_entries
from stream_coupons.cli.options import BootstrapOption, ConfigOption, DryRunOption, JsonOption, settings_with_topics
from stream_coupons.ops.catalogue_files import Entry, Kind
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
        First sentence of the verb; an entry without a text for `pause` cannot be paused.
    effect : str
        Effect of publishing.
    """

    group: str
    id_of_one: str
    push: str
    remove: str
    pause: str = ""
    resume: str = ""
    effect: str = "workers take them into use at once"


def add_verbs(
    app: typer.Typer,
    kind: Kind[Entry],
    compare: Callable[[Sequence[Entry], Settings | None], list[str]],
    words: Words,
) -> None:
    """Add the verbs to a group; `compare` is that of `catalog_entries.push`."""
    noun = kind.noun
    Ids = Annotated[list[str], typer.Argument(metavar=f"{noun.upper()}_ID", help=f"Which {noun}s.")]  # noqa: N806
    help_of_file = f"{noun.capitalize()}s as a JSON array or as JSON lines; - for standard input."

    def push(
        file: Annotated[Path, typer.Argument(help=help_of_file, allow_dash=True)],
        skip_invalid: Annotated[
            bool, typer.Option("--skip-invalid", help="Publish the good ones if some are bad.")
        ] = False,
        dry_run: DryRunOption = False,
        json: JsonOption = False,
        config: ConfigOption = None,
        bootstrap: BootstrapOption = None,
    ) -> None:
        settings = partial(settings_with_topics, config, bootstrap)
        catalog_entries.push(kind, file, settings, compare, skip_invalid=skip_invalid, dry_run=dry_run, json=json)

    def on_ids(act: Callable[..., None]) -> Callable[..., None]:
        def verb(
            ids: Ids, json: JsonOption = False, config: ConfigOption = None, bootstrap: BootstrapOption = None
        ) -> None:
            act(kind, ids, settings_with_topics(config, bootstrap), json=json)

        return verb

    verbs = (
        push,
        on_ids(catalog_entries.remove),
        on_ids(partial(catalog_entries.set_paused, paused=True)),
        on_ids(partial(catalog_entries.set_paused, paused=False)),
    )
    for verb, (name, text) in zip(verbs, _texts(noun, words).items(), strict=False):
        verb.__doc__ = text
        app.command(name)(verb)


def _texts(noun: str, words: Words) -> dict[str, str]:
    """Return the help of each verb: push and remove, and pause and resume if entries can be paused."""
    command, one = f"stream-coupons {words.group}", words.id_of_one
    unknown = f"Exit code 1 says that one of them is not known.\n\nExample: {command}"
    texts = {
        "push": f"""Check {noun}s and publish them; {words.effect}.

Nothing is published unless every {noun} is good. {words.push}

Examples: {command} push {words.group}.json
          {command} push {words.group}.json --dry-run""",
        "remove": f"""{words.remove}

Exit code 1 says that one of them was not there; the others are removed
all the same.

Example: {command} remove {one}""",
    }
    if not words.pause:
        return texts
    return texts | {
        "pause": f"""{words.pause}

It is in effect as soon as the workers have read it, within a second.
{unknown} pause {one}""",
        "resume": f"{words.resume}\n\n{unknown} resume {one}",
    }
