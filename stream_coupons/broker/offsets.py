"""Committed offsets of the groups, in memory and in a file of one JSON line a commit."""

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

logger = logging.getLogger(__name__)

_REWRITE_BYTES: Final = 4 * 1024 * 1024

TopicPartition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Committed:
    """An offset a group committed, with the text it committed along."""

    offset: int
    metadata: str


class CommittedOffsets:
    """The committed offsets of every group, kept in one file.

    The file is rewritten when it is opened and when it has grown to many times what it must hold.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._groups: dict[str, dict[TopicPartition, Committed]] = {}
        self._load()
        self._file = self._rewrite()

    def groups(self) -> list[str]:
        """Return the names of the groups that have committed anything."""
        return list(self._groups)

    def of_group(self, group: str) -> dict[TopicPartition, Committed]:
        """Return what a group has committed, empty for one that never did."""
        return dict(self._groups.get(group, {}))

    def commit(self, group: str, offsets: dict[TopicPartition, Committed]) -> None:
        """Record `offsets` for `group`; they survive the death of the process on return."""
        self._groups.setdefault(group, {}).update(offsets)
        for (topic, partition), committed in offsets.items():
            row = [group, topic, partition, committed.offset, committed.metadata]
            self._file.write(json.dumps(row) + "\n")
        self._flush()

    def forget_group(self, group: str) -> bool:
        """Drop a group's offsets; return whether there were any."""
        if self._groups.pop(group, None) is None:
            return False
        self._file.write(json.dumps([group]) + "\n")
        self._flush()
        return True

    def forget_topic(self, topic: str) -> None:
        """Drop every group's offsets of a topic, so that a topic made anew starts anew."""
        for committed in self._groups.values():
            for key in [key for key in committed if key[0] == topic]:
                del committed[key]
        self._file.close()
        self._file = self._rewrite()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _flush(self) -> None:
        self._file.flush()
        if os.fstat(self._file.fileno()).st_size > self._rewrite_at:
            self._file.close()
            self._file = self._rewrite()

    def _load(self) -> None:
        if not self._path.exists():
            return
        for number, line in enumerate(self._path.read_bytes().split(b"\n"), start=1):
            if not line:
                continue
            try:
                self._apply(json.loads(line))
            except (ValueError, TypeError):
                # Only the last line can be torn by a kill; nothing after a bad one is trusted.
                logger.warning("%s: cut at line %d", self._path, number)
                return

    def _apply(self, row: list[str | int]) -> None:
        if len(row) == 1:
            self._groups.pop(str(row[0]), None)
            return
        group, topic, partition, offset, metadata = row
        committed = Committed(int(offset), str(metadata))
        self._groups.setdefault(str(group), {})[str(topic), int(partition)] = committed

    def _rewrite(self) -> TextIO:
        scratch = self._path.with_suffix(".tmp")
        with scratch.open("w", encoding="utf-8") as file:
            for group, offsets in self._groups.items():
                for (topic, partition), committed in offsets.items():
                    row = [group, topic, partition, committed.offset, committed.metadata]
                    file.write(json.dumps(row) + "\n")
        scratch.replace(self._path)
        self._rewrite_at = max(_REWRITE_BYTES, 4 * self._path.stat().st_size)
        return self._path.open("a", encoding="utf-8")
