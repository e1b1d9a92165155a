"""Events of simulated shoppers in order of time: their own, drawn a day at a time, and their reactions to coupons."""

import heapq
from bisect import bisect_right
from collections.abc import Collection, Iterable

from stream_coupons_lab.simulation.behaviour import Calendar, Dated, SimulatedShopper


class Timeline:
    """The events that happen to shoppers from the first midnight on; take them in order of time."""

    def __init__(self, shoppers: Collection[SimulatedShopper], calendar: Calendar) -> None:
        self._shoppers = shoppers
        self._calendar = calendar
        self._drawn_days = 0
        self._pending: list[Dated] = []
        self._taken = 0
        self._scheduled: list[Dated] = []

    def schedule(self, events: Iterable[Dated]) -> None:
        """Let events happen beside those of the shoppers' own days."""
        for event in events:
            heapq.heappush(self._scheduled, event)

    def take(self, now: float, until: float) -> list[Dated]:
        """Return the events of (now, until] in order of time.

        Parameters
        ----------
        now, until : float
            UTC epoch seconds; all events up to `now` have been taken.
        """
        happened: list[Dated] = []
        while now < until:
            if now >= self._calendar.starts_at(self._drawn_days):
                self._draw_day()
            now = min(until, self._calendar.starts_at(self._drawn_days))
            happened += self._take(now)
        return happened

    def _draw_day(self) -> None:
        self._pending = self._pending[self._taken :]
        self._taken = 0
        for shopper in self._shoppers:
            shopper.live_through(self._drawn_days)
            self._pending += shopper.outbox
            shopper.outbox.clear()
        self._pending.sort(key=_order)
        self._drawn_days += 1

    def _take(self, until: float) -> list[Dated]:
        end = bisect_right(self._pending, until, lo=self._taken, key=_at)
        events = self._pending[self._taken : end]
        self._taken = end
        if self._scheduled and self._scheduled[0][0] <= until:
            while self._scheduled and self._scheduled[0][0] <= until:
                events.append(heapq.heappop(self._scheduled))
            events.sort(key=_order)
        return events


def _at(event: Dated) -> float:
    return event[0]


def _order(event: Dated) -> tuple[float, int, str]:
    return event[:3]
