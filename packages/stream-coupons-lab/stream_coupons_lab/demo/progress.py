"""The state of the demonstration while it runs: one line, which a terminal shows in place."""

import math
import time
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from stream_coupons_lab.demo.money import money
from stream_coupons_lab.simulation.shoppers import WorldStatistics

REFRESH_EVERY_S, LINE_EVERY_S = 0.25, 4.0


class DemoProgress:
    """A line that changes on a terminal; elsewhere a line every few seconds. Use it as a context manager.

    Attributes
    ----------
    statistics : WorldStatistics
        Totals of the world.
    events : int
        Number of events sent.
    margin_minor : float
        Expected incremental margin so far, minor units.
    status : str
        Current step.
    share : float
        Share of the run that is done, 0 to 1.
    """

    def __init__(self, console: Console, statistics: WorldStatistics) -> None:
        self.statistics = statistics
        self.events = 0
        self.margin_minor = 0.0
        self.status = "starting"
        self.share = 0.0
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
            self._live.update(Text(self.line()), refresh=True)
        else:
            self._console.print(self.line(), soft_wrap=True, highlight=False)

    def line(self) -> str:
        """Return the state in one line."""
        done = self.statistics
        return (
            f"{time.monotonic() - self._began:3.0f} s  {self.share:4.0%}  {self.status}: {self.events:,} events, "
            f"{done.issues:,} coupons, {done.redemptions:,} redeemed, expected margin {money(self.margin_minor)}"
        )
