"""Apply a batch of records to the states of one agent: the straight path, which never retries.

Cells are decoded once, changed in memory and encoded once. A step may defer its end, to be finished together with those
of other keys and partitions. A part that cannot be applied raises `CannotApply`; the attempt is then thrown away.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.records import Record, began_header, check_whole, origin_header
from stream_coupons.runtime.attempt import Attempt
from stream_coupons.runtime.cells import Cell, OutboxEntry
from stream_coupons.runtime.shard import AgentTable
from stream_coupons.runtime.steps import (
    SHARED_PREFIX,
    Deferred,
    OpenTick,
    Outcome,
    Slot,
    StepFailed,
)

State = TypeVar("State")
Returned = TypeVar("Returned")
NO_KEY = "key is null: key every record by the id that its topic is keyed by"


def _run_step(function: Callable[..., Returned], *arguments: Any) -> Returned:
    """Call a method of a step; whatever it raises is `StepFailed`. Errors of the runtime itself stop the worker."""
    try:
        return function(*arguments)
    except StepFailed:
        raise  # of a deferred step that had to be finished before what is shared was changed
    except Exception as error:
        raise StepFailed(f"{type(error).__name__}: {error}") from error


class Applier(Generic[State]):
    """Applies records to attempts on batches."""

    def __init__(self, table: AgentTable[State]) -> None:
        self._table = table
        self._step = table.step

    def apply_all(self, attempt: Attempt[State], records: Sequence[Record]) -> int:
        """Apply records in order until the attempt is full. The last steps may stay deferred.

        Parameters
        ----------
        attempt : Attempt
            The attempt on a batch, changed in place.
        records : sequence of Record
            Records of its partition, in order.

        Returns
        -------
        int
            The number of records that were applied to the end.
        """
        attempt.shared.before_change = partial(self.finish, [attempt])
        try:
            for number, record in enumerate(records):
                if attempt.is_full or not self._apply(attempt, record):
                    return number
        finally:
            attempt.shared.before_change = None  # it would hold the attempt in a cycle
        return len(records)

    def _apply(self, attempt: Attempt[State], record: Record) -> bool:
        """Apply a record, or refuse it if it is invalid. Returns False for a tick that has not passed for all keys."""
        try:
            check_whole(record)
            if record.topic == self._table.ticks:
                is_whole = self._apply_tick(attempt, record)
                attempt.result.applied[record.topic] += is_whole
                return is_whole
            attempt.steps += 1
            if record.key is None:
                raise BadMessage(Rejection.NO_KEY, NO_KEY)
            key, message = self._step.parse(record)
            if record.topic in self._step.shared_topics:
                self._apply_shared(attempt, message, record)
            else:
                self._apply_keyed(attempt, key, message, record)
        except BadMessage as bad:
            attempt.refuse(record, bad.reason, bad.detail)
        return True

    def _apply_keyed(self, attempt: Attempt[State], key: str, message: Any, record: Record) -> None:
        """Apply a record to its key's cell, or send again what it led to before."""
        if key in attempt.deferred:
            self.finish([attempt])
        cell = attempt.loaded.get(key)
        if cell is None:
            self._check_home(key, record)
            cell = attempt.cell(key)
        slot = attempt.slot()
        if cell.is_replay(record):
            slot.extend(kept.again(record) for kept in cell.kept_for(record))
            attempt.result.replays[record.topic] += 1
            return
        outcome = _run_step(self._step.apply, key, cell.state, message, record, attempt.shared)
        cell.applied[record.topic] = record.offset
        if isinstance(outcome, Deferred):
            attempt.deferred[key] = (outcome, record, slot)
        else:
            self._conclude(attempt, key, record, outcome, slot)

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
        waiting = [(attempt, key, *one) for attempt in attempts for key, one in attempt.deferred.items()]
        if not waiting:
            return
        for attempt in attempts:  # at once: to finish them changes what is shared
            attempt.deferred.clear()
        outcomes = _run_step(self._step.finish, [(step, record) for _, _, step, record, _ in waiting])
        for (attempt, key, _, record, slot), outcome in zip(waiting, outcomes, strict=True):
            self._conclude(attempt, key, record, outcome, slot)

    def _conclude(self, attempt: Attempt[State], key: str, record: Record, outcome: Outcome, slot: Slot) -> None:
        """Take over the outcome of a step, its outputs into the slot that is reserved for them."""
        if outcome.outputs or outcome.facts:
            self._send(attempt, attempt.loaded[key], record, outcome, slot, 0)
        attempt.settle(key, outcome.is_over)
        attempt.count(record.topic, outcome)

    def _send(
        self,
        attempt: Attempt[State],
        cell: Cell[State] | None,
        record: Record,
        outcome: Outcome,
        slot: Slot,
        index: int,
    ) -> int:
        """Count facts, and add outputs to a slot and, unless soft, to a cell's outbox. Returns the next index."""
        for fact in outcome.facts:
            attempt.result.facts[fact] += 1
        began = began_header(record)
        for place, output in enumerate(outcome.outputs):
            output.headers += origin_header((record.topic, record.partition, record.offset, index)), began
            slot.append(output)
            if cell is not None and self._table.keeps_outputs and place not in outcome.soft:
                cell.outbox.append(OutboxEntry.of(record, index, output))
            index += 1
        return index

    def _apply_shared(self, attempt: Attempt[State], message: Any, record: Record) -> None:
        """Apply a record to what is shared. It is not marked as applied: to apply it again changes nothing."""
        outcome = _run_step(self._step.apply_shared, message, record, attempt.shared)
        self._send(attempt, None, record, outcome, attempt.slot(), 0)
        attempt.count(record.topic, outcome)

    def _apply_tick(self, attempt: Attempt[State], record: Record) -> bool:
        """Let time pass for the keys that are due. The outputs of a replayed tick are sent again before new ones.

        Returns False if the attempt was full before all keys were done: then the tick is to be applied again, to a
        further attempt, before anything else.
        """
        _, tick = self._step.parse(record)
        self.finish([attempt])
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
        again = sorted(
            (kept for key in shard.unsent_ticks for kept in attempt.cell(key).kept_for(record)),
            key=lambda kept: kept.index,
        )
        attempt.slot().extend(kept.again(record) for kept in again)
        return again[-1].index + 1 if again else 0, *shard.deadlines.split_due(at, most)

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
