"""Tables that a terminal and a page show alike: headers, and rows of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from stream_coupons_lab.reports.axes import format_interval, format_value

if TYPE_CHECKING:  # the command line imports this module for its help
    from stream_coupons_lab.offline.baselines import Beside
    from stream_coupons_lab.ope.valuation import Valued


class TextTable(NamedTuple):
    """Headers and rows; the first columns name the row, the others are figures."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


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
