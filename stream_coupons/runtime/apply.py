"""Apply a batch of records to the states of one agent: the straight path, which never retries.

A batch is applied in rounds: the records of a round are folded into the states of their keys, decided together over
all partitions, and committed one after the other. A round ends before a record whose key is still to be committed, and
before a tick, which concerns all keys. The cells of an `Attempt` are decoded once, changed in memory and encoded once.
A part that cannot be applied raises `CannotApply`; the attempt is then thrown away.
"""

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.records import Record, began_header, check_whole, client_of, origin_header, trace_headers
from stream_coupons.runtime.cells import Cell, OutboxEntry
from stream_coupons.runtime.shard import AgentTable, Shard
from stream_coupons.runtime.steps import (
    SHARED_PREFIX,
    OpenTick,
    Outcome,
    Readable,
    Result,
    SharedStates,
    Slot,
    StepFailed,
)

State = TypeVar("State")
Returned = TypeVar("Returned")
NO_KEY = "key is null: key every record by the id that its topic is keyed by"


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
            result.cells[key] = table.codec.encode_within(max_cell_bytes, key, cell)
        result.live, result.shared = self.loaded, self.shared.changed
        if table.shared_codec is not None:
            for key, state in result.shared.items():
                result.cells[SHARED_PREFIX + key] = table.shared_codec.encode(state)
        return result


class RoundEntry(NamedTuple, Generic[State]):
    """A record of a round.

    Attributes
    ----------
    key : str or None
        Key of its state; None for a record of a shared topic.
    slot : list of Output
        Place of its outputs among those of its partition.
    work : any
        Output of `KeyedStep.fold`, or the message of a shared topic.
    """

    attempt: Attempt[State]
    key: str | None
    record: Record
    slot: Slot
    work: Any


def _run_step(function: Callable[..., Returned], *arguments: Any) -> Returned:
    """Call a method of a step; whatever it raises is `StepFailed`. Errors of the runtime itself stop the worker."""
    try:
        return function(*arguments)
    except Exception as error:
        raise StepFailed(f"{type(error).__name__}: {error}") from error


