"""What verbs on foreign logs share: reading one with a progress bar, running it until the end or Ctrl-C."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.catalog_file import overlooked
from stream_coupons.core.events import MAX_WINDOW_S
from stream_coupons.datasets.foreign import ForeignLog, take_all
from stream_coupons.recordings import Line, lines

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.evaluation.progressive_run import ProgressiveRun

KEYS_SHOWN = 5
LogArgument = Annotated[Path, typer.Argument(help="The log, JSON lines; - for standard input.", allow_dash=True)]
WindowOption = Annotated[
    float,
    typer.Option(
        help="Seconds after an issue in which a purchase counts, where the log does not say.", min=1, max=MAX_WINDOW_S
    ),
]


def read_log(path: Path, window_s: float) -> ForeignLog:
    """Read a log.

    Raises
    ------
    BadConfig
    """
    with terminal.opened(path) as source, terminal.byte_progress("reading", terminal.size_of(path)) as progress:

        def counted() -> Iterator[Line]:
            for line in lines(source):
                progress.update(progress.task_ids[0], advance=line.size)
                yield line

        return take_all(counted(), str(path), window_s)


def doubts(log: ForeignLog) -> Iterator[str]:
    """What to say of what was taken in a way that may be wrong, and of feedback that looks so."""
    from stream_coupons.core.features import MAX_CONTEXT

    for name, scope in log.scopes.items():
        yield (
            f"coupons that name no scope are taken to be for the {scope} that `{name}` says, for items have the same; "
            f"give {scope} in the coupon if it is otherwise"
        )
    yield from overlooked(log.coupons, [])
    if left_out := log.keys_left_out:
        keys = ", ".join(key for key, _ in left_out.most_common(KEYS_SHOWN))
        more = len(left_out) - KEYS_SHOWN
        yield (
            f"contexts have more than {MAX_CONTEXT} keys, of which the first by name are looked at; not "
            f"{keys}{f' and {more} more' if more > 0 else ''}"
        )
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
    with terminal.fraction_progress(what, len(log)) as progress, terminal.Interruptions() as interruptions:
        for record in interruptions.each(log.records()):
            running.feed(record)
            progress.update(progress.task_ids[0], advance=1)
        return interruptions.happened
