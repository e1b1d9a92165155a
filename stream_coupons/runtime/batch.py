"""Apply a batch of records to the states of one agent: pure of Kafka and Faust, so it runs under any test.

A batch is all or nothing until it is sent: states are decoded once, changed in memory and written once; those of keys
that were busy lately are not even decoded. If a step raises, the batch is begun again without the guilty record, which
becomes a dead letter.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

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

MAX_LIVE = 4096
"""Cells kept decoded after they were saved: shoppers come in sessions, so most records are of a key seen lately."""

NO_KEY = "key is null: key every record by the id that its topic is keyed by"


@dataclass(slots=True)
class Result:
    """What a batch of one partition brings about: new cells as bytes, and the outputs in the order of their inputs."""

    partition: int
    cells: dict[str, bytes] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)
    """The same cells, not encoded."""
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


class Shard:
    """All that is known of one partition: its cells' bytes, and what is derived from them."""

    def __init__(self, cells: dict[str, bytes]) -> None:
        self.cells = cells
        self.deadlines = Deadlines()
        self.last_tick = -1
        self.unsent_ticks: set[str] = set()
        """Keys whose outbox holds what a tick led to."""


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
    """

    def __init__(
        self,
        step: KeyedStep[State],
        ticks: str,
        partition_for: Callable[[bytes, int], int],
        partitions: int,
        *,
        keeps_outputs: bool = True,
    ) -> None:
        self.step = step
        self._ticks = ticks
        self._partition_for = partition_for
        self._partitions = partitions
        self._keeps_outputs = keeps_outputs
        self._codec = CellCodec(step.state_type)
        self._shards: dict[int, Shard] = {}
        self._loaded: dict[str, Cell[State]] = {}
        self._live: dict[str, Cell[State]] = {}
        """Saved cells, the one saved last at the end. A batch takes out what it changes: it may never be saved."""

    @property
    def owned(self) -> set[int]:
        """The partitions adopted."""
        return set(self._shards)

    def cells(self, partition: int) -> Mapping[str, bytes]:
        """The saved cells of a partition, by key."""
        return self._shards[partition].cells

    def adopt(self, partition: int, cells: dict[str, bytes]) -> None:
        """Take over a partition whose saved cells are these, and make anew all that is derived from them."""
        self.drop(partition)
        shard = self._shards[partition] = Shard(cells)
        for key, data in cells.items():
            head = self._codec.head(data)
            shard.deadlines.set(key, head.due)
            shard.last_tick = max(shard.last_tick, head.applied.get(self._ticks, -1))
            if self.step.has_views or not head.keeps_nothing:
                cell = self._codec.decode(data)
                self.step.place(partition, key, cell.state)
                if cell.keeps_for(self._ticks):
                    shard.unsent_ticks.add(key)

    def drop(self, partition: int) -> None:
        """Forget a partition: it is somebody else's."""
        self._live.clear()
        if self._shards.pop(partition, None) is not None:
            self.step.forget(partition)

    def save(self, result: Result) -> None:
        """Take new cells, which the broker has, for the saved ones."""
        self._shards[result.partition].cells.update(result.cells)
        self._live.update(result.live)
        for key in list(islice(self._live, max(len(self._live) - MAX_LIVE, 0))):
            del self._live[key]

    def apply(self, partition: int, records: Sequence[Record], committed: Mapping[str, int]) -> Result:
        """Apply records of one partition number, of any of the agent's topics, in order.

        Parameters
        ----------
        committed : mapping
            The next offset to be delivered after a restart, by topic: what lies below is never replayed.
        """
        shard = self._shards[partition]
        failed: dict[Failure, str] = {}
        while True:
            try:
                return self._attempt(partition, shard, records, committed, failed)
            except StepFailed as error:
                if len(failed) >= MAX_FAILURES:
                    raise
                failed[error.failure] = str(error)
                self._roll_back(partition, shard)

    def _roll_back(self, partition: int, shard: Shard) -> None:
        for key in self._loaded:
            cell = self._saved(shard, key)
            shard.deadlines.set(key, cell.due)
            self.step.place(partition, key, cell.state)

    def _attempt(
        self,
        partition: int,
        shard: Shard,
        records: Sequence[Record],
        committed: Mapping[str, int],
        failed: Mapping[Failure, str],
    ) -> Result:
        self._loaded = {}
        result = Result(partition)
        for record in records:
            detail = failed.get((record.topic, record.partition, record.offset, ""))
            if detail is not None:
                self._refuse(record, Rejection.STEP_FAILED, detail, result)
                continue
            try:
                if record.topic == self._ticks:
                    self._apply_tick(shard, record, failed, result)
                else:
                    self._apply_record(shard, record, result)
            except BadMessage as bad:
                self._refuse(record, bad.reason, bad.detail, result)
        for key, cell in self._loaded.items():
            if shard.last_tick >= 0:
                cell.applied[self._ticks] = max(shard.last_tick, cell.applied.get(self._ticks, -1))
            cell.prune(committed)
            if key in shard.unsent_ticks and not cell.keeps_for(self._ticks):
                shard.unsent_ticks.discard(key)
            result.cells[key] = self._codec.encode(cell)
        result.live = self._loaded
        return result

    def _refuse(self, record: Record, reason: str, detail: str, result: Result) -> None:
        result.outputs.append(self.step.refuse(record, reason, detail))
        result.dead[record.topic, reason] += 1

    def _cell(self, shard: Shard, key: str) -> Cell[State]:
        cell = self._loaded.get(key)
        if cell is None:
            cell = self._live.pop(key) if key in self._live else self._saved(shard, key)
            self._loaded[key] = cell
        return cell

    def _saved(self, shard: Shard, key: str) -> Cell[State]:
        data = shard.cells.get(key)
        return self._codec.decode(data) if data is not None else self._codec.new()

    def _check_home(self, shard: Shard, key: str, record: Record) -> None:
        """Refuse a record in a partition that is not its key's; a key that has a cell here was looked at before."""
        if key in shard.cells or key in self._loaded:
            return
        expected = self._partition_for(record.key or b"", self._partitions)
        if record.partition != expected:
            raise BadMessage(
                Rejection.WRONG_PARTITION,
                f"key {record.key!r} belongs to partition {expected}, not {record.partition}: "
                "set the sender's partitioner to murmur2",
            )

    def _apply_record(self, shard: Shard, record: Record, result: Result) -> None:
        if record.key is None:
            raise BadMessage(Rejection.NO_KEY, NO_KEY)
        key, message = self.step.parse(record)
        self._check_home(shard, key, record)
        cell = self._cell(shard, key)
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
            self._schedule(shard, key, cell)
            if outcome.refused is not None:
                result.dead[record.topic, outcome.refused] += 1
            else:
                (result.duplicates if outcome.is_duplicate else result.applied)[record.topic] += 1

    def _schedule(self, shard: Shard, key: str, cell: Cell[State]) -> None:
        """Set the deadline of a state that was just changed, at once: a later tick of this very batch must see it."""
        cell.due = self.step.due(cell.state)
        shard.deadlines.set(key, cell.due)

    def _take(self, cell: Cell[State], record: Record, outcome: Outcome, index: int, result: Result) -> int:
        """Add an outcome's outputs to the result and, if they may have to be sent again, to the outbox."""
        result.facts.update(outcome.facts)
        for sent in outcome.sent:
            output = sent.output
            output.headers.append(origin_header((record.topic, record.partition, record.offset, index)))
            output.headers.append(began_header(record))
            result.outputs.append(output)
            if sent.kept and self._keeps_outputs:
                cell.outbox.append(Kept(record.topic, record.offset, index, output))
            index += 1
        return index

    def _apply_tick(self, shard: Shard, record: Record, failed: Mapping[Failure, str], result: Result) -> None:
        """Let time pass for every key that it is due for; their outputs share the tick's origin, in one order.

        What a replayed tick led to before is sent again first, in its old order; all else comes behind it.
        """
        _, tick = self.step.parse(record)
        again = sorted(
            (kept for key in shard.unsent_ticks for kept in self._cell(shard, key).kept_for(record)),
            key=lambda kept: kept.index,
        )
        result.outputs += [kept.output for kept in again]
        index = again[-1].index + 1 if again else 0
        # All cells are loaded before any is stepped, so that a failure rolls all of them back.
        due = {key: self._cell(shard, key) for key in shard.deadlines.pop_due(tick.at)}
        problems = []
        for key, cell in due.items():
            if cell.is_replay(record):
                # The tick had passed when what it would end now was begun: the next one ends it.
                self._schedule(shard, key, cell)
                continue
            if (problem := failed.get((record.topic, record.partition, record.offset, key))) is not None:
                # Its deadline stays removed: it would only fail again at every tick.
                problems.append(problem)
                continue
            try:
                outcome = self.step.pass_time(key, cell.state, tick.at, record)
            except Exception as error:
                raise StepFailed(record, key, error) from error
            index = self._take(cell, record, outcome, index, result)
            self._schedule(shard, key, cell)
        shard.last_tick = record.offset
        if problems:
            self._refuse(record, Rejection.STEP_FAILED, "; ".join(problems), result)
        else:
            result.applied[record.topic] += 1
