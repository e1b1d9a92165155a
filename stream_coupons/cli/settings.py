"""`settings`: show the settings in effect, and where each was set."""

from __future__ import annotations

import json as json_text
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, settings_from
from stream_coupons.ops.deployment import REFERENCE
from stream_coupons.settings import PREFIX, SECTIONS, Settings, is_setting

app = typer.Typer(no_args_is_help=True)

NAMED = re.compile(r"\[(?P<section>\w+)\]|(?P<field>\w+) = ")
"""Start of a line of a settings file that names a section or a setting."""


@app.command("show")
def show(
    default: Annotated[
        bool, typer.Option("--default", help="Print the defaults with their comments: a file to begin with.")
    ] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Print the settings in effect as TOML: each with its meaning, and behind its
    value where that was set.

    They are read as by every other verb: defaults, then the file, then the
    environment. Secrets are in files of their own; settings, and so this
    output, have only the names of those files.

    Examples: stream-coupons settings show --config settings.toml
              stream-coupons settings show | grep STREAM_COUPONS_
              stream-coupons settings show --default > settings.toml
    """
    settings = Settings() if default else settings_from(config, bootstrap)
    values = msgspec.to_builtins(settings, order="deterministic")
    sources = dict.fromkeys(_flat(values), "default") | ({} if default else _sources(config, bootstrap))
    with terminal.results():
        if json:
            terminal.print_json({"settings": values, "sources": {name: sources[name] for name in _flat(values)}})
        elif default:
            typer.echo(REFERENCE.read_text(encoding="utf-8"), nl=False)
        else:
            typer.echo("\n".join(_annotated(_flat(values), sources)))


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by dotted name."""
    flat = {f"{name}.{field}": value for name in values if name in SECTIONS for field, value in values[name].items()}
    return flat | {name: value for name, value in values.items() if name not in SECTIONS}


def _sources(config: Path | None, bootstrap: str | None) -> dict[str, str]:
    """Return where settings were set other than by default, by dotted name."""
    found = dict.fromkeys(_flat(tomllib.loads(config.read_text(encoding="utf-8"))), f"file {config}") if config else {}
    variables = filter(is_setting, os.environ)
    found |= {name.removeprefix(PREFIX).lower().replace("__", "."): f"environment {name}" for name in variables}
    return found | ({"kafka.bootstrap": "option --bootstrap"} if bootstrap else {})


def _annotated(values: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of the reference file with these values, and their sources behind them."""
    yield "# The settings in effect; behind each value, where it was set.\n"
    section = ""
    for line in REFERENCE.read_text(encoding="utf-8").partition("\n\n")[2].splitlines():
        if (named := NAMED.match(line)) and named["field"]:
            name = f"{section}{named['field']}"
            yield f"{named[0]}{_toml(values[name])}  # {terminal.printable(sources[name])}"
        else:
            section = f"{named['section']}." if named else section
            yield line


def _toml(value: Any) -> str:
    """Return a value of a setting as TOML."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_toml(key)} = {_toml(one)}' for key, one in value.items())}}}"
    return json_text.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
