"""Ends of used coupons, in a log that records the end of each unused one.

A log may end unused coupons by an `expiry` soon after they were given, while a purchase does not show the window's
end. Then a negative label is known at once, and a positive one only when the window closes by time: until then, all
labels are negative. So where unused coupons are ended as a rule, a used one ends in the part of its window in which
those usually did, and not before its purchase. Parts count, for windows differ: the short ones end first. If used
coupons of long windows ended as early, all first labels would be positive. Only what was logged until then is read.
"""

import heapq
from bisect import bisect_right, insort
from collections import defaultdict
from typing import NamedTuple

AS_A_RULE = 0.5
"""Least share of the unused coupons old enough that must have been ended."""


class _Window(NamedTuple):
    arm: str
    begin: float
    length_s: float


class Expiries:
    """The issues of a log and what ended them, in order of time."""

    def __init__(self) -> None:
        self._issued_at: list[float] = []
        self._open: dict[str, _Window] = {}
        self._parts: defaultdict[str, list[float]] = defaultdict(list)
        self._all_parts: list[float] = []
        self._delays: list[float] = []
        self._used = 0
        self._undecided: list[tuple[str, _Window, float]] = []
        self._due: list[tuple[float, str]] = []

    def add_issue(self, issue_id: str, arm: str, at: float, window_s: float) -> None:
        """Take in an issue and the length of its window."""
        self._issued_at.append(at)
        self._open[issue_id] = _Window(arm, at, window_s)

    def add_expiry(self, issue_id: str, at: float) -> None:
        """Take in the end of a coupon; ignored if it was used before."""
        window = self._open.pop(issue_id, None)
        if window is not None:
            part = (at - window.begin) / window.length_s if window.length_s > 0.0 else 1.0
            insort(self._parts[window.arm], part)
            insort(self._all_parts, part)
            insort(self._delays, at - window.begin)

    def add_use(self, issue_id: str, at: float) -> None:
        """Take in the use of a coupon; only the first counts."""
        window = self._open.pop(issue_id, None)
        if window is not None:
            self._used += 1
            self._undecided.append((issue_id, window, at))

    def take_due(self, now: float) -> list[tuple[str, float]]:
        """Return the used coupons that ended before now, each once, with the time."""
        if self._undecided and self._ended_as_a_rule(now):
            for issue_id, window, used_at in self._undecided:
                usual = _median(self._parts.get(window.arm) or self._all_parts)
                heapq.heappush(self._due, (max(window.begin + usual * window.length_s, used_at), issue_id))
            self._undecided.clear()
        due = []
        while self._due and self._due[0][0] < now:
            at, issue_id = heapq.heappop(self._due)
            due.append((issue_id, at))
        return due

    def _ended_as_a_rule(self, now: float) -> bool:
        if not self._delays:
            return False
        old_enough = bisect_right(self._issued_at, now - _median(self._delays))
        return len(self._delays) >= AS_A_RULE * (old_enough - self._used)


def _median(ascending: list[float]) -> float:
    return ascending[len(ascending) // 2]
