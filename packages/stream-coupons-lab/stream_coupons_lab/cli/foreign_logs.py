"""Shared parts of the verbs on foreign logs: read a log with a progress bar, run it until the end or Ctrl-C."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from stream_coupons.cli import terminal
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import MAX_WINDOW_S
from stream_coupons.ops.catalogue_files import overlooked
from stream_coupons.ops.interrupts import Interruptions
from stream_coupons.ops.recordings import Line, lines
from stream_coupons.worker.garbage import collect_rarely
from stream_coupons_lab.cli.output import replaced
from stream_coupons_lab.datasets.foreign import ForeignLog, take_all
from stream_coupons_lab.datasets.table_files import first_row, is_table, require_extra

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons_lab.offline.progressive_run import ProgressiveRun
    from stream_coupons_lab.offline.scored import Scored

KEYS_SHOWN = 5
LogArgument = Annotated[
    Path,
    typer.Argument(
        help="The log: JSON lines, or - for them on standard input; a .csv or .parquet with --mapping.", allow_dash=True
    ),
]
MappingOption = Annotated[
    Path | None, typer.Option(help="TOML that names the columns of a table; see evaluate --mapping-template.")
]
DecisionsOption = Annotated[
    Path | None,
    typer.Option(help="Write the predictions for every arm of every decision here, as .csv or .parquet."),
]
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
        return read_table(path, window_s, mapping)
    with terminal.opened(path) as source, terminal.byte_progress("reading", terminal.size_of(path)) as progress:

        def counted() -> Iterator[Line]:
            for line in lines(source):
                progress.update(progress.task_ids[0], advance=line.size)
                yield line

        return take_all(counted(), str(path), window_s)


def read_table(path: Path, window_s: float, mapping: Path | None) -> ForeignLog:
    """Read a table.

    Raises
    ------
    BadConfig
    """
    from stream_coupons_lab.datasets import tables
    from stream_coupons_lab.datasets.mapping import mapping_of

    if mapping is None:
        raise BadConfig(
            f"{path}: a table needs --mapping, which names its columns; "
            f"`stream-coupons evaluate {path} --mapping-template` prints one to be completed"
        )
    return tables.read_log(path, mapping_of(mapping), window_s)


def report_refused(log: ForeignLog, path: Path) -> None:
    """Print the lines, or the rows of a table, that were not used."""
    is_parquet = is_table(path) and first_row(path) == 1
    terminal.report_refusals(log.refusals, "row" if is_parquet else "line")


def write_decisions(scored: Sequence[Scored], path: Path | None) -> None:
    """Write the predictions for every arm of every decision, if a file is asked for.

    Raises
    ------
    BadConfig
    """
    if path is not None:
        from stream_coupons_lab import frames

        with replaced(path) as sink:
            assert sink is not None
            frames.write_frame(frames.decisions_frame(scored), sink, path)


def require_writable(path: Path | None) -> None:
    """See that decisions can be written to a file before hours are spent on them.

    Raises
    ------
    BadConfig
    """
    if path is None:
        return
    require_extra(path)
    if path.suffix not in (".csv", ".parquet"):
        raise BadConfig(f"--decisions {path}: expected a name that ends in .csv or .parquet")
    if not path.parent.is_dir():
        raise BadConfig(f"--decisions {path}: there is no folder {path.parent}")


def title_of(path: Path, issues: int, *, interrupted: bool) -> str:
    """Return the title of the page on a log."""
    return f"{path.name}, interrupted after {issues} issues" if interrupted else path.name


def end(log: ForeignLog, issues: int, *, interrupted: bool) -> NoReturn:
    """Exit: with 1 if lines were refused, or as interrupted."""
    if interrupted:
        terminal.stop_interrupted(f" after {issues} issues: all results are of these")
    raise typer.Exit(1 if log.refusals.count else 0)


def doubts(log: ForeignLog) -> Iterator[str]:
    """Yield a warning for each doubtful interpretation of the log and for feedback that looks wrong."""
    from stream_coupons.core.features.rows import MAX_CONTEXT

    yield from overlooked(log.coupons, [])
    if left_out := log.keys_left_out:
        keys = ", ".join(key for key, _ in left_out.most_common(KEYS_SHOWN))
        more = len(left_out) - KEYS_SHOWN
        yield (
            f"contexts have more than {MAX_CONTEXT} keys, of which the first by name are looked at; not "
            f"{keys}{f' and {more} more' if more > 0 else ''}"
        )
    for kind, heads in (("click", "P(click) is"), ("purchase", "P(redeem) and P(order) are")):
        if kind not in log.responses:
            yield f"no feedback of the log is a {kind}: {heads} neither learnt nor judged"
    if early := +log.before_issue:
        yield (
            f"{early.total()} records of feedback are dated before their issue ({_listed(early)}): up to a day is "
            "taken for clocks that differ, and they count as if they had come after it"
        )
    reactions = Counter({kind: log.without_coupon[kind] for kind in ("impression", "click")})
    if reactions := +reactions:
        yield f"{_listed(reactions)} on issues that gave nothing: with no coupon to react to, nothing is learnt of it"
    if log.gave_nothing and not log.without_coupon["purchase"]:
        yield (
            f"none of the {log.gave_nothing} issues that gave nothing has a purchase: an order line alone is none of "
            "theirs, it takes feedback of kind purchase on the issue; where that is lacking, P(order) is learnt too low"
        )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def feed_all(running: ProgressiveRun, log: ForeignLog, what: str) -> bool:
    """Feed all records; say whether it was interrupted."""
    collect_rarely()
    with terminal.fraction_progress(what, len(log)) as progress, Interruptions() as interruptions:
        for record in interruptions.each(log.records()):
            running.feed(record)
            progress.update(progress.task_ids[0], advance=1)
        return interruptions.happened
