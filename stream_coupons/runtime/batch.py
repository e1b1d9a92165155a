"""Apply a batch of records to the states of one agent: pure of Kafka and Faust, so it runs under any test.

A batch is all or nothing until it is sent: states are decoded once, changed in memory and written once. If a step
raises, the batch is begun again without the guilty record, which becomes a dead letter.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.reasons import Rejection
from stream_coupons.runtime.cells import Cell, CellCodec, Kept
from stream_coupons.runtime.deadlines import Deadlines
from stream_coupons.runtime.records import Output, Record, began_header, origin_header
from stream_coupons.runtime.steps import KeyedStep, Outcome

State = TypeVar("State")
Failure = tuple[str, int, int, str]
"""(topic, partition, offset, key) of a step that raised; the key is empty but for a tick, which has many."""

MAX_FAILURES = 100
"""Steps that may raise on one batch; beyond it the program, not the data, is at fault, and it stops."""

NO_KEY = "key is null: key every record by the id that its topic is keyed by"


@dataclass(slots=True)
class Result:
    """What a batch brings about: the new states' bytes, and the outputs in the order of their inputs."""

    states: dict[str, bytes] = field(default_factory=dict)
    partitions: dict[str, int] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    applied: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    replays: Counter[str] = field(default_factory=Counter)
    dead: Counter[tuple[str, str]] = field(default_factory=Counter)
    facts: Counter[tuple[str, str]] = field(default_factory=Counter)


class StepFailed(Exception):
    """A step raised on a record: a bug of ours, carried to where the batch is begun again."""

    def __init__(self, record: Record, key: str, cause: Exception) -> None:
        super().__init__(f"{record.topic}:{record.partition}:{record.offset}: {type(cause).__name__}: {cause}")
        self.failure: Failure = (record.topic, record.partition, record.offset, key)


