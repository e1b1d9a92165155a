"""Policies that are played beside the engine. None gives a coupon that the shopper still holds."""

from collections import defaultdict
from typing import Protocol

import numpy as np
from msgspec import Struct

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.decision.scoring import ValueScorer
from stream_coupons.core.features.rows import FeatureRows, Subject
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent

from .play import Held, Truth
from .world import World

NEVER = -1e9
"""Value of a coupon that must not be given, minor units."""


class Learner(Protocol):
    """A scorer that learns by what it hears; see `play.Listener`."""

    def hear(self, message: Struct) -> None:
        """Learn of a message."""

    def learn(self) -> None:
        """Use all that was heard from now on."""


class NoRepeats(ValueScorer):
    """A policy that never gives a coupon which the shopper still holds.

    Parameters
    ----------
    inner : ValueScorer
        The policy without this rule.
    learner : Learner, optional
        The policy again, if it learns by what the shop sees.
    kinds : tuple of type
        Types of the system's messages that it hears.
    """

    def __init__(
        self, inner: ValueScorer, learner: Learner | None = None, kinds: tuple[type[Struct], ...] = ()
    ) -> None:
        self.reads_features = inner.reads_features
        self.kinds = (CouponIssue, *kinds)
        self._inner, self._learner, self._held = inner, learner, Held()

    def values(self, rows: FeatureRows) -> Floats:
        """Return the values of the policy, of held coupons `NEVER`."""
        held = [
            self._held.holds(subject.user_id, subject.coupons.coupons[position].coupon_id, subject.at)
            for subject in rows.subjects
            for position in subject.positions
        ]
        return np.where(held, NEVER, self._inner.values(rows))

    def hear(self, message: Struct) -> None:
        """Record coupons given and used, and let the policy learn."""
        if isinstance(message, CouponIssue):
            self._held.give(message)
        elif isinstance(message, FeedbackEvent) and message.kind == "purchase":
            self._held.use(message.issue_id)
        if self._learner is not None:
            self._learner.hear(message)

    def learn(self) -> None:
        """Let the policy learn."""
        if self._learner is not None:
            self._learner.learn()


class AtRandom(ValueScorer):
    """Values coupons by draws, so that each one is as likely as any other.

    It stands for the strategy "random", which would draw held coupons, too.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 26])

    def values_of(self, subject: Subject) -> Floats:
        """Return draws above every threshold, minor units."""
        return 1e6 * (1.0 + self._rng.random(len(subject.positions)))


class TrueValues(ValueScorer):
    """Values coupons by their true effect for this shopper at this moment."""

    def __init__(self, world: World, truth: Truth) -> None:
        self._position = {coupon.coupon_id: n for n, coupon in enumerate(world.coupons)}
        self._truth = truth
        self._in_world: tuple[CouponSet, Positions] | None = None
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._times: defaultdict[str, int] = defaultdict(int)

    def values_of(self, subject: Subject) -> Floats:
        """Return the true values, minor units."""
        values = self._truth.values(subject.user_id, subject.at)[self._places(subject.coupons)][subject.positions]
        for position, value in zip(subject.positions, values.tolist(), strict=True):
            name = subject.coupons.coupons[position].coupon_id
            self._sums[name] += value
            self._times[name] += 1
        return values

    def _places(self, coupons: CouponSet) -> Positions:
        """Return the position in the world of each coupon of a set."""
        if self._in_world is None or self._in_world[0] is not coupons:
            places = np.array([self._position[coupon.coupon_id] for coupon in coupons.coupons], np.intp)
            self._in_world = coupons, places
        return self._in_world[1]

    def average_minor(self) -> dict[str, float]:
        """Return the mean true value of each coupon over all decisions, minor units."""
        return {name: self._sums[name] / times for name, times in sorted(self._times.items())}
