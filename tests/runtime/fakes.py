"""A step small enough to see through, and a worker that can be killed at any point of its loop."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.reasons import Rejection
from stream_coupons.runtime.attempt import Result
from stream_coupons.runtime.batch import Batches
from stream_coupons.runtime.records import Output, Record
from stream_coupons.runtime.steps import Deferred, Outcome, Sent
from stream_coupons.runtime.stores import NewStore, in_memory

NUMBERS, WORDS, TICKS = "numbers", "words", "ticks"
PARTITIONS = 2


class Total(Struct):
    """State of the fake step."""

    total: int = 0
    alarms: list[float] = []
    ends_at: float | None = None
    leaves_mark: bool = False


class Adder:
    """Adds what it is told and says the total times `factor`, which stands for the model in use.

    A value is `<what> <number>`: add, twice (two outputs), soft (an output not kept), at (be woken at a time), later
    (add when the step is finished), end (need the state no more from a time on), mark (the same, but the total stays),
    gone (need it no more now), echo (say the record itself), and `fail`, `fail-at`, `fail-later` (raise now, or then),
    `refuse`, `same`.
    """

    name = "adder"
    topics = (NUMBERS, WORDS, TICKS)
    state_type = Total
    has_views = True

    def __init__(self, factor: int = 1, *, tracks_origins: bool = False) -> None:
        self.factor = factor
        self.tracks_origins = tracks_origins
        self.view: dict[str, int] = {}
        self.applied = 0
        self.finished: list[int] = []
        """Steps that were finished together, at each time."""

    def parse(self, record: Record) -> tuple[str, object]:
        text = (record.value or b"").decode(errors="replace")
        what, _, number = text.partition(" ")
        if record.topic == TICKS:
            return "", Now(float(number))
        if what == "nonsense" or record.key is None:
            raise BadMessage(Rejection.INVALID, text)
        return record.key.decode(), (what, float(number or 0))

    def partition_key(self, state_key: str) -> bytes:
        return state_key.encode()

    def apply(
        self,
        state_key: str,
        state: Total,
        message: tuple[str, float],
        record: Record,
    ) -> Outcome | Deferred:
        what, number = message
        self.applied += 1
        if what in ("later", "fail-later"):
            return Deferred((state_key, state, message))
        state.total += int(number)
        self.view[state_key] = state.total
        if what == "fail":
            raise RuntimeError("a bug of ours")
        if what in ("at", "fail-at"):
            state.total -= int(number)
            self.view[state_key] = state.total
            state.alarms.append(-number if what == "fail-at" else number)
            return Outcome([], [("told", what)])
        if what in ("end", "mark", "gone"):
            state.total -= int(number)
            state.ends_at = number
            state.leaves_mark = what == "mark"
            return Outcome([], [], is_over=what == "gone")
        if what == "echo":
            return Outcome([Sent(Output("dead", record.partition, record.key, record.value), kept=True)], [])
        said = [Sent(self._say(state_key, state), kept=what != "soft") for _ in range(1 + (what == "twice"))]
        return Outcome(said, [("told", what)], what == "same", "invalid" if what == "refuse" else None)

    def finish(self, deferred: Sequence[tuple[Deferred, Record]]) -> list[Outcome]:
        self.finished.append(len(deferred))
        outcomes = []
        for (state_key, state, (what, number)), _ in ((step.work, record) for step, record in deferred):
            state.total += int(number)
            self.view[state_key] = state.total
            if what == "fail-later":
                raise RuntimeError("a bug of ours, in what was deferred")
            outcomes.append(Outcome([Sent(self._say(state_key, state), kept=True)], [("told", what)]))
        return outcomes

    def _say(self, key: str, state: Total) -> Output:
        return Output("out", 0, key.encode(), f"{key}={state.total}*{self.factor}".encode())

    def remains(self, state: Total) -> Total | None:
        return Total(total=state.total) if state.leaves_mark else None

    def due(self, state: Total) -> float | None:
        ends = [] if state.ends_at is None else [state.ends_at]
        return min([*(abs(alarm) for alarm in state.alarms), *ends], default=None)

    def pass_time(self, state_key: str, state: Total, at: float, record: Record) -> Outcome:  # noqa: ARG002
        if any(alarm < 0 and -alarm <= at for alarm in state.alarms):
            raise RuntimeError("a bug of ours, in time")
        woken = [alarm for alarm in state.alarms if alarm <= at]
        state.alarms = [alarm for alarm in state.alarms if alarm > at]
        said = [Sent(self._say(state_key, state), kept=True) for _ in woken]
        is_over = state.ends_at is not None and state.ends_at <= at
        return Outcome(said, [("woken", "up")], is_over=is_over)

    def place(self, partition: int, state_key: str, state: Total) -> None:  # noqa: ARG002
        self.view[state_key] = state.total

    def forget(self, partition: int) -> None:
        self.view = {key: said for key, said in self.view.items() if home_of(key.encode(), PARTITIONS) != partition}

    def refuse(self, record: Record, reason: str, detail: str) -> Output:  # noqa: ARG002
        return Output("dead", record.partition, record.key, record.value, [("reason", reason.encode())])


@dataclass
class Now:
    """A fake tick."""

    at: float


def home_of(key: bytes, partitions: int) -> int:
    """Keys of an even first byte live in partition 0."""
    return key[0] % partitions


@dataclass
class Applied:
    """Results of several partitions, as one."""

    results: list[Result]

    @property
    def cells(self) -> dict[str, bytes | None]:
        return {key: data for result in self.results for key, data in result.cells.items()}

    @property
    def outputs(self) -> list[Output]:
        return [output for result in self.results for output in result.outputs]

    def __getattr__(self, name: str) -> Counter[Any]:
        """A counter of all results."""
        return sum((getattr(result, name) for result in self.results), Counter())


@dataclass
class Worker:
    """One process: its table outlives it, all else does not."""

    factor: int = 1
    tracks_origins: bool = False
    max_cell_bytes: int = sys.maxsize
    keeps_outputs: bool = True
    new_store: NewStore = in_memory
    table: dict[str, bytes] = field(default_factory=dict)
    committed: dict[str, int] = field(default_factory=dict)
    sent: list[Output] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart(self.factor)

    def restart(self, factor: int | None = None, owned: Iterable[int] = range(PARTITIONS)) -> None:
        """A new process over the same table."""
        self.step = Adder(self.factor if factor is None else factor, tracks_origins=self.tracks_origins)
        if hasattr(self, "batches"):
            for partition in self.batches.owned:
                self.batches.drop(partition)
        self.batches = Batches(
            self.step,
            TICKS,
            home_of,
            PARTITIONS,
            keeps_outputs=self.keeps_outputs,
            max_cell_bytes=self.max_cell_bytes,
        )
        for partition in owned:
            own = {key: data for key, data in self.table.items() if home_of(key.encode(), PARTITIONS) == partition}
            store = self.new_store(partition)
            store.save(own)
            self.batches.adopt(partition, store)

    def apply(self, records: Sequence[Record]) -> Applied:
        """Apply without saving or sending, a batch a partition."""
        homes = sorted({record.partition for record in records})
        work = {home: ([one for one in records if one.partition == home], self.committed) for home in homes}
        return Applied(self.batches.apply_all(work))

    def save(self, applied: Applied) -> None:
        """Take the new cells, as the changelog has them."""
        for result in applied.results:
            self.batches.save(result)
        keep(self.table, applied.cells.items())

    def run(self, records: Sequence[Record]) -> Applied:
        """Apply, save, send."""
        applied = self.apply(records)
        self.save(applied)
        self.sent += applied.outputs
        return applied

    def cells(self) -> dict[str, object]:
        """What is durable of every key, but for the marks of how far its inputs came."""
        cells = {key: self.batches._codec.decode(data) for key, data in self.table.items()}
        return {key: (cell.due, cell.state, cell.origins, cell.outbox) for key, cell in cells.items()}

    def states(self) -> Mapping[str, Total]:
        """State by key."""
        codec = self.batches._codec
        return {key: codec.decode(data).state for key, data in self.table.items()}


def keep(table: dict[str, bytes], changes: Iterable[tuple[str, bytes | None]]) -> None:
    """What a changelog does with new cells."""
    for key, data in changes:
        if data is None:
            table.pop(key, None)
        else:
            table[key] = data


def log(*entries: tuple[str, bytes | None, str], start: int = 0, partition: int | None = None) -> list[Record]:
    """Records of (topic, key, value), each in its key's partition, numbered within topic and partition."""
    ends: dict[tuple[str, int], int] = {}
    records = []
    for n, (topic, key, value) in enumerate(entries):
        home = partition if partition is not None else home_of(key, PARTITIONS) if key else 0
        offset = ends.get((topic, home), start)
        ends[topic, home] = offset + 1
        records.append(Record(topic, home, offset, 1000 + n, key, value.encode()))
    return records


def values(outputs: Iterable[Output], topic: str = "out") -> list[bytes]:
    """What was said to a topic."""
    return [output.value or b"" for output in outputs if output.topic == topic]
