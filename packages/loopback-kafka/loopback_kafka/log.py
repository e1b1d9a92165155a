"""One partition: an append-only file of record batches and an index of it in memory.

The file is named after the first offset it may hold (`00000000000000000042.log`), which is how the
log start survives a restart. Nothing is synced: what was acknowledged survives the death of the
process, not that of the machine.
"""

import logging
import os
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loopback_kafka.partition_transactions import AbortedTransaction, PartitionTransactions
from loopback_kafka.protocol import ErrorCode
from loopback_kafka.record_batches import (
    PREFIX_SIZE,
    BatchHeader,
    CorruptBatch,
    check_batch,
    is_commit_marker,
    marker_batch,
    offset_prefix,
    read_header,
    read_records,
    stamp_batch,
)
from loopback_kafka.sequences import AppendRefused, ProducerSequences

logger = logging.getLogger(__name__)

_SCAN_BYTES: Final = 4 * 1024 * 1024
_RECOVERY_READ_BYTES: Final = 4096  # most batches of a table's changelog fit in one read


@dataclass(slots=True)
class _Index:
    """Per batch: first and last offset, newest timestamp, place in the file."""

    first: "array[int]" = field(default_factory=lambda: array("q"))
    last: "array[int]" = field(default_factory=lambda: array("q"))
    newest: "array[int]" = field(default_factory=lambda: array("q"))
    position: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, header: BatchHeader, base_offset: int, position: int) -> None:
        self.first.append(base_offset)
        self.last.append(base_offset + header.last_offset_delta)
        self.newest.append(header.max_timestamp)
        self.position.append(position)

    def __len__(self) -> int:
        return len(self.first)


