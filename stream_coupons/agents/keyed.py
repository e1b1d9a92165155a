"""Base of the agents that own a table: records to messages, effects to outputs."""

from collections.abc import Callable, Container, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

from msgspec import Struct

from stream_coupons.agents import internal
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.decision.table import Trigger
from stream_coupons.core.effects import Effects
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.inputs import Envelope, Tick
from stream_coupons.core.messages.leases import Lease
from stream_coupons.core.messages.neighbours import UserVector
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import MAX_EVENT_BYTES, Decoder, encode, require_currency, require_not_ahead
from stream_coupons.kafka.connection import Format
from stream_coupons.kafka.dead_letters import dead_letter
from stream_coupons.kafka.records import Output, Record, origin_of
from stream_coupons.kafka.topics import Topic
from stream_coupons.runtime.steps import Folded, Outcome, SharedStates

State = TypeVar("State")
NOTHING = Outcome([], [])
TOPIC_OF = {topic.message: topic for topic in topics.with_message()}
SOFT = {
    topics.VECTORS.name,
    topics.NEIGHBOURS.name,
    topics.LEASES.name,
    topics.LEASE_REPORTS.name,
    topics.LIFT_TOTALS.name,
}
"""Topics whose messages are overtaken by the next one: not sent again after a crash."""
SAMPLE_MASK = 0xFF
"""An event is sampled if these bits of its offset are 0: one offset in 256."""
Sample = Callable[[Record, bytes, Envelope, Container[str]], None]
"""Searches an event for what the step ignores: its record, JSON and message, and the domains that have coupons."""


def output(message: Struct, partitions: int) -> Output:
    """Return a message as a record to send, keyed and partitioned as its topic requires."""
    topic = TOPIC_OF[type(message)]
    key = topic.key_of(message)
    home = message.partition if isinstance(message, Lease) else None
    partition = topics.partition_for(key, topic.partitions or partitions) if home is None else home
    return Output(topic.name, partition, key, encode(message))


def sender_of(record: Record, partitions: int) -> tuple[str, tuple[int, int]]:
    """The origin of a message of ours.

    Raises
    ------
    BadMessage
        If it has none, or one that none of our agents reads: a stranger sent it, and a second copy could not be told
        from the first.
    """
    origin = origin_of(record)
    if origin is None:
        raise BadMessage(Rejection.INVALID, "none of our agents sent it: expected the header origin")
    if origin[0] not in sources(partitions):
        raise BadMessage(Rejection.INVALID, f"its origin is {origin[0]!r}: expected a partition that our agents read")
    return origin


@lru_cache
def sources(partitions: int) -> frozenset[str]:
    """Return the partitions that agents read, as topic:partition: at most one origin is kept for each."""
    read = topics.READ_BY_AGENTS
    return frozenset(f"{topic.name}:{home}" for topic in read for home in range(topic.partitions or partitions))