class Applier(Generic[State]):
    """Applies records to attempts on batches."""

    def __init__(self, table: AgentTable[State]) -> None:
        self._table = table
        self._step = table.step

    def apply_all(self, parts: Sequence[tuple[Attempt[State], Sequence[Record]]]) -> None:
        """Apply the records of each attempt in order, until it is full, in rounds over all of them.

        Parameters
        ----------
        parts : sequence of (Attempt, sequence of Record)
            Attempts, changed in place, each with the records of its partition in order.
        """
        waiting = [(attempt, deque(records)) for attempt, records in parts]
        while any(entries := [self._next_round(attempt, records) for attempt, records in waiting]):
            self._commit([entry for of_partition in entries for entry in of_partition])
        for attempt, records in waiting:
            attempt.result.left = [*records]

    def _next_round(self, attempt: Attempt[State], waiting: deque[Record]) -> list[RoundEntry[State]]:
        """Fold records into their states up to the first that has to wait: for its key, or a tick for all of them."""
        entries, open_keys = list[RoundEntry[State]](), set[str | None]()
        while waiting and attempt.steps < attempt.most:
            record = waiting[0]
            if record.topic == self._table.ticks:
                if entries or not self._pass_tick(attempt, record):
                    break
            else:
                try:
                    key, message = self._read(record)
                    if key in open_keys:
                        break
                    entry, is_open = self._fold(attempt, key, message, record)
                    entries += entry
                    if is_open:
                        open_keys.add(key)
                except BadMessage as bad:
                    attempt.refuse(record, bad.reason, bad.detail)
                attempt.steps += 1
            waiting.popleft()
        return entries

    def _pass_tick(self, attempt: Attempt[State], record: Record) -> bool:
        """Let time pass, or refuse the tick if it is invalid. Returns False if it has not passed for all keys."""
        try:
            check_whole(record)
            is_whole = self._apply_tick(attempt, record)
        except BadMessage as bad:
            attempt.refuse(record, bad.reason, bad.detail)
            return True
        attempt.result.applied[record.topic] += is_whole
        return is_whole

    def _read(self, record: Record) -> tuple[str | None, Any]:
        """Return key and message of a record; the key of a shared topic is None."""
        if record.key is None:
            check_whole(record)
            raise BadMessage(Rejection.NO_KEY, NO_KEY)
        key, message = self._step.parse(record)
        return None if record.topic in self._step.shared_topics else key, message

    def _fold(
        self, attempt: Attempt[State], key: str | None, message: Any, record: Record
    ) -> tuple[list[RoundEntry[State]], bool]:
        """Take a record into its key's state. Returns its entry, none if it is a replay, and `is_open`."""
        if key is None:
            return [RoundEntry(attempt, None, record, attempt.slot(), message)], False
        cell = attempt.loaded.get(key)
        if cell is None:
            self._check_home(key, record)
            cell = attempt.cell(key)
        slot = attempt.slot()
        if cell.is_replay(record):
            slot.extend(cell.repeats_of(record))
            attempt.result.replays[record.topic] += 1
            return [], False
        work, is_open = _run_step(self._step.fold, key, cell.state, message, record)
        cell.applied[record.topic] = record.offset
        return [RoundEntry(attempt, key, record, slot, work)], is_open

    def _commit(self, entries: Sequence[RoundEntry[State]]) -> None:
        """Decide a round together, then apply it to what is shared, record by record."""
        keyed = [entry for entry in entries if entry.key is not None]
        works = iter(_run_step(self._step.decide, [entry.work for entry in keyed]) if keyed else ())
        for attempt, key, record, slot, message in entries:
            if key is None:
                # It is not marked as applied: to apply it again changes nothing.
                outcome = _run_step(self._step.apply_shared, message, record, attempt.shared)
                self._send(attempt, None, record, outcome, slot, 0)
            else:
                outcome = _run_step(self._step.commit, next(works), record, attempt.shared)
                if outcome.outputs or outcome.facts:
                    self._send(attempt, attempt.loaded[key], record, outcome, slot, 0)
                attempt.settle(key, outcome.is_over)
            attempt.count(record.topic, outcome)

    def _check_home(self, key: str, record: Record) -> None:
        """Refuse a record in a partition that is not its key's, even if a stranger wrote a cell there."""
        if key.startswith(SHARED_PREFIX):
            raise BadMessage(Rejection.INVALID, f"key is {record.key!r}: no id begins with U+0000")
        expected = self._table.home_of(record.key or b"")
        if record.partition != expected:
            raise BadMessage(
                Rejection.WRONG_PARTITION,
                f"key {record.key!r} belongs to partition {expected}, not {record.partition}: "
                "set the sender's partitioner to murmur2",
            )

    def _send(
        self,
        attempt: Attempt[State],
        cell: Cell[State] | None,
        record: Record,
        outcome: Outcome,
        slot: Slot,
        index: int,
    ) -> int:
        """Count facts, and add outputs to a slot. Returns the next index.

        Those that are not soft join a cell's outbox and the trace of the record.
        """
        for fact in outcome.facts:
            attempt.result.facts[fact] += 1
        began, traced = began_header(record), trace_headers(record)
        for place, output in enumerate(outcome.outputs):
            output.headers += origin_header((record.topic, record.partition, record.offset, index)), began
            slot.append(output)
            if place not in outcome.soft:
                output.headers += traced
                if cell is not None and self._table.keeps_outputs:
                    cell.outbox.append(OutboxEntry.of(record, index, output, attempt.shard.next_number()))
            index += 1
        return index

    def _apply_tick(self, attempt: Attempt[State], record: Record) -> bool:
        """Let time pass for the keys that are due.

        Returns False if the attempt was full before all keys were done: then the tick is to be applied again, to a
        further attempt, before anything else.
        """
        _, tick = self._step.parse(record)
        shard = attempt.shard
        index, due, left = self._due(attempt, record, tick.at)
        for key in due:  # all before any is stepped, so that a failure brings all deadlines back
            attempt.cell(key)
        for key in due:
            index = self._pass_time(attempt, key, tick.at, record, index)
        attempt.steps += len(due) + 1
        shard.open_tick = OpenTick(index, left) if left else None
        if left:
            return False
        if self._step.shared_type is not None:
            outcome = _run_step(self._step.pass_shared_time, tick.at, record, attempt.shared)
            self._send(attempt, None, record, outcome, attempt.slot(), 0)
        shard.last_tick = record.offset
        return True

    def _due(self, attempt: Attempt[State], record: Record, at: float) -> tuple[int, list[str], list[str]]:
        """Return the index of a tick's next output, the keys due that the attempt has room for, and the others."""
        shard, most = attempt.shard, max(attempt.most - attempt.steps, 1)
        if shard.open_tick is not None:
            index, keys = shard.open_tick
            return index, keys[:most], keys[most:]
        return shard.next_index(record), *shard.deadlines.split_due(at, most)

    def _pass_time(self, attempt: Attempt[State], key: str, at: float, record: Record, index: int) -> int:
        """Let time pass for a key. Returns the index of the tick's next output."""
        cell = attempt.cell(key)
        if cell.is_replay(record) or record.offset <= cell.passed:
            # The tick had passed when what it would end now was begun: the next one ends it.
            attempt.settle(key, is_over=False)
            return index
        outcome = _run_step(self._step.pass_time, key, cell.state, at, record, attempt.shared)
        cell.passed = record.offset
        index = self._send(attempt, cell, record, outcome, attempt.slot(), index)
        may_return = self._table.keeps_outputs and cell.may_see_again(attempt.committed, but=self._table.ticks)
        attempt.settle(key, is_over=outcome.is_over and not may_return)
        return index
