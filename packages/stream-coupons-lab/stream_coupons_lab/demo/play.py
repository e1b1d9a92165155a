"""Play simulated shoppers against a system in lock step: simulated time waits until the system has done its work.

A slice of simulated time is sent in phases, each of which is applied with all that it leads to before the next one is
sent. Simulated time stands still while the system decides: a shopper has a coupon from `issued_at` on. What the shopper
does with it within the same slice is sent with the next one. So nothing depends on how fast the system is, and a system
of processes decides what one in this process decides.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
from msgspec import Struct

from stream_coupons.core.decision.scoring import Scorer, ValueScorer
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.kafka.records import Output
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.outcomes import Outcomes, Played
from stream_coupons_lab.demo.phases import Phase, one_by_one, phases
from stream_coupons_lab.demo.rankings import AllEqual, FixedRanking, TrueValue
from stream_coupons_lab.demo.targets import DirectTarget, Listener, LocalTarget, Target
from stream_coupons_lab.simulation.behaviour import DAY_S
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

Policy = Literal["random", "highest_p_redeem", "best_on_average", "learned", "true_value"]
"""Rule that selects the coupon: at random; the highest P(redeem); the best on average; the product's decision; the
highest true value for this shopper now."""
P_REDEEM_WORTH_MINOR = 1e6
"""A worth of a redemption beside which nothing else counts: the coupon most likely to be redeemed is given."""
NEVER_S = 1e12
SLICE_S = 4 * 3600.0
LEARN_EVERY_S = 8 * 3600.0
"""Simulated time between two ticks, each of which is followed by a new model; a multiple of `SLICE_S`."""


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

    slice_s: float = SLICE_S
    learn_every_s: float = LEARN_EVERY_S
    split: Callable[[Iterable[tuple[str, Struct]], int], Iterator[Phase]] = phases


LOCKSTEP = Pacing()
"""For a system of processes, and what is compared with it."""
HOURLY = Pacing(3600.0, 3600.0, one_by_one)
"""For a system without records: events one by one, as live; reactions and ticks every hour."""


def play(
    policy: str,
    world: World,
    target: Target,
    on_slice: Callable[[Outcomes, int], None],
    pacing: Pacing = LOCKSTEP,
) -> Played:
    """Play a world to its end.

    Parameters
    ----------
    on_slice : callable
        Called after every slice with what has come of it so far, and the number of events.
    """
    outcomes = Outcomes(world.now)
    coupons = {coupon.coupon_id: coupon for coupon in world.catalogue()}
    by_day: list[tuple[float, float]] = []
    events, expected, learnt_at = 0, 0.0, world.now
    while world.now < world.ends_at:
        slice_of_events = world.advance(min(world.now + pacing.slice_s, world.ends_at))
        events += len(slice_of_events)
        for _, message in slice_of_events:
            if isinstance(message, FeedbackEvent):
                outcomes.add_feedback(message)
        for phase in pacing.split(slice_of_events, target.partitions):
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
    return Played.of(policy, outcomes, world.statistics, by_day, events)


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
    on_day: Callable[[int], None],
    *,
    average_minor: dict[str, float] | None = None,
    on_output: Callable[[Output], None] = lambda _: None,
) -> Played:
    """Play a world to its end against a policy in this process; shoppers behave as they do under every other policy.

    Parameters
    ----------
    on_day : callable
        Called with the number of each day when it begins.
    average_minor : dict, optional
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
    played = play_scorer(policy, world, rules_of(policy, settings), scorer, on_day, on_output=on_output)
    return replace(played, average_minor=scorer.average_minor()) if isinstance(scorer, TrueValue) else played


def play_scorer(  # noqa: PLR0913 - what a policy is played on, and who hears of it
    policy: str,
    world: World,
    settings: Settings,
    scorer: Scorer | None,
    on_day: Callable[[int], None] = lambda _: None,
    *,
    listener: Listener | None = None,
    on_output: Callable[[Output], None] = lambda _: None,
    is_direct: bool = False,
    history_days: int = 0,
) -> Played:
    """Play a world to its end in this process under a scorer; None is the product, which learns.

    Parameters
    ----------
    policy : str
        Name in the result.
    settings : Settings
        Taken as they are, see `rules_of`.
    listener : Listener, optional
        Hears what the shop sees, if the system is direct: the scorer itself, if it learns by that.
    on_output : callable, optional
        Called with every record sent, if there are records.
    is_direct : bool
        Without records, event by event and hourly, with what is learnt used at once; else in lock step, as a system of
        processes.
    history_days : int
        Days before the first coupon, of whose events a direct system is told. They are no part of the result.
    """
    if isinstance(scorer, ValueScorer) and not scorer.reads_features:
        neighbourhood = msgspec.structs.replace(settings.neighbourhood, publish_every_s=NEVER_S)
        settings = msgspec.structs.replace(settings, neighbourhood=neighbourhood)
    target: DirectTarget | LocalTarget
    target = (
        DirectTarget(settings, world, scorer, listener)
        if is_direct
        else LocalTarget(settings, world, scorer, on_output)
    )
    if isinstance(target, DirectTarget):
        _tell(target, world, world.now + history_days * DAY_S)
    interests = [(0, 0)]

    def on_slice(outcomes: Outcomes, _events: int) -> None:
        day = int((world.now - outcomes.starts_at) // DAY_S)
        if day >= len(interests):
            strange, familiar = (target.facts["interest", kind] for kind in ("strange", "familiar"))
            interests.append((strange, strange + familiar))
            on_day(day)

    played = play(policy, world, target, on_slice, HOURLY if is_direct else LOCKSTEP)
    decisions = Counter({kind: times for (noun, kind), times in target.facts.items() if noun == "decision"})
    by_day = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(interests)]
    return replace(played, interests=by_day, decisions=decisions)


def _tell(target: DirectTarget, world: World, until: float) -> None:
    """Tell a system what happens until a time, before which no coupon is given."""
    with target.without_coupons():
        while world.now < until:
            for phase in HOURLY.split(world.advance(min(world.now + HOURLY.slice_s, until)), target.partitions):
                target.apply(phase)
            target.tick(world.now, 0)
            target.learn()


def rules_of(policy: str, settings: Settings) -> Settings:
    """Return the settings under which the product plays a policy: the same caps, stocks, budgets and holdout.

    Policies that are not the product's own do not explore by its rules.
    """
    change = msgspec.structs.replace
    rules = settings.policy
    if policy == "random":
        rules = change(rules, strategy="random")
    elif policy == "highest_p_redeem":
        rules = change(rules, redemption_worth_minor=P_REDEEM_WORTH_MINOR)
    elif policy != "learned":
        rules = change(rules, exploration_ratio=0.0)
    return change(settings, policy=rules)
