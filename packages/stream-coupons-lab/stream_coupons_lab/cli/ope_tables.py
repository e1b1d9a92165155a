"""Tables of `ope`: values of policies with their intervals, and how far to believe them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from stream_coupons.cli import terminal
from stream_coupons_lab.cli.output import print_text_table
from stream_coupons_lab.ope.ope import Estimator
from stream_coupons_lab.reports import tables

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.models.metrics import Interval
    from stream_coupons_lab.ope.valuation import Valued

TITLES = {Estimator.IPS: "IPS", Estimator.SNIPS: "SNIPS", Estimator.DR: "doubly robust"}


def decimals_of(values: Iterable[float]) -> int:
    """So many that the largest value has four digits."""
    largest = max(map(abs, values))
    return max(0, 3 - math.floor(math.log10(largest))) if largest > 0 else 1


def values_table(valued: Iterable[Valued], title: str, decimals: int, *, is_gain: bool) -> Table:
    """Values of policies, or how much they are above that of the policy that decided."""
    table = new_table(title, "policy", *TITLES.values())
    for each in valued:
        intervals = each.valuation.gains if is_gain else each.valuation.values
        if not is_gain or each.policy != "logged":
            cells = (interval_text(intervals[estimator], decimals, is_signed=is_gain) for estimator in TITLES)
            table.add_row(terminal.printable(each.policy), *cells)
    return table


def print_values(valued: Sequence[Valued], values: str, gains: str) -> int:
    """Print the values of policies, their gains, and how far to believe them.

    Parameters
    ----------
    values, gains : str
        Titles of the tables; empty for none.

    Returns
    -------
    int
        The decimals of the values.
    """
    console = terminal.stdout()
    decimals = decimals_of([each.valuation.values[Estimator.DR].value for each in valued])
    console.print(values_table(valued, values, decimals, is_gain=False))
    if gains:
        console.print(values_table(valued, gains, decimals, is_gain=True))
    print_text_table(tables.checks(valued), title="how far to believe it")
    return decimals


def print_notes(notes: Iterable[str], warnings: Iterable[str]) -> None:
    """Print how values were found, and what may make them wrong."""
    for note in notes:
        terminal.say(note)
    for warning in warnings:
        terminal.warn(warning)


def new_table(title: str, *names: str) -> Table:
    """An empty table of names and numbers."""
    table = terminal.new_table(names[0], figures=names[1:], title=title, title_justify="left")
    table.columns[0].overflow = "fold"
    return table


def interval_text(found: Interval, decimals: int, *, is_signed: bool) -> Text:
    """A value above its interval; bold where a difference is one."""
    form = f"{'+' if is_signed else ''}.{decimals}f"
    is_clear = is_signed and (found.low > 0 or found.high < 0)
    interval = "unknown" if math.isnan(found.low) else f"{found.low:{form}} to {found.high:{form}}"
    return Text.assemble((f"{found.value:{form}}", "bold" if is_clear else ""), "\n", (interval, "dim"))
