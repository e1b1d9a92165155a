"""Play simulated shoppers against a system in lock step: simulated time waits until the system has done its work.

A slice of simulated time is sent in phases, each of which is applied with all that it leads to before the next one is
sent. Simulated time stands still while the system decides: a shopper has a coupon from `issued_at` on. What the shopper
does with it within the same slice is sent with the next one. So nothing depends on how fast the system is, and a system
of processes decides what one in this process decides.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
from msgspec import Struct

from stream_coupons.core.decision.scoring import ValueScorer
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.kafka.records import Output
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.outcomes import Outcomes, Played
from stream_coupons_lab.demo.phases import Phase, phases
from stream_coupons_lab.demo.rankings import AllEqual, FixedRanking, TrueValue
from stream_coupons_lab.demo.targets import LocalTarget, Target
from stream_coupons_lab.simulation.behaviour import DAY_S
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

Policy = Literal["random", "highest_p_redeem", "best_on_average", "learned", "true_value"]
"""Rule that selects the coupon: at random; the highest P(redeem); the best on average; the product's decision; the
highest true value for this shopper now."""
Slice = list[tuple[str, Struct]]
"""Events of a slice of simulated time, each with the name of its topic."""
P_REDEEM_WORTH_MINOR = 1e6
"""A worth of a redemption beside which nothing else counts: the coupon most likely to be redeemed is given."""
NEVER_S = 1e12


@dataclass(frozen=True, slots=True)
class Pacing:
    """Division of simulated time.

    Attributes
    ----------
    slice_s : float
        Duration of a slice: reactions to coupons are sent at the end of it, or later.
    learn_every_s : float
        Time between two ticks, each of which is followed by a new model; a multiple of `slice_s`.
    split : callable
        Splits the (topic, message) pairs of a slice, in order of time, into phases for a number of partitions.
    """

    slice_s: float = 4 * 3600.0
    learn_every_s: float = 8 * 3600.0
    split: Callable[[Iterable[tuple[str, Struct]], int], Iterator[Phase]] = phases


LOCKSTEP = Pacing()
"""For a system of processes, and what is compared with it."""


def play(
    policy: str,
    world: World,
    target: Target,
    on_slice: Callable[[Outcomes, Slice], None] = lambda *_: None,
    pacing: Pacing = LOCKSTEP,
) -> Played:
    """Play a world to its end.

    Parameters
    ----------
    on_slice : callable
        Called after every slice with what has come of it so far, and the events of the slice.
    """
    outcomes = Outcomes(world.now)
    coupons = {coupon.coupon_id: coupon for coupon in world.catalogue()}
    by_day: list[tuple[float, float]] = []
    expected, learnt_at = 0.0, world.now
    while world.now < world.ends_at:
        events = world.advance(min(world.now + pacing.slice_s, world.ends_at))
        for _, message in events:
            if isinstance(message, FeedbackEvent):
                outcomes.add_feedback(message)
        for phase in pacing.split(events, target.partitions):
            target.apply(phase)
        if world.now >= min(learnt_at + pacing.learn_every_s, world.ends_at):
            for partition in range(target.partitions):
                target.tick(world.now, partition)
            target.learn()
            learnt_at = world.now
        for issue in sorted(target.issues(), key=lambda issue: (issue.issued_at, issue.issue_id)):
            expected += _hand_over(issue, coupons[issue.coupon_id], world, outcomes)
        day = (world.now - outcomes.starts_at) // DAY_S
        if day > len(by_day):
            by_day.append((day, expected))
        on_slice(outcomes, events)
    return Played(policy, outcomes, world.statistics, by_day)


def _hand_over(issue: CouponIssue, coupon: Coupon, world: World, outcomes: Outcomes) -> float:
    """Give a coupon to its shopper; return its expected incremental margin, minor units."""
    worth = world.worth(issue.user_id, [coupon], issue.issued_at, issue.expires_at)
    margin_minor = float(worth.margin_minor[0])
    outcomes.add_issue(issue, float(worth.redeems[0]), margin_minor)
    world.receive(issue, issue.issued_at)
    return margin_minor


def play_locally(
    policy: Policy,
    world_settings: WorldSettings,
    settings: Settings,
    average_minor: Mapping[str, float] | None = None,
    on_output: Callable[[Output], None] = lambda _: None,
) -> Played:
    """Play a world to its end against a policy in this process; shoppers behave as they do under every other policy.

    Parameters
    ----------
    average_minor : mapping, optional
        By coupon, what it is worth on average: for the policy `best_on_average`, which ranks by it.
    on_output : callable, optional
        Called with every record sent, in order.
    """
    world, cost_minor = World(world_settings), settings.policy.cost_minor
    scorers: dict[str, ValueScorer] = {
        "random": AllEqual(),
        "best_on_average": FixedRanking(average_minor or {}, cost_minor),
        "true_value": TrueValue(world, cost_minor),
    }
    scorer = scorers.get(policy)
    settings = rules_of(policy, settings)
    if scorer is not None:
        settings = without_neighbours(settings)
    played = play(policy, world, LocalTarget(settings, world, scorer, on_output))
    return replace(played, average_minor=scorer.average_minor()) if isinstance(scorer, TrueValue) else played


def without_neighbours(settings: Settings) -> Settings:
    """Return the settings for a scorer that reads no features: nobody's vector is published."""
    neighbourhood = msgspec.structs.replace(settings.neighbourhood, publish_every_s=NEVER_S)
    return msgspec.structs.replace(settings, neighbourhood=neighbourhood)


def rules_of(policy: str, settings: Settings) -> Settings:
    """Return the settings under which the product plays a policy: the same caps, stocks, budgets and holdout.

    Policies that are not the product's own do not explore by its rules.
    """
    change = msgspec.structs.replace
    rules = settings.policy
    if policy == "random":
        rules = change(rules, strategy="random", control_ratio=0.0)
    elif policy == "highest_p_redeem":
        rules = change(rules, redemption_worth_minor=P_REDEEM_WORTH_MINOR, control_ratio=0.0)
    elif policy != "learned":
        rules = change(rules, exploration_ratio=0.0, control_ratio=0.0)
    return change(settings, policy=rules)
