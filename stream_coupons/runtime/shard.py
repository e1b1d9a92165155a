"""One partition of an agent's table: its saved cells, and what is derived from them in memory."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from stream_coupons.kafka.records import Record
from stream_coupons.runtime.cells import Cell, CellCodec, CellStore, OutboxEntry, StateCodec
from stream_coupons.runtime.deadlines import Deadlines
from stream_coupons.runtime.steps import SHARED_PREFIX, KeyedStep, OpenTick

State = TypeVar("State")


class UnreadableCell(Exception):
    """Bytes in a changelog that are no cell: to begin its key anew would forget what was given."""

    def __init__(self, partition: int, key: str) -> None:
        super().__init__(f"a cell of partition {partition}")
        self.partition, self.key = partition, key


@dataclass(frozen=True, slots=True)
class AgentTable(Generic[State]):
    """Settings that all partitions of an agent's table have in common.

    Attributes
    ----------
    ticks : str
        Name of the topic whose records report that time has passed in their partition.
    keeps_outputs : bool
        True if a cell keeps its outputs until their input is committed.
    home_of : callable
        Partition of a record key.
    """

    step: KeyedStep[State]
    ticks: str
    keeps_outputs: bool
    codec: CellCodec[State]
    shared_codec: StateCodec[Any] | None
    home_of: Callable[[bytes], int]


class Shard(Generic[State]):
    """The saved cells of one partition, and what is derived from them.

    Attributes
    ----------
    live : dict
        Saved cells kept decoded, the latest at the end. A batch takes out those it changes: it may never be saved.
    shared : dict
        Decoded states that all keys share: there are few.
    last_tick : int
        Offset of the last tick that has passed for all keys; -1 if there was none.
    open_tick : OpenTick or None
        The tick behind it, while it has passed for some keys only.
    ends : dict
        By topic, the offset behind the last record that was applied to any key.
    unsent : list of OutboxEntry
        What the outboxes of recovered cells hold: the last owner may have died before it sent them.
    """

    def __init__(self, partition: int, cells: CellStore, table: AgentTable[State]) -> None:
        self.partition = partition
        self.cells = cells
        self.table = table
        self.live: dict[str, Cell[State]] = {}
        self.shared: dict[str, Any] = {}
        self.deadlines = Deadlines()
        self.last_tick = -1
        self.open_tick: OpenTick | None = None
        self.ends: dict[str, int] = {}
        self.unsent: list[OutboxEntry] = []
        self._number = 0
        self._tick_indices: defaultdict[int, int] = defaultdict(int)
        """By offset of a tick, the index of its next output, if recovered outboxes hold some."""

    def recover(self) -> int:
        """Derive everything from the saved cells; return their number.

        Raises
        ------
        UnreadableCell
            If the bytes of one are no cell.
        """
        count = 0
        for key, data in self.cells.items():
            count += 1
            try:
                if key.startswith(SHARED_PREFIX):
                    self._recover_shared(key, data)
                else:
                    self._recover_cell(key, data)
            except msgspec.DecodeError as error:
                raise UnreadableCell(self.partition, key) from error
        self.last_tick = self.ends.get(self.table.ticks, 0) - 1
        return count

    def _recover_shared(self, key: str, data: bytes) -> None:
        if self.table.shared_codec is None:
            raise msgspec.DecodeError("this agent shares nothing")
        self.shared[key.removeprefix(SHARED_PREFIX)] = self.table.shared_codec.decode(data)

    def _recover_cell(self, key: str, data: bytes) -> None:
        """Decode a cell only as far as it is needed."""
        codec = self.table.codec
        head = codec.head(data)
        if self.table.step.has_views or not head.keeps_nothing:
            cell = codec.decode(data)
            self.restore(key, cell)
            self._recover_outbox(cell.outbox)
        else:
            self.deadlines.set(key, head.due)
        for topic, offset in head.applied.items():
            if offset >= self.ends.get(topic, 0):
                self.ends[topic] = offset + 1

    def _recover_outbox(self, outbox: Sequence[OutboxEntry]) -> None:
        self.unsent += outbox
        for kept in outbox:
            self._number = max(self._number, kept.number + 1)
            if kept.topic == self.table.ticks:
                self._tick_indices[kept.offset] = max(self._tick_indices[kept.offset], kept.index + 1)

    def next_number(self) -> int:
        """Return the place of the next output that an outbox is to hold, behind all that any holds."""
        self._number += 1
        return self._number - 1

    def next_index(self, tick: Record) -> int:
        """Return the index of a tick's next output: a replay goes on behind those that a former owner kept."""
        return self._tick_indices.get(tick.offset, 0)

    def saved(self, key: str) -> Cell[State]:
        """Return the saved cell of a key, newly decoded, or a new one."""
        data = self.cells.get(key)
        return self.table.codec.decode(data) if data is not None else self.table.codec.new()

    def restore(self, key: str, cell: Cell[State]) -> None:
        """Derive deadline and views from a cell.

        Parameters
        ----------
        key : str
            Key of the state.
        cell : Cell
            Its cell.
        """
        self.deadlines.set(key, cell.due)
        self.table.step.place(self.partition, key, cell.state)

    def undo(self, last_tick: int, open_tick: OpenTick | None, cells: Iterable[tuple[str, Cell[State]]]) -> None:
        """Restore what is derived to an earlier state.

        Parameters
        ----------
        last_tick, open_tick : int, OpenTick or None
            The attributes of these names at that time.
        cells : iterable of (str, Cell)
            Keys that changed since, and their cells at that time.
        """
        self.last_tick, self.open_tick = last_tick, open_tick
        for key, cell in cells:
            self.restore(key, cell)
