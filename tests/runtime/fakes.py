"""A step small enough to see through, and a worker that can be killed at any point of its loop."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.records import Output, Record
from stream_coupons.runtime.batch import BatchProcessor
from stream_coupons.runtime.cells import CellCodec, NewStore, in_memory
from stream_coupons.runtime.steps import SHARED_PREFIX, Folded, Outcome, Result, SharedStates

NUMBERS, WORDS, FILLS, TICKS = "numbers", "words", "fills", "ticks"
PARTITIONS = 2


class Total(Struct):
    """State of the fake step."""

    total: int = 0
    alarms: list[float] = []
    ends_at: float | None = None
    leaves_mark: bool = False
    pays_at: float | None = None


class Pot(Struct):
    """What all keys of a partition draw on: totals that only grow."""

    filled: int = 0
    drawn: int = 0
    freed: int = 0
    told: int = 0

    @property
    def available(self) -> int:
        return self.filled - self.drawn + self.freed


COMMITTED = {"later", "fail-later", "draw", "draw-fail", "draw-later"}
"""What is done when a round is committed."""


class Adder:
    """Adds what it is told and says the total times `factor`, which stands for the model in use.

    A value is `<what> <number>`: add, twice (two outputs), soft (an output not kept), at (be woken at a time), later
    (add when the step is committed), end (need the state no more from a time on), mark (the same, but the total stays),
    gone (need it no more now), echo (say the record itself), and `fail`, `fail-at`, `fail-later` (raise now, or then),
    `refuse`, `same`. Of the partition's pot: draw and draw-later (add as much as is there, now or when the step is
    finished), draw-fail (draw, then raise), free (give it back, so far as the total allows), free-at (all, at a time),
    and, as a record of FILLS, fill (as much was put into it in all) and fill-fail. Time says what was drawn of it.
    """

    name = "adder"
    topics = (NUMBERS, WORDS, FILLS, TICKS)
    state_type = Total
    shared_type = Pot
    new_shared = Pot
    shared_topics = frozenset({FILLS})
    has_views = True

    def __init__(self, factor: int = 1) -> None:
        self.factor = factor
        self.fails_in_shared_time = False
        self.view: dict[str, int] = {}
        self.applied = 0
        self.decided: list[int] = []
        """Works that were decided together, of each round that has any."""

    def parse(self, record: Record) -> tuple[str, object]:
        text = (record.value or b"").decode(errors="replace")
        what, _, number = text.partition(" ")
        if record.topic == TICKS:
            return "", Now(float(number))
        if what == "nonsense" or record.key is None:
            raise BadMessage(Rejection.INVALID, text)
        return record.key.decode(), (what, float(number or 0))

    def fold(self, state_key: str, state: Total, message: tuple[str, float], record: Record) -> Folded:
        what, number = message
        self.applied += 1
        if what in COMMITTED:
            return Folded((state_key, state, what, int(number)), is_open=True)
        if what == "free":
            number = -min(int(number), state.total)
        outcome = self._outcome(state_key, state, what, number, record)
        return Folded((outcome, -int(number) if what == "free" else 0), is_open=outcome.is_over)

    def _outcome(self, state_key: str, state: Total, what: str, number: float, record: Record) -> Outcome:
        if what == "free-at":
            state.pays_at = number
            return Outcome([], [])
        if what in ("at", "fail-at"):
            state.alarms.append(-number if what == "fail-at" else number)
            return Outcome([], [("told", what)])
        if what in ("end", "mark", "gone"):
            state.ends_at = number
            state.leaves_mark = what == "mark"
            return Outcome([], [], is_over=what == "gone")
        state.total += int(number)
        self.view[state_key] = state.total
        if what == "fail":
            raise RuntimeError("a bug of ours")
        if what == "echo":
            return Outcome([Output("dead", record.partition, record.key, record.value)], [])
        said = [self._say(state_key, state) for _ in range(1 + (what == "twice"))]
        refused, soft = "invalid" if what == "refuse" else None, {0} if what == "soft" else frozenset[int]()
        return Outcome(said, [("told", what)], what == "same", refused, soft=soft)

    def decide(self, works: Sequence[Any]) -> Sequence[Any]:
        later = sum(work[-2] in ("later", "fail-later", "draw-later") for work in works)
        self.decided += [later] if later else []
        return works

    def commit(self, work: Any, record: Record, shared: SharedStates[Pot]) -> Outcome:
        if isinstance(work[0], Outcome):
            outcome, freed = work
            if freed:
                shared.change(pot_of(record.partition)).freed += freed
            return outcome
        state_key, state, what, number = work
        if what.startswith("draw"):
            number = draw(shared.change(pot_of(record.partition)), number)
        state.total += number
        self.view[state_key] = state.total
        if what in ("draw-fail", "fail-later"):
            raise RuntimeError("a bug of ours, as it is committed")
        return Outcome([self._say(state_key, state)], [("told", what)])

    def _say(self, key: str, state: Total) -> Output:
        return Output("out", 0, key.encode(), f"{key}={state.total}*{self.factor}".encode())

    def remains(self, state: Total) -> Total | None:
        return Total(total=state.total) if state.leaves_mark else None

    def due(self, state: Total) -> float | None:
        ends = [end for end in (state.ends_at, state.pays_at) if end is not None]
        return min([*(abs(alarm) for alarm in state.alarms), *ends], default=None)

    def pass_time(self, state_key: str, state: Total, at: float, record: Record, shared: SharedStates[Pot]) -> Outcome:
        if state.pays_at is not None and state.pays_at <= at:
            shared.change(pot_of(record.partition)).freed += state.total
            state.total, state.pays_at = 0, None
        if any(alarm < 0 and -alarm <= at for alarm in state.alarms):
            raise RuntimeError("a bug of ours, in time")
        woken = [alarm for alarm in state.alarms if alarm <= at]
        state.alarms = [alarm for alarm in state.alarms if alarm > at]
        said = [self._say(state_key, state) for _ in woken]
        is_over = state.ends_at is not None and state.ends_at <= at
        return Outcome(said, [("woken", "up")], is_over=is_over)

    def apply_shared(self, message: tuple[str, float], record: Record, shared: SharedStates[Pot]) -> Outcome:
        what, number = message
        pot = shared.get(pot_of(record.partition))
        if pot is not None and pot.filled >= number:
            return Outcome([], [], is_duplicate=True)
        shared.change(pot_of(record.partition)).filled = int(number)
        if what == "fill-fail":
            raise RuntimeError("a bug of ours, in what is shared")
        return Outcome([Output("said", record.partition, record.key, record.value)], [("fill", "up")])

    def pass_shared_time(self, at: float, record: Record, shared: SharedStates[Pot]) -> Outcome:  # noqa: ARG002
        said = []
        for name, pot in shared.items():
            if pot.drawn + pot.freed != pot.told:
                changed = shared.change(name)
                changed.told = pot.drawn + pot.freed
                report = f"{name}={changed.drawn}-{changed.freed}".encode()
                said.append(Output("said", record.partition, name.encode(), report))
        if self.fails_in_shared_time:
            raise RuntimeError("a bug of ours, in time for what is shared")
        return Outcome(said, [("told", "pots")] if said else [])

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
    """Keys of an even first byte live in partition 0; of what is shared, the byte behind the prefix counts."""
    return key.removeprefix(SHARED_PREFIX.encode())[0] % partitions


def pot_of(partition: int) -> str:
    """The name of a partition's pot."""
    return str(partition)


