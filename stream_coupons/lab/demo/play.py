"""Play simulated shoppers against a system in lock step: simulated time waits until the system has done its work.

A slice of simulated time is sent in phases, each of which is applied with all that it leads to before the next one is
sent. Coupons reach their shoppers at the end of the slice they were decided in. So nothing depends on how fast the
system is, and a system of processes decides what one in this process decides.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import msgspec
from msgspec import Struct

from stream_coupons.core.decision.scoring import Scorer, ValueScorer
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.records import Output
from stream_coupons.lab.demo.phases import Phase, one_by_one, phases
from stream_coupons.lab.demo.rankings import AllEqual, FixedRanking, TrueValue
from stream_coupons.lab.offline.direct import DirectPipeline
from stream_coupons.lab.simulation.shoppers import World, WorldSettings
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline

Policy = Literal["random", "highest_p_redeem", "best_on_average", "learned", "true_value"]
"""Rule that selects the coupon: at random; the highest P(redeem); the best on average; the product's decision; the
highest true value for this shopper now."""
P_REDEEM_WORTH_MINOR = 1e6
"""A worth of a redemption beside which nothing else counts: the coupon most likely to be redeemed is given."""
NEVER_S = 1e12
Daily = tuple[int, int, int, int, float]
"""Day; numbers of issues, of clicked and of redeemed ones; redemptions expected by the ground truth."""
DAY_S = 86400.0
SLICE_S = 4 * 3600.0
LEARN_EVERY_S = 8 * 3600.0
"""Simulated time between two ticks, each of which is followed by a new model; a multiple of `SLICE_S`."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """Division of simulated time.

    Attributes
    ----------
    slice_s : float
        Coupons reach their shoppers at the end of the slice in which they were decided.
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
"""For a system without records: events one by one, as live; coupons and ticks every hour."""


@dataclass(slots=True)
class Outcomes:
    """Issues and what came of them, by the day of the issue."""

    starts_at: float
    issues: list[CouponIssue] = field(default_factory=list)
    """Each once, in the order in which they were handed over."""
    issued_at: dict[str, float] = field(default_factory=dict)
    clicked: set[str] = field(default_factory=set)
    redeemed: set[str] = field(default_factory=set)
    chances: dict[str, float] = field(default_factory=dict)
    """P(redeem) by the truth when the coupon was handed over, where it is known: its mean varies far less than that of
    what was redeemed."""
    margins: dict[str, float] = field(default_factory=dict)
    """Incremental margin in minor units that was to be expected of each issue when it was handed over, if it is known;
    its sum varies far less than what was booked."""

    def add_issue(self, issue: CouponIssue, chance: float | None = None, margin_minor: float | None = None) -> None:
        """Count an issue once."""
        if issue.issue_id in self.issued_at:
            return
        self.issued_at[issue.issue_id] = issue.issued_at
        self.issues.append(issue)
        if chance is not None:
            self.chances[issue.issue_id] = chance
        if margin_minor is not None:
            self.margins[issue.issue_id] = margin_minor

    def add_feedback(self, event: FeedbackEvent) -> None:
        """Count a click or a purchase once."""
        if event.kind == "click":
            self.clicked.add(event.issue_id)
        elif event.kind == "purchase":
            self.redeemed.add(event.issue_id)

    def daily(self) -> list[Daily]:
        """Return the counts of every day with an issue, ascending."""
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

    def expected_by_shopper(self) -> Counter[str]:
        """Expected incremental margin in minor units, by shopper who was given a coupon."""
        sums: Counter[str] = Counter()
        for issue in self.issues:
            sums[issue.user_id] += self.margins.get(issue.issue_id, 0.0)  # type: ignore[assignment]
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


