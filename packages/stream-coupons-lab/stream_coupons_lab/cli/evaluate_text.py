"""Text and tables of `evaluate`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from stream_coupons.cli import terminal
from stream_coupons.core.reasons import Rejection

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.models.metrics import Interval
    from stream_coupons_lab.offline.baselines import Beside
    from stream_coupons_lab.offline.calibration_by_arm import OrderAnyway
    from stream_coupons_lab.offline.evaluated import Evaluated
    from stream_coupons_lab.offline.inspection import Change, ServedModel
    from stream_coupons_lab.offline.quality import HeadMetrics, Slice

COUPONS_SHOWN, SEGMENTS_SHOWN, UNKNOWN_SHOWN = 10, 20, 5
PLAIN: dict[str, Any] = {"title_justify": "left", "box": None, "padding": (0, 2, 0, 0), "pad_edge": False}
"""Style of a table without lines."""


def json_of(found: Evaluated, *, interrupted: bool) -> dict[str, object]:
    """Return what `--json` prints."""
    log, running = found.log, found.running
    return {
        "records": log.counts,
        "refused_lines": log.refusals.by_reason,
        "refused_feedback": running.refused,
        "feedback_before_issue": +log.before_issue,
        "feedback_on_none": +log.without_coupon,
        "redescribed_coupons": log.redescribed,
        "unknown_keys": {f"{kind}.{key}": lines for (kind, key), lines in log.unknown_keys.items()},
        "issues": len(found.scored),
        "labelled": found.labelled,
        "doubtful_impressions": running.doubtful_impressions,
        "heads": found.qualities,
        "order_anyway": found.anyway,
        "slices": found.slices,
        "models": found.models,
        "changes": found.changes,
        "baselines": found.baselines,
        "interrupted": interrupted,
    }


def warnings_of(found: Evaluated, *, interrupted: bool) -> Iterator[str]:
    """Yield what makes the figures doubtful."""
    log, running = found.log, found.running
    open_windows = len(found.scored) - found.labelled
    if not found.labelled:
        end = "when it was interrupted" if interrupted else "by the end of the log"
        yield f"no window had closed {end}, so nothing was learnt and nothing is judged; see --window"
    elif open_windows:
        yield f"the windows of {open_windows} issues are open at the end of the log: these have no label"
    if late := running.refused.get(Rejection.LATE):
        yield (
            f"{late} records of feedback came after the window of their issue had closed: at its expires_at, after its "
            "coupon's redeem_within_s, or where a line says neither, after --window"
        )
    for domain, responses in running.doubtful_impressions.items():
        yield (
            f"in {domain} {responses} coupons were clicked or used without an impression, more than a tenth of what "
            "shoppers respond to, each shopper counting the same: what has none was not always "
            "unseen, so its silence is learnt as a no; see attribution.impression_domains"
        )
    if log.unknown_keys:
        named = sorted(log.unknown_keys.items(), key=lambda entry: -entry[1])[:UNKNOWN_SHOWN]
        keys = ", ".join(f"{kind}.{key} ({count} lines)" for (kind, key), count in named)
        more = len(log.unknown_keys) - len(named)
        yield f"keys that are not known were skipped: {keys}{f' and {more} more' if more else ''}; are they misspelt?"
    if changed := len(log.redescribed):
        times = sum(log.redescribed.values())
        yield (
            f"{changed} coupons are described in more than one way, {times} times otherwise than first: the first "
            "counts; put into `context` what changes from issue to issue"
        )


def print_evaluation(found: Evaluated, warnings: Iterable[str]) -> None:
    """Print all of it for a person."""
    from stream_coupons_lab.offline.segments import COUPON

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
    if found.anyway is not None:
        console.print()
        console.print(terminal.summary_table(_anyway(found.anyway)))
    for text in _what_served(found.models, found.changes):
        terminal.say(text)
    if found.baselines:
        console.print(_baselines_table(found.baselines))
    for head in ("click", "redeem", "order"):
        slices = [each for each in found.slices if each.head == head]
        coupons = [each for each in slices if each.by == COUPON]
        shown = coupons[:COUPONS_SHOWN] + [each for each in slices if each.by != COUPON][:SEGMENTS_SHOWN]
        if shown:
            console.print(slices_table(head, shown))
        if len(slices) > len(shown):
            terminal.say(f"... and {len(slices) - len(shown)} more; --json and --report have all")
    for warning in warnings:
        terminal.warn(warning)


def _worse_than_the_base_rate(heads: Sequence[HeadMetrics]) -> Iterator[str]:
    for head in heads:
        loss, base = head.log_loss.value, head.base_log_loss
        if 0 < head.positives < head.examples and loss > base:
            yield f"P({head.head}) is worse than always saying the base rate: log loss {loss:.4f} against {base:.4f}"


def _what_served(models: Sequence[ServedModel], changes: Sequence[Change]) -> Iterator[str]:
    for each in models:
        if each.is_served:
            drifts = [one for one in changes if (one.domain, one.head) == (each.domain, each.head)]
            text = "; ".join(f"{one.kind} on {terminal.utc(one.at)}" for one in drifts)
            yield f"{each.domain} P({each.head}): {each.model} serves{f'; {text}' if text else ', no drift'}"


def _baselines_table(baselines: Sequence[Beside]) -> Table:
    figures = ("log loss", "above ours", "95%", "AUC")
    table = terminal.new_table("", "model", figures=figures, no_wrap=True, title="\nbeside plain models", **PLAIN)
    for each in baselines:
        lead = each.lead
        is_other = each.model != baselines[0].model
        table.add_row(
            each.head,
            each.model,
            _number(each.log_loss),
            f"{lead.value:+.4f}" if is_other else "",
            f"{lead.low:+.4f} to {lead.high:+.4f}" if is_other else "",
            _number(each.roc_auc, 3),
        )
    return table


def _anyway(found: OrderAnyway) -> dict[str, object]:
    observed = found.observed_without
    return {
        "P(order) with a coupon": f"{found.predicted_with_coupon:.4f}, mean of {found.with_coupon:,} issues",
        "P(order) without": f"{found.predicted_without:.4f}, mean of {found.without:,}; observed {observed.value:.4f} "
        f"({_span(observed)})",
        "P(redeem) < P(order)": f"{found.below_zero_ratio:.1%} of the issues with a coupon: uplift below zero",
    }


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
        ("recent log loss", lambda head: _with_gap(head.recent.log_loss, head.recent.log_loss_gap)),
        ("recent ROC AUC", lambda head: _with_gap(head.recent.roc_auc, head.recent.roc_auc_gap)),
    )
    for name, text in rows:
        table.add_row(name, *(text(head) if head.examples else "" for head in heads))
    table.caption = (
        "Intervals are bootstraps over shoppers. Each issue is called positive or not by the threshold of greatest F1 "
        "on the labels known before it. Recent is the last fifth of the labels, in brackets recent minus all. "
        "Calibration is predicted over observed. The base rate is the share of positives, which only hindsight knows."
    )
    table.caption_justify = "left"
    return table


def slices_table(head: str, slices: Sequence[Slice]) -> Table:
    """Return observed and predicted rates of slices of one head."""
    figures = ("issues", "observed", "95%", "predicted", "AUC", "95%")
    table = terminal.new_table("", figures=figures, no_wrap=True, title=f"\n{head}", **PLAIN)
    table.columns[0].min_width, table.columns[0].overflow = 16, "fold"
    for each in slices:
        table.add_row(
            terminal.printable(f"{each.by} {each.value}"),
            f"{each.examples:,}",
            _number(each.observed.value, 3),
            _span(each.observed, 3),
            _number(each.predicted, 3),
            _number(each.roc_auc.value, 3),
            _span(each.roc_auc, 3),
        )
    return table


def _number(value: float, decimals: int = 4) -> str:
    return "" if math.isnan(value) else f"{value:.{decimals}f}"


def _span(interval: Interval, decimals: int = 4) -> str:
    return "" if math.isnan(interval.low) else f"{interval.low:.{decimals}f}-{interval.high:.{decimals}f}"


def _with_gap(value: float, gap: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f} ({gap:+.4f})"
