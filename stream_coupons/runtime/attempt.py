"""A batch of one partition in the making, and what it comes to."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from stream_coupons.kafka.records import Output, Record
from stream_coupons.runtime.cells import Cell
from stream_coupons.runtime.deadlines import Deadlines
from stream_coupons.runtime.shared import SharedStates
from stream_coupons.runtime.steps import Deferred
from stream_coupons.runtime.stores import CellStore

State = TypeVar("State")
Failure = tuple[str, int, int, str]
"""(topic, partition, offset, key) of a step that raised; the key is empty but for a tick, which has many."""

BATCH_BYTES, RECORD_BYTES = 61, 32
"""The most that a record batch takes beside its records, and a record beside key and value."""


@dataclass(slots=True)
class Result:
    """What a batch of one partition brings about: new cells as bytes, and the outputs of each input in their order."""

    partition: int
    last_tick: int = -1
    """The offset of the last tick before it."""
    cells: dict[str, bytes | None] = field(default_factory=dict)
    """None where there is none any more."""
    live: dict[str, Any] = field(default_factory=dict)
    """The same cells, not encoded."""
    shared: dict[str, Any] = field(default_factory=dict)
    """What was changed of what all keys share, not encoded; encoded it is among the cells."""
    slots: list[list[Output]] = field(default_factory=list)
    applied: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    replays: Counter[str] = field(default_factory=Counter)
    dead: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused_of: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Records refused, by topic and the client that they name."""
    facts: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def changed_bytes(self) -> int:
        """The most that its new cells take as one record batch."""
        records = (len(key.encode()) + len(data or b"") + RECORD_BYTES for key, data in self.cells.items())
        return BATCH_BYTES + sum(records)

    @property
    def outputs(self) -> list[Output]:
        """All outputs, in the order of their inputs: the learner, which knows copies by their origin, relies on it."""
        return [output for slot in self.slots for output in slot]

    def add(self, other: "Result") -> None:
        """Append the outputs of a part of the batch, and count what it counted."""
        self.slots += other.slots
        self.applied += other.applied
        self.duplicates += other.duplicates
        self.replays += other.replays
        self.dead += other.dead
        self.refused_of += other.refused_of
        self.facts += other.facts

    def slot(self) -> list[Output]:
        """The place of the next input's outputs, to be filled now or later."""
        self.slots.append([])
        return self.slots[-1]


class Shard:
    """All that is known of one partition: its saved cells, and what is derived from them."""

    def __init__(self, cells: CellStore) -> None:
        self.cells = cells
        self.live: dict[str, Cell[Any]] = {}
        """Saved cells kept decoded, the latest at the end. A batch takes out what it changes: it may never be saved."""
        self.shared: dict[str, Any] = {}
        """What all keys share, decoded: there is not much of it."""
        self.deadlines = Deadlines()
        self.last_tick = -1
        self.ends: dict[str, int] = {}
        """By topic, how far its records were applied, to whatever key: the offset behind the last one."""
        self.unsent_ticks: set[str] = set()
        """Keys whose outbox holds what a tick led to."""


@dataclass(slots=True)
class Unfinished:
    """A deferred step, its record, and the place of its outputs."""

    step: Deferred
    record: Record
    slot: list[Output]


@dataclass(slots=True)
class Attempt(Generic[State]):
    """A batch of one partition in the making."""

    result: Result
    shard: Shard
    committed: Mapping[str, int]
    failed: Mapping[Failure, str]
    defers: bool
    shared: SharedStates[Any]
    measured: frozenset[str] = frozenset()
    """Keys whose cells would grow too large: each of their records is tried on a copy."""
    loaded: dict[str, Cell[State]] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)
    """Keys whose cells have ended: those loaded are new ones."""
    deferred: dict[str, Unfinished] = field(default_factory=dict)
