"""A batch of one partition in the making, and its result."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from stream_coupons.kafka.records import Output, Record, client_of
from stream_coupons.runtime.cells import Cell
from stream_coupons.runtime.shard import Shard
from stream_coupons.runtime.shared import SHARED_PREFIX, Readable, SharedStates
from stream_coupons.runtime.steps import Deferred, Outcome

State = TypeVar("State")
Slot = list[Output]
"""The outputs of one input."""

BATCH_BYTES, RECORD_BYTES = 61, 32
"""The most that a record batch takes beside its records, and a record beside key and value."""


@dataclass(slots=True)
class Result:
    """The result of a batch of one partition: new cells as bytes, and the outputs of each input in their order.

    Attributes
    ----------
    last_tick : int
        Offset of the last tick before it.
    cells : dict
        New cells by key, and changed shared states, encoded; None where there is no cell any more.
    live, shared : dict
        The same, not encoded.
    refused_of : Counter
        Records refused, by topic and the client that they name.
    """

    partition: int
    last_tick: int = -1
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

    def slot(self) -> Slot:
        """Return the place of the next input's outputs, to be filled now or later."""
        self.slots.append([])
        return self.slots[-1]

    def count(self, topic: str, outcome: Outcome) -> None:
        """Count a record by the outcome of its step."""
        if outcome.refused is not None:
            self.dead[topic, outcome.refused] += 1
        else:
            (self.duplicates if outcome.is_duplicate else self.applied)[topic] += 1

    def add(self, part: "Result") -> None:
        """Append the outputs of a part of the batch, and add its counts."""
        self.slots += part.slots
        self.applied += part.applied
        self.duplicates += part.duplicates
        self.replays += part.replays
        self.dead += part.dead
        self.refused_of += part.refused_of
        self.facts += part.facts


class Attempt(Generic[State]):
    """A batch of one partition in the making, or a trial: a part of a batch that changes copies.

    Attributes
    ----------
    committed : mapping
        The next offset to be delivered after a restart, by topic.
    parent : Attempt or None
        The attempt that this one is a trial of.
    loaded : dict
        The cells that it reads or changes, by key.
    over : set
        Keys whose cells have ended: those loaded are new ones.
    deferred : dict
        By key, the step that is to be finished, its record and the slot of its outputs.
    """

    def __init__(
        self, shard: Shard[State], committed: Mapping[str, int], parent: "Attempt[State] | None" = None
    ) -> None:
        self.shard = shard
        self.committed = committed
        self.parent = parent
        self.result = Result(shard.partition, shard.last_tick)
        self._step = shard.table.step
        below: Readable[Any] = shard.shared if parent is None else parent.shared
        self.shared: SharedStates[Any] = SharedStates(below, self._step.shared_type or dict)
        self.loaded: dict[str, Cell[State]] = {}
        self.over: set[str] = set()
        self.deferred: dict[str, tuple[Deferred, Record, Slot]] = {}

    def cell(self, key: str) -> Cell[State]:
        """Return the cell of a key, to be changed."""
        cell = self.loaded.get(key)
        if cell is None:
            live = self.shard.live.pop(key, None)
            if self.parent is not None:
                cell = self.shard.table.codec.copy(self.before(key))
            else:
                cell = live or self.shard.saved(key)
            self.loaded[key] = cell
        return cell

    def before(self, key: str) -> Cell[State]:
        """Return the cell of a key as it was before this attempt."""
        if self.parent is None:
            return self.shard.saved(key)
        return self.parent.loaded.get(key) or self.parent.before(key)

    def settle(self, key: str, is_over: bool) -> None:
        """Set the deadline of a changed state at once: a later tick of this very batch must see it.

        A cell that is over is replaced by a new one; if nothing stays or comes to it, there is none any more.
        """
        cell = self.loaded[key]
        if is_over:
            remains = self._step.remains(cell.state)
            cell = self.loaded[key] = self.shard.table.codec.new()
            if remains is None:
                self.over.add(key)
            else:
                cell.state = remains
        else:
            cell.due = self._step.due(cell.state)
        self.shard.deadlines.set(key, cell.due)

    def roll_back(self) -> None:
        """Bring all that is derived from cells in line with those before this attempt."""
        self.shard.undo(self.result.last_tick, ((key, self.before(key)) for key in self.loaded))

    def take_over(self, trial: "Attempt[State]") -> None:
        """Take a trial of this attempt for a part of it."""
        self.loaded |= trial.loaded
        self.over |= trial.over
        self.shared.changed |= trial.shared.changed
        self.result.add(trial.result)

    def refuse(self, record: Record, reason: str, detail: str) -> None:
        """Send the dead letter of a record and count it."""
        self.result.slot().append(self._step.refuse(record, reason, detail))
        self.result.dead[record.topic, reason] += 1
        if (client := client_of(record)) is not None:
            self.result.refused_of[record.topic, client] += 1

    def encode(self, max_cell_bytes: int) -> Result:
        """Encode all that was changed.

        Raises
        ------
        TooLarge
            If a cell cannot be saved.
        """
        result, shard, table = self.result, self.shard, self.shard.table
        for key, cell in self.loaded.items():
            if key in self.over and not cell.applied:
                result.cells[key] = None
                continue
            if shard.last_tick >= 0:
                cell.applied[table.ticks] = max(shard.last_tick, cell.applied.get(table.ticks, -1))
            cell.prune(self.committed)
            if key in shard.unsent_ticks and not cell.keeps_for(table.ticks):
                shard.unsent_ticks.discard(key)
            result.cells[key] = table.codec.encode_within(max_cell_bytes, key, cell)
        result.live, result.shared = self.loaded, self.shared.changed
        if table.shared_codec is not None:
            for key, state in result.shared.items():
                result.cells[SHARED_PREFIX + key] = table.shared_codec.encode(state)
        return result
