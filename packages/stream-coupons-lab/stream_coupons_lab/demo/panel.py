"""The live panel of the simulated shoppers: what flows, what it earns, single decisions in words, budgets."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stream_coupons_lab.demo.money import money
from stream_coupons_lab.demo.ticker import Ticker
from stream_coupons_lab.demo.watch import LiveDisplay, Watch, by_label, total

BLOCKS = "▁▂▃▄▅▆▇█"
RATE_OVER_S = 4.0
ROWS_BESIDE_TICKER = 13
MIN_WIDTH, MAX_WIDTH = 60, 120


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


@dataclass(slots=True)
class Flow:
    """Counters over the last seconds, as rates."""

    _seen: deque[tuple[float, tuple[float, ...]]] = field(default_factory=deque)

    def note(self, at: float, counts: tuple[float, ...]) -> None:
        """Take notice of counters at a time in seconds."""
        self._seen.append((at, counts))
        while len(self._seen) > 2 and self._seen[1][0] <= at - RATE_OVER_S:
            self._seen.popleft()

    def rates(self) -> list[float]:
        """Return how fast each grew lately, per second."""
        if len(self._seen) < 2:
            return [0.0 for _ in self._seen[-1][1]] if self._seen else []
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        return [max(after - before, 0.0) / max(ended - began, 1e-3) for before, after in zip(first, last, strict=True)]


class ShopperPanel(LiveDisplay):
    """Live display of the shoppers' activity and the coupons' earnings.

    Attributes
    ----------
    margins : list of float
        Expected incremental margin so far after every slice, minor units.
    status : str
        Current step.
    share : float
        Share of the run that is done, 0 to 1.
    """

    def __init__(self, console: Console, watch: Watch, ticker: Ticker) -> None:
        super().__init__(console, transient=True)
        self.margins: list[float] = []
        self.discount_minor = 0
        self.status = "starting"
        self.share = 0.0
        self.budget_minor = 0.0
        self._watch = watch
        self._ticker = ticker
        self._flow = Flow()
        self._began = time.monotonic()

    def show(self) -> None:
        """Bring the display up to date."""
        self._refresh()

    def _note(self, now: float) -> None:
        self._flow.note(now, self._counts())

    def _counts(self) -> tuple[float, ...]:
        counts, metrics = self._watch.counts, self._watch.latest
        decisions = total(metrics, "decisions_total")
        return counts.published, decisions, counts.issues, counts.fed_back

    def line(self) -> str:
        """Return the state in one line."""
        counts, elapsed = self._watch.counts, time.monotonic() - self._began
        earned = money(self.margins[-1]) if self.margins else "0.00"
        return (
            f"{elapsed:3.0f} s  {self.share:4.0%}  {self.status}: {counts.published:,} events, "
            f"{counts.issues:,} coupons, {counts.redeemed:,} redeemed, expected margin {earned}"
        )

    def render(self) -> RenderableType:
        """Return the panel."""
        width = min(max(self._console.width, MIN_WIDTH), MAX_WIDTH)
        inner = width - 4
        parts: list[RenderableType] = [
            self._flow_row(),
            Text(),
            *self._money_rows(inner),
            Text(),
            *self._ticker_rows(inner),
            Text(),
            self._progress_row(inner),
        ]
        title = "stream_coupons: simulated shoppers, live through Kafka"
        return Panel(Group(*parts), title=title, width=width, padding=(0, 1))

    def _flow_row(self) -> Table:
        table = Table.grid(expand=True)
        counts = self._counts()
        rates = self._flow.rates() or [0.0] * len(counts)
        for _ in counts:
            table.add_column(ratio=1)
        names = ("events", "decisions", "coupons", "feedback")
        cells = []
        for name, count, rate in zip(names, counts, rates, strict=True):
            text = Text(f"{count:,.0f} ", "bold")
            text.append(name, "none")
            text.append(f"\n{rate:,.0f} a second", "dim")
            cells.append(text)
        table.add_row(*cells)
        return table

    def _money_rows(self, inner: int) -> list[RenderableType]:
        counts, metrics = self._watch.counts, self._watch.latest
        room = max(inner - 50, 8)
        aucs = [value for _, value in self._watch.series("model_roc_auc_ratio", head="redeem") if value]
        auc = total(metrics, "model_roc_auc_ratio", head="redeem")
        left, whole = total(metrics, "budget_remaining_minor"), self.budget_minor
        table = Table.grid(padding=(0, 2))
        table.add_column(width=22, style="dim")
        table.add_column(width=22, justify="right")
        table.add_column(no_wrap=True)
        earned = self.margins[-1] if self.margins else 0.0
        table.add_row("margin to be expected", money(earned), Text(sparkline(self.margins, room), "green"))
        redeemed = f"{counts.redeemed:,} of {counts.issues:,}"
        table.add_row("coupons redeemed", redeemed, Text(f"{money(self.discount_minor)} given away"))
        quality = f"{auc:.3f} ROC AUC" if auc else "nothing learnt yet"
        table.add_row("P(redeem) ranks at", quality, Text(sparkline(aucs, room), "cyan"))
        if whole:
            budget = ProgressBar(total=whole, completed=min(left, whole), width=room, complete_style="yellow")
            table.add_row("budgets left", f"{money(left)} of {whole / 100:,.0f}", budget)
        return [table]

    def _ticker_rows(self, inner: int) -> list[RenderableType]:
        rows = max(min(self._console.height - ROWS_BESIDE_TICKER, 24), 3)
        lines = list(self._ticker.lines)[-rows:]
        shown: list[RenderableType] = []
        for line in [*lines, *[""] * (rows - len(lines))]:
            who, _, what = line.partition(": ")
            text = Text(no_wrap=True, overflow="ellipsis")
            text.append(f"{who}: " if what else who, "dim")
            text.append(what, "yellow" if what.startswith("nothing") else "bold green")
            text.truncate(inner, overflow="ellipsis")
            shown.append(text)
        return shown

    def _progress_row(self, inner: int) -> Table:
        elapsed = time.monotonic() - self._began
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        state = Text(self.status)
        clock = f"{self.share:4.0%}  {elapsed:3.0f} s"
        room = max(inner - len(self.status) - len(clock) - 2, 10)
        table.add_row(state, ProgressBar(total=1.0, completed=self.share, width=room), Text(clock))
        return table


def decisions_of(watch: Watch) -> dict[str, float]:
    """Return how often each outcome of a decision was counted by the workers."""
    return by_label(watch.latest, "decisions_total", "outcome")
