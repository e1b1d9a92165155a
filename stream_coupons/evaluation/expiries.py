"""When a used coupon is over, in a log that says of each unused one when it is.

A log may end unused coupons by an `expiry` soon after they were given, while a purchase says nothing of the window's
end. Then a no is known at once and a yes only when the window closes by time: for as long, all that is learnt is no. So
where unused coupons are ended as a rule, a used one is taken to end as long after it was given as those usually did,
and not before its purchase. Only what was logged until then is looked at.
"""

import heapq
from bisect import bisect_right, insort
from collections import defaultdict

AS_A_RULE = 0.5
"""Of the unused coupons that are old enough, at least so many must have been ended."""


class Expiries:
    """The issues of a log and what ended them, in order of time."""

    def __init__(self) -> None:
        self._issued_at: list[float] = []
        self._delays: defaultdict[str, list[float]] = defaultdict(list)
        self._all_delays: list[float] = []
        self._used: set[str] = set()
        self._undecided: list[tuple[str, str, float, float]] = []
        self._due: list[tuple[float, str]] = []

    def add_issue(self, at: float) -> None:
        """An issue was made."""
        self._issued_at.append(at)

    def add_expiry(self, issue_id: str, arm: str, issued_at: float, at: float) -> None:
        """A coupon was ended."""
        if issue_id in self._used:
            return
        insort(self._delays[arm], at - issued_at)
        insort(self._all_delays, at - issued_at)

    def add_use(self, issue_id: str, arm: str, issued_at: float, at: float) -> None:
        """A coupon was used; only the first time counts."""
        if issue_id not in self._used:
            self._used.add(issue_id)
            self._undecided.append((issue_id, arm, issued_at, at))

    def take_due(self, now: float) -> list[tuple[str, float]]:
        """The used coupons that are over before now, and since when; each once."""
        if self._undecided and self._ended_as_a_rule(now):
            for issue_id, arm, issued_at, used_at in self._undecided:
                usual = _median(self._delays.get(arm) or self._all_delays)
                heapq.heappush(self._due, (max(issued_at + usual, used_at), issue_id))
            self._undecided.clear()
        due = []
        while self._due and self._due[0][0] < now:
            at, issue_id = heapq.heappop(self._due)
            due.append((issue_id, at))
        return due

    def _ended_as_a_rule(self, now: float) -> bool:
        if not self._all_delays:
            return False
        old_enough = bisect_right(self._issued_at, now - _median(self._all_delays))
        return len(self._all_delays) >= AS_A_RULE * (old_enough - len(self._used))


def _median(ascending: list[float]) -> float:
    return ascending[len(ascending) // 2]
