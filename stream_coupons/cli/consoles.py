"""Consoles of the verbs: results to standard output, all else to standard error; in colours on a terminal only.

With `NO_COLOR` in the environment nothing is coloured or bold. `--help` needs no more imports than this module's.
"""

import os
import re
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:  # imported when something is printed
    from rich.console import Console

INTERRUPTED = 130
UNBOUNDED = 10_000
LONG_WORD = re.compile(r"(\S{80})\S{300,}")
"""Ids of strangers that nobody reads to their end."""


def stdout() -> "Console":
    """Return the console of results; as wide as they need where there is no terminal, unless COLUMNS says how wide."""
    console = _console(is_stderr=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNBOUNDED
    return console


def stderr() -> "Console":
    """Return the console of everything else, so that results can be piped."""
    return _console(is_stderr=True)


def _console(*, is_stderr: bool) -> "Console":
    from rich.console import Console

    return Console(stderr=is_stderr, highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")


def printable(text: str) -> str:
    """Return the text of strangers without the control characters that would command the terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def say(text: str, style: str | None = None) -> None:
    """Print a line of the result."""
    stdout().print(text, style=style, markup=False, soft_wrap=True)


def remark(text: str) -> None:
    """Print a line beside the result."""
    stderr().print(text, markup=False, soft_wrap=True)


def stop_interrupted(text: str) -> NoReturn:
    """Print what an interruption leaves, and exit."""
    remark(f"interrupted{text}")
    raise typer.Exit(INTERRUPTED)


def print_error(text: str) -> None:
    """Print one line that says what is wrong, where, and what to do."""
    _print_line("error: ", "bold red", text)


def warn(text: str) -> None:
    """Print one line that says what is allowed but odd."""
    _print_line("warning: ", "yellow", printable(text))


def _print_line(head: str, style: str, text: str) -> None:
    from rich.text import Text

    # Not as markup: the text may hold square brackets of files and fields.
    stderr().print(Text.assemble((head, style), LONG_WORD.sub(r"\1...", text)), soft_wrap=True)
