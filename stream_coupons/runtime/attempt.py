"""An attempt on a batch of records of one partition: the cells that it changes, its outputs and its counts."""

import sys
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from stream_coupons.kafka.records import Record, client_of
from stream_coupons.runtime.cells import Cell
from stream_coupons.runtime.shard import Shard
from stream_coupons.runtime.steps import SHARED_PREFIX, Outcome, Readable, Result, SharedStates, Slot

State = TypeVar("State")


class Attempt(Generic[State]):
    """A batch of one partition in the making, or a trial: a part of a batch that changes copies.

    Attributes
    ----------
    committed : mapping
        The next offset to be delivered after a restart, by topic.
    parent : Attempt or None
        The attempt that this one is a trial of.
    most, steps : int
        Most steps that it is to hold, and those that it holds: records, and keys for which a tick passed.
    loaded : dict
        The cells that it reads or changes, by key.
    over : set
        Keys whose cells have ended: those loaded are new ones.
    """

    def __init__(
        self,
        shard: Shard[State],
        committed: Mapping[str, int],
        parent: "Attempt[State] | None" = None,
        most: int = sys.maxsize,
    ) -> None:
        self.shard = shard
        self.committed = committed
        self.parent = parent
        self.most = most
        self.steps = 0
        self.result = Result(shard.partition, shard.last_tick, shard.open_tick)
        self._step = shard.table.step
        below: Readable[Any] = shard.shared if parent is None else parent.shared
        self.shared: SharedStates[Any] = SharedStates(below, self._step.new_shared)
        self.loaded: dict[str, Cell[State]] = {}
        self.over: set[str] = set()

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

    def slot(self) -> Slot:
        """Return the place of the next input's outputs, to be filled now or later."""
        slot: Slot = []
        self.result.slots.append(slot)
        return slot

    def count(self, topic: str, outcome: Outcome) -> None:
        """Count a record by the outcome of its step.

        Parameters
        ----------
        topic : str
            Topic of the record.
        outcome : Outcome
            Refused, a duplicate, or applied.
        """
        if outcome.refused is not None:
            self.result.dead[topic, outcome.refused] += 1
        else:
            (self.result.duplicates if outcome.is_duplicate else self.result.applied)[topic] += 1

    def settle(self, key: str, is_over: bool) -> None:
        """Set the deadline of a changed state at once: a later tick of this very batch must see it.

        Parameters
        ----------
        key : str
            Key of a loaded cell.
        is_over : bool
            True to replace the cell by a new one; if nothing stays or comes to it, there is none any more.
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
        self.shard.undo(self.result.last_tick, self.result.open_tick, ((key, self.before(key)) for key in self.loaded))

    def take_over(self, trial: "Attempt[State]") -> None:
        """Take a trial of this attempt for a part of it."""
        self.loaded |= trial.loaded
        self.over |= trial.over
        self.shared.changed |= trial.shared.changed
        self.result.add(trial.result)

    def refuse(self, record: Record, reason: str, detail: str) -> None:
        """Send the dead letter of a record and count it.

        Parameters
        ----------
        record : Record
            A record that cannot be applied, or not whole.
        reason, detail : str
            Code of `Rejection`, and the fault for people.
        """
        self.slot().append(self._step.refuse(record, reason, detail))
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
            cell.passed = cell.passed if cell.passed > shard.last_tick else -1
            if cell.outbox:
                cell.prune(self.committed)
            if key in shard.unsent_ticks and not cell.keeps_for(table.ticks):
                shard.unsent_ticks.discard(key)
            result.cells[key] = table.codec.encode_within(max_cell_bytes, key, cell)
        result.live, result.shared = self.loaded, self.shared.changed
        if table.shared_codec is not None:
            for key, state in result.shared.items():
                result.cells[SHARED_PREFIX + key] = table.shared_codec.encode(state)
        return result
