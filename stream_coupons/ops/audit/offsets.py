"""The extent of topics: begin and end offsets, committed offsets, and what retention has dropped."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Record

Partition = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True, slots=True)
class AuditedOffsets:
    """Offsets by topic and partition, as they were when an audit began.

    Attributes
    ----------
    begins : mapping
        The first offset that is retained.
    ends : mapping
        The offset behind the last record.
    committed : mapping
        The next offset that the workers have not committed; a missing partition was never committed.
    """

    begins: Mapping[Partition, int]
    ends: Mapping[Partition, int]
    committed: Mapping[Partition, int]

    def is_committed(self, topic: str, partition: int, offset: int) -> bool:
        """Return whether the workers have committed a record: then all its effects are in the topics (I4)."""
        return offset < self.committed.get((topic, partition), 0)

    def lag(self) -> dict[str, int]:
        """Return the number of uncommitted records that agents read, by topic; topics without any are left out."""
        behind = {topic.name: 0 for topic in topics.READ_BY_AGENTS}
        for (topic, partition), end in self.ends.items():
            if topic in behind:
                behind[topic] += max(end - max(self.committed.get((topic, partition), 0), 0), 0)
        return {topic: count for topic, count in behind.items() if count}

    def size(self, names: Iterable[str]) -> int:
        """Return the number of offsets between begin and end of some topics."""
        wanted = set(names)
        return sum(end - self.begins.get(place, 0) for place, end in self.ends.items() if place[0] in wanted)

    def partitions(self, topic: str) -> int:
        """Return the number of partitions of a topic."""
        return sum(name == topic for name, _ in self.ends)


@dataclass(slots=True)
class Retained:
    """The retained part of each partition, known from the first record read of it."""

    marks: AuditedOffsets
    _first: dict[Partition, tuple[int, int]] = field(default_factory=dict)

    def note(self, record: Record) -> None:
        """Take in a record that was read; only the first of its partition counts."""
        self._first.setdefault((record.topic, record.partition), (record.offset, record.timestamp_ms))

    def begin(self, topic: str, partition: int) -> int:
        """Return the first offset that was there to read."""
        end = self.marks.ends.get((topic, partition), 0)
        return self._first.get((topic, partition), (end, 0))[0]

    def may_have_lost(self, topic: str, partition: int, at_ms: float) -> bool:
        """Return whether a partition may have lost a record of about this append time, milliseconds."""
        _, first_at_ms = self._first.get((topic, partition), (0, math.inf))
        return self.begin(topic, partition) > 0 and at_ms <= first_at_ms

    def shortened(self, names: Iterable[str]) -> list[str]:
        """Return the names of topics, all of them read, that have lost their beginning."""
        wanted = {name for name in names if topics.BY_NAME[name].cleanup is topics.Cleanup.DELETE}
        return sorted({name for name, home in self.marks.ends if name in wanted and self.begin(name, home) > 0})
