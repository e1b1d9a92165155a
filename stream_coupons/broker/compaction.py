"""Compaction: of the records with one key only the last is kept, at its old offset.

References
----------
.. [1] Apache Kafka documentation, section 4.8 "Log Compaction". Deviation: a tombstone is dropped
   when its own timestamp is older than `delete.retention.ms`, not by the time it was first cleaned.
"""

from collections.abc import Iterator

from stream_coupons.record_batches import read_header, read_records, thin_batch


def compact(batches: bytes, drop_tombstones_before_ms: int) -> bytes:
    """Return whole batches with the last record of every key and nothing else.

    Order and offsets stay; batches left without records disappear. Records without a key, which
    a topic may hold from before it was compacted, are dropped.

    Raises
    ------
    UnsupportedCodec
        When a batch is compressed with anything but gzip.
    """
    last_offset = {record.key: record.offset for batch in _split(batches) for record in read_records(batch)}
    thinned = []
    for batch in _split(batches):
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


def _split(batches: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(batches):
        size = read_header(batches, position).size
        yield batches[position : position + size]
        position += size
