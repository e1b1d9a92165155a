"""Play the simulated shoppers against a policy in this process: the baselines of the demonstration."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from stream_coupons import topics
from stream_coupons.codec import Decoder
from stream_coupons.core.events import CouponIssue, FeedbackEvent
from stream_coupons.core.scoring import Scorer
from stream_coupons.evaluation.local import LocalPipeline
from stream_coupons.runtime.attempt import Result
from stream_coupons.runtime.records import Output
from stream_coupons.settings import Settings
from stream_coupons.simulation.oracle import OracleScorer
from stream_coupons.simulation.shoppers import World, WorldSettings

Policy = Literal["random", "learned", "oracle"]
Daily = tuple[int, int, int, int, float]
"""Day, issues, how many were clicked, redeemed, and by the truth to be expected to be redeemed."""
DAY_S = 86400.0
SLICE_S = 3600.0
"""Time passes in hours for every policy: a coupon reaches its shopper at the end of the hour it was decided in, as it
does when the simulated weeks are played within a minute against workers."""


@dataclass(slots=True)
class Outcomes:
    """Issues and what came of them, by the day of the issue."""

    starts_at: float
    issued_at: dict[str, float] = field(default_factory=dict)
    clicked: set[str] = field(default_factory=set)
    redeemed: set[str] = field(default_factory=set)
    chances: dict[str, float] = field(default_factory=dict)
    """P(redeem) by the truth when the coupon was handed over, where it is known: its mean varies far less than that of
    what was redeemed."""

    def add_issue(self, issue: CouponIssue, chance: float | None = None) -> None:
        """Count an issue once."""
        self.issued_at.setdefault(issue.issue_id, issue.issued_at)
        if chance is not None:
            self.chances.setdefault(issue.issue_id, chance)

    def add_feedback(self, event: FeedbackEvent) -> None:
        """Count a click or a purchase once."""
        if event.kind == "click":
            self.clicked.add(event.issue_id)
        elif event.kind == "purchase":
            self.redeemed.add(event.issue_id)

    def daily(self) -> list[Daily]:
        """Of every day with an issue, ascending."""
        counts: defaultdict[int, list[float]] = defaultdict(lambda: [0, 0, 0, 0.0])
        for issue_id, at in self.issued_at.items():
            of_day = counts[int((at - self.starts_at) // DAY_S)]
            of_day[0] += 1
            of_day[1] += issue_id in self.clicked
            of_day[2] += issue_id in self.redeemed
            of_day[3] += self.chances.get(issue_id, 0.0)
        return [(day, *counts[day]) for day in sorted(counts)]  # type: ignore[misc]

    def between(self, first: float, last: float) -> tuple[int, int, int]:
        """(issues, clicked, redeemed) of the issues from the first to before the last time."""
        ids = [issue_id for issue_id, at in self.issued_at.items() if first <= at < last]
        return len(ids), sum(i in self.clicked for i in ids), sum(i in self.redeemed for i in ids)


@dataclass(frozen=True, slots=True)
class Played:
    """How a policy did on a world."""

    policy: Policy
    outcomes: Outcomes
    incremental_margin_minor: float
    discount_minor: int
    margin_by_day: list[tuple[float, float]]
    events: int
    interests: Sequence[tuple[int, int]] = ()
    """By day, how many shoppers turned to what was strange to them, and how many were known well enough to say so."""


def play_locally(
    policy: Policy,
    world_settings: WorldSettings,
    settings: Settings,
    on_day: Callable[[int], None],
    *,
    scorer: Scorer | None = None,
    on_output: Callable[[Output], None] | None = None,
) -> Played:
    """Play a world to its end against a policy; the shoppers behave as they do under every other policy.

    Parameters
    ----------
    scorer : Scorer, optional
        Serves the policy `learned` in place of the models that learn.
    on_output : callable, optional
        Called with every record sent, in order.
    """
    world = World(world_settings)
    rules = msgspec.structs.replace(settings.policy, strategy="random" if policy == "random" else "value")
    if policy == "oracle":
        rules = msgspec.structs.replace(rules, exploration_ratio=0.0)
    issues: list[CouponIssue] = []
    decode = Decoder(topics.ISSUES)

    def take(output: Output) -> None:
        if output.topic == topics.ISSUES.name:
            issues.append(decode(output.value))
        if on_output is not None:
            on_output(output)

    interests = [Counter[str]()]

    def count(result: Result) -> None:
        interests[-1].update({kind: times for (noun, kind), times in result.facts.items() if noun == "interest"})

    pipeline = LocalPipeline(
        msgspec.structs.replace(settings, policy=rules),
        world.catalogue(),
        scorer=OracleScorer(world) if policy == "oracle" else scorer,
        on_output=take,
        on_result=count,
    )
    outcomes = Outcomes(world.now)
    coupons = {coupon.coupon_id: coupon for coupon in world.catalogue()}
    margins: list[tuple[float, float]] = []
    events = 0
    day = 0
    while world.now < world.ends_at:
        for topic, message in world.advance(min(world.now + SLICE_S, world.ends_at)):
            if isinstance(message, FeedbackEvent):
                outcomes.add_feedback(message)
            pipeline.send(topic, message)
            events += 1
        pipeline.tick(world.now)
        for issue in issues:
            _, chance, _ = world.truth(issue.user_id, coupons[issue.coupon_id], max(issue.issued_at, world.now))
            outcomes.add_issue(issue, chance)
            world.receive(issue)
        issues.clear()
        if (world.now - outcomes.starts_at) // DAY_S > day:
            day = int((world.now - outcomes.starts_at) // DAY_S)
            margins.append((float(day), world.statistics.incremental_margin_minor))
            interests.append(Counter())
            on_day(day)
    stats = world.statistics
    by_day = [(each["strange"], each.total()) for each in interests]
    return Played(policy, outcomes, stats.incremental_margin_minor, stats.discount_minor, margins, events, by_day)
