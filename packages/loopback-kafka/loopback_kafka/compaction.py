"""Compaction: of the records with one key only the last is kept, at its old offset.

References
----------
.. [1] Apache Kafka documentation, section 4.8 "Log Compaction". Deviation: a tombstone is dropped
   when its own timestamp is older than `delete.retention.ms`, not by the time it was first cleaned.
"""

from collections import defaultdict
from collections.abc import Iterator

from loopback_kafka.record_batches import (
    is_commit_marker,
    read_header,
    read_records,
    settle_batch,
    thin_batch,
)


def compact(batches: bytes, drop_tombstones_before_ms: int) -> bytes:
    """Return whole batches with the last record of every key and nothing else.

    Order and offsets stay; batches left without records disappear. Records without a key, which
    a topic may hold from before it was compacted, are dropped.

    Records of aborted transactions are dropped, those of committed ones become records of no transaction, and so
    their markers go, too. A transaction whose marker is not among `batches` stays as it is.

    Parameters
    ----------
    batches : bytes
        Whole batches end to end, in order of offset.
    drop_tombstones_before_ms : int
        Tombstones with an earlier timestamp go, epoch milliseconds.

    Raises
    ------
    CorruptBatch
        When a batch does not hold the records that its header announces.
    """
    settled = list(_settled(list(_split(batches))))
    last_offset = {
        record.key: record.offset for batch, is_settled in settled if is_settled for record in read_records(batch)
    }
    thinned = []
    for batch, is_settled in settled:
        if not is_settled:
            thinned.append(batch)
            continue
        records = list(read_records(batch))
        kept = [
            record
            for record in records
            if record.key is not None
            and last_offset[record.key] == record.offset
            and not (record.is_tombstone and record.timestamp < drop_tombstones_before_ms)
        ]
        if len(kept) == len(records):
            thinned.append(batch)
        elif kept:
            thinned.append(thin_batch(batch, kept))
    return b"".join(thinned)


def _settled(batches: list[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield the batches without markers and aborted ones, and whether each is known to be committed."""
    decisions: dict[int, bool] = {}  # by place of the batch
    undecided: defaultdict[int, list[int]] = defaultdict(list)  # by producer
    for place, batch in enumerate(batches):
        header = read_header(batch)
        if header.is_control:
            decisions |= dict.fromkeys(undecided.pop(header.producer_id, ()), is_commit_marker(batch))
        elif header.is_transactional:
            undecided[header.producer_id].append(place)
    for place, batch in enumerate(batches):
        header = read_header(batch)
        if header.is_control:
            continue
        if not header.is_transactional:
            yield batch, True
        elif place not in decisions:
            yield batch, False
        elif decisions[place]:
            yield settle_batch(batch), True


def _split(batches: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(batches):
        size = read_header(batches, position).size
        yield batches[position : position + size]
        position += size