def draw(pot: Pot, most: int) -> int:
    """Take as much as is there."""
    taken = min(most, pot.available)
    pot.drawn += taken
    return taken


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
    max_cell_bytes: int = sys.maxsize
    keeps_outputs: bool = True
    new_store: NewStore = in_memory
    table: dict[str, bytes] = field(default_factory=dict)
    committed: dict[str, int] = field(default_factory=dict)
    sent: list[Output] = field(default_factory=list)
    unsent: list[Output] = field(default_factory=list)
    """Outputs that the restart sent: the process before may have died with them."""

    def __post_init__(self) -> None:
        self.restart(self.factor)

    def restart(self, factor: int | None = None, owned: Iterable[int] = range(PARTITIONS)) -> None:
        """A new process over the same table."""
        self.step = Adder(self.factor if factor is None else factor)
        if hasattr(self, "batches"):
            for partition in self.batches.owned:
                self.batches.drop(partition)
        self.batches = BatchProcessor(
            self.step,
            TICKS,
            home_of,
            PARTITIONS,
            keeps_outputs=self.keeps_outputs,
            max_cell_bytes=self.max_cell_bytes,
        )
        self.unsent = []
        for partition in owned:
            own = {key: data for key, data in self.table.items() if home_of(key.encode(), PARTITIONS) == partition}
            store = self.new_store(partition)
            store.save(own)
            self.batches.adopt(partition, store)
            self.unsent += self.batches.unsent(partition, self.committed)
            self.batches.sent(partition)
        self.sent += self.unsent

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
        cells = {key: self.batches._codec.decode(data) for key, data in self._own.items()}
        return {key: (cell.due, cell.state, [kept.output for kept in cell.outbox]) for key, cell in cells.items()}

    @property
    def _own(self) -> dict[str, bytes]:
        return {key: data for key, data in self.table.items() if not key.startswith(SHARED_PREFIX)}

    def states(self) -> Mapping[str, Total]:
        """State by key."""
        codec = self.batches._codec
        return {key: codec.decode(data).state for key, data in self._own.items()}

    def pot(self, partition: int = 0) -> Pot:
        """A partition's pot, as it is saved."""
        data = self.table.get(SHARED_PREFIX + pot_of(partition))
        return Pot() if data is None else self.batches._shared_codec.decode(data)


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


def unnumbered(codec: CellCodec[Any], cells: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    """Cells without the numbers of their outputs, which differ by what was tried, or kept, before."""
    found = dict(cells)
    for key, data in cells.items():
        if data is not None and not key.startswith(SHARED_PREFIX):
            cell = codec.decode(data)
            found[key] = codec.encode(replace(cell, outbox=[replace(one, number=0) for one in cell.outbox]))
    return found


def once(outputs: Iterable[Output]) -> list[Output]:
    """The first copy of each output."""
    return list({dict(output.headers)["origin"]: output for output in reversed([*outputs])}.values())[::-1]


def values(outputs: Iterable[Output], topic: str = "out") -> list[bytes]:
    """What was said to a topic."""
    return [output.value or b"" for output in outputs if output.topic == topic]
