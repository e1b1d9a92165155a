"""Systems that simulated shoppers are played against, and the whole product in this process as one of them."""

from collections.abc import Callable
from typing import Protocol

from stream_coupons.core.decision.scoring import Scorer
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.kafka.records import Output
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline
from stream_coupons_lab.demo.phases import Phase
from stream_coupons_lab.simulation.shoppers import World


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
        """Return the issues since the last call."""


class LocalTarget:
    """The whole system in this process, without a broker."""

    def __init__(
        self, settings: Settings, world: World, scorer: Scorer | None, on_output: Callable[[Output], None]
    ) -> None:
        self.partitions = settings.kafka.partitions
        self._issues: list[CouponIssue] = []
        self._pipeline = LocalPipeline(
            settings,
            world.catalogue(),
            campaigns=world.campaigns(),
            scorer=scorer,
            serves_at_once=False,
            partitions=self.partitions,
            on_output=on_output,
        )
        self._pipeline.listen(CouponIssue, self._issues.append)

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
        """Return the issues since the last call."""
        found = self._issues.copy()
        self._issues.clear()
        return found
