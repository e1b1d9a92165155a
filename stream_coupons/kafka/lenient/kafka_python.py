"""kafka-python's consumer, which gets past every record: any header names, and batches that do not unpack."""

from collections.abc import Iterator
from typing import Any

from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.memory_records import MemoryRecords

from stream_coupons.kafka.lenient.header_names import LenientBytes
from stream_coupons.kafka.lenient.unpacking import Bytes, readable


class KafkaPythonBatch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch of kafka-python's: from the first name on that is no text, its bytes are lenient.

    If it does not unpack, it is the one that stands for it.
    """

    _buffer: bytearray

    def __init__(self, buffer: Bytes) -> None:
        super().__init__(readable(buffer))

    def _read_msg(self, *options: Any) -> Any:
        try:
            return super()._read_msg(*options)
        except UnicodeDecodeError:
            self._buffer = LenientBytes(self._buffer)
            return super()._read_msg(*options)


class LenientMemoryRecords(MemoryRecords):  # type: ignore[misc]
    """The batches of a fetch."""

    def next_batch(self) -> Any:
        """Return the next batch; None behind the last."""
        data, batch = self._next_slice, super().next_batch()
        return KafkaPythonBatch(data) if isinstance(batch, DefaultRecordBatch) else batch


class LenientRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of a fetch from one partition."""

    def _unpack_records(self, tp: Any, records: Any, *deserializers: Any) -> Iterator[Any]:
        yield from super()._unpack_records(tp, LenientMemoryRecords(records._buffer), *deserializers)


class LenientConsumer(KafkaConsumer):  # type: ignore[misc]
    """A consumer whose fetcher makes lenient records."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._fetcher.PartitionRecords = LenientRecords
