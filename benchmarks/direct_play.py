"""Play simulated shoppers against the whole system in one process, event by event and hourly.

What is learnt is used at once. Reactions to coupons and ticks are sent every simulated hour.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from stream_coupons.agents.keyed import TOPIC_OF
from stream_coupons.core.decision.scoring import Scorer, ValueScorer
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.kafka import topics
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline
from stream_coupons_lab.demo.outcomes import Outcomes, Played
from stream_coupons_lab.demo.phases import Phase
from stream_coupons_lab.demo.play import Pacing, Slice, play, without_neighbours
from stream_coupons_lab.simulation.behaviour import DAY_S
from stream_coupons_lab.simulation.shoppers import World


class Listener(Protocol):
    """A policy that learns by itself."""

    def hear(self, message: Struct) -> None:
        """Take note of an event of the shop, of feedback, or of a message that the system sent."""

    def learn(self) -> None:
        """Decide by all that was heard from now on."""


class DirectTarget:
    """The whole system in this process: what is learnt is used at once."""

    partitions = 1

    def __init__(self, settings: Settings, world: World, scorer: Scorer | None, listener: Listener | None) -> None:
        self._issues: list[CouponIssue] = []
        self._listener = listener
        self.pipeline = LocalPipeline(
            settings, world.catalogue(), campaigns=world.campaigns(), scorer=scorer, on_output=lambda _: None
        )
        self.pipeline.listen(CouponIssue, lambda issue: self._issues.append(issue))
        if listener is not None:
            for kind, topic in TOPIC_OF.items():
                if kind is not None and topic not in topics.INPUTS:
                    self.pipeline.listen(kind, listener.hear)

    def apply(self, phase: Phase) -> None:
        """Apply a phase."""
        for message in phase.messages:
            self.pipeline.publish(message)
            if self._listener is not None:
                self._listener.hear(message)

    def tick(self, at: float, partition: int) -> None:  # noqa: ARG002 - there is one
        """Let time pass."""
        self.pipeline.tick(at)

    def learn(self) -> None:
        """Let the listener learn."""
        if self._listener is not None:
            self._listener.learn()

    def issues(self) -> list[CouponIssue]:
        """Return the issues since the last call."""
        found, self._issues = self._issues, []
        return found


def one_by_one(events: Iterable[tuple[str, Struct]], partitions: int) -> Iterator[Phase]:
    """Yield each (topic, message) pair as a phase of its own, in the order in which they come."""
    for name, message in events:
        yield Phase(name, topics.partition_for(topics.BY_NAME[name].key_of(message), partitions), [message])


HOURLY = Pacing(3600.0, 3600.0, one_by_one)


class DirectPlayed(NamedTuple):
    """Results of a policy, and by day how many shoppers turned to what was strange to them, and how many were known."""

    played: Played
    interests: list[tuple[int, int]]


def play_scorer(  # noqa: PLR0913 - what a policy is played on, and who hears of it
    policy: str,
    world: World,
    settings: Settings,
    scorer: Scorer | None,
    on_day: Callable[[int], None] = lambda _: None,
    *,
    listener: Listener | None = None,
    history_days: int = 0,
) -> DirectPlayed:
    """Play a world to its end in this process under a scorer; None is the product, which learns.

    Parameters
    ----------
    policy : str
        Name in the result.
    settings : Settings
        Taken as they are, see `rules_of`.
    on_day : callable
        Called with the number of each day when it begins.
    listener : Listener, optional
        Hears what the shop sees: the scorer itself, if it learns by that.
    history_days : int
        Days before the first coupon, of whose events the system is told. They are no part of the result.
    """
    if isinstance(scorer, ValueScorer) and not scorer.reads_features:
        settings = without_neighbours(settings)
    target = DirectTarget(settings, world, scorer, listener)
    _tell(target, world, world.now + history_days * DAY_S)
    interests = [(0, 0)]

    def on_slice(outcomes: Outcomes, _events: Slice) -> None:
        day = int((world.now - outcomes.starts_at) // DAY_S)
        if day >= len(interests):
            strange, familiar = (target.pipeline.facts["interest", kind] for kind in ("strange", "familiar"))
            interests.append((strange, strange + familiar))
            on_day(day)

    played = play(policy, world, target, on_slice, HOURLY)
    return DirectPlayed(played, [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(interests)])


def _tell(target: DirectTarget, world: World, until: float) -> None:
    """Tell a system what happens until a time, before which no coupon is given."""
    with target.pipeline.without_coupons():
        while world.now < until:
            for phase in HOURLY.split(world.advance(min(world.now + HOURLY.slice_s, until)), target.partitions):
                target.apply(phase)
            target.tick(world.now, 0)
            target.learn()


def redeem_by_day(outcomes: Outcomes) -> Sequence[tuple[int, int, float]]:
    """Return (day, issues, redemptions expected by the ground truth) of every day with an issue, ascending."""
    days: dict[int, list[float]] = {}
    for issue in outcomes.issues:
        days.setdefault(int((issue.issued_at - outcomes.starts_at) // DAY_S), []).append(
            outcomes.chances[issue.issue_id]
        )
    return [(day, len(chances), round(sum(chances), 4)) for day, chances in sorted(days.items())]