class Batches(Generic[State]):
    """Applies batches to the cells of one agent.

    Parameters
    ----------
    step : KeyedStep
        The agent's step.
    load : callable
        Key to the bytes of its cell, None when it has none.
    ticks : str
        Name of the topic whose records say that time has passed in their partition.
    partition_for : callable
        Key and number of partitions to partition.
    partitions : int
        Number of partitions of every topic that the agent reads.
    """

    def __init__(
        self,
        step: KeyedStep[State],
        load: Callable[[str], bytes | None],
        ticks: str,
        partition_for: Callable[[bytes, int], int],
        partitions: int,
    ) -> None:
        self.step = step
        self._load = load
        self._ticks = ticks
        self._partition_for = partition_for
        self._partitions = partitions
        self._codec = CellCodec(step.state_type)
        self._deadlines = Deadlines()
        self._unsent_ticks: dict[int, set[str]] = {}
        self._last_tick: dict[int, int] = {}
        self._cells: dict[str, Cell[State]] = {}
        self._where: dict[str, int] = {}

    def recover(self, cells: Mapping[bytes, bytes], owned: set[int]) -> None:
        """Make all that is derived from the cells anew, after a table was recovered."""
        self.step.forget()
        self._deadlines.clear()
        self._unsent_ticks.clear()
        self._last_tick.clear()
        for raw_key, data in cells.items():
            key = raw_key.decode()
            partition = self._partition_for(self.step.partition_key(key), self._partitions)
            if partition not in owned:
                continue
            cell = self._codec.decode(data)
            self._deadlines.set(partition, key, cell.due)
            self.step.place(partition, key, cell.state)
            tick = cell.applied.get(self._ticks, -1)
            self._last_tick[partition] = max(tick, self._last_tick.get(partition, -1))
            if cell.keeps_for(self._ticks):
                self._unsent_ticks.setdefault(partition, set()).add(key)

    def apply(self, records: Sequence[Record], committed: Callable[[int], dict[str, int]]) -> Result:
        """Apply records in order.

        Parameters
        ----------
        committed : callable
            Partition to the next offset to be delivered after a restart, by topic: what lies below is never replayed.
        """
        failed: dict[Failure, str] = {}
        while True:
            try:
                return self._attempt(records, committed, failed)
            except StepFailed as error:
                if len(failed) >= MAX_FAILURES:
                    raise
                failed[error.failure] = str(error)
                self._roll_back()

    def _roll_back(self) -> None:
        for key, partition in self._where.items():
            cell = self._saved(key)
            self._deadlines.set(partition, key, cell.due)
            self.step.place(partition, key, cell.state)

    def _attempt(
        self,
        records: Sequence[Record],
        committed: Callable[[int], dict[str, int]],
        failed: Mapping[Failure, str],
    ) -> Result:
        self._cells, self._where = {}, {}
        result = Result()
        for record in records:
            detail = failed.get((record.topic, record.partition, record.offset, ""))
            if detail is not None:
                self._refuse(record, Rejection.STEP_FAILED, detail, result)
                continue
            try:
                if record.topic == self._ticks:
                    self._apply_tick(record, failed, result)
                else:
                    self._apply_record(record, result)
            except BadMessage as bad:
                self._refuse(record, bad.reason, bad.detail, result)
        for key, cell in self._cells.items():
            partition = self._where[key]
            if (tick := self._last_tick.get(partition)) is not None:
                cell.applied[self._ticks] = max(tick, cell.applied.get(self._ticks, -1))
            cell.prune(committed(partition))
            self._note_unsent(partition, key, cell)
            result.states[key] = self._codec.encode(cell)
            result.partitions[key] = partition
        return result

    def _note_unsent(self, partition: int, key: str, cell: Cell[State]) -> None:
        """Forget a key once nothing that a tick led to waits in its outbox any more."""
        unsent = self._unsent_ticks.get(partition)
        if unsent and key in unsent and not cell.keeps_for(self._ticks):
            unsent.discard(key)

    def _refuse(self, record: Record, reason: str, detail: str, result: Result) -> None:
        result.outputs.append(self.step.refuse(record, reason, detail))
        result.dead[record.topic, reason] += 1

    def _cell(self, key: str, partition: int) -> Cell[State]:
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = self._saved(key)
            self._where[key] = partition
        return cell

    def _saved(self, key: str) -> Cell[State]:
        data = self._load(key)
        return self._codec.decode(data) if data is not None else self._codec.new()

    def _apply_record(self, record: Record, result: Result) -> None:
        if record.key is None:
            raise BadMessage(Rejection.NO_KEY, NO_KEY)
        key, message = self.step.parse(record)
        expected = self._partition_for(record.key, self._partitions)
        if record.partition != expected:
            raise BadMessage(
                Rejection.WRONG_PARTITION,
                f"key {record.key!r} belongs to partition {expected}, not {record.partition}: "
                "set the sender's partitioner to murmur2",
            )
        cell = self._cell(key, record.partition)
        if cell.is_replay(record):
            result.outputs += [kept.output for kept in cell.kept_for(record)]
            result.replays[record.topic] += 1
        elif self.step.tracks_origins and cell.is_copy(record):
            cell.mark(record, with_origin=False)
            result.duplicates[record.topic] += 1
        else:
            try:
                outcome = self.step.apply(key, cell.state, message, record)
            except Exception as error:
                raise StepFailed(record, "", error) from error
            cell.mark(record, with_origin=self.step.tracks_origins)
            self._take(cell, record, outcome, 0, result)
            self._schedule(record.partition, key, cell)
            if outcome.refused is not None:
                result.dead[record.topic, outcome.refused] += 1
            else:
                (result.duplicates if outcome.is_duplicate else result.applied)[record.topic] += 1

    def _schedule(self, partition: int, key: str, cell: Cell[State]) -> None:
        """Set the deadline of a state that was just changed, at once: a later tick of this very batch must see it."""
        cell.due = self.step.due(cell.state)
        self._deadlines.set(partition, key, cell.due)

    def _take(self, cell: Cell[State], record: Record, outcome: Outcome, index: int, result: Result) -> int:
        """Add an outcome's outputs to the result and, if they may have to be sent again, to the outbox."""
        result.facts.update(outcome.facts)
        for sent in outcome.sent:
            output = sent.output
            output.headers.append(origin_header((record.topic, record.partition, record.offset, index)))
            output.headers.append(began_header(record))
            result.outputs.append(output)
            if sent.kept:
                cell.outbox.append(Kept(record.topic, record.offset, index, output))
            index += 1
        return index

    def _apply_tick(self, record: Record, failed: Mapping[Failure, str], result: Result) -> None:
        """Let time pass for every key that it is due for; their outputs share the tick's origin, in one order.

        What a replayed tick led to before is sent again first, in its old order; all else comes behind it.
        """
        _, tick = self.step.parse(record)
        partition = record.partition
        unsent = self._unsent_ticks.get(partition, ())
        again = sorted(
            (kept for key in unsent for kept in self._cell(key, partition).kept_for(record)),
            key=lambda kept: kept.index,
        )
        result.outputs += [kept.output for kept in again]
        index = again[-1].index + 1 if again else 0
        # All cells are loaded before any is stepped, so that a failure rolls all of them back.
        due = {key: self._cell(key, partition) for key in self._deadlines.pop_due(partition, tick.at)}
        problems = []
        for key, cell in due.items():
            if cell.is_replay(record):
                # The tick had passed when what it would end now was begun: the next one ends it.
                self._schedule(partition, key, cell)
                continue
            if (problem := failed.get((record.topic, partition, record.offset, key))) is not None:
                # Its deadline stays removed: it would only fail again at every tick.
                problems.append(problem)
                continue
            try:
                outcome = self.step.pass_time(key, cell.state, tick.at, record)
            except Exception as error:
                raise StepFailed(record, key, error) from error
            index = self._take(cell, record, outcome, index, result)
            self._schedule(partition, key, cell)
        self._last_tick[partition] = record.offset
        if problems:
            self._refuse(record, Rejection.STEP_FAILED, "; ".join(problems), result)
        else:
            result.applied[record.topic] += 1
