"""aiokafka's records of a fetch, read again leniently where a header's name is no UTF-8.

Its own raises, again and again, where such a record lies: whoever reads the partition would never get past it. Nor past
a batch that does not unpack, or to more than there is memory: such a one has one record, which stands for it.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy

from stream_coupons.kafka.lenient.header_names import LenientBytes
from stream_coupons.kafka.lenient.unpacking import readable, size_of


class FetchedBatches(MemoryRecords):  # type: ignore[misc]
    """The batches of a fetch, decoded in C, which keep the bytes that they are of."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data
        self._next = 0

    def next_batch(self) -> Any:
        """Return the next batch; None behind the last."""
        batch = super().next_batch()
        start, self._next = self._next, self._next + size_of(self.data, self._next)
        if not isinstance(batch, DefaultRecordBatch):  # older formats no broker takes any more
            return batch
        own = memoryview(self.data)[start : self._next]
        found = readable(own)
        return batch if found is own else DefaultRecordBatch(found)


class LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """A batch decoded in Python, with any names."""

    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = LenientBytes(self._buffer)


class LenientBatches(_MemoryRecordsPy):  # type: ignore[misc]
    """The batches of a fetch from the one on that holds an offset, decoded in Python.

    Parameters
    ----------
    data : bytes
        All batches of the fetch.
    first : int
        That offset.
    """

    _next_slice: memoryview | None
    _pos: int

    def __init__(self, data: bytes, first: int) -> None:
        super().__init__(data)
        while True:
            here = self._next_slice, self._pos
            batch = super().next_batch()
            if batch is None or batch.next_offset > first:
                break
        self._next_slice, self._pos = here

    def next_batch(self) -> Any:
        """Return the next batch; None behind the last."""
        data, batch = self._next_slice, super().next_batch()
        if data is None or not isinstance(batch, DefaultRecordBatch):  # older formats have no headers
            return batch
        return LenientBatch(readable(data))


class Records(PartitionRecords):  # type: ignore[misc]
    """The records of a fetch from one partition.

    What unpacks them refers to them, and they to it: a cycle, which is not begun before the first record is asked for.
    Those that a seek or a rebalance discards keep no bytes so.
    """

    _records: Any
    _records_iterator: Iterator[Any] | None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._records_iterator = None

    def __next__(self) -> Any:
        if self._records_iterator is None:
            self._records_iterator = self._unpack_records()
        return super().__next__()

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except (UnicodeDecodeError, CorruptRecordException):  # the latter is what aiokafka says if it has no C
            # From the batch on that failed, since what was aborted is known as far as that; what lies below the next
            # offset was handed out, and is skipped.
            self._records = LenientBatches(self._records.data, self.next_fetch_offset)
        else:
            return
        yield from super()._unpack_records()
