"""Systems that simulated shoppers are played against, and the whole product in this process as two of them."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from msgspec import Struct

from stream_coupons.agents.keyed import TOPIC_OF
from stream_coupons.core.decision.scoring import Scorer
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.records import Output
from stream_coupons.lab.demo.phases import Phase
from stream_coupons.lab.simulation.shoppers import World
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline


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
        self._pipeline = LocalPipeline(
            settings, world.catalogue(), campaigns=world.campaigns(), scorer=scorer, on_output=lambda _: None
        )
        self._pipeline.listen(CouponIssue, lambda issue: self._issues.append(issue))
        if listener is not None:
            for kind, topic in TOPIC_OF.items():
                if kind is not None and topic not in topics.INPUTS:
                    self._pipeline.listen(kind, listener.hear)
        self.facts = self._pipeline.facts

    def apply(self, phase: Phase) -> None:
        """Apply a phase."""
        for message in phase.messages:
            self._pipeline.publish(message)
            if self._listener is not None:
                self._listener.hear(message)

    def without_coupons(self) -> AbstractContextManager[None]:
        """Let phases lead to no coupon: they are a history."""
        return self._pipeline.without_coupons()

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
