"""Outcomes of a policy on simulated shoppers: its issues, what came of them, and what they earned."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons_lab.simulation.behaviour import DAY_S
from stream_coupons_lab.simulation.shoppers import WorldStatistics

Daily = tuple[int, int, int, float]
"""Day; numbers of issues and of redeemed ones; redemptions expected by the ground truth."""


@dataclass(slots=True)
class Outcomes:
    """Issues and what came of them, by the day of the issue."""

    starts_at: float
    issues: list[CouponIssue] = field(default_factory=list)
    """Each once, in the order in which they were handed over."""
    redeemed: set[str] = field(default_factory=set)
    chances: dict[str, float] = field(default_factory=dict)
    """P(redeem) by the ground truth when the coupon was handed over: its mean varies far less than that of what was
    redeemed."""
    margins: dict[str, float] = field(default_factory=dict)
    """Incremental margin in minor units that was to be expected of each issue when it was handed over: its sum varies
    far less than what was booked."""

    def add_issue(self, issue: CouponIssue, chance: float, margin_minor: float) -> None:
        """Count an issue once."""
        if issue.issue_id not in self.chances:
            self.issues.append(issue)
            self.chances[issue.issue_id] = chance
            self.margins[issue.issue_id] = margin_minor

    def add_feedback(self, event: FeedbackEvent) -> None:
        """Count a purchase once."""
        if event.kind == "purchase":
            self.redeemed.add(event.issue_id)

    def daily(self) -> list[Daily]:
        """Return the counts of every day with an issue, ascending."""
        counts: defaultdict[int, list[float]] = defaultdict(lambda: [0, 0, 0.0])
        for issue in self.issues:
            of_day = counts[int((issue.issued_at - self.starts_at) // DAY_S)]
            of_day[0] += 1
            of_day[1] += issue.issue_id in self.redeemed
            of_day[2] += self.chances[issue.issue_id]
        return [(day, *counts[day]) for day in sorted(counts)]  # type: ignore[misc]

    def expected_by_shopper(self) -> Counter[str]:
        """Expected incremental margin in minor units, by shopper who was given a coupon."""
        sums: Counter[str] = Counter()
        for issue in self.issues:
            sums[issue.user_id] += self.margins[issue.issue_id]  # type: ignore[assignment]
        return sums


@dataclass(frozen=True, slots=True)
class Played:
    """Results of a policy on a world; money in minor units."""

    policy: str
    outcomes: Outcomes
    incremental_margin_minor: float
    discount_minor: int
    margin_by_day: list[tuple[float, float]]
    """(day, expected incremental margin of all coupons given until then)."""
    events: int
    interests: Sequence[tuple[int, int]] = ()
    """By day, how many shoppers turned to what was strange to them, and how many were known well enough to say so."""
    persuaded: int = 0
    """Number of orders that coupons caused."""
    decisions: Counter[str] = field(default_factory=Counter)
    """Decisions on triggers, by outcome."""
    average_minor: dict[str, float] = field(default_factory=dict)
    """By coupon, its mean true worth over all decisions for which it was eligible; only of `true_value`."""

    @classmethod
    def of(
        cls,
        policy: str,
        outcomes: Outcomes,
        done: WorldStatistics,
        by_day: list[tuple[float, float]],
        events: int,
    ) -> "Played":
        """Return the results of a policy from what a world has booked so far."""
        return cls(
            policy,
            outcomes,
            done.incremental_margin_minor,
            done.discount_minor,
            by_day,
            events,
            persuaded=done.persuaded,
        )
