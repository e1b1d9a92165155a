"""A reader of committed records, as clients read, and raw batches of transactions."""

from collections.abc import Iterable, Sequence

from loopback_kafka.log import PartitionLog
from loopback_kafka.partition_transactions import AbortedTransaction
from loopback_kafka.record_batches import is_commit_marker, read_header, read_records

ANY_SIZE = 1 << 20


def committed(log: PartitionLog, max_bytes: int = ANY_SIZE) -> list[bytes | None]:
    """Return the keys that a reader of committed records sees who fetches `max_bytes` at a time."""
    found: list[bytes | None] = []
    offset = log.start_offset
    while True:
        data, aborted = log.read_committed(offset, max_bytes, whole_first=True)
        if not data:
            assert offset == log.stable_offset or not log.available(offset, 1, is_committed=True)
            return found
        rows, offset = read_fetched(data, aborted, offset)
        found += [key for _, key in rows]


def read_fetched(
    data: bytes, aborted: Iterable[AbortedTransaction | tuple[int, int]], offset: int
) -> tuple[list[tuple[int, bytes | None]], int]:
    """Return (offset, key) of what the answer to one fetch lets a client see, and where it fetches next."""
    waiting = sorted(((first_offset, producer_id) for producer_id, first_offset, *_ in aborted), reverse=True)
    skipped: set[int] = set()
    found: list[tuple[int, bytes | None]] = []
    for batch in batches(data):
        header = read_header(batch)
        while waiting and waiting[-1][0] <= header.base_offset:
            skipped.add(waiting.pop()[1])
        if header.is_control:
            if not is_commit_marker(batch):
                skipped.discard(header.producer_id)
        elif not header.is_transactional or header.producer_id not in skipped:
            found += [(record.offset, record.key) for record in read_records(batch) if record.offset >= offset]
        offset = header.last_offset + 1
    return found, offset


def batches(data: bytes) -> Sequence[bytes]:
    """Split what a fetch returned."""
    found = []
    while data:
        size = read_header(data).size
        found.append(data[:size])
        data = data[size:]
    return found
