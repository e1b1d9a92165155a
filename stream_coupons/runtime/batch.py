"""Apply a batch of records to the states of one agent: pure of Kafka and Faust, so it runs under any test.

A batch is all or nothing until it is sent: states are decoded once, changed in memory and written once; those of keys
that were busy lately are not even decoded. A step may defer its end, to be finished together with those of other keys
and partitions. If a step raises, the batch is begun again without the guilty record, which becomes a dead letter. If a
cell outgrows what a record of its changelog may hold, or a number in it what msgpack does, it is begun again, and each
record of that key is measured.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar

import msgspec

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.records import Output, Record, began_header, check_whole, client_of, origin_header
from stream_coupons.runtime.attempt import Attempt, Failure, Result, Shard, Unfinished
from stream_coupons.runtime.cells import Cell, CellCodec, Kept, StateCodec
from stream_coupons.runtime.shared import SHARED_PREFIX, Readable, SharedStates
from stream_coupons.runtime.steps import Deferred, KeyedStep, Outcome
from stream_coupons.runtime.stores import CellStore

State = TypeVar("State")
Work = tuple[Sequence[Record], Mapping[str, int]]
"""Records of a partition, and the next offset to be delivered after a restart, by topic."""

MAX_FAILURES = 100
"""Steps that may raise on one batch; beyond it the program, not the data, is at fault, and it stops."""

MAX_LIVE = 4096
"""Cells kept decoded after they were saved, in all partitions together: shoppers come in sessions, so most records are
of a key seen lately."""

NO_KEY = "key is null: key every record by the id that its topic is keyed by"


class StepFailed(Exception):
    """A step raised on a record: a bug of ours, carried to where the batch is begun again."""

    def __init__(self, record: Record, key: str, cause: Exception) -> None:
        super().__init__(f"{record.topic}:{record.partition}:{record.offset}: {type(cause).__name__}: {cause}")
        self.failure: Failure = (record.topic, record.partition, record.offset, key)


class UnreadableCell(Exception):
    """Bytes in a changelog that are no cell: to begin its key anew would forget what was given."""

    def __init__(self, partition: int, key: str) -> None:
        super().__init__(f"a cell of partition {partition}")
        self.partition, self.key = partition, key


class FinishFailed(Exception):
    """One of several deferred steps raised, it is not known which: the batch is begun again, deferring none."""


class Batches(Generic[State]):
    """Applies batches to the cells of one agent.

    Parameters
    ----------
    step : KeyedStep
        The agent's step.
    ticks : str
        Name of the topic whose records say that time has passed in their partition.
    partition_for : callable
        Key and number of partitions to partition.
    partitions : int
        Number of partitions of every topic that the agent reads.
    keeps_outputs : bool
        Whether a cell keeps what it decided until its input is committed. Not needed where states, outputs and offsets
        are appended in one transaction: an input whose state was saved will not come again.
    max_cell_bytes : int
        The most that a cell may take. A record that would make it grow beyond is refused.
    """

    def __init__(
        self,
        step: KeyedStep[State],
        ticks: str,
        partition_for: Callable[[bytes, int], int],
        partitions: int,
        *,
        keeps_outputs: bool = True,
        max_cell_bytes: int = sys.maxsize,
    ) -> None:
        self.step = step
        self._ticks = ticks
        self._partition_for = partition_for
        self._partitions = partitions
        self._keeps_outputs = keeps_outputs
        self._codec = CellCodec(step.state_type, max_cell_bytes)
        self._shared_codec = None if step.shared_type is None else StateCodec(step.shared_type)
        self._shards: dict[int, Shard] = {}

    @property
    def owned(self) -> set[int]:
        """The partitions adopted."""
        return set(self._shards)

    def cells(self, partition: int) -> CellStore:
        """The saved cells of a partition."""
        return self._shards[partition].cells

    def state(self, partition: int, key: str) -> State:
        """The saved state of a key, or a new one, to be looked at; who changes it breaks what is saved."""
        shard = self._shards[partition]
        cell = shard.live.get(key)
        return (cell if cell is not None else self._saved(shard, key)).state

    def adopt(self, partition: int, cells: CellStore) -> int:
        """Take over a partition whose saved cells are these, and make anew all that is derived from them.

        Returns
        -------
        int
            How many cells there are.

        Raises
        ------
        UnreadableCell
            If one of them is none.
        """
        self.drop(partition)
        shard = self._shards[partition] = Shard(cells)
        count = 0
        for key, data in cells.items():
            count += 1
            if key.startswith(SHARED_PREFIX):
                shard.shared[key.removeprefix(SHARED_PREFIX)] = self._read_shared(partition, key, data)
                continue
            try:
                head = self._codec.head(data)
                is_needed = self.step.has_views or not head.keeps_nothing
                cell = self._codec.decode(data) if is_needed else None
            except msgspec.DecodeError as error:
                raise UnreadableCell(partition, key) from error
            shard.deadlines.set(key, head.due)
            for topic, offset in head.applied.items():
                if offset >= shard.ends.get(topic, 0):
                    shard.ends[topic] = offset + 1
            if cell is not None:
                self.step.place(partition, key, cell.state)
                if cell.keeps_for(self._ticks):
                    shard.unsent_ticks.add(key)
        shard.last_tick = shard.ends.get(self._ticks, 0) - 1
        return count

    def _read_shared(self, partition: int, key: str, data: bytes) -> Any:
        try:
            if self._shared_codec is not None:
                return self._shared_codec.decode(data)
        except msgspec.DecodeError as error:
            raise UnreadableCell(partition, key) from error
        raise UnreadableCell(partition, key) from ValueError("this agent shares nothing")

    def shared(self, partition: int) -> Mapping[str, Any]:
        """What all keys of a partition share, as it is saved; to be looked at."""
        return self._shards[partition].shared

    def ends(self, partition: int) -> Mapping[str, int]:
        """By topic, the offset behind the last record that was applied: the log of a partition does not end before."""
        return self._shards[partition].ends

    def reach(self, partition: int, ends: Mapping[str, int]) -> None:
        """Note how far records were applied."""
        shard = self._shards[partition]
        shard.ends |= {topic: max(end, shard.ends.get(topic, 0)) for topic, end in ends.items()}

    def drop(self, partition: int) -> None:
        """Forget a partition: it is somebody else's."""
        shard = self._shards.pop(partition, None)
        if shard is not None:
            shard.cells.discard()
            self.step.forget(partition)

    def save(self, result: Result) -> None:
        """Take new cells, which the broker has, for the saved ones."""
        shard = self._shards[result.partition]
        shard.cells.save(result.cells)
        shard.live.update(result.live)
        shard.shared.update(result.shared)
        for key in list(islice(shard.live, max(len(shard.live) - MAX_LIVE // len(self._shards), 0))):
            del shard.live[key]

    def give_back(self, result: Result) -> None:
        """Undo a result that is not to be saved."""
        self._undo(self._shards[result.partition], result, result.live)

    def apply(self, partition: int, records: Sequence[Record], committed: Mapping[str, int]) -> Result:
        """Apply records of one partition number, of any of the agent's topics, in order.

        Parameters
        ----------
        committed : mapping
            The next offset to be delivered after a restart, by topic: what lies below is never replayed.
        """
        return self.apply_all({partition: (records, committed)})[0]

    def apply_all(self, work: Mapping[int, Work]) -> list[Result]:
        """Apply records of several partitions; what their steps defer is finished together."""
        attempts: list[Attempt[State]] = []
        try:
            for partition, part in work.items():
                attempts.append(self._attempt(partition, part, defers=True))
            self._finish(attempts)
        except FinishFailed:
            for attempt in attempts:
                self._roll_back(attempt)
            attempts = [self._attempt(partition, part, defers=False) for partition, part in work.items()]
        return [self._closed(attempt, work[attempt.result.partition]) for attempt in attempts]

    def _attempt(
        self, partition: int, work: Work, *, defers: bool, measured: frozenset[str] = frozenset()
    ) -> Attempt[State]:
        """Apply all records but those that make a step raise."""
        records, committed = work
        failed: dict[Failure, str] = {}
        while True:
            shard = self._shards[partition]
            attempt = Attempt[State](
                Result(partition, shard.last_tick),
                shard,
                committed,
                failed,
                defers,
                self._share(shard.shared),
                measured,
            )
            attempt.shared.before_change = partial(self._finish, [attempt])
            try:
                for record in records:
                    self._apply_one(attempt, record)
            except StepFailed as error:
                self._roll_back(attempt)
                if len(failed) >= MAX_FAILURES:
                    raise
                failed[error.failure] = str(error)
            except FinishFailed:
                self._roll_back(attempt)
                raise
            else:
                return attempt
            finally:
                attempt.shared.before_change = None

    def _share(self, below: Readable[Any]) -> SharedStates[Any]:
        return SharedStates(below, self.step.shared_type or dict)

    def _roll_back(self, attempt: Attempt[State]) -> None:
        self._undo(attempt.shard, attempt.result, attempt.loaded)

    def _undo(self, shard: Shard, result: Result, keys: Iterable[str]) -> None:
        """Bring all that is derived from cells in line with the saved ones, as before a result."""
        shard.last_tick = result.last_tick
        for key in keys:
            self._restore(shard, result.partition, key, self._saved(shard, key))

    def _restore(self, shard: Shard, partition: int, key: str, cell: Cell[State]) -> None:
        """Bring all that is derived from a cell in line with it."""
        shard.deadlines.set(key, cell.due)
        if cell.keeps_for(self._ticks):
            shard.unsent_ticks.add(key)
        self.step.place(partition, key, cell.state)

    def _closed(self, attempt: Attempt[State], work: Work) -> Result:
        """What an attempt comes to; it is begun again if cells have outgrown a record: nobody could save them."""
        while too_large := self._close(attempt) - attempt.measured:
            self._roll_back(attempt)
            measured = attempt.measured | too_large
            attempt = self._attempt(attempt.result.partition, work, defers=False, measured=measured)
        return attempt.result

    def _close(self, attempt: Attempt[State]) -> set[str]:
        """Encode what was changed. Returns the keys whose cells, or numbers in them, are too large."""
        result, shard = attempt.result, attempt.shard
        too_large: set[str] = set()
        for key, cell in attempt.loaded.items():
            if key in attempt.over and not cell.applied:
                result.cells[key] = None
                continue
            if shard.last_tick >= 0:
                cell.applied[self._ticks] = max(shard.last_tick, cell.applied.get(self._ticks, -1))
            cell.prune(attempt.committed)
            if key in shard.unsent_ticks and not cell.keeps_for(self._ticks):
                shard.unsent_ticks.discard(key)
            try:
                data = result.cells[key] = self._codec.encode(cell)
            except OverflowError:
                too_large.add(key)
                continue
            if len(data) > self._codec.max_bytes:
                too_large.add(key)
        result.live, result.shared = attempt.loaded, attempt.shared.changed
        if self._shared_codec is not None:
            for key, state in result.shared.items():
                result.cells[SHARED_PREFIX + key] = self._shared_codec.encode(state)
        return too_large

    def _apply_one(self, attempt: Attempt[State], record: Record) -> None:
        detail = attempt.failed.get((record.topic, record.partition, record.offset, ""))
        if detail is not None:
            self._refuse(record, Rejection.STEP_FAILED, detail, attempt.result)
            return
        try:
            check_whole(record)
            if record.topic == self._ticks:
                self._apply_tick(attempt, record)
            else:
                self._apply_record(attempt, record)
        except BadMessage as bad:
            self._refuse(record, bad.reason, bad.detail, attempt.result)

    def _refuse(self, record: Record, reason: str, detail: str, result: Result) -> None:
        result.slot().append(self.step.refuse(record, reason, detail))
        result.dead[record.topic, reason] += 1
        if (client := client_of(record)) is not None:
            result.refused_of[record.topic, client] += 1

    def _cell(self, attempt: Attempt[State], key: str, record: Record | None = None) -> Cell[State]:
        """The cell of a key, to be changed; for a record only if that is where its key belongs.

        Also if there is a cell: a stranger may have written one into the wrong partition's changelog.
        """
        cell = attempt.loaded.get(key)
        if cell is None:
            if record is not None:
                self._check_home(record)
            cell = attempt.shard.live.pop(key, None) or self._saved(attempt.shard, key)
            attempt.loaded[key] = cell
        return cell

    def _saved(self, shard: Shard, key: str) -> Cell[State]:
        data = shard.cells.get(key)
        return self._codec.decode(data) if data is not None else self._codec.new()

    def _check_home(self, record: Record) -> None:
        """Refuse a record in a partition that is not its key's."""
        expected = self._partition_for(record.key or b"", self._partitions)
        if record.partition != expected:
            raise BadMessage(
                Rejection.WRONG_PARTITION,
                f"key {record.key!r} belongs to partition {expected}, not {record.partition}: "
                "set the sender's partitioner to murmur2",
            )

    def _apply_record(self, attempt: Attempt[State], record: Record) -> None:
        if record.key is None:
            raise BadMessage(Rejection.NO_KEY, NO_KEY)
        key, message = self.step.parse(record)
        if record.topic in self.step.shared_topics:
            self._apply_shared(attempt, message, record)
            return
        if key.startswith(SHARED_PREFIX):
            raise BadMessage(Rejection.INVALID, f"key is {record.key!r}: no id begins with U+0000")
        if key in attempt.measured:
            self._try_record(attempt, key, record)
            return
        cell = attempt.loaded.get(key)
        if cell is None:
            cell = self._cell(attempt, key, record)
        elif key in attempt.deferred:
            self._finish([attempt])
        result = attempt.result
        if cell.is_replay(record):
            result.slot().extend(kept.again(record) for kept in cell.kept_for(record))
            result.replays[record.topic] += 1
        else:
            try:
                outcome = self.step.apply(key, cell.state, message, record, attempt.shared)
            except FinishFailed:
                raise
            except Exception as error:
                raise StepFailed(record, "", error) from error
            cell.mark(record)
            if isinstance(outcome, Deferred):
                attempt.deferred[key] = Unfinished(outcome, record, result.slot())
                if not attempt.defers:
                    self._finish([attempt])
            else:
                self._conclude(attempt, key, record, outcome, None)

    def _apply_shared(self, attempt: Attempt[State], message: Any, record: Record) -> None:
        """Apply a record to what is shared. It is not marked as applied: to apply it again changes nothing."""
        try:
            outcome = self.step.apply_shared(message, record, attempt.shared)
        except FinishFailed:
            raise
        except Exception as error:
            raise StepFailed(record, "", error) from error
        result = attempt.result
        self._say(result, record, outcome)
        if outcome.refused is not None:
            result.dead[record.topic, outcome.refused] += 1
        else:
            (result.duplicates if outcome.is_duplicate else result.applied)[record.topic] += 1

    def _say(self, result: Result, record: Record, outcome: Outcome) -> None:
        """Send what was brought about, but keep nothing of it."""
        slot = result.slot()
        for index, sent in enumerate(outcome.sent):
            slot.append(self._marked(sent.output, record, index))
        result.facts.update(outcome.facts)

    def _try_record(self, attempt: Attempt[State], key: str, record: Record) -> None:
        """Apply a record to a copy of its cell, which is taken over if it does not outgrow a record."""
        result, shard = attempt.result, attempt.shard
        cell = self._cell(attempt, key, record)
        trial = Attempt[State](
            Result(result.partition), shard, attempt.committed, attempt.failed, False, self._share(attempt.shared)
        )
        trial.loaded[key], before_bytes = self._codec.pruned_copy(cell, attempt.committed)
        self._apply_record(trial, record)
        if (excess := self._codec.excess(key, trial.loaded[key], before_bytes)) is not None:
            self._restore(shard, result.partition, key, cell)
            raise BadMessage(Rejection.TOO_LARGE, excess)
        attempt.loaded.update(trial.loaded)
        attempt.shared.changed.update(trial.shared.changed)
        attempt.over |= trial.over
        result.add(trial.result)

    def _finish(self, attempts: Sequence[Attempt[State]]) -> None:
        """Bring what was deferred to its end."""
        waiting = [(attempt, key, one) for attempt in attempts for key, one in attempt.deferred.items()]
        if not waiting:
            return
        for attempt in attempts:  # at once: to finish them changes what is shared
            attempt.deferred.clear()
        try:
            outcomes = self.step.finish([(one.step, one.record) for _, _, one in waiting])
        except Exception as error:
            if len(waiting) == 1 and not waiting[0][0].defers:
                raise StepFailed(waiting[0][2].record, "", error) from error
            raise FinishFailed from error
        for (attempt, key, one), outcome in zip(waiting, outcomes, strict=True):
            self._conclude(attempt, key, one.record, outcome, one.slot)

    def _conclude(
        self, attempt: Attempt[State], key: str, record: Record, outcome: Outcome, slot: list[Output] | None
    ) -> None:
        """Take over what a step brought about, into the slot that is kept for it if there is one."""
        result, cell = attempt.result, attempt.loaded[key]
        if outcome.sent:
            self._take(cell, record, outcome, 0, result.slot() if slot is None else slot)
        for fact in outcome.facts:
            result.facts[fact] += 1
        self._schedule(attempt.shard, key, cell)
        if outcome.is_over:
            self._end(attempt, key)
        if outcome.refused is not None:
            result.dead[record.topic, outcome.refused] += 1
        else:
            (result.duplicates if outcome.is_duplicate else result.applied)[record.topic] += 1

    def _schedule(self, shard: Shard, key: str, cell: Cell[State]) -> None:
        """Set the deadline of a state that was just changed, at once: a later tick of this very batch must see it."""
        cell.due = self.step.due(cell.state)
        shard.deadlines.set(key, cell.due)

    def _end(self, attempt: Attempt[State], key: str) -> None:
        """Put a new cell in the place of one that is over; if nothing stays or comes to it, there is none any more."""
        remains = self.step.remains(attempt.loaded[key].state)
        attempt.loaded[key] = cell = self._codec.new()
        if remains is None:
            attempt.over.add(key)
        else:
            cell.state = remains
        attempt.shard.deadlines.set(key, None)

    def _take(self, cell: Cell[State], record: Record, outcome: Outcome, index: int, slot: list[Output]) -> int:
        """Add an outcome's outputs to the slot and, if they may have to be sent again, to the outbox."""
        for sent in outcome.sent:
            output = self._marked(sent.output, record, index)
            slot.append(output)
            if sent.kept and self._keeps_outputs:
                cell.outbox.append(Kept.of(record, index, output))
            index += 1
        return index

    def _marked(self, output: Output, record: Record, index: int) -> Output:
        """An output with what its headers say of where it came from."""
        output.headers.append(origin_header((record.topic, record.partition, record.offset, index)))
        output.headers.append(began_header(record))
        return output

    def _apply_tick(self, attempt: Attempt[State], record: Record) -> None:
        """Let time pass for every key that it is due for; their outputs share the tick's origin, in one order.

        What a replayed tick led to before is sent again first, in its old order; all else comes behind it.
        """
        _, tick = self.step.parse(record)
        self._finish([attempt])
        shard, result = attempt.shard, attempt.result
        again = sorted(
            (kept for key in shard.unsent_ticks for kept in self._cell(attempt, key).kept_for(record)),
            key=lambda kept: kept.index,
        )
        slot = result.slot()
        slot += [kept.again(record) for kept in again]
        index = again[-1].index + 1 if again else 0
        # All cells are loaded before any is stepped, so that a failure rolls all of them back.
        due = {key: self._cell(attempt, key) for key in shard.deadlines.pop_due(tick.at)}
        problems: list[str] = []
        excesses: list[str] = []
        for key, cell in due.items():
            if cell.is_replay(record):
                # The tick had passed when what it would end now was begun: the next one ends it.
                self._schedule(shard, key, cell)
                continue
            if (problem := attempt.failed.get((record.topic, record.partition, record.offset, key))) is not None:
                # Its deadline stays removed: it would only fail again at every tick.
                problems.append(problem)
                continue
            after, before_bytes, shared = cell, 0, attempt.shared
            if key in attempt.measured:
                after, before_bytes = self._codec.pruned_copy(cell, attempt.committed)
                shared = self._share(attempt.shared)
            try:
                outcome = self.step.pass_time(key, after.state, tick.at, record, shared)
            except Exception as error:
                raise StepFailed(record, key, error) from error
            said: list[Output] = []
            next_index = self._take(after, record, outcome, index, said)
            if after is not cell and (excess := self._codec.excess(key, after, before_bytes)) is not None:
                self.step.place(result.partition, key, cell.state)
                if cell.outbox:
                    # What fills it is forgotten when its inputs are committed: a later tick may do what this one could
                    # not. A cell that is full without it would only be refused again at every tick.
                    self._schedule(shard, key, cell)
                excesses.append(excess)
                continue
            attempt.loaded[key] = after
            if shared is not attempt.shared:
                attempt.shared.changed.update(shared.changed)
            slot += said
            index = next_index
            result.facts.update(outcome.facts)
            self._schedule(shard, key, after)
            if outcome.is_over and not (
                self._keeps_outputs and after.may_see_again(attempt.committed, but=self._ticks)
            ):
                self._end(attempt, key)
        if self.step.shared_type is not None:
            try:
                outcome = self.step.pass_shared_time(tick.at, record, attempt.shared)
            except Exception as error:
                raise StepFailed(record, "", error) from error
            self._say(result, record, outcome)
        shard.last_tick = record.offset
        if problems or excesses:
            reason = Rejection.STEP_FAILED if problems else Rejection.TOO_LARGE
            self._refuse(record, reason, "; ".join([*problems, *excesses]), result)
        else:
            result.applied[record.topic] += 1
