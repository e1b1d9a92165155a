"""Idempotent producers of one partition: which batch comes next, which was seen before."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

from loopback_kafka.protocol import ErrorCode
from loopback_kafka.record_batches import BatchHeader

MAX_PRODUCERS: Final = 4096
"""Producers remembered a partition; the one idle longest is forgotten first."""
_REMEMBERED_BATCHES: Final = 5  # clients keep at most five requests in flight
_SEQUENCES: Final = 2**31


class AppendRefused(Exception):
    """A batch that is not appended; `code` is what the producer is told."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(slots=True)
class _Producer:
    """The latest batches of one producer: (first sequence, last sequence, base offset)."""

    epoch: int
    batches: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_BATCHES))


class ProducerSequences:
    """The latest batches of a partition's idempotent producers."""

    def __init__(self) -> None:
        self._producers: OrderedDict[int, _Producer] = OrderedDict()

    def find_duplicate(self, header: BatchHeader) -> int | None:
        """Return the base offset of a batch seen before, None for the next one in sequence.

        A producer not remembered may start at any sequence, as on Apache Kafka: its earlier
        batches may have been compacted away.

        Raises
        ------
        AppendRefused
            When a batch is missing in between, or the producer was replaced by a newer epoch.
        """
        producer = self._producers.get(header.producer_id)
        if header.producer_id < 0 or producer is None:
            return None
        if header.producer_epoch < producer.epoch:
            raise AppendRefused(
                ErrorCode.INVALID_PRODUCER_EPOCH,
                f"producer epoch {header.producer_epoch}, expected {producer.epoch} or newer",
            )
        expected = 0
        if header.producer_epoch == producer.epoch and producer.batches:
            for first, last, offset in producer.batches:
                if (first, last) == (header.base_sequence, _last_sequence(header)):
                    return offset
            expected = (producer.batches[-1][1] + 1) % _SEQUENCES
        if header.base_sequence != expected:
            raise AppendRefused(
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                f"sequence {header.base_sequence}, expected {expected}",
            )
        return None

    def note(self, header: BatchHeader, base_offset: int) -> None:
        """Remember a batch that is in the log; a marker has no sequence, but may bring a newer epoch.

        Parameters
        ----------
        header : BatchHeader
            Of the batch.
        base_offset : int
            Offset that its first record got.
        """
        if header.producer_id < 0:
            return
        producer = self._producers.get(header.producer_id)
        if producer is None or producer.epoch != header.producer_epoch:
            producer = self._producers[header.producer_id] = _Producer(header.producer_epoch)
        if not header.is_control:
            producer.batches.append((header.base_sequence, _last_sequence(header), base_offset))
        self._producers.move_to_end(header.producer_id)
        if len(self._producers) > MAX_PRODUCERS:
            self._producers.popitem(last=False)


def _last_sequence(header: BatchHeader) -> int:
    return (header.base_sequence + header.last_offset_delta) % _SEQUENCES
