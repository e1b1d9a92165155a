"""One key's durable state: the step's state, how far its inputs were applied, and what it decided.

The table keeps cells as bytes. `applied` makes a replay visible; `outbox` holds the outputs of inputs
whose offsets are not committed yet, so that a replay sends the same bytes and decides nothing anew.
"""

import sys
from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct, field

from stream_coupons.kafka.records import Output, Record
from stream_coupons.runtime.steps import TooLarge

State = TypeVar("State")

NOTHING_KEPT = msgspec.msgpack.encode([])


class OutboxEntry(Struct, array_like=True):
    """An output in the outbox, the input that it came of and its place among that one's outputs.

    If its value is the input's own, as a dead letter's is, it is None here: the input brings it when it comes again.
    """

    topic: str
    offset: int
    index: int
    output: Output

    @classmethod
    def of(cls, record: Record, index: int, output: Output) -> "OutboxEntry":
        """An output of a record, without what the record has itself."""
        if output.value is record.value:
            output = Output(output.topic, output.partition, output.key, None, output.headers)
        return cls(record.topic, record.offset, index, output)

    def again(self, record: Record) -> Output:
        """The output, byte for byte, now that its input has come again."""
        output = self.output
        if output.value is not None:
            return output
        return Output(output.topic, output.partition, output.key, record.value, output.headers)


class Cell(Struct, Generic[State], array_like=True):
    """Durable state of one key; the runtime owns all of it but `state`."""

    due: float | None
    state: State
    applied: dict[str, int] = field(default_factory=dict)
    outbox: list[OutboxEntry] = field(default_factory=list)

    def is_replay(self, record: Record) -> bool:
        """Return True if this record was applied before."""
        return record.offset <= self.applied.get(record.topic, -1)

    def mark(self, record: Record) -> None:
        """Remember that the record is applied."""
        self.applied[record.topic] = record.offset

    def kept_for(self, record: Record) -> list[OutboxEntry]:
        """Return the outputs of this record that the outbox holds."""
        return [kept for kept in self.outbox if (kept.topic, kept.offset) == (record.topic, record.offset)]

    def keeps_for(self, topic: str) -> bool:
        """Return True if the outbox holds outputs of this topic's records, to be sent again on replay."""
        return any(kept.topic == topic for kept in self.outbox)

    def may_see_again(self, committed: Mapping[str, int], *, but: str) -> bool:
        """Return True if an applied record, except of topic `but`, or an input of kept outputs may be replayed."""
        applied = [(topic, offset) for topic, offset in self.applied.items() if topic != but]
        kept = [(kept.topic, kept.offset) for kept in self.outbox]
        return any(offset >= committed.get(topic, 0) for topic, offset in applied + kept)

    def prune(self, committed: Mapping[str, int]) -> None:
        """Forget the outputs of inputs that will not come again: `committed` is the next offset by topic."""
        if self.outbox:
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
        """The cell of a key that was never seen."""
        return Cell(None, self._state_type())

    def encode(self, cell: Cell[State]) -> bytes:
        """Bytes for the table and its changelog."""
        return self._encoder.encode(cell)

    def decode(self, data: bytes) -> Cell[State]:
        """The cell that `encode` made bytes of."""
        return self._decoder.decode(data)

    def copy(self, cell: Cell[State]) -> Cell[State]:
        """Return a copy that shares nothing with the cell."""
        return self.decode(self.encode(cell))

    def encode_within(self, max_bytes: int, key: str, cell: Cell[State]) -> bytes:
        """Return the bytes of a key's cell; raise `TooLarge` if a record or msgpack cannot hold it."""
        try:
            data = self._encoder.encode(cell)
        except OverflowError as error:
            raise TooLarge(f"the state of {key!r} cannot be saved: {error}") from error
        if len(data) > max_bytes:
            raise TooLarge(f"the state of {key!r} would take {len(data)} bytes, at most {self.max_bytes}")
        return data


class StateCodec(Generic[State]):
    """Bare states to bytes and back."""

    def __init__(self, state_type: type[State]) -> None:
        self.encode = msgspec.msgpack.Encoder().encode
        self._decoder: msgspec.msgpack.Decoder[State] = msgspec.msgpack.Decoder(state_type)

    def decode(self, data: bytes) -> State:
        """The state that `encode` made bytes of."""
        return self._decoder.decode(data)
