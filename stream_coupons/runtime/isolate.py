"""Isolate what cannot be applied in a batch: each record alone, and in a tick each key alone, on copies of the cells.

A failed trial is discarded, so that what failed becomes a dead letter as if it had never come, and costs the others
nothing. Every cell that a trial changes is encoded, so that one that grows too large is found in the same way.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.records import Record
from stream_coupons.runtime.apply import Applier, Attempt
from stream_coupons.runtime.shard import AgentTable
from stream_coupons.runtime.steps import CannotApply, StepFailed

State = TypeVar("State")
Returned = TypeVar("Returned")
Problem = tuple[Rejection, str]
"""Reason and detail of a dead letter, or of a part of one."""

MAX_FAILURES = 100
"""Steps that may raise on one batch; beyond it the program, not the data, is at fault, and it stops."""


class TooManyFailures(Exception):
    """More than `MAX_FAILURES` steps raised on one batch."""


class Isolation(Applier[State]):
    """Applies one batch of one partition, and refuses only what cannot be applied."""

    def __init__(self, table: AgentTable[State]) -> None:
        super().__init__(table)
        self._failures = 0
        self._problems: list[Problem] = []
        """Problems of the current tick's keys."""

    def apply_all(self, parts: Sequence[tuple[Attempt[State], Sequence[Record]]]) -> None:
        """Apply the records of one attempt in order, each in a trial of its own, until the attempt is full.

        A tick passes for all keys at once: the trial of a key that fails must not undo those before it.
        """
        [(attempt, records)] = parts
        waiting = deque(records)
        while waiting and attempt.steps < attempt.most:
            record = waiting[0]
            attempt.steps += 1
            try:
                self._try(attempt, partial(self._apply, record))
            except CannotApply as problem:
                attempt.refuse(record, *self._noted(problem, record))
            waiting.popleft()
        attempt.result.left = [*waiting]

    def _apply(self, record: Record, trial: Attempt[State]) -> None:
        """Apply one record to a trial."""
        self._commit(self._next_round(trial, deque([record])))

    def _apply_tick(self, attempt: Attempt[State], record: Record) -> bool:
        """Let time pass for all keys that can; refuse the tick for those that cannot, steps that raised first."""
        self._problems.clear()
        is_whole = super()._apply_tick(attempt, record)
        if self._problems:
            self._problems.sort(key=lambda problem: problem[0] != Rejection.STEP_FAILED)
            raise BadMessage(self._problems[0][0], "; ".join(detail for _, detail in self._problems))
        return is_whole

    def _pass_time(self, attempt: Attempt[State], key: str, at: float, record: Record, index: int) -> int:
        """Let time pass for a key in a trial of its own."""
        try:
            return self._try(attempt, partial(super()._pass_time, key=key, at=at, record=record, index=index))
        except CannotApply as problem:
            self._problems.append(self._noted(problem, record))
            if isinstance(problem, StepFailed) or not attempt.loaded[key].outbox:
                # It would only fail again at every tick. An outbox that fills a cell is pruned when its inputs are
                # committed: a later tick may do what this one could not.
                attempt.shard.deadlines.set(key, None)
            return index

    def _try(self, attempt: Attempt[State], action: Callable[[Attempt[State]], Returned]) -> Returned:
        """Run an action on a trial, which becomes a part of the attempt if nothing is wrong with it."""
        trial = Attempt(attempt.shard, attempt.committed, parent=attempt)
        try:
            returned = action(trial)
            self._check_sizes(trial)
        except CannotApply:
            trial.roll_back()
            raise
        attempt.take_over(trial)
        return returned

    def _check_sizes(self, trial: Attempt[State]) -> None:
        """Raise `TooLarge` if a cell outgrew its limit; one that was larger before may stay as it is, or shrink."""
        codec = self._table.codec
        for key, cell in trial.loaded.items():
            before = trial.before(key)
            before.prune(trial.committed)
            cell.prune(trial.committed)
            codec.encode_within(max(codec.max_bytes, len(codec.encode(before))), key, cell)

    def _noted(self, problem: CannotApply, record: Record) -> Problem:
        """Return the reason and the detail of a problem, and count a step that raised."""
        if not isinstance(problem, StepFailed):
            return problem.reason, str(problem)
        detail = f"{record.topic}:{record.partition}:{record.offset}: {problem}"
        self._failures += 1
        if self._failures > MAX_FAILURES:
            raise TooManyFailures(f"{MAX_FAILURES} steps failed on one batch, then {detail}") from problem
        return problem.reason, detail
