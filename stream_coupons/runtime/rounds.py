"""Rounds of a batch: the records that are folded, decided together over all partitions, and committed in their order.

A round ends before a record whose key is still to be committed, and before a tick, which concerns all keys.
"""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from stream_coupons.kafka.records import Record
from stream_coupons.runtime.attempt import Attempt
from stream_coupons.runtime.steps import Slot

State = TypeVar("State")


class RoundEntry(NamedTuple, Generic[State]):
    """A record of a round.

    Attributes
    ----------
    key : str or None
        Key of its state; None for a record of a shared topic.
    slot : list of Output
        Place of its outputs among those of its partition.
    work : any
        Output of `KeyedStep.fold`, or the message of a shared topic.
    """

    attempt: Attempt[State]
    key: str | None
    record: Record
    slot: Slot
    work: Any


class RecordReader(Generic[State]):
    """The records of one partition's attempt, read one by one."""

    def __init__(self, attempt: Attempt[State], records: Sequence[Record]) -> None:
        self.attempt = attempt
        self._records = records
        self._next = 0

    def peek(self) -> Record | None:
        """Return the next record; None behind the last one."""
        return self._records[self._next] if self._next < len(self._records) else None

    def advance(self) -> None:
        """Go to the record behind the next one."""
        self._next += 1

    def left(self) -> Sequence[Record]:
        """Return the records that were not applied to the end."""
        return self._records[self._next :]
