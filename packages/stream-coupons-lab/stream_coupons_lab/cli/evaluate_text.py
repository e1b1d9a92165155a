"""Text and tables of `evaluate`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from stream_coupons.cli import terminal
from stream_coupons.core.reasons import Rejection
from stream_coupons_lab.cli.output import print_text_table
from stream_coupons_lab.reports import tables

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.models.metrics import Interval
    from stream_coupons_lab.offline.evaluated import Evaluated
    from stream_coupons_lab.offline.quality import HeadMetrics

UNKNOWN_SHOWN = 5
PLAIN: dict[str, Any] = {"box": None, "padding": (0, 2, 0, 0), "pad_edge": False}
"""Style of a table without lines."""


def json_of(found: Evaluated) -> dict[str, object]:
    """Return what `--json` prints."""
    log, running = found.log, found.running
    return {
        "records": log.counts,
        "refused_lines": log.refusals.by_reason,
        "refused_feedback": running.refused,
        "unknown_keys": {f"{kind}.{key}": lines for (kind, key), lines in log.unknown_keys.items()},
        "issues": len(found.scored),
        "labelled": found.labelled,
        "heads": found.qualities,
        "slices": found.slices,
        "baselines": found.baselines,
    }


def warnings_of(found: Evaluated) -> Iterator[str]:
    """Yield what makes the figures doubtful."""
    log, running = found.log, found.running
    open_windows = len(found.scored) - found.labelled
    if not found.labelled:
        yield "no window had closed by the end of the log, so nothing was learnt and nothing is judged; see --window"
    elif open_windows:
        yield f"the windows of {open_windows} issues are open at the end of the log: these have no label"
    if late := running.refused.get(Rejection.LATE):
        yield (
            f"{late} records of feedback came after the window of their issue had closed: at its expires_at, after its "
            "coupon's redeem_within_s, or where a line says neither, after --window"
        )
    if log.unknown_keys:
        named = sorted(log.unknown_keys.items(), key=lambda entry: -entry[1])[:UNKNOWN_SHOWN]
        keys = ", ".join(f"{kind}.{key} ({count} lines)" for (kind, key), count in named)
        more = len(log.unknown_keys) - len(named)
        yield f"keys that are not known were skipped: {keys}{f' and {more} more' if more else ''}; are they misspelt?"


def print_evaluation(found: Evaluated, warnings: Iterable[str]) -> None:
    """Print all of it for a person."""
    console = terminal.stdout()
    console.print(
        terminal.summary_table(
            {
                "records": found.log.counts,
                "refused lines": found.log.refusals.by_reason,
                "feedback not joined": found.running.refused,
                "issues": len(found.scored),
                "with a label": found.labelled,
            }
        )
    )
    if found.labelled:
        console.print(metrics_table(found.qualities))
    for text in _worse_than_the_base_rate(found.qualities):
        terminal.say(text)
    if found.baselines:
        print_text_table(tables.baselines(found.baselines), 2, title="\nbeside plain models", **PLAIN)
    for warning in warnings:
        terminal.warn(warning)


def _worse_than_the_base_rate(heads: Sequence[HeadMetrics]) -> Iterator[str]:
    for head in heads:
        loss, base = head.log_loss.value, head.base_log_loss
        if 0 < head.positives < head.examples and loss > base:
            yield f"P({head.head}) is worse than always saying the base rate: log loss {loss:.4f} against {base:.4f}"


def metrics_table(heads: Sequence[HeadMetrics]) -> Table:
    """Return the quality of the probabilities, a column for each head."""
    table = Table("", *(head.head for head in heads), box=box.SIMPLE_HEAD)
    rows: tuple[tuple[str, Callable[[HeadMetrics], str]], ...] = (
        ("issues", lambda head: head.issues),
        ("  never seen", lambda head: f"{head.unseen:,}"),
        ("examples", lambda head: f"{head.examples:,}"),
        ("positives", lambda head: f"{head.positives:,}"),
        ("log loss", lambda head: _number(head.log_loss.value)),
        ("  95%", lambda head: _span(head.log_loss)),
        ("  of base rate", lambda head: _number(head.base_log_loss)),
        ("ROC AUC", lambda head: _number(head.roc_auc.value)),
        ("  95%", lambda head: _span(head.roc_auc)),
        ("average precision", lambda head: _number(head.average_precision)),
        ("Brier score", lambda head: _number(head.brier)),
        ("calibration ratio", lambda head: _number(head.calibration_ratio)),
        ("accuracy", lambda head: _number(head.working.accuracy)),
        ("precision", lambda head: _number(head.working.precision)),
        ("recall", lambda head: _number(head.working.recall)),
        ("F1", lambda head: _number(head.working.f1)),
        ("  last threshold", lambda head: _number(head.working.threshold)),
    )
    for name, text in rows:
        table.add_row(name, *(text(head) if head.examples else "" for head in heads))
    table.caption = (
        "Intervals are bootstraps over shoppers. Each issue is called positive or not by the threshold of greatest F1 "
        "on the labels known before it. "
        "Calibration is predicted over observed. The base rate is the share of positives, which only hindsight knows."
    )
    table.caption_justify = "left"
    return table


def _number(value: float, decimals: int = 4) -> str:
    return "" if math.isnan(value) else f"{value:.{decimals}f}"


def _span(interval: Interval, decimals: int = 4) -> str:
    return "" if math.isnan(interval.low) else f"{interval.low:.{decimals}f}-{interval.high:.{decimals}f}"
