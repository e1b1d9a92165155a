"""The live panel: what flows, what it earns, single decisions in words, budgets."""

import math
import time
from collections.abc import Sequence
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stream_coupons.core.currencies import units
from stream_coupons_lab.demo.ticker import Ticker
from stream_coupons_lab.demo.watch import Watch, total
from stream_coupons_lab.demo.words import CURRENCY, euros
from stream_coupons_lab.simulation.shoppers import WorldStatistics

BLOCKS = "▁▂▃▄▅▆▇█"
ROWS_BESIDE_TICKER = 12
MIN_WIDTH, MAX_WIDTH = 60, 120
REFRESH_EVERY_S, LINE_EVERY_S = 0.25, 4.0


def sparkline(values: Sequence[float], width: int) -> str:
    """Return a line of blocks, the lowest for the least of the last `width` values and the highest for the most.

    >>> sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8), sparkline([5, 5], 8), sparkline([], 8)
    ('▁▂▃▄▅▆▇█', '▁▁', '')
    """
    shown = list(values)[-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    step = (high - low) / (len(BLOCKS) - 1) or 1.0
    return "".join(BLOCKS[round((value - low) / step)] for value in shown)


class ShopperPanel:
    """A live picture on a terminal; elsewhere a line every few seconds. Use it as a context manager.

    Attributes
    ----------
    statistics : WorldStatistics
        Totals of the world.
    events : int
        Number of events sent.
    margins : list of float
        Expected incremental margin so far after every slice, minor units.
    status : str
        Current step.
    share : float
        Share of the run that is done, 0 to 1.
    """

    def __init__(
        self, console: Console, watch: Watch, ticker: Ticker, statistics: WorldStatistics, budget_minor: float
    ) -> None:
        self.statistics = statistics
        self.events = 0
        self.margins: list[float] = []
        self.status = "starting"
        self.share = 0.0
        self._watch = watch
        self._ticker = ticker
        self._budget_minor = budget_minor
        self._began = time.monotonic()
        self._shown_at = -math.inf
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self) -> None:
        """Show the state as it is now, if the last time was a moment ago."""
        now = time.monotonic()
        if now < self._shown_at + (LINE_EVERY_S if self._live is None else REFRESH_EVERY_S):
            return
        self._shown_at = now
        if self._live is not None:
            self._live.update(self.render(), refresh=True)
        else:
            self._console.print(self.line(), soft_wrap=True, highlight=False)

    @property
    def _earned(self) -> str:
        return euros(self.margins[-1] if self.margins else 0.0)

    def line(self) -> str:
        """Return the state in one line."""
        done = self.statistics
        return (
            f"{time.monotonic() - self._began:3.0f} s  {self.share:4.0%}  {self.status}: {self.events:,} events, "
            f"{done.issues:,} coupons, {done.redemptions:,} redeemed, expected margin {self._earned}"
        )

    def render(self) -> RenderableType:
        """Return the panel."""
        width = min(max(self._console.width, MIN_WIDTH), MAX_WIDTH)
        inner = width - 4
        picture = Group(self._flow(), "", self._money(inner), "", self._decisions(inner), "", self._progress(inner))
        title = "stream_coupons: simulated shoppers, live through Kafka"
        return Panel(picture, title=title, width=width, padding=(0, 1))

    def _flow(self) -> Table:
        done = self.statistics
        counts = {
            "events": self.events,
            "decisions": total(self._watch.latest, "decisions_total"),
            "coupons": done.issues,
            "feedback": done.impressions + done.clicks + done.redemptions,
        }
        table = Table.grid(expand=True)
        for _ in counts:
            table.add_column(ratio=1)
        table.add_row(*(f"[bold]{count:,.0f}[/] {name}" for name, count in counts.items()))
        return table

    def _money(self, inner: int) -> Table:
        done, room = self.statistics, max(inner - 50, 8)
        aucs = [auc for _, auc in self._watch.quality("redeem")]
        left, whole = total(self._watch.latest, "budget_remaining_minor"), self._budget_minor
        table = Table.grid(padding=(0, 2))
        table.add_column(width=22, style="dim")
        table.add_column(width=22, justify="right")
        table.add_column(no_wrap=True)
        table.add_row("margin to be expected", self._earned, f"[green]{sparkline(self.margins, room)}[/]")
        redeemed = f"{done.redemptions:,} of {done.issues:,}"
        table.add_row("coupons redeemed", redeemed, f"{euros(done.discount_minor)} given away")
        quality = f"{aucs[-1]:.3f} ROC AUC" if aucs else "nothing learnt yet"
        table.add_row("P(redeem) ranks at", quality, f"[cyan]{sparkline(aucs, room)}[/]")
        budget = ProgressBar(total=whole, completed=min(left, whole), width=room, complete_style="yellow")
        table.add_row(f"budgets left, {CURRENCY}", f"{units(left, CURRENCY)} of {whole / 100:,.0f}", budget)
        return table

    def _decisions(self, inner: int) -> Group:
        rows = max(min(self._console.height - ROWS_BESIDE_TICKER, 24), 3)
        lines = list(self._ticker.lines)[-rows:]
        shown: list[Text] = []
        for line in [*lines, *[""] * (rows - len(lines))]:
            who, _, what = line.partition(": ")
            style = "yellow" if what.startswith("nothing") else "bold green"
            text = Text.assemble((f"{who}: " if what else who, "dim"), (what, style), no_wrap=True)
            text.truncate(inner, overflow="ellipsis")
            shown.append(text)
        return Group(*shown)

    def _progress(self, inner: int) -> Table:
        clock = f"{self.share:4.0%}  {time.monotonic() - self._began:3.0f} s"
        table = Table.grid(padding=(0, 1))
        room = max(inner - len(self.status) - len(clock) - 2, 10)
        table.add_row(self.status, ProgressBar(total=1.0, completed=self.share, width=room), clock)
        return table
