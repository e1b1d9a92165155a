"""users: owns each shopper's profile, open proposals and open issues (key user_id)."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from stream_coupons import topics
from stream_coupons.agents.keyed import KeyedAgent
from stream_coupons.core import erasure, observation, pipeline
from stream_coupons.core.effects import Effects
from stream_coupons.core.events import (
    BrowseEvent,
    CartEvent,
    ErasureRequest,
    FeedbackEvent,
    NeighbourUpdate,
    ObservedIssue,
    OrderEvent,
    Reservation,
)
from stream_coupons.core.scoring import Knowledge
from stream_coupons.core.shopper import Shopper, next_due
from stream_coupons.runtime.records import Record
from stream_coupons.runtime.steps import Deferred


class Users(KeyedAgent[Shopper]):
    """Events, feedback and answers in; proposals, issues, settlements, vectors and examples out.

    Parameters
    ----------
    has_clock : bool
        Whether events are of the present: what is appended then tells the time, as ticks do. Simulated time knows no
        clock.
    """

    name = "users"
    reads = (
        topics.BROWSE,
        topics.CART,
        topics.ORDER,
        topics.FEEDBACK,
        topics.OBSERVED,
        topics.ERASURES,
        topics.RESERVATIONS,
        topics.NEIGHBOURS,
        topics.TICKS,
    )
    state_type = Shopper

    def __init__(self, known: Callable[[], Knowledge], partitions: int, *, has_clock: bool = False) -> None:
        super().__init__(known, partitions)
        self._has_clock = has_clock

    def step(self, state_key: str, state: Shopper, message: Any, record: Record) -> Effects | Deferred:
        """Dispatch a message to the step for its kind."""
        known = self.known()
        appended_at = record.appended_at if self._has_clock else None
        latest = math.inf if appended_at is None else appended_at
        match message:
            case BrowseEvent() | CartEvent() | OrderEvent():
                proposed = pipeline.propose(state_key, state, message, known, appended_at)
                return Deferred(proposed) if isinstance(proposed, pipeline.Undecided) else proposed
            case Reservation():
                return pipeline.confirm(state_key, state, message, known, appended_at)
            case FeedbackEvent():
                return observation.feedback(state, message, known, latest)
            case ObservedIssue():
                return observation.observe(state_key, state, message, known, latest)
            case ErasureRequest():
                return erasure.erase(state_key, state, message, latest)
            case NeighbourUpdate():
                return observation.learn_neighbours(state, message)
        raise TypeError(f"no step for {type(message).__name__}")

    def decide(self, deferred: Sequence[pipeline.Undecided]) -> list[Effects]:
        """Decide on triggers of several shoppers at once."""
        return pipeline.decide(deferred, self.known())

    def due(self, state: Shopper) -> float | None:
        """When the first proposal, issue, control or waiting feedback ends, or the state itself."""
        rules = self.known().rules
        return next_due(state, rules.attribution) or erasure.idle_at(state, rules.profile)

    def remains(self, state: Shopper) -> Shopper | None:
        """What stays of a state that is over: that the shopper asked to be forgotten, and when."""
        return erasure.mark_of(state)

    def expire(self, state_key: str, state: Shopper, at: float) -> Effects:
        """Close what time alone decides."""
        return observation.pass_time(state_key, state, at, self.known())
