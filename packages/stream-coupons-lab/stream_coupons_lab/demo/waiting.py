"""A sign of life while a call blocks."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console


def waiting(console: Console, what: str) -> AbstractContextManager[Any]:
    """Return a context that shows a spinner on a terminal, and prints one line elsewhere."""
    if console.is_terminal:
        return console.status(f"{what} ...")
    console.print(f"{what} ...")
    return nullcontext()
