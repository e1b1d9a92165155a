"""Tables that a terminal and a page show alike: headers, and rows of text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from stream_coupons_lab.reports.axes import Unit, format_interval, format_value

if TYPE_CHECKING:  # the command line imports this module for its help
    from stream_coupons.models.metrics import Interval
    from stream_coupons_lab.offline.arm_effects import ArmEffect
    from stream_coupons_lab.offline.baselines import Beside
    from stream_coupons_lab.offline.quality import HeadMetrics
    from stream_coupons_lab.ope.valuation import Valued


class TextTable(NamedTuple):
    """Headers and rows; the first columns name the row, the others are figures."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


ON_OTHERS = (
    "The policies below are valued on the decisions that could have their arm, {n} of {all:,}. Compare each with the "
    "logging policy on the same decisions, not with another one."
)


def by_decisions(valued: Sequence[Valued], decisions: int) -> Iterator[tuple[list[Valued], str]]:
    """Yield the policies that are valued on all decisions, and the others with a note that says so."""
    of_all, others = ([one for one in valued if one.is_of_all(decisions) is whole] for whole in (True, False))
    if of_all:
        yield of_all, ""
    if others:
        counts = sorted({one.valuation.diagnostics.decisions for one in others})
        ends = dict.fromkeys((f"{counts[0]:,}", f"{counts[-1]:,}"))
        yield others, ON_OTHERS.format(n=" to ".join(ends), all=decisions)


def values(valued: Iterable[Valued], unit: Unit, *, is_gain: bool = False) -> TextTable:
    """Return the values of policies by each estimator, or how much they are above that of the logging policy."""
    from stream_coupons_lab.ope.ope import TITLES

    rows = []
    for one in valued:
        if not is_gain or one.policy != "logged":
            intervals = one.valuation.gains if is_gain else one.valuation.values
            rows.append([one.policy, *(text for each in TITLES for text in _with_interval(intervals[each], unit))])
    return TextTable(("policy", *(text for title in TITLES.values() for text in (title, "95%"))), rows)


def effects(found: Iterable[ArmEffect], unit: Unit) -> TextTable:
    """Return the effect of each coupon against giving none."""
    rows = []
    for one in found:
        mean, qini = (_with_interval(each, unit) for each in (one.uplift.mean, one.uplift.qini))
        counts = (f"{count:,}" for count in (one.treated, one.controls))
        rows.append([one.arm, *counts, *mean, format_value(one.predicted, unit), *qini])
    return TextTable(("coupon", "treated", "controls", "observed", "95%", "predicted", "Qini", "95% of Qini"), rows)


def _with_interval(found: Interval, unit: Unit) -> tuple[str, str]:
    return format_value(found.value, unit), format_interval(found.low, found.high, unit)


def checks(valued: Iterable[Valued]) -> TextTable:
    """Return effective sample sizes and weights by policy, which bound the trust in the values."""
    rows = []
    for one in valued:
        found = one.valuation.diagnostics
        counts = (found.decisions, round(found.effective), found.rewarded)
        weights = (format_value(found.largest_weight), format_value(found.mean_weight.value))
        agreement, unsupported = (format_value(share, "percent") for share in (found.agreement, one.unsupported))
        rows.append([one.policy, *(f"{count:,}" for count in counts), agreement, *weights, unsupported])
    return TextTable(("policy", "n", "ESS", "rewarded", "agrees", "max w", "mean w", "unlogged"), rows)


def baselines(found: Iterable[Beside]) -> TextTable:
    """Return the quality of ours and of plain models, by head."""
    rows = []
    for one in found:
        above = [f"{one.lead.value:+.4f}", format_interval(one.lead.low, one.lead.high)] if one.is_other else ["", ""]
        rows.append([one.head, one.model, f"{one.log_loss:.4f}", *above, f"{one.roc_auc:.3f}"])
    return TextTable(("head", "model", "log loss", "above ours", "95%", "ROC AUC"), rows)


METRICS_NOTE = (
    "Intervals are bootstraps over shoppers. Each issue is called positive or not by the threshold of greatest F1 "
    "on the labels known before it. "
    "Calibration is predicted over observed. The base rate is the share of positives, which only hindsight knows."
)


def metrics(heads: Sequence[HeadMetrics]) -> TextTable:
    """Return the quality of the probabilities, a column for each head."""
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
        ("calibration ratio", lambda head: _number(head.calibration_ratio.value)),
        ("  95%", lambda head: _span(head.calibration_ratio)),
        ("accuracy", lambda head: _number(head.working.accuracy)),
        ("precision", lambda head: _number(head.working.precision)),
        ("recall", lambda head: _number(head.working.recall)),
        ("F1", lambda head: _number(head.working.f1)),
        ("  last threshold", lambda head: _number(head.working.threshold)),
    )
    texts = [[name, *(text(head) if head.examples else "" for head in heads)] for name, text in rows]
    return TextTable(("", *(head.head for head in heads)), texts)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _span(interval: Interval) -> str:
    return "" if math.isnan(interval.low) else f"{interval.low:.4f}-{interval.high:.4f}"
