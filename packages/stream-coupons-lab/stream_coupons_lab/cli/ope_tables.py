"""Tables of `ope`: values of policies with their intervals, and how far to believe them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_coupons.cli import terminal
from stream_coupons_lab.cli.output import print_text_table
from stream_coupons_lab.reports import tables

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons_lab.ope.own_valuation import OwnReport
    from stream_coupons_lab.ope.valuation import ValuationReport

LEGEND = (
    "ESS: effective sample size. rewarded: decisions with a reward that the policy might have made. agrees: how likely "
    "it would have chosen what was logged. w: weight, its mean should be 1. unlogged: share of its choices that "
    "the log never had"
)


def print_values(found: ValuationReport | OwnReport) -> None:
    """Print the values of policies, their gains, and how far to believe them."""
    unit, noun = found.reward.unit(found.currency), found.reward.in_unit(found.currency)
    for valued, note in tables.by_decisions(found.valued, found.decisions):
        if note:
            terminal.say(note)
        _print(tables.values(valued, unit), f"{noun} for each decision")
        _print(tables.values(valued, unit, is_gain=True), f"{noun} above the logging policy")
    print_text_table(tables.checks(found.valued), title="how far to believe it")


def _print(table: tables.TextTable, title: str) -> None:
    """Print values above their intervals."""
    rows = [[row[0], *map("\n".join, zip(row[1::2], row[2::2], strict=True))] for row in table.rows]
    if rows:
        print_text_table(tables.TextTable([table.headers[0], *table.headers[1::2]], rows), title=title)


def print_notes(found: ValuationReport | OwnReport) -> None:
    """Print how values were found, what may make them wrong, and what follows."""
    for note in (LEGEND, *found.notes):
        terminal.say(note)
    for warning in found.warnings:
        terminal.warn(warning)
    terminal.say(found.conclusion)
