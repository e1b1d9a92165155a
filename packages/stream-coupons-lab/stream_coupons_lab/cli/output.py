"""Output that the laboratory's verbs share: pages, files that are replaced as a whole, tables of a result's fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct
from rich.table import Table

from stream_coupons.cli import terminal
from stream_coupons.core.errors import BadConfig
from stream_coupons.ops.recordings import not_writable

if TYPE_CHECKING:  # no help needs it
    from stream_coupons_lab.reports.tables import TextTable

ReportOption = Annotated[Path | None, typer.Option(help="Write a page with plots here.")]


def fields_table(found: Struct, changed: Mapping[str, object] = {}) -> Table:
    """Return names and values of a struct's fields, as `summary_table`; of `interrupted` none."""
    names = [name for name in found.__struct_fields__ if name != "interrupted"]
    return terminal.summary_table({name.replace("_", " "): changed.get(name, getattr(found, name)) for name in names})


def print_text_table(table: TextTable, names: int = 1, **style: Any) -> None:
    """Print a table of which so many columns name the row."""
    columns = {"title_justify": "left", **style}
    terminal.print_table(table.headers[:names], table.rows, table.headers[names:], **columns)


@contextmanager
def replaced(path: Path | None) -> Iterator[IO[bytes] | None]:
    """A file to write results to: it takes its place when all of it was written, and not at all after an error.

    Raises
    ------
    BadConfig
    """
    if path is None or (path.exists() and not path.is_file()):  # into a pipe, say, there is only one way
        with terminal.written(path) as file:
            yield file
        return
    if not path.parent.is_dir():
        raise BadConfig(f"{path}: there is no folder {path.parent}")
    part = path.with_name(f"{path.name}.part")
    try:
        with terminal.written(part) as file:
            yield file
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    try:
        part.replace(path)
    except OSError as error:
        raise not_writable(path, error) from None
