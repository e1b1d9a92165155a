"""Record batches as a producer would send them."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from loopback_kafka.record_batches import read_records

KeyValue = tuple[bytes | None, bytes | None]


@dataclass(frozen=True, slots=True)
class Sender:
    """The idempotent producer a batch comes from; the default is none."""

    producer_id: int = -1
    epoch: int = -1
    sequence: int = -1


def make_batch(
    records: Sequence[KeyValue],
    sender: Sender | None = None,
    timestamp: int = 1_000,
    codec: int = 0,
    is_transactional: bool = False,
) -> bytes:
    sender = sender or Sender()
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=int(is_transactional),
        producer_id=sender.producer_id,
        producer_epoch=sender.epoch,
        base_sequence=sender.sequence,
        batch_size=1 << 24,
    )
    for offset, (key, value) in enumerate(records):
        builder.append(offset, timestamp + offset, key, value, [])
    return bytes(builder.build())


def numbered(count: int, size: int = 20) -> bytes:
    """Return a batch of `count` records with the keys k0, k1, ..."""
    return make_batch([(b"k%d" % i, b"v" * size) for i in range(count)])


def read_all(data: bytes) -> list[tuple[int, bytes | None]]:
    """Return (offset, key) of every record in a run of batches."""
    found = []
    while data:
        size = int.from_bytes(data[8:12], "big") + 12
        found += [(record.offset, record.key) for record in read_records(data[:size])]
        data = data[size:]
    return found
