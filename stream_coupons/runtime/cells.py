"""Cells: the durable state of each key, as a struct and as bytes, with their stores.

A cell is the step's state, how far its inputs were applied, and what it decided. `applied` makes a replay visible;
`outbox` holds the outputs of inputs whose offsets are not committed yet: whoever takes the cell over sends the same
bytes before anything else, and decides nothing anew.

A store keeps the cells of one partition as bytes, here in memory, in `rocks` on a disk. It lasts no longer than its
worker. The changelog is durable: the new owner of a partition reads it into an empty store. So a store is never older
than the changelog, needs no log of its own, and may be lost at any moment.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import Struct, field

from stream_coupons.kafka.records import Output, Record
from stream_coupons.runtime.steps import TooLarge

State = TypeVar("State")

NOTHING_KEPT = msgspec.msgpack.encode([])


class OutboxEntry(Struct, array_like=True):
    """An output in the outbox, the input that it came of and its place among that one's outputs.

    If its value is the input's own, as a dead letter's is, it is None here: the input brings it when it comes again.

    Attributes
    ----------
    number : int
        Place among the outputs that outboxes of the partition hold, of all keys: the order in which they were decided.
    """

    topic: str
    offset: int
    index: int
    output: Output
    number: int

    @classmethod
    def of(cls, record: Record, index: int, output: Output, number: int) -> "OutboxEntry":
        """Return an output of a record, without what the record has itself.

        Parameters
        ----------
        record : Record
            The input.
        index : int
            Place of the output among those of the input, from 0.
        output : Output
            The output.
        number : int
            Place among the outputs of the partition.
        """
        if output.value is record.value:
            output = Output(output.topic, output.partition, output.key, None, output.headers)
        return cls(record.topic, record.offset, index, output, number)


class Cell(Struct, Generic[State], array_like=True):
    """Durable state of one key; the runtime owns all of it but `state`.

    Attributes
    ----------
    applied : dict
        Offset of the last record applied, by topic; of ticks, the last one that has passed for all keys.
    passed : int
        Offset of a tick that has passed for this key and not yet for all; -1 if there is none.
    """

    due: float | None
    state: State
    applied: dict[str, int] = field(default_factory=dict)
    outbox: list[OutboxEntry] = field(default_factory=list)
    passed: int = -1

    def is_replay(self, record: Record) -> bool:
        """Return True if this record was applied before."""
        return record.offset <= self.applied.get(record.topic, -1)

    def repeats_of(self, record: Record) -> list[Output]:
        """Return the outputs of this record that repeat its value, byte for byte, now that it has come again."""
        return [
            Output(kept.output.topic, kept.output.partition, kept.output.key, record.value, kept.output.headers)
            for kept in self.outbox
            if (kept.topic, kept.offset) == (record.topic, record.offset) and kept.output.value is None
        ]

    def may_see_again(self, committed: Mapping[str, int], *, but: str) -> bool:
        """Return True if an applied record, except of topic `but`, or an input of kept outputs may be replayed.

        Parameters
        ----------
        committed : mapping of str to int
            The next offset to be delivered after a restart, by topic.
        but : str
            Topic that does not count.
        """
        applied = [(topic, offset) for topic, offset in self.applied.items() if topic != but]
        kept = [(kept.topic, kept.offset) for kept in self.outbox]
        return any(offset >= committed.get(topic, 0) for topic, offset in applied + kept)

    def prune(self, committed: Mapping[str, int]) -> None:
        """Forget the outputs of inputs that will not come again: `committed` is the next offset by topic."""
        self.outbox = [kept for kept in self.outbox if kept.offset >= committed.get(kept.topic, -1)]


class CellHeader(Struct, array_like=True):
    """A cell of which only what recovery needs is decoded: a sixth of the time."""

    due: float | None
    state: msgspec.Raw
    applied: dict[str, int]
    outbox: msgspec.Raw

    @property
    def keeps_nothing(self) -> bool:
        """True if the outbox is empty."""
        return bytes(self.outbox) == NOTHING_KEPT


def is_cell(data: bytes | None) -> bool:
    """Return True if bytes have the form of a cell, whatever its state is."""
    try:
        msgspec.msgpack.decode(data or b"", type=CellHeader)
    except msgspec.DecodeError:
        return False
    return True


class CellCodec(Generic[State]):
    """Cells to bytes and back; of more than `max_bytes` a cell cannot be saved."""

    def __init__(self, state_type: type[State], max_bytes: int = sys.maxsize) -> None:
        self.max_bytes = max_bytes
        self._state_type = state_type
        self._encoder = msgspec.msgpack.Encoder()
        self._head_decoder = msgspec.msgpack.Decoder(CellHeader)
        self._decoder: msgspec.msgpack.Decoder[Cell[State]] = msgspec.msgpack.Decoder(
            Cell[state_type]  # type: ignore[valid-type]
        )

    def head(self, data: bytes) -> CellHeader:
        """Decode only the part of an encoded cell that recovery needs."""
        return self._head_decoder.decode(data)

    def new(self) -> Cell[State]:
        """Return the cell of a key that was never seen."""
        return Cell(None, self._state_type())

    def encode(self, cell: Cell[State]) -> bytes:
        """Return the bytes for the table and its changelog."""
        return self._encoder.encode(cell)

    def decode(self, data: bytes) -> Cell[State]:
        """Return the cell that `encode` made bytes of."""
        return self._decoder.decode(data)

    def copy(self, cell: Cell[State]) -> Cell[State]:
        """Return a copy that shares nothing with the cell."""
        return self.decode(self.encode(cell))

    def encode_within(self, max_bytes: int, key: str, cell: Cell[State]) -> bytes:
        """Return the bytes of a key's cell; raise `TooLarge` if a record or msgpack cannot hold it.

        Parameters
        ----------
        max_bytes : int
            Most bytes of the result.
        key : str
            Key of the cell, for the error.
        cell : Cell
            The cell.
        """
        try:
            data = self._encoder.encode(cell)
        except OverflowError as error:
            raise TooLarge(f"the state of {key!r} cannot be saved: {error}") from error
        if len(data) > max_bytes:
            raise TooLarge(f"the state of {key!r} would take {len(data)} bytes, at most {self.max_bytes}")
        return data


class StateCodec(Generic[State]):
    """Bare states to bytes and back."""

    def __init__(self, state_type: Any) -> None:
        self.encode = msgspec.msgpack.Encoder().encode
        self._decoder: msgspec.msgpack.Decoder[State] = msgspec.msgpack.Decoder(state_type)

    def decode(self, data: bytes) -> State:
        """Return the state that `encode` made bytes of."""
        return self._decoder.decode(data)


Changes = Mapping[str, bytes | None]
"""New cells by key; None where there is none any more."""


class CellStore(Protocol):
    """The saved cells of one partition, by key."""

    def get(self, key: str) -> bytes | None:
        """Return the bytes of a key's cell; None if there is none."""

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Return all keys and cells, in no certain order."""

    def save(self, changes: Changes) -> None:
        """Replace cells by new ones."""

    def discard(self) -> None:
        """Delete all cells: the partition belongs to another worker."""


class MemoryCells:
    """Cells in a dictionary.

    Examples
    --------
    >>> cells = MemoryCells({"ann": b"1", "bob": b"2"})
    >>> cells.save({"ann": b"3", "bob": None})
    >>> list(cells.items()), cells.get("bob")
    ([('ann', b'3')], None)
    """

    def __init__(self, cells: Mapping[str, bytes] = {}) -> None:
        self._cells = dict(cells)

    def get(self, key: str) -> bytes | None:
        """Return the bytes of a key's cell; None if there is none."""
        return self._cells.get(key)

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Return all keys and cells."""
        return iter(self._cells.items())

    def save(self, changes: Changes) -> None:
        """Replace cells by new ones."""
        for key, data in changes.items():
            if data is None:
                self._cells.pop(key, None)
            else:
                self._cells[key] = data

    def discard(self) -> None:
        """Delete all cells."""
        self._cells.clear()


NewStore = Callable[[int], CellStore]
"""Makes the empty store of a partition."""


def in_memory(_partition: int) -> CellStore:
    """Return an empty store in memory."""
    return MemoryCells()


class Stores(Protocol):
    """All stores of one worker."""

    def of(self, agent: str) -> NewStore:
        """Return the function that makes the stores of an agent."""

    def close(self) -> None:
        """Release memory and files; no cell can be read any more."""


class MemoryStores:
    """All in memory: there is nothing to open or to close."""

    def of(self, _agent: str) -> NewStore:
        """Return the function that makes the stores of an agent."""
        return in_memory

    def close(self) -> None:
        """Do nothing: memory needs no closing."""