class PartitionLog:
    """The batches of one partition, appended to and read by offset.

    Opening it checks every batch and cuts the file at the first torn or corrupt one. Not safe for several threads.

    Attributes
    ----------
    start_offset, end_offset : int
        The first offset a consumer may ask for, and the one the next record will get.
    size : int
        Bytes in the file.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._index = _Index()
        self._sequences = ProducerSequences()
        self._transactions = PartitionTransactions()
        self._path = self._newest_file()
        self.start_offset = int(self._path.stem)
        self.end_offset = self.start_offset
        self.size = 0
        self.size_when_compacted = 0
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._recover()

    @property
    def stable_offset(self) -> int:
        """The first offset of the oldest open transaction, the end of the log if none is open."""
        return self._transactions.first_open_offset(self.end_offset)

    @property
    def open_producers(self) -> list[int]:
        """The ids of the producers with an open transaction in this partition."""
        return self._transactions.open_producers

    @property
    def is_closed(self) -> bool:
        """True if the log is closed, as that of a deleted topic is."""
        return self._fd < 0

    def append(self, batch: bytes, max_bytes: int, needs_keys: bool = False, at_ms: int | None = None) -> int:
        """Append one batch as a producer sent it and return the offset of its first record.

        A batch that an idempotent producer sent before is not appended again: the offset is that of the first time.

        Parameters
        ----------
        batch, max_bytes : bytes, int
            The batch, and its largest size.
        needs_keys, at_ms : bool, int or None
            True to refuse records without a key; the time that all records get in place of the producer's, if any.

        Raises
        ------
        AppendRefused
            When the batch is too large, corrupt, out of sequence, or lacks keys it must have.
        """
        header = self._admit(batch, max_bytes, needs_keys)
        known = self._sequences.find_duplicate(header)
        if known is not None:
            return known
        if at_ms is not None:
            batch = stamp_batch(batch, at_ms)
            header = read_header(batch)
        return self._add(header, batch)

    def append_marker(self, producer_id: int, producer_epoch: int, is_commit: bool, at_ms: int) -> None:
        """End a producer's transaction in this partition; raises AppendRefused if the disk is full."""
        batch = marker_batch(producer_id, producer_epoch, is_commit, at_ms)
        self._add(read_header(batch), batch)

    def available(self, offset: int, max_bytes: int, is_committed: bool = False) -> int:
        """Bytes that `read` would return, counting no further than `max_bytes`.

        With `is_committed`, only those before the stable offset.
        """
        index = bisect_left(self._index.last, offset)
        if index == len(self._index):
            return 0
        end = self.stable_position() if is_committed else self.size
        return min(max(end - self._index.position[index], 0), max_bytes)

    def read(self, offset: int, max_bytes: int, whole_first: bool) -> bytes:
        """Return whole batches from the one that holds `offset` on, at most `max_bytes`.

        With `whole_first` the first batch is returned even if it alone is larger, so that a
        consumer with a small buffer still makes progress.
        """
        return self.read_file(*self._span(offset, max_bytes, whole_first, self.size))

    def read_committed(
        self, offset: int, max_bytes: int, whole_first: bool
    ) -> tuple[bytes, Sequence[AbortedTransaction]]:
        """Return batches before the stable offset, and the aborted transactions that have records among them."""
        begin, end = self._span(offset, max_bytes, whole_first, self.stable_position())
        if begin == end:
            return b"", ()
        next_batch = bisect_left(self._index.position, end)
        until = self._index.first[next_batch] if next_batch < len(self._index) else self.end_offset
        return self.read_file(begin, end), self._transactions.aborted_between(offset, until)

    def _span(self, offset: int, max_bytes: int, whole_first: bool, limit: int) -> tuple[int, int]:
        """Return where in the file the batches of a read begin and end; none of them passes `limit`."""
        positions = self._index.position
        first = bisect_left(self._index.last, offset)
        if first == len(self._index) or positions[first] >= limit:
            return 0, 0
        begin = positions[first]
        if limit - begin <= max_bytes:
            return begin, limit
        stop = bisect_left(positions, begin + max_bytes + 1, lo=first + 1) - 1
        if stop > first:
            return begin, positions[stop]
        return begin, self._batch_end(first) if whole_first else begin

    def read_file(self, begin: int, end: int) -> bytes:
        """Return the bytes of the file between two positions."""
        return os.pread(self._fd, end - begin, begin)

    def find_timestamp(self, timestamp: int) -> tuple[int, int] | None:
        """Return (offset, timestamp) of the first record not older than `timestamp`, in ms; never a marker."""
        for index, newest in enumerate(self._index.newest):
            if newest < timestamp:
                continue
            batch = self.read_file(self._index.position[index], self._batch_end(index))
            if read_header(batch).is_control:
                continue
            try:
                for record in read_records(batch):
                    if record.timestamp >= timestamp:
                        return record.offset, record.timestamp
            except CorruptBatch:
                return self._index.first[index], newest
        return None

    def first_batch_to_keep(self, max_bytes: int, oldest_ms: int) -> int:
        """Return the index of the first batch that retention keeps.

        The last one is always kept, and whatever is not before the stable offset.
        """
        last = min(len(self._index) - 1, bisect_left(self._index.first, self.stable_offset))
        index = 0
        while index < last and (
            self._index.newest[index] < oldest_ms or (0 <= max_bytes <= self.size - self._index.position[index + 1])
        ):
            index += 1
        return index

    def position_of(self, batch_index: int) -> int:
        """Return where in the file a batch starts; -1 is the newest one, and 0 is returned for an empty log."""
        return self._index.position[batch_index] if self._index else 0

    def stable_position(self) -> int:
        """Return where in the file the batch at the stable offset starts, the file's end if no transaction is open."""
        index = bisect_left(self._index.first, self.stable_offset)
        return self._index.position[index] if index < len(self._index) else self.size

    def drop_before(self, batch_index: int) -> None:
        """Forget every batch before `batch_index`; the log then starts at that batch."""
        if batch_index > 0:
            self.replace_head(b"", self._index.position[batch_index], self._index.first[batch_index])

    def replace_head(self, head: bytes, until: int, start_offset: int | None = None) -> None:
        """Put `head` in the place of the file's first `until` bytes, in one atomic step.

        `head` must hold whole batches with unchanged offsets. Readers hold offsets, not file
        positions, so they do not notice.
        """
        start = self.start_offset if start_offset is None else start_offset
        path = self._folder / f"{start:020d}.log"
        scratch = self._folder / "rewrite.tmp"
        with scratch.open("wb") as file:
            file.write(head)
            for begin in range(until, self.size, _SCAN_BYTES):
                file.write(self.read_file(begin, min(begin + _SCAN_BYTES, self.size)))
        scratch.replace(path)
        if path != self._path:
            self._path.unlink()
        os.close(self._fd)
        self._path, self.start_offset = path, start
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND)
        self._rebuild_index()

    def close(self) -> None:
        """Close the file; the log cannot be used afterwards."""
        if not self.is_closed:
            os.close(self._fd)
            self._fd = -1

    def _batch_end(self, index: int) -> int:
        positions = self._index.position
        return positions[index + 1] if index + 1 < len(positions) else self.size

    def _admit(self, batch: bytes, max_bytes: int, needs_keys: bool) -> BatchHeader:
        """Check what a producer sent against the format and the topic's limits."""
        if len(batch) > max_bytes:
            raise AppendRefused(ErrorCode.MESSAGE_TOO_LARGE, f"{len(batch)} bytes, expected at most {max_bytes}")
        try:
            header = check_batch(batch)
        except CorruptBatch as error:
            raise AppendRefused(ErrorCode.CORRUPT_MESSAGE, str(error)) from None
        if header.size != len(batch) or header.count != header.last_offset_delta + 1:
            raise AppendRefused(ErrorCode.INVALID_RECORD, "expected exactly one whole batch")
        if header.is_control or (header.is_transactional and header.producer_id < 0):
            raise AppendRefused(ErrorCode.INVALID_RECORD, "expected no marker, and a producer id in a transaction")
        if not header.is_transactional and header.producer_id in self._transactions.open_producers:
            raise AppendRefused(ErrorCode.INVALID_TXN_STATE, "expected a batch of the producer's transaction")
        if needs_keys:
            self._require_keys(batch)
        return header

    @staticmethod
    def _require_keys(batch: bytes) -> None:
        try:
            if any(record.key is None for record in read_records(batch)):
                raise AppendRefused(ErrorCode.INVALID_RECORD, "a compacted topic needs keys")
        except CorruptBatch as error:
            raise AppendRefused(ErrorCode.CORRUPT_MESSAGE, str(error)) from None

    def _write(self, *parts: bytes | memoryview) -> None:
        """Write all of `parts` or nothing."""
        length = sum(len(part) for part in parts)
        try:
            written = os.writev(self._fd, parts)
            if written < length:
                rest = memoryview(b"".join(parts))
                while written < length:
                    written += os.write(self._fd, rest[written:])
        except OSError as error:
            os.ftruncate(self._fd, self.size)
            raise AppendRefused(ErrorCode.KAFKA_STORAGE_ERROR, str(error)) from None

    def _add(self, header: BatchHeader, batch: bytes) -> int:
        """Write a batch at the end, and return the offset of its first record."""
        base_offset = self.end_offset
        self._write(offset_prefix(base_offset, header.size), memoryview(batch)[PREFIX_SIZE:])
        self._note(header, base_offset, self.size, batch)
        return base_offset

    def _note(self, header: BatchHeader, base_offset: int, position: int, batch: bytes) -> None:
        """Take a batch that is in the file into the index and the producers' state."""
        self._index.add(header, base_offset, position)
        self.end_offset = base_offset + header.last_offset_delta + 1
        self.size = position + header.size
        self._sequences.note(header, base_offset)
        if header.is_control:
            self._transactions.end(header.producer_id, base_offset, is_commit_marker(batch))
        elif header.is_transactional:
            self._transactions.begin(header.producer_id, base_offset)

    def _newest_file(self) -> Path:
        """Return the log file to open; older ones are left by a death in `replace_head`."""
        (self._folder / "rewrite.tmp").unlink(missing_ok=True)
        files = sorted(self._folder.glob("*.log"))
        for stale in files[:-1]:
            stale.unlink()
        return files[-1] if files else self._folder / f"{0:020d}.log"

    def _recover(self) -> None:
        """Index the file, and cut what is not whole and sound."""
        total = os.fstat(self._fd).st_size
        while self.size < total:
            try:
                batch = self._batch_at(self.size, total)
                header = check_batch(batch)
                if header.base_offset < self.end_offset:
                    raise CorruptBatch(f"offset {header.base_offset} after {self.end_offset}")
            except CorruptBatch as error:
                logger.warning("%s: cut at byte %d: %s", self._path, self.size, error)
                break
            self._note(header, header.base_offset, self.size, batch)
        if self.size < total:
            os.ftruncate(self._fd, self.size)

    def _batch_at(self, position: int, total: int) -> bytes:
        head = os.pread(self._fd, _RECOVERY_READ_BYTES, position)
        size = read_header(head).size
        if size > total - position:
            raise CorruptBatch("the batch is cut short")
        return head[:size] if size <= len(head) else os.pread(self._fd, size, position)

    def _rebuild_index(self) -> None:
        sequences, end = self._sequences, self.end_offset
        self._index, self.size, self._sequences = _Index(), 0, ProducerSequences()
        self._transactions = PartitionTransactions()
        self.end_offset = self.start_offset
        self._recover()
        self._sequences, self.end_offset = sequences, end
