"""users: owns each shopper's profile and open issues (key user_id), and what its partition may give."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stream_coupons.agents.keyed import KeyedAgent, Sample
from stream_coupons.core.decision import erasure, lift_steps, observation, pipeline, result_steps
from stream_coupons.core.decision.commit import commit
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.decision.table import CandidateTable, Trigger
from stream_coupons.core.effects import Effects
from stream_coupons.core.measurement import result_sums, totals
from stream_coupons.core.measurement.lift_sums import LiftSums
from stream_coupons.core.measurement.result_sums import CouponResults
from stream_coupons.core.messages.decisions import DecisionAnswer
from stream_coupons.core.messages.inputs import (
    BrowseEvent,
    CartEvent,
    ErasureRequest,
    FeedbackEvent,
    ObservedIssue,
    OrderEvent,
    ShopEvent,
)
from stream_coupons.core.messages.leases import Lease
from stream_coupons.core.messages.neighbours import NeighbourUpdate
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka import topics
from stream_coupons.kafka.connection import Format
from stream_coupons.kafka.records import ANSWER_HEADER, Record
from stream_coupons.runtime.steps import Outcome, SharedStates


class Users(KeyedAgent[Shopper]):
    """Events, feedback and leases in; issues, reports on leases, vectors and examples out.

    Parameters
    ----------
    clock : callable, optional
        Says what time it is, epoch seconds, where events are of the present: when they were appended then tells the
        time, too, as ticks do. Simulated time knows no clock.
    sample : callable, optional
        As of `KeyedAgent`.
    formats : mapping of str to Format, optional
        Formats of input topics; plain if not named.
    """

    name = "users"
    reads = (
        topics.BROWSE,
        topics.CART,
        topics.ORDER,
        topics.FEEDBACK,
        topics.OBSERVED,
        topics.ERASURES,
        topics.LEASES,
        topics.NEIGHBOURS,
        topics.TICKS,
    )
    state_type = Shopper

    shared_type = Purse | LiftSums | CouponResults
    new_shared = Purse
    shared_topics = frozenset({topics.LEASES.name})

    def __init__(
        self,
        known: Callable[[], Knowledge],
        partitions: int,
        *,
        clock: Callable[[], float] | None = None,
        sample: Sample | None = None,
        formats: Mapping[str, Format] = {},
    ) -> None:
        super().__init__(known, partitions, sample)
        self._formats = formats
        self._clock = clock

    def step(self, state_key: str, state: Shopper, message: Any, record: Record) -> Effects | Trigger:
        """Dispatch a message to the step for its kind."""
        known = self.known()
        appended_at = record.appended_at if self._clock is not None else None
        latest = math.inf if appended_at is None else appended_at
        match message:
            case BrowseEvent() | CartEvent() | OrderEvent():
                now = self._clock() if self._clock is not None else None
                work = pipeline.take_in(state_key, state, message, known, pipeline.Times(appended_at, now))
                return _answered(message, work, record) if isinstance(work, Effects) else work
            case FeedbackEvent():
                return pipeline.feedback(state, message, known, latest)
            case ObservedIssue():
                return observation.observe(state_key, state, message, known, latest)
            case ErasureRequest():
                return erasure.erase(state_key, state, message, latest)
            case NeighbourUpdate():
                return pipeline.learn_neighbours(state, message)
            case _:
                raise TypeError(f"no step for {type(message).__name__}")

    def decide(self, works: Sequence[Effects | Trigger]) -> list[Effects | tuple[Trigger, CandidateTable]]:
        """Predict and value the candidates of all triggers together."""
        triggers = [work for work in works if isinstance(work, Trigger)]
        tables = iter(pipeline.decide(triggers, self.known()) if triggers else ())
        return [(work, next(tables)) if isinstance(work, Trigger) else work for work in works]

    def commit(
        self, work: Effects | tuple[Trigger, CandidateTable], record: Record, shared: SharedStates[Any]
    ) -> Outcome:
        """Commit a decision, and book the effects of any record."""
        if not isinstance(work, Effects):
            effects = commit(*work, self._wallet(record.partition, shared), self.known())
            work = _answered(work[0].event, effects, record)
        return self._outcome(work, record, shared)

    def settle(self, effects: Effects, partition: int, shared: SharedStates[Any]) -> None:
        """Apply bookings and changes of totals to the partition's shared states."""
        if effects.bookings or effects.totals:
            self._wallet(partition, shared).settle(effects.bookings, effects.totals)

    def _wallet(self, partition: int, shared: SharedStates[Any]) -> Wallet:
        return Wallet(shared, partition, self.partitions, self.known().rules.policy.new_shopper_ratio)

    def step_shared(self, message: Lease, record: Record, shared: SharedStates[Any]) -> Effects:
        """Take in a lease."""
        effects = Effects()
        if message.account_id.startswith(totals.PREFIXES):
            fault = f"account_id is {message.account_id!r}: no account begins with {' or '.join(totals.PREFIXES)}"
            effects.refuse(Rejection.INVALID, fault)
            return effects
        if message.partition != record.partition:
            fault = f"it is for partition {message.partition}, not {record.partition}"
            effects.refuse(Rejection.WRONG_PARTITION, fault)
            return effects
        return self._wallet(record.partition, shared).receive(message)

    def expire_shared(self, at: float, partition: int, shared: SharedStates[Any]) -> Effects:
        """Tell the owners of accounts what has changed, and report totals."""
        effects = self._wallet(partition, shared).tell(at)
        known = self.known()
        every_s = known.rules.policy.totals_every_s
        for key, one in shared.items():
            if isinstance(one, LiftSums) and one.is_due(at, every_s):
                effects.messages.append(lift_steps.report(shared.change(key), partition, at, known.catalogue.campaigns))
            elif isinstance(one, CouponResults) and one.is_news(at, every_s):
                coupon_id = key.removeprefix(result_sums.PREFIX)
                effects.messages += result_steps.reports(coupon_id, shared.change(key), partition, at, known.rules)
        return effects

    def due(self, state: Shopper) -> float | None:
        """Return the time at which the first issue, control or waiting feedback ends, or the state itself."""
        rules = self.known().rules
        return state.next_due(rules.attribution.grace_s) or erasure.idle_at(state, rules.profile)

    def remains(self, state: Shopper) -> Shopper | None:
        """Return the rest of a state that is over: that the shopper asked to be forgotten, and when."""
        return erasure.mark_of(state)

    def expire(self, state_key: str, state: Shopper, at: float) -> Effects:
        """Close what time alone decides."""
        return pipeline.pass_time(state_key, state, at, self.known())


def _answered(event: ShopEvent, effects: Effects, record: Record) -> Effects:
    """Return the effects of an event, with an answer to its producer if the record asks for one."""
    if any(name == ANSWER_HEADER for name, _ in record.headers):
        user_id, event_id, facts = event.user_id, event.event_id, dict(effects.facts)
        identity = pipeline.issue_id(user_id, pipeline.KINDS[type(event)], event_id)
        other = next((noun for noun in ("duplicate", erasure.ERASURE) if noun in facts), "no_trigger")
        result = facts.get("decision", other)
        effects.messages.append(DecisionAnswer(identity, user_id, event_id, event.occurred_at, result))
    return effects
