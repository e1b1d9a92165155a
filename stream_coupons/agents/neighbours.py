"""neighbours: owns which shoppers lie near each other, and which categories go together (key cell)."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from stream_coupons.agents.keyed import KeyedAgent
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.effects import Effects
from stream_coupons.core.messages.neighbours import UserVector
from stream_coupons.core.neighbours.buckets import BucketMember, BucketVectors, cell_key, split_cell_key, update
from stream_coupons.core.neighbours.relations import MAX_SAMPLED, CategoryBucket, is_category_bucket, relate, slot_of
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Record


class Neighbours(KeyedAgent[BucketMember]):
    """Vectors in; who is near, or what is related, out.

    State is kept a shopper at a time. The arrays of a cell and the model of a bucket of categories are derived from it.
    """

    name = "neighbours"
    reads = (topics.VECTORS,)
    state_type = BucketMember
    has_views = True

    def __init__(self, known: Callable[[], Knowledge], partitions: int) -> None:
        super().__init__(known, partitions)
        rules = known().rules.neighbourhood
        self._cells: defaultdict[int, defaultdict[str, BucketVectors]] = defaultdict(
            lambda: defaultdict(lambda: BucketVectors(rules))
        )
        self._categories: defaultdict[int, defaultdict[str, CategoryBucket]]
        self._categories = defaultdict(lambda: defaultdict(CategoryBucket))

    def state_key(self, message: UserVector, record_key: str) -> str:
        """One state for a shopper in a cell; one for a slot of a bucket of categories."""
        is_slot = is_category_bucket(record_key)
        return cell_key(record_key, slot_of(message.user_id, MAX_SAMPLED) if is_slot else message.user_id)

    def step(
        self,
        state_key: str,
        state: BucketMember,
        message: Any,
        record: Record,
    ) -> Effects:
        """Take in a vector."""
        cell, slot = split_cell_key(state_key)
        if is_category_bucket(cell):
            return relate(state, slot, message, self._categories[record.partition][cell])
        return update(state, message, self._cells[record.partition][cell])

    def place(self, partition: int, state_key: str, state: BucketMember) -> None:
        """Bring the arrays of a cell, or the sample of a bucket, in line with one member."""
        cell, slot = split_cell_key(state_key)
        if is_category_bucket(cell):
            self._categories[partition][cell].put(slot, state)
        else:
            self._cells[partition][cell].put(slot, state)

    def forget(self, partition: int) -> None:
        """Drop the arrays of a partition's cells, and the models of its buckets."""
        self._categories.pop(partition, None)
        self._cells.pop(partition, None)
