"""Terminal output of verbs: consoles, progress bars, refused lines."""

import csv
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import msgspec
import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from stream_coupons.cli.consoles import INTERRUPTED as INTERRUPTED  # verbs take these from here
from stream_coupons.cli.consoles import print_error as print_error
from stream_coupons.cli.consoles import printable as printable
from stream_coupons.cli.consoles import remark as remark
from stream_coupons.cli.consoles import say as say
from stream_coupons.cli.consoles import stderr as stderr
from stream_coupons.cli.consoles import stdout as stdout
from stream_coupons.cli.consoles import stop_interrupted as stop_interrupted
from stream_coupons.cli.consoles import warn as warn
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.times import utc as utc
from stream_coupons.ops.recordings import BYTE_ORDER_MARK, Refusals, not_readable, not_writable

if TYPE_CHECKING:  # for type checkers; no help needs them
    from _typeshed import ReadableBuffer

    from stream_coupons.kafka.records import Record

T = TypeVar("T")
SHOW_EVERY = 500
"""Records between two moves of a progress bar."""


def byte_progress(what: str, total: int | None) -> Progress:
    """A progress bar over the bytes of a file; nothing is drawn where there is no terminal."""
    return _progress(what, total, DownloadColumn(), TaskProgressColumn(), TimeRemainingColumn())


def fraction_progress(what: str, total: float) -> Progress:
    """A progress bar over anything else."""
    return _progress(what, total, TaskProgressColumn())


def _progress(what: str, total: float | None, *columns: ProgressColumn) -> Progress:
    console = stderr()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    progress.add_task(what, total=total, note="")
    return progress


def tracked(records: Iterable["Record"], progress: Progress) -> Iterator["Record"]:
    """Yield records, and move a bar along."""
    for count, record in enumerate(records, start=1):
        yield record
        if count % SHOW_EVERY == 0:
            progress.update(progress.task_ids[0], advance=SHOW_EVERY, note=record.topic)


def print_json(value: object, enc_hook: Callable[[Any], Any] | None = None, *, indent: int = -1) -> None:
    """Print a result for a script, on one line unless lines are to be indented."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=enc_hook), indent=indent))


def show(found: T, render: Callable[[T], None], *, as_json: bool, enc_hook: Callable[[Any], Any] | None = None) -> None:
    """Print a result for a script or for a person, and see that it arrives.

    Raises
    ------
    BadConfig
    """
    with results():
        if as_json:
            print_json(found, enc_hook)
        else:
            render(found)


def print_csv(names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Print a header and rows of these columns as CSV, and see that they arrive.

    Raises
    ------
    BadConfig
    """
    with results():
        writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def new_table(*names: str, figures: Iterable[str] = (), no_wrap: bool = False, **style: Any) -> Table:
    """Return an empty table: columns of text, then columns of figures."""
    table = Table(*names, **style)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=no_wrap)
    return table


def print_table(
    names: Sequence[str], rows: Iterable[Sequence[str | Text]], figures: Sequence[str] = (), **style: Any
) -> None:
    """Print a table: columns of text, of which long ones are folded, then columns of figures.

    Strings are made printable, but for their line breaks.
    """
    table = new_table(*names, figures=figures, **style)
    for row in rows:
        table.add_row(
            *(cell if isinstance(cell, Text) else Text(printable_lines(cell), overflow="fold") for cell in row)
        )
    stdout().print(table)


def printable_lines(text: str) -> str:
    """Return the text of strangers line by line, as `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def report_refusals(refusals: Refusals, place: str = "line") -> None:
    """Print the first refused lines and how many there were of each reason."""
    if not refusals.count:
        return
    console = stderr()
    for refusal in refusals.first:
        console.print(
            Text.assemble(
                (f"{place} {refusal.line}", "bold"), ": ", (refusal.reason, "red"), "  ", printable(refusal.detail)
            ),
            soft_wrap=True,
        )
    if refusals.count > len(refusals.first):
        remark(f"... and {refusals.count - len(refusals.first)} more")
    counts = ", ".join(f"{reason} {count}" for reason, count in sorted(refusals.by_reason.items()))
    console.print(Text.assemble(("refused: ", "bold red"), counts), soft_wrap=True)


def summary_table(rows: Mapping[str, object]) -> Table:
    """Names and values; a mapping among the values is written as a list."""
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) or "none" if isinstance(value, Mapping) else str(value)
        table.add_row(Text(name, style="bold"), Text(text, overflow="fold"))
    return table


class _Sink(io.FileIO):
    """A file whose disk may be full: what cannot be written is an error of ours, which names it."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise not_writable(self.name, error) from None


@contextmanager
def written(path: Path | None) -> Iterator[IO[bytes] | None]:
    """A file to write results to, if one is asked for.

    Raises
    ------
    BadConfig
    """
    if path is None:
        yield None
        return
    try:
        file = io.BufferedWriter(_Sink(path, "wb"))
    except OSError as error:
        raise not_readable(path, error) from None
    with file:
        yield file


@contextmanager
def results() -> Iterator[None]:
    """See that what is printed within arrives.

    Raises
    ------
    BadConfig
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has had enough
        raise
    except OSError as error:
        # Unwritten output stays in the buffer, and would raise again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise not_writable("standard output", error) from None


def size_of(path: Path) -> int | None:
    """Bytes of a regular file; None for a pipe."""
    return path.stat().st_size if path.is_file() else None


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file to read, or standard input for `-`.

    Raises
    ------
    BadConfig
    """
    from stream_coupons.core.payload_hints import LONGEST_MAGIC, unlike_json  # here, for workers read no files

    if str(path) == "-":
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise not_readable(path, error) from None
    with file:
        if what := unlike_json(file.peek(LONGEST_MAGIC).removeprefix(BYTE_ORDER_MARK)):
            raise BadConfig(f"{path} is no JSON{what}")
        yield file
