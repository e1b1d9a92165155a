"""The open and the aborted transactions of one partition, derived from its log."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class AbortedTransaction(NamedTuple):
    """An aborted transaction, from its first record to its marker."""

    producer_id: int
    first_offset: int
    marker_offset: int


@dataclass(slots=True)
class PartitionTransactions:
    """Open and aborted transactions; `begin` and `end` are called in order of offset."""

    _open: dict[int, int] = field(default_factory=dict)
    _aborted: list[AbortedTransaction] = field(default_factory=list)

    @property
    def open_producers(self) -> list[int]:
        """The ids of the producers with an open transaction."""
        return list(self._open)

    def begin(self, producer_id: int, offset: int) -> None:
        """Record a transactional batch; the first one opens the transaction.

        Parameters
        ----------
        producer_id : int
            The producer.
        offset : int
            Offset of the batch's first record.
        """
        self._open.setdefault(producer_id, offset)

    def end(self, producer_id: int, offset: int, is_commit: bool) -> None:
        """Record a marker; one whose records retention has dropped ends nothing.

        Parameters
        ----------
        producer_id : int
            The producer.
        offset : int
            Offset of the marker.
        is_commit : bool
            True if the transaction is committed, False if it is aborted.
        """
        first_offset = self._open.pop(producer_id, None)
        if first_offset is not None and not is_commit:
            self._aborted.append(AbortedTransaction(producer_id, first_offset, offset))

    def first_open_offset(self, default: int) -> int:
        """Return where the oldest open transaction begins, `default` if none is open."""
        return next(iter(self._open.values()), default)  # they were opened in order of offset

    def aborted_between(self, offset: int, until: int) -> Sequence[AbortedTransaction]:
        """Return the aborted transactions that reach into some offsets.

        Parameters
        ----------
        offset, until : int
            The first of these offsets, and the one behind the last.
        """
        first = bisect_left(self._aborted, offset, key=lambda transaction: transaction.marker_offset)
        return [transaction for transaction in self._aborted[first:] if transaction.first_offset < until]