class KeyedAgent(Generic[State]):
    """Base of the agents that own a table; one subclass an agent, with its topics, table and steps.

    Parameters
    ----------
    known : callable
        What the steps may know now: rules, catalogue, models.
    partitions : int
        Number of partitions of the co-partitioned topics.
    sample : callable, optional
        Called with the input events that `SAMPLE_MASK` selects.
    """

    name: str
    reads: tuple[Topic, ...]
    state_type: type[State]
    shared_type: Any = None
    new_shared: Callable[[], Any] = dict
    shared_topics: frozenset[str] = frozenset()
    has_views = False

    def __init__(self, known: Callable[[], Knowledge], partitions: int, sample: Sample | None = None) -> None:
        self.known = known
        self._sample = sample
        self._formats: Mapping[str, Format] = {}
        self.partitions = partitions
        self.topics = tuple(topic.name for topic in self.reads)
        self._readers = {topic.name: (Decoder(topic), topic.key) for topic in self.reads}

    def step(self, state_key: str, state: State, message: Any, record: Record) -> Effects | Trigger:
        """Take one message, which came in this record, into the state of its key."""
        raise NotImplementedError

    def step_shared(self, message: Any, record: Record, shared: SharedStates[Any]) -> Effects:
        """Apply one message of a shared topic to what all keys of its partition share."""
        raise NotImplementedError

    def expire_shared(self, at: float, partition: int, shared: SharedStates[Any]) -> Effects:
        """Let time pass for what all keys of a partition share."""
        raise NotImplementedError

    def settle(self, effects: Effects, partition: int, shared: SharedStates[Any]) -> None:
        """Apply the changes that effects book to what all keys of a partition share; nothing unless keys share."""

    def state_key(self, message: Any, record_key: str) -> str:  # noqa: ARG002 - subclasses look at the message
        """Key of the state that a message changes."""
        return record_key

    def parse(self, record: Record) -> tuple[str, Any]:
        """(state key, message) of a record.

        Raises
        ------
        BadMessage
            As `read`, or if it moves stock or money, and none of our agents sent it.
        """
        key, message = self.read(record)
        if record.topic in internal.SIGNED:
            internal.require_signed(record, self.known().rules.key)
        return key, message

    def read(self, record: Record) -> tuple[str, Any]:
        """Return (state key, message) of a record, whatever its producer.

        Raises
        ------
        BadMessage
            If the bytes are no message of the topic, or the record's key is not the id inside.
        """
        topic, _, offset, timestamp_ms, record_key, value, _ = record  # faster than by name
        decode, id_field = self._readers[topic]
        if self._formats:
            value = self._unwrapped(record)
        message = decode(value)
        appended_at = timestamp_ms / 1000.0 if timestamp_ms >= 0 else None
        if topic == topics.TICKS.name:
            # A tick is never later than its append: a worker whose clock is ahead must not end what is still promised.
            return "", message if appended_at is None or appended_at >= message.at else Tick(at=appended_at)
        key = str(getattr(message, id_field))
        if record_key != key.encode():
            hint = ": send the bare id, not JSON" if (record_key or b"").startswith((b'"', b"{")) else ""
            raise BadMessage(Rejection.WRONG_KEY, f"key is {record_key!r}, {id_field} inside is {key!r}{hint}")
        if isinstance(message, Envelope):
            rules = self.known().rules
            if rules.shop.currencies:
                require_currency(message, rules.shop)
            if appended_at is not None and message.occurred_at > appended_at:
                require_not_ahead(message, appended_at, rules.profile, rules.attribution)
            if not offset & SAMPLE_MASK and self._sample is not None:
                self._sample(record, value or b"", message, self.known().catalogue.domains)
        return self.state_key(message, key), message

    def _unwrapped(self, record: Record) -> bytes | None:
        """Return the JSON of the event in a record; what is too long for one as it is."""
        from stream_coupons.kafka.formats import unwrap  # here, for only some shops set a format

        format_, value = self._formats.get(record.topic, Format.PLAIN), record.value
        return unwrap(format_, value, record.headers) if value and len(value) <= MAX_EVENT_BYTES else value

    def fold(self, state_key: str, state: State, message: Any, record: Record) -> Folded:
        """Take a message into the state of its key."""
        work = self.step(state_key, state, message, record)
        return Folded(work, isinstance(work, Trigger) or work.is_over)

    def decide(self, works: Sequence[Any]) -> Sequence[Any]:
        """Return the works of a round as they are, unless a subclass decides."""
        return works

    def commit(self, work: Any, record: Record, shared: SharedStates[Any]) -> Outcome:
        """Turn effects into outputs."""
        return self._outcome(work, record, shared)

    def apply_shared(self, message: Any, record: Record, shared: SharedStates[Any]) -> Outcome:
        """Run the step on what is shared and turn its effects into outputs."""
        return self._outcome(self.step_shared(message, record, shared), record, shared)

    def pass_shared_time(self, at: float, record: Record, shared: SharedStates[Any]) -> Outcome:
        """Let time pass for what is shared and turn the effects into outputs."""
        return self._outcome(self.expire_shared(at, record.partition, shared), record, shared)

    def due(self, state: State) -> float | None:  # noqa: ARG002 - most states do not wait for time
        """Return the time at which time alone changes this state next."""
        return None

    def remains(self, state: State) -> State | None:  # noqa: ARG002 - of most states nothing stays
        """Return the rest of a state that is over; None for nothing."""
        return None

    def expire(self, state_key: str, state: State, at: float) -> Effects:
        """Let time pass for a state."""
        raise NotImplementedError

    def pass_time(self, state_key: str, state: State, at: float, record: Record, shared: SharedStates[Any]) -> Outcome:
        """Let time pass and turn the effects into outputs."""
        return self._outcome(self.expire(state_key, state, at), record, shared)

    def place(self, partition: int, state_key: str, state: State) -> None:
        """No derived views, unless a subclass has them."""

    def forget(self, partition: int) -> None:
        """No derived views, unless a subclass has them."""

    def refuse(self, record: Record, reason: str, detail: str) -> Output:
        """The dead letter of a record."""
        return dead_letter(record, reason, detail)

    def _outcome(self, effects: Effects, record: Record, shared: SharedStates[Any]) -> Outcome:
        """Book effects and turn them into outputs: the one way from a step to the runtime."""
        self.settle(effects, record.partition, shared)
        if not (effects.facts or effects.messages or effects.refused or effects.is_over):
            return NOTHING  # an event that is only remembered: most are
        outputs = [output(message, self.partitions) for message in effects.messages]
        internal.sign(outputs, self.known().rules.key)
        soft = {place for place, each in enumerate(outputs) if each.topic in SOFT}
        # No vector overtakes one that reports that the shopper has left: their neighbours would keep them for good.
        soft -= {n for n, one in enumerate(effects.messages) if isinstance(one, UserVector) and one.has_left}
        for refused in effects.refused:
            letter = record if refused.message is None else self._again(refused.message, record)
            outputs.append(dead_letter(letter, refused.reason, refused.detail))
        itself = next((refused.reason for refused in effects.refused if refused.message is None), None)
        duplicate = any(noun == "duplicate" for noun, _ in effects.facts)
        return Outcome(outputs, effects.facts, duplicate, itself, effects.is_over, soft)

    def _again(self, message: Struct, record: Record) -> Record:
        """A message that was kept waiting, as a record of the topic that it came in (its offset is not known)."""
        topic = TOPIC_OF[type(message)]
        key = topic.key_of(message)
        return Record(topic.name, record.partition, -1, record.timestamp_ms, key, encode(message))
