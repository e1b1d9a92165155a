"""Shared parts of the verbs on foreign logs: read a log with a progress bar, run it until the end or Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_coupons.cli import terminal
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import MAX_WINDOW_S
from stream_coupons.ops.catalogue_files import overlooked
from stream_coupons.ops.recordings import Line, lines
from stream_coupons.worker.memory import collect_rarely
from stream_coupons_lab.datasets import sources
from stream_coupons_lab.datasets.foreign import ForeignLog, take_all
from stream_coupons_lab.datasets.table_files import is_parquet, is_table

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons_lab.offline.progressive_run import ProgressiveRun

LogArgument = Annotated[
    Path,
    typer.Argument(
        help="The log: JSON lines, or - for them on standard input; a .csv or .parquet with --mapping.", allow_dash=True
    ),
]
MappingOption = Annotated[Path | None, typer.Option(help="TOML that names the columns of a table.")]
WindowOption = Annotated[
    float,
    typer.Option(
        help="Seconds after an issue in which a purchase counts, where the log does not say.", min=1, max=MAX_WINDOW_S
    ),
]


def read_log(path: Path, window_s: float, mapping: Path | None = None) -> ForeignLog:
    """Read a log; a table with its mapping.

    Raises
    ------
    BadConfig
    """
    if mapping is not None or is_table(path):
        return sources.read(path, window_s, mapping)
    with terminal.opened(path) as source, terminal.byte_progress("reading", terminal.size_of(path)) as progress:

        def counted() -> Iterator[Line]:
            for line in lines(source):
                progress.update(progress.task_ids[0], advance=line.size)
                yield line

        return take_all(counted(), str(path), window_s)


def require_distinct(files: Mapping[str, Path | None]) -> None:
    """See that no file is both read and written, or written twice; names are those of the options.

    Raises
    ------
    BadConfig
    """
    seen: dict[Path, str] = {}
    for name, path in files.items():
        if path is not None:
            first = seen.setdefault(path.resolve(), name)
            if first != name:
                raise BadConfig(f"{name} {path}: is {first} as well, expected another file")


def report_refused(log: ForeignLog, path: Path) -> None:
    """Print the lines, or the rows of a table, that were not used."""
    terminal.report_refusals(log.refusals, "row" if is_parquet(path) else "line")


def doubts(log: ForeignLog) -> Iterator[str]:
    """Yield a warning for each prediction that the log says too little of."""
    yield from overlooked(log.coupons, [])
    for kind, heads in (("click", "P(click) is"), ("purchase", "P(redeem) and P(order) are")):
        if kind not in log.kinds:
            yield f"no feedback of the log is a {kind}: {heads} neither learnt nor judged"
    if log.gave_nothing and not log.bought_without_coupon:
        yield (
            f"none of the {log.gave_nothing} issues that gave nothing has a purchase: an order line alone is none of "
            "theirs, it takes feedback of kind purchase on the issue; where that is lacking, P(order) is learnt too low"
        )


def feed_all(running: ProgressiveRun, what: str) -> None:
    """Feed all records, with a progress bar."""
    collect_rarely()
    with terminal.fraction_progress(what, len(running.log)) as progress:
        running.feed_all(lambda: progress.update(progress.task_ids[0], advance=1))
