"""When a used coupon is over, in a log that says of each unused one when it is.

A log may end unused coupons by an `expiry` soon after they were given, while a purchase says nothing of the window's
end. Then a no is known at once and a yes only when the window closes by time: for as long, all that is learnt is no. So
where unused coupons are ended as a rule, a used one is taken to end in the part of its window in which those usually
did, and not before its purchase. By parts, for windows differ: those that end first are the short ones, and if used
coupons of long windows ended when these do, all that is learnt at first would be yes. Only what was logged until then
is looked at.
"""

import heapq
from bisect import bisect_right, insort
from collections import defaultdict
from typing import NamedTuple

AS_A_RULE = 0.5
"""Of the unused coupons that are old enough, at least so many must have been ended."""


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
        """An issue was made, whose window is as long as this."""
        self._issued_at.append(at)
        self._open[issue_id] = _Window(arm, at, window_s)

    def add_expiry(self, issue_id: str, at: float) -> None:
        """A coupon was ended; that of one that was used before tells nothing."""
        window = self._open.pop(issue_id, None)
        if window is not None:
            part = (at - window.begin) / window.length_s if window.length_s > 0.0 else 1.0
            insort(self._parts[window.arm], part)
            insort(self._all_parts, part)
            insort(self._delays, at - window.begin)

    def add_use(self, issue_id: str, at: float) -> None:
        """A coupon was used; only the first time counts."""
        window = self._open.pop(issue_id, None)
        if window is not None:
            self._used += 1
            self._undecided.append((issue_id, window, at))

    def take_due(self, now: float) -> list[tuple[str, float]]:
        """The used coupons that are over before now, and since when; each once."""
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
