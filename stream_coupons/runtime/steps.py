"""Interface of an agent to the runtime: parse its records, change one key's state, return its next deadline.

Beside the state of its key a step may change states that all keys of its partition share: small ones, saved with the
cells in one record batch.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.records import Output, Record

State = TypeVar("State")
Read = TypeVar("Read", covariant=True)

Slot = list[Output]
"""The outputs of one input."""
BATCH_BYTES, RECORD_BYTES = 61, 32
"""The most that a record batch takes beside its records, and a record beside key and value."""
SHARED_PREFIX = "\0"
"""Prefix of shared states' keys in changelog and store; no cell's key has it."""


class Outcome(NamedTuple):
    """The result of a step.

    Attributes
    ----------
    facts : list
        Pairs (noun, kind) to count.
    is_duplicate : bool
        True if the record was of no use.
    refused : str or None
        Reason for which the step refused the record; its dead letter is among the outputs.
    is_over : bool
        True if the state can go: what comes to its key finds a new one, or what `KeyedStep.remains` keeps. It goes when
        time has passed, once no record that was applied to it can come again; for a record it goes at once, so a
        replay must find nothing amiss.
    soft : set of int
        Indices of outputs that the next one of their kind overtakes (vectors, neighbour updates). All others are sent
        again, byte for byte, when another worker takes their partition over.
    """

    outputs: list[Output]
    facts: list[tuple[str, str]]
    is_duplicate: bool = False
    refused: str | None = None
    is_over: bool = False
    soft: Set[int] = frozenset()


class OpenTick(NamedTuple):
    """A tick that has passed for some of the keys that were due: the index of its next output, and the other keys."""

    next_index: int
    left: list[str]


@dataclass(slots=True)
class Result:
    """The result of a batch of one partition: new cells as bytes, and the outputs of each input in their order.

    Attributes
    ----------
    last_tick, open_tick : int, OpenTick or None
        Of the shard, before the batch.
    left : sequence of Record
        Records that are still to be applied: the batch was cut before or amid the first of them.
    cells : dict
        New cells by key, and changed shared states, encoded; None where there is no cell any more.
    live, shared : dict
        The same, not encoded.
    refused_of : Counter
        Records refused, by topic and the client that they name.
    """

    partition: int
    last_tick: int = -1
    open_tick: OpenTick | None = None
    left: Sequence[Record] = ()
    cells: dict[str, bytes | None] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)
    slots: list[Slot] = field(default_factory=list)
    applied: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    replays: Counter[str] = field(default_factory=Counter)
    dead: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused_of: Counter[tuple[str, str]] = field(default_factory=Counter)
    facts: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def changed_bytes(self) -> int:
        """Return an upper bound of the size of its new cells as one record batch, in bytes."""
        records = (len(key.encode()) + len(data or b"") + RECORD_BYTES for key, data in self.cells.items())
        return BATCH_BYTES + sum(records)

    @property
    def outputs(self) -> list[Output]:
        """All outputs, in the order of their inputs: the learner, which knows copies by their origin, relies on it."""
        return [output for slot in self.slots for output in slot]

    def add(self, part: "Result") -> None:
        """Append the outputs of a part of the batch, and add its counts."""
        self.slots += part.slots
        self.applied += part.applied
        self.duplicates += part.duplicates
        self.replays += part.replays
        self.dead += part.dead
        self.refused_of += part.refused_of
        self.facts += part.facts


class Folded(NamedTuple):
    """A record taken into the state of its key, before it is decided and committed.

    Attributes
    ----------
    work : any
        Input of `KeyedStep.decide` and `KeyedStep.commit`.
    is_open : bool
        True if the state must not change before the commit: the next record of its key waits for the next round.
    """

    work: Any
    is_open: bool = False


class CannotApply(Exception):
    """A part of a batch cannot be applied; `reason` is that of its dead letter."""

    reason: Rejection


class StepFailed(CannotApply):
    """A step raised: a bug of ours."""

    reason = Rejection.STEP_FAILED


class TooLarge(CannotApply):
    """A cell is too large for a record of its changelog, or a number in it for msgpack."""

    reason = Rejection.TOO_LARGE


class Readable(Protocol[Read]):
    """States to be looked at."""

    def get(self, key: str, /) -> Read | None:
        """Return the state of a key, to be read only; None if there is none."""

    def items(self) -> Iterable[tuple[str, Read]]:
        """Return all keys and states."""


@dataclass(slots=True)
class SharedStates(Generic[State]):
    """The shared states of one attempt: what is changed is a copy, which counts when the attempt is saved.

    Attributes
    ----------
    below : Readable
        The states that the attempt begins with.
    new : callable
        Makes the state of a key that has none.
    changed : dict
        The states that were changed, by key.
    """

    below: Readable[State]
    new: Callable[[], State]
    changed: dict[str, State] = field(default_factory=dict)

    def get(self, key: str, /) -> State | None:
        """Return the state of a key, to be read only: a change would break the saved one."""
        changed = self.changed.get(key)
        return changed if changed is not None else self.below.get(key)

    def change(self, key: str, new: Callable[[], State] | None = None) -> State:
        """Return a key's state to be changed: a shallow copy, so replace its fields and do not change them in place.

        Parameters
        ----------
        key : str
            The key.
        new : callable, optional
            Makes the state if there is none; by default that of the class.

        Examples
        --------
        >>> states = SharedStates({"tea": 1}, int)
        >>> states.change("tea"), states.change("milk", lambda: 5), sorted(states.items())
        (1, 5, [('milk', 5), ('tea', 1)])
        """
        state = self.changed.get(key)
        if state is None:
            below = self.below.get(key)
            state = copy.copy(below) if below is not None else (new or self.new)()
            self.changed[key] = state
        return state

    def items(self) -> Iterable[tuple[str, State]]:
        """Return all keys and states, to be read only."""
        return (dict(self.below.items()) | self.changed).items()


class KeyedStep(Protocol[State]):
    """The owner of a table: every record is routed to the state of one key."""

    name: str
    topics: tuple[str, ...]
    state_type: type[State]
    shared_type: Any
    """Type of the states that all keys share, or their union; None if there are none."""
    new_shared: Callable[[], Any]
    """Makes a shared state, unless a change says which."""
    shared_topics: frozenset[str]
    """Topics for the shared states."""
    has_views: bool
    """True if `place` has an effect."""

    def parse(self, record: Record) -> tuple[str, Any]:
        """Return (state key, message) of a record; raises BadMessage."""

    def fold(self, state_key: str, state: State, message: Any, record: Record) -> Folded:
        """Take a record into the state of its key; may raise, as may the two steps behind it.

        Parameters
        ----------
        state_key : str
            Key of the state.
        state : State
            State, changed in place.
        message : any
            Message of the record, as parsed.
        record : Record
            The record.
        """

    def decide(self, works: Sequence[Any]) -> Sequence[Any]:
        """Return the works of a round, of any partitions, with all that needs no shared state computed."""

    def commit(self, work: Any, record: Record, shared: SharedStates[Any]) -> Outcome:
        """Return the outcome of a record; the records of a partition are committed in their order.

        Parameters
        ----------
        work : any
            Output of `decide`.
        record : Record
            The record.
        shared : SharedStates
            States that all keys of the partition share, changed by what the record draws and books.
        """

    def apply_shared(self, message: Any, record: Record, shared: SharedStates[Any]) -> Outcome:
        """Apply a record of a shared topic; more than once is the same as once.

        Parameters
        ----------
        message : any
            Message of the record, as parsed.
        record : Record
            The record.
        shared : SharedStates
            States that all keys of the partition share.
        """

    def pass_shared_time(self, at: float, record: Record, shared: SharedStates[Any]) -> Outcome:
        """Change what is shared for the time having come; its outputs are not sent again.

        Parameters
        ----------
        at : float
            Time that has come, UTC epoch seconds.
        record : Record
            The tick.
        shared : SharedStates
            States that all keys of the partition share.
        """

    def remains(self, state: State) -> State | None:
        """Return what stays of a state that is over, as a new state without deadlines; None for nothing."""

    def due(self, state: State) -> float | None:
        """Return the next time at which time alone changes this state; None for never."""

    def pass_time(self, state_key: str, state: State, at: float, record: Record, shared: SharedStates[Any]) -> Outcome:
        """Change the state in place, and what is shared, for the time having come.

        Parameters
        ----------
        state_key : str
            Key of the state.
        state : State
            State, changed in place.
        at : float
            Time that has come, UTC epoch seconds.
        record : Record
            The tick.
        shared : SharedStates
            States that all keys of the partition share.
        """

    def place(self, partition: int, state_key: str, state: State) -> None:
        """Bring views derived from the states in line with this one.

        Parameters
        ----------
        partition : int
            Number of the partition.
        state_key : str
            Key of the state.
        state : State
            The state.
        """

    def forget(self, partition: int) -> None:
        """Drop what is derived from the states of a partition."""

    def refuse(self, record: Record, reason: str, detail: str) -> Output:
        """Return the dead letter of a record.

        Parameters
        ----------
        record : Record
            The record.
        reason : str
            Code of `Rejection`.
        detail : str
            The fault, for people.
        """
