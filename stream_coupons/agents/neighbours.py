"""neighbours: owns which shoppers lie near each other (key cell)."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from stream_coupons import topics
from stream_coupons.agents.keyed import KeyedAgent
from stream_coupons.core.effects import Effects
from stream_coupons.core.events import UserVector
from stream_coupons.core.neighbourhood import Cells, Member, cell_key, split_cell_key, update
from stream_coupons.core.scoring import Knowledge
from stream_coupons.runtime.records import Record


class Neighbours(KeyedAgent[Member]):
    """Vectors in; who is near out. State is kept a shopper at a time, the cell's arrays are derived from it."""

    name = "neighbours"
    reads = (topics.VECTORS,)
    state_type = Member
    has_views = True

    def __init__(self, known: Callable[[], Knowledge], partitions: int) -> None:
        super().__init__(known, partitions)
        rules = known().rules.neighbourhood
        self._cells: defaultdict[int, Cells] = defaultdict(lambda: Cells(rules))

    def state_key(self, message: UserVector, record_key: str) -> str:
        """One state for a shopper in a cell."""
        return cell_key(record_key, message.user_id)

    def partition_key(self, state_key: str) -> bytes:
        """The cell."""
        return split_cell_key(state_key)[0].encode()

    def step(self, state_key: str, state: Member, message: Any, record: Record) -> Effects:  # noqa: ARG002
        """Take in a vector."""
        return update(state, message, self._cells[record.partition])

    def place(self, partition: int, state_key: str, state: Member) -> None:
        """Bring the cell's arrays in line with one member."""
        self._cells[partition].put(state_key, state)

    def forget(self, partition: int) -> None:
        """Drop the arrays of a partition's cells."""
        self._cells.pop(partition, None)
