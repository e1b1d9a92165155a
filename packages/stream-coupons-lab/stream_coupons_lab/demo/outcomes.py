"""Outcomes of a policy on simulated shoppers: its issues, what came of them, and what they earned."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons_lab.simulation.shoppers import WorldStatistics


@dataclass(slots=True)
class Outcomes:
    """Issues and what came of them.

    Attributes
    ----------
    starts_at : float
        UTC epoch seconds of the first day.
    issues : list of CouponIssue
        Each once, in the order in which they were handed over.
    redeemed : set of str
        Ids of the issues that were used.
    chances : dict
        By issue, P(redeem) by the ground truth when it was handed over: its mean varies less than the redeem rate.
    margins : dict
        By issue, the expected incremental margin in minor units when it was handed over: the sum varies far less than
        what was booked.
    """

    starts_at: float
    issues: list[CouponIssue] = field(default_factory=list)
    redeemed: set[str] = field(default_factory=set)
    chances: dict[str, float] = field(default_factory=dict)
    margins: dict[str, float] = field(default_factory=dict)

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


@dataclass(frozen=True, slots=True)
class Played:
    """Results of a policy on a world.

    Attributes
    ----------
    statistics : WorldStatistics
        Totals of the world.
    margin_by_day : list of (float, float)
        Day, and the expected incremental margin in minor units of all coupons given until then.
    average_minor : mapping
        By coupon, its mean true worth over all decisions for which it was eligible; only of `true_value`.
    """

    policy: str
    outcomes: Outcomes
    statistics: WorldStatistics
    margin_by_day: list[tuple[float, float]] = field(default_factory=list)
    average_minor: Mapping[str, float] = field(default_factory=dict)
