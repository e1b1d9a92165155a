"""Policies to try worlds with, and what came of them."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from msgspec import Struct

from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, FeedbackEvent
from stream_coupons.testing import issue as issue_of
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

Chooser = Callable[[np.ndarray], int]


@dataclass
class Run:
    """What a policy gave, what the truth said of it, what came of it."""

    world: World
    issues: dict[str, CouponIssue] = field(default_factory=dict)
    probabilities: list[np.ndarray] = field(default_factory=list)
    events: list[tuple[str, Struct]] = field(default_factory=list)

    def feedback(self) -> Iterator[FeedbackEvent]:
        return (event for _, event in self.events if isinstance(event, FeedbackEvent))

    def count(self, kind: str) -> int:
        return sum(event.kind == kind for event in self.feedback())


STEP_S = 60.0
"""Events of a minute are taken together: a coupon is received up to a minute after its event."""


def run(settings: WorldSettings, choose: Chooser, cooldown_s: float = 2 * 86400.0) -> Run:
    """Give every shopper a coupon while they browse, at most one per cooldown."""
    world = World(settings)
    coupons = world.catalogue()
    result = Run(world)
    latest: dict[str, float] = {}
    while world.now < world.ends_at:
        for topic, event in world.advance(world.now + STEP_S):
            result.events.append((topic, event))
            if not isinstance(event, BrowseEvent | CartEvent):
                continue
            at = event.occurred_at
            if at - latest.get(event.user_id, 0.0) < cooldown_s or at > world.ends_at:
                continue
            latest[event.user_id] = at
            truths = world.truths(event.user_id, coupons, at)
            chosen = choose(truths)
            issue = issue_of(event.user_id, coupons[chosen], at=at, issue_id=f"issue-{len(result.issues)}")
            result.issues[issue.issue_id] = issue
            result.probabilities.append(truths[chosen])
            world.receive(issue)
    result.events += world.advance(world.ends_at + 3 * 86400.0)
    return result


def at_random(seed: int = 5) -> Chooser:
    rng = random.Random(seed)
    return lambda truths: rng.randrange(len(truths))


def by_redemption(truths: np.ndarray) -> int:
    return int(truths[:, 1].argmax())
