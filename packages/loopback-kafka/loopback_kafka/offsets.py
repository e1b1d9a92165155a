"""Committed offsets of the groups, in memory and in a file of one JSON line an offset."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from loopback_kafka.journal import Journal

TopicPartition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Committed:
    """An offset a group committed, with the text it committed along."""

    offset: int
    metadata: str


Row = tuple[str, str, int, int, str]


class CommittedOffsets:
    """The committed offsets of every group, kept in one file."""

    def __init__(self, path: Path) -> None:
        self._groups: dict[str, dict[TopicPartition, Committed]] = {}
        self._journal = Journal(path, self._apply, self._rows)

    def groups(self) -> list[str]:
        """Return the names of the groups that have committed anything."""
        return list(self._groups)

    def of_group(self, group: str) -> dict[TopicPartition, Committed]:
        """Return what a group has committed, empty for one that never did."""
        return dict(self._groups.get(group, {}))

    def commit(self, group: str, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Record offsets of a group; they survive the death of the process on return.

        Parameters
        ----------
        group : str
            The group.
        offsets : mapping of TopicPartition to Committed
            The next offset to read, by partition.
        """
        self._journal.append(offset_rows(group, offsets))
        self._groups.setdefault(group, {}).update(offsets)

    def forget_group(self, group: str) -> bool:
        """Drop a group's offsets; return whether there were any."""
        if group not in self._groups:
            return False
        self._journal.append([[group]])
        del self._groups[group]
        return True

    def forget_topic(self, topic: str) -> None:
        """Drop every group's offsets of a topic, so that a topic made anew starts anew."""
        for committed in self._groups.values():
            for key in [key for key in committed if key[0] == topic]:
                del committed[key]
        self._journal.rewrite()

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def _apply(self, row: list[str | int]) -> None:
        if len(row) == 1:
            self._groups.pop(str(row[0]), None)
            return
        group, topic, partition, offset, metadata = row
        committed = Committed(int(offset), str(metadata))
        self._groups.setdefault(str(group), {})[str(topic), int(partition)] = committed

    def _rows(self) -> Iterable[Row]:
        for group, offsets in self._groups.items():
            yield from offset_rows(group, offsets)


def offset_rows(group: str, offsets: Mapping[TopicPartition, Committed]) -> Iterable[Row]:
    """Yield one row for each offset of a group, as files hold them."""
    for (topic, partition), committed in offsets.items():
        yield group, topic, partition, committed.offset, committed.metadata