class Target(Protocol):
    """A system that is played against; each call returns when all that it led to is done."""

    partitions: int

    def apply(self, phase: Phase) -> None:
        """Apply a phase."""

    def tick(self, at: float, partition: int) -> None:
        """Let time pass in a partition."""

    def learn(self) -> None:
        """Learn from all examples, and decide by the new model from now on."""

    def issues(self) -> list[CouponIssue]:
        """The issues since the last call."""


class Listener(Protocol):
    """A policy that learns by itself."""

    def hear(self, message: Struct) -> None:
        """Take note of an event of the shop, of feedback, or of a message that the system sent."""

    def learn(self) -> None:
        """Decide by all that was heard from now on."""


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
            at = max(issue.issued_at, world.now)
            worth = world.worth(issue.user_id, [coupons[issue.coupon_id]], at, issue.expires_at)
            outcomes.add_issue(issue, float(worth.redeems[0]), float(worth.margin_minor[0]))
            expected += float(worth.margin_minor[0])
            world.receive(issue)
        day = (world.now - outcomes.starts_at) // DAY_S
        if day > len(by_day):
            by_day.append((day, expected))
        on_slice(outcomes, events)
    done = world.statistics
    return Played(
        policy,
        outcomes,
        done.incremental_margin_minor,
        done.discount_minor,
        by_day,
        events,
        persuaded=done.persuaded,
    )


class LocalTarget:
    """The whole system in this process, without a broker.

    Attributes
    ----------
    facts : Counter
        Counts by (noun, kind).
    """

    def __init__(
        self,
        settings: Settings,
        world: World,
        scorer: Scorer | None,
        on_output: Callable[[Output], None] = lambda _: None,
    ) -> None:
        self.partitions = settings.kafka.partitions
        self.facts: Counter[tuple[str, str]] = Counter()
        self._issues: list[CouponIssue] = []
        self._decode = Decoder(topics.ISSUES)
        self._on_output = on_output
        self._pipeline = LocalPipeline(
            settings,
            world.catalogue(),
            campaigns=world.campaigns(),
            scorer=scorer,
            serves_at_once=False,
            partitions=self.partitions,
            on_output=self._take,
            on_result=lambda result: self.facts.update(result.facts),
        )

    def _take(self, output: Output) -> None:
        if output.topic == topics.ISSUES.name:
            self._issues.append(self._decode(output.value))
        self._on_output(output)

    def apply(self, phase: Phase) -> None:
        """Apply a phase."""
        self._pipeline.publish_together(phase.messages)

    def tick(self, at: float, partition: int) -> None:
        """Let time pass in a partition."""
        self._pipeline.tick(at, partition)

    def learn(self) -> None:
        """Take into use what was learnt."""
        self._pipeline.serve_models()

    def issues(self) -> list[CouponIssue]:
        """The issues since the last call."""
        found, self._issues = self._issues, []
        return found


class DirectTarget:
    """The whole system in this process, without records: what is learnt is used at once."""

    partitions = 1

    def __init__(self, settings: Settings, world: World, scorer: Scorer | None, listener: Listener | None) -> None:
        self._issues: list[CouponIssue] = []
        self._listener = listener
        self._pipeline = DirectPipeline(
            settings, world.catalogue(), campaigns=world.campaigns(), scorer=scorer, on_message=self._take
        )
        self.facts = self._pipeline.facts

    def _take(self, message: Struct) -> None:
        if isinstance(message, CouponIssue):
            self._issues.append(message)
        if self._listener is not None:
            self._listener.hear(message)

    def apply(self, phase: Phase) -> None:
        """Apply a phase."""
        for message in phase.messages:
            self._pipeline.send(message)
            if self._listener is not None:
                self._listener.hear(message)

    def tick(self, at: float, partition: int) -> None:  # noqa: ARG002 - there is one
        """Let time pass."""
        self._pipeline.tick(at)

    def learn(self) -> None:
        """Let the listener learn."""
        if self._listener is not None:
            self._listener.learn()

    def issues(self) -> list[CouponIssue]:
        """The issues since the last call."""
        found, self._issues = self._issues, []
        return found


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
