"""Apply a batch of records to the states of one agent: the straight path, which never retries.

Cells are decoded once, changed in memory and encoded once. A step may defer its end, to be finished together with those
of other keys and partitions. A part that cannot be applied raises `CannotApply`; the attempt is then thrown away.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.records import Output, Record, began_header, check_whole, origin_header
from stream_coupons.runtime.attempt import Attempt, Result, Unfinished
from stream_coupons.runtime.cells import Cell, Kept
from stream_coupons.runtime.failures import run_step
from stream_coupons.runtime.shard import AgentTable
from stream_coupons.runtime.shared import SHARED_PREFIX
from stream_coupons.runtime.steps import Deferred, Outcome

State = TypeVar("State")

NO_KEY = "key is null: key every record by the id that its topic is keyed by"


class Applier(Generic[State]):
    """Applies records to attempts."""

    def __init__(self, table: AgentTable[State]) -> None:
        self._table = table
        self._step = table.step
        self._max_cell_bytes = table.codec.max_bytes

    def apply_all(self, attempt: Attempt[State], records: Sequence[Record]) -> None:
        """Apply records in order. The last steps may stay deferred."""
        attempt.shared.before_change = partial(self.finish, [attempt])
        try:
            for record in records:
                self._apply(attempt, record)
        finally:
            attempt.shared.before_change = None  # it would hold the attempt in a cycle

    def _apply(self, attempt: Attempt[State], record: Record) -> None:
        """Apply a record, or refuse it if it is invalid."""
        try:
            check_whole(record)
            if record.topic == self._table.ticks:
                self._apply_tick(attempt, record)
                return
            if record.key is None:
                raise BadMessage(Rejection.NO_KEY, NO_KEY)
            key, message = self._step.parse(record)
            if record.topic in self._step.shared_topics:
                self._apply_shared(attempt, message, record)
            else:
                self._apply_keyed(attempt, key, message, record)
        except BadMessage as bad:
            attempt.result.refuse(record, bad.reason, self._step.refuse(record, bad.reason, bad.detail))

    def _apply_keyed(self, attempt: Attempt[State], key: str, message: Any, record: Record) -> None:
        """Apply a record to its key's cell, or send again what it led to before."""
        if key in attempt.deferred:
            self.finish([attempt])
        cell = attempt.loaded.get(key)
        if cell is None:
            self._check_home(key, record)
            cell = attempt.cell(key)
        result = attempt.result
        if cell.is_replay(record):
            result.slot().extend(kept.again(record) for kept in cell.kept_for(record))
            result.replays[record.topic] += 1
            return
        outcome = run_step(self._step.apply, key, cell.state, message, record, attempt.shared)
        cell.mark(record)
        if isinstance(outcome, Deferred):
            attempt.deferred[key] = Unfinished(outcome, record, result.slot())
        else:
            self._conclude(attempt, key, record, outcome, None)

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

    def finish(self, attempts: Sequence[Attempt[State]]) -> None:
        """Finish all deferred steps together."""
        waiting = [(attempt, key, one) for attempt in attempts for key, one in attempt.deferred.items()]
        if not waiting:
            return
        for attempt in attempts:  # at once: to finish them changes what is shared
            attempt.deferred.clear()
        outcomes = run_step(self._step.finish, [(one.step, one.record) for _, _, one in waiting])
        for (attempt, key, one), outcome in zip(waiting, outcomes, strict=True):
            self._conclude(attempt, key, one.record, outcome, one.slot)

    def _conclude(
        self, attempt: Attempt[State], key: str, record: Record, outcome: Outcome, slot: list[Output] | None
    ) -> None:
        """Take over the outcome of a step, its outputs into the slot that is reserved for them if there is one."""
        result, cell = attempt.result, attempt.loaded[key]
        if outcome.outputs:
            self._send(cell, record, outcome, 0, result.slot() if slot is None else slot)
        for fact in outcome.facts:
            result.facts[fact] += 1
        self._schedule(attempt, key, cell)
        if outcome.is_over:
            self._end(attempt, key)
        result.count(record.topic, outcome)

    def _send(self, cell: Cell[State] | None, record: Record, outcome: Outcome, index: int, slot: list[Output]) -> int:
        """Add outputs to a slot and, if they may have to be sent again, to a cell's outbox. Returns the next index."""
        for place, output in enumerate(outcome.outputs):
            output.headers.append(origin_header((record.topic, record.partition, record.offset, index)))
            output.headers.append(began_header(record))
            slot.append(output)
            if cell is not None and self._table.keeps_outputs and place not in outcome.soft:
                cell.outbox.append(Kept.of(record, index, output))
            index += 1
        return index

    def _schedule(self, attempt: Attempt[State], key: str, cell: Cell[State]) -> None:
        """Set the deadline of a state that was just changed, at once: a later tick of this very batch must see it."""
        cell.due = self._step.due(cell.state)
        attempt.shard.deadlines.set(key, cell.due)

    def _end(self, attempt: Attempt[State], key: str) -> None:
        """Replace a cell that is over by a new one; if nothing stays or comes to it, there is none any more."""
        remains = self._step.remains(attempt.loaded[key].state)
        attempt.loaded[key] = cell = self._table.codec.new()
        if remains is None:
            attempt.over.add(key)
        else:
            cell.state = remains
        attempt.shard.deadlines.set(key, None)

    def _apply_shared(self, attempt: Attempt[State], message: Any, record: Record) -> None:
        """Apply a record to what is shared. It is not marked as applied: to apply it again changes nothing."""
        outcome = run_step(self._step.apply_shared, message, record, attempt.shared)
        self._send(None, record, outcome, 0, attempt.result.slot())
        attempt.result.facts.update(outcome.facts)
        attempt.result.count(record.topic, outcome)

    def _apply_tick(self, attempt: Attempt[State], record: Record) -> None:
        """Let time pass for every key that it is due for; all outputs share the tick's origin, in one order."""
        at, due, index = self._begin_tick(attempt, record)
        for key in due:
            index = self._pass_time(attempt, key, at, record, index)
        self._end_tick(attempt, at, record)
        attempt.result.applied[record.topic] += 1

    def _begin_tick(self, attempt: Attempt[State], record: Record) -> tuple[float, list[str], int]:
        """Send again what a replayed tick led to. Returns its time, the keys that it is due for, and the next index."""
        _, tick = self._step.parse(record)
        self.finish([attempt])
        again = sorted(
            (kept for key in attempt.shard.unsent_ticks for kept in attempt.cell(key).kept_for(record)),
            key=lambda kept: kept.index,
        )
        attempt.result.slot().extend(kept.again(record) for kept in again)
        due = attempt.shard.deadlines.pop_due(tick.at)
        for key in due:  # all before any is stepped, so that a failure brings all deadlines back
            attempt.cell(key)
        return tick.at, due, again[-1].index + 1 if again else 0

    def _pass_time(self, attempt: Attempt[State], key: str, at: float, record: Record, index: int) -> int:
        """Let time pass for a key. Returns the next index."""
        cell = attempt.cell(key)
        if cell.is_replay(record):
            # The tick had passed when what it would end now was begun: the next one ends it.
            self._schedule(attempt, key, cell)
            return index
        outcome = run_step(self._step.pass_time, key, cell.state, at, record, attempt.shared)
        index = self._send(cell, record, outcome, index, attempt.result.slot())
        attempt.result.facts.update(outcome.facts)
        self._schedule(attempt, key, cell)
        may_return = self._table.keeps_outputs and cell.may_see_again(attempt.committed, but=self._table.ticks)
        if outcome.is_over and not may_return:
            self._end(attempt, key)
        return index

    def _end_tick(self, attempt: Attempt[State], at: float, record: Record) -> None:
        """Let time pass for what is shared."""
        if self._step.shared_type is not None:
            outcome = run_step(self._step.pass_shared_time, at, record, attempt.shared)
            self._send(None, record, outcome, 0, attempt.result.slot())
            attempt.result.facts.update(outcome.facts)
        attempt.shard.last_tick = record.offset

    def encode(self, attempt: Attempt[State]) -> Result:
        """Encode what an attempt changed.

        Raises
        ------
        TooLarge
            If a cell cannot be saved.
        """
        result, shard, ticks = attempt.result, attempt.shard, self._table.ticks
        for key, cell in attempt.loaded.items():
            if key in attempt.over and not cell.applied:
                result.cells[key] = None
                continue
            if shard.last_tick >= 0:
                cell.applied[ticks] = max(shard.last_tick, cell.applied.get(ticks, -1))
            cell.prune(attempt.committed)
            if key in shard.unsent_ticks and not cell.keeps_for(ticks):
                shard.unsent_ticks.discard(key)
            result.cells[key] = self._table.codec.encode_within(self._max_cell_bytes, key, cell)
        result.live, result.shared = attempt.loaded, attempt.shared.changed
        if self._table.shared_codec is not None:
            for key, state in result.shared.items():
                result.cells[SHARED_PREFIX + key] = self._table.shared_codec.encode(state)
        return result
