"""Text and tables of `evaluate`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box

from stream_coupons.cli import terminal
from stream_coupons.core.plurals import counted
from stream_coupons.core.reasons import Rejection
from stream_coupons_lab.cli.output import print_text_table
from stream_coupons_lab.reports import tables

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons_lab.offline.evaluated import Evaluated
    from stream_coupons_lab.offline.quality import HeadMetrics

UNKNOWN_SHOWN = 5


def json_of(found: Evaluated) -> dict[str, object]:
    """Return what `--json` prints."""
    log, running = found.log, found.running
    return {
        "records": log.counts,
        "refused_lines": log.refusals.by_reason,
        "refused_feedback": running.shop.refused,
        "unknown_keys": {f"{kind}.{key}": lines for (kind, key), lines in log.unknown_keys.items()},
        "issues": len(found.scored),
        "labelled": found.labelled,
        "heads": found.qualities,
        "slices": found.slices,
        "baselines": found.baselines,
        "conclusions": found.conclusions(),
    }


def warnings_of(found: Evaluated) -> Iterator[str]:
    """Yield what makes the figures doubtful."""
    log, running = found.log, found.running
    open_windows = len(found.scored) - found.labelled
    if not found.labelled:
        yield "no window had closed by the end of the log, so nothing was learnt and nothing is judged; see --window"
    elif open_windows:
        yield f"the windows of {open_windows} issues are open at the end of the log: these have no label"
    if late := running.shop.refused.get(Rejection.LATE):
        yield (
            f"{counted(late, 'report')} of feedback came after the window of their issue had closed: at its "
            "expires_at, after its coupon's redeem_within_s, or where a line says neither, after --window"
        )
    if log.unknown_keys:
        named = sorted(log.unknown_keys.items(), key=lambda entry: -entry[1])[:UNKNOWN_SHOWN]
        keys = ", ".join(f"{kind}.{key} ({count} lines)" for (kind, key), count in named)
        yield f"keys that are not known were skipped: {keys}; are they misspelt?"


def print_evaluation(found: Evaluated, warnings: Iterable[str]) -> None:
    """Print all of it for a person."""
    console = terminal.stdout()
    console.print(
        terminal.summary_table(
            {
                "records": found.log.counts,
                "refused lines": found.log.refusals.by_reason,
                "feedback not joined": found.running.shop.refused,
                "issues": len(found.scored),
                "with a label": found.labelled,
            }
        )
    )
    if found.labelled:
        print_metrics(found.qualities)
    if found.baselines:
        print_text_table(tables.baselines(found.baselines), 2, title="\nbeside plain models", box=box.SIMPLE_HEAD)
    for warning in warnings:
        terminal.warn(warning)
    for conclusion in found.conclusions():
        terminal.say(conclusion)


def print_metrics(heads: Sequence[HeadMetrics]) -> None:
    """Print the quality of the probabilities, a column for each head."""
    table = tables.metrics(heads)
    style = {"box": box.SIMPLE_HEAD, "caption": tables.METRICS_NOTE, "caption_justify": "left"}
    print_text_table(table, len(table.headers), **style)
