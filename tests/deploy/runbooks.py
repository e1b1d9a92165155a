"""The runbooks of docs/runbooks as data: sections by alert, and the commands and panels that they name."""

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

SECTIONS = ("Meaning", "Impact", "Diagnosis", "Mitigation", "Resolved when")
COMMAND = re.compile(r"(?:^|`)stream-coupons +([^`|\n]+)", re.MULTILINE)
PANEL = re.compile(r'[Pp]anels? "([^"]+)"(?: and "([^"]+)")?')
NO_CONTEXT: Any = None


class Runbook(NamedTuple):
    """Instructions for an alert."""

    page: str
    alert: str
    text: str
    sections: dict[str, str]


def runbooks_of(folder: Path) -> list[Runbook]:
    """The runbooks of a folder, page by page."""
    found = []
    for path in sorted(folder.glob("*.md")):
        for part in re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            alert, _, text = part.partition("\n")
            pieces = re.split(r"^\*\*([^*]+)\.?\*\*", text, flags=re.MULTILINE)[1:]
            sections = {name.rstrip("."): body.strip() for name, body in zip(pieces[::2], pieces[1::2], strict=True)}
            found.append(Runbook(path.stem, alert, text, sections))
    return found


def commands(text: str) -> list[str]:
    """Return the arguments of each `stream-coupons` command in the code of a text."""
    return [line.strip() for line in COMMAND.findall(text)]


def panels_named(text: str) -> list[str]:
    """Titles of the panels that a text names."""
    return [title for titles in PANEL.findall(" ".join(text.split())) for title in titles if title]


def unknown_command(app: typer.Typer, line: str) -> str | None:
    """The first word of a command line that the command line program does not know; None if it knows all."""
    command: Any = typer.main.get_command(app)
    for word in shlex.split(line):
        if word.startswith("--"):
            if word not in {option for each in command.params for option in each.opts}:
                return word
        elif isinstance(command, TyperGroup):
            command = command.get_command(NO_CONTEXT, word)
            if command is None:
                return word
    return str(command.name) if isinstance(command, TyperGroup) else None
