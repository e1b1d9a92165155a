"""The topics of the broker: their settings, their partitions, and the file that lists them."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loopback_kafka.errors import BrokerDataError
from loopback_kafka.log import PartitionLog
from loopback_kafka.protocol import ErrorCode

MAX_TOPICS: Final = 1000
MAX_PARTITIONS: Final = 256
DEFAULT_PARTITIONS: Final = 4
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_PRODUCER_ID_BLOCK: Final = 1000
_FORMAT: Final = 1
_LEGAL_NAME: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")

DEFAULT_CONFIGS: Final[Mapping[str, str]] = {
    "cleanup.policy": "delete",
    "delete.retention.ms": "86400000",
    "max.message.bytes": str(MAX_MESSAGE_BYTES),
    "message.timestamp.type": "CreateTime",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
    "segment.bytes": str(1024 * 1024),
}
"""Topic settings that the broker obeys, with defaults. Other settings are only stored and described."""

_INTEGER_CONFIGS: Final = frozenset(DEFAULT_CONFIGS) - {"cleanup.policy", "message.timestamp.type"}
_TIMESTAMP_TYPES: Final = frozenset({"CreateTime", "LogAppendTime"})
_POLICIES: Final = frozenset({"compact", "delete"})


class TopicRefused(Exception):
    """A change of the topics that is not made; `code` is what the client is told."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(slots=True)
class BrokerTopic:
    """One topic: the settings given for it and the logs of its partitions."""

    name: str
    configs: dict[str, str]
    partitions: list[PartitionLog] = field(default_factory=list)

    def config(self, name: str) -> str:
        """Return a setting of `DEFAULT_CONFIGS` as it applies to this topic."""
        return self.configs.get(name, DEFAULT_CONFIGS[name])

    def limit(self, name: str) -> int:
        """Return a numeric setting."""
        return int(self.config(name))

    def has_policy(self, policy: str) -> bool:
        """Return True if `cleanup.policy` includes `policy`, "compact" or "delete"."""
        return policy in self.config("cleanup.policy").split(",")


class Topics:
    """Every topic of a data folder, kept in `topics.json` beside the partitions' folders.

    The file is replaced as a whole, so a kill leaves the old one or the new one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "topics.json"
        self._topics: dict[str, BrokerTopic] = {}
        self._next_producer_id = self._reserved_producer_ids = 0
        if self._file.exists():
            self._load()
        self._remove_orphans()

    def all(self) -> list[BrokerTopic]:
        """Return every topic."""
        return list(self._topics.values())

    def get(self, name: str) -> BrokerTopic | None:
        """Return a topic, None if there is none of that name."""
        return self._topics.get(name)

    def partition(self, name: str, index: int) -> PartitionLog | None:
        """Return a partition's log, None if there is no such topic or partition.

        Parameters
        ----------
        name : str
            The topic.
        index : int
            Number of the partition.
        """
        topic = self._topics.get(name)
        if topic is None or not 0 <= index < len(topic.partitions):
            return None
        return topic.partitions[index]

    def logs(self) -> Iterator[tuple[tuple[str, int], PartitionLog]]:
        """Yield every partition, by topic and index, and its log."""
        for topic in self._topics.values():
            for index, log in enumerate(topic.partitions):
                yield (topic.name, index), log

    def check_new(self, name: str, partitions: int, configs: Mapping[str, str]) -> None:
        """Check that a topic can be created.

        Parameters
        ----------
        name : str
            The topic.
        partitions : int
            From 1 to `MAX_PARTITIONS`.
        configs : mapping of str to str
            Its settings.

        Raises
        ------
        TopicRefused
            If it cannot.
        """
        if not _LEGAL_NAME.fullmatch(name) or name in (".", ".."):
            raise TopicRefused(ErrorCode.INVALID_TOPIC_EXCEPTION, f"illegal topic name {name!r}")
        if name in self._topics:
            raise TopicRefused(ErrorCode.TOPIC_ALREADY_EXISTS, f"topic {name} exists")
        if len(self._topics) >= MAX_TOPICS:
            raise TopicRefused(ErrorCode.POLICY_VIOLATION, f"at most {MAX_TOPICS} topics")
        _check_partitions(partitions)
        check_configs(configs)

    def create(self, name: str, partitions: int, configs: Mapping[str, str]) -> BrokerTopic:
        """Create a topic; parameters and errors as of `check_new`."""
        self.check_new(name, partitions, configs)
        topic = BrokerTopic(name, dict(configs))
        topic.partitions = [self._open(name, index) for index in range(partitions)]
        self._topics[name] = topic
        self._save()
        return topic

    def grow(self, name: str, partitions: int, validate_only: bool) -> None:
        """Raise the number of a topic's partitions.

        Parameters
        ----------
        name : str
            The topic.
        partitions : int
            The new number, at most `MAX_PARTITIONS`.
        validate_only : bool
            True to check the request and change nothing.

        Raises
        ------
        TopicRefused
            If there is no such topic, or the number is not larger.
        """
        topic = self._topics.get(name)
        if topic is None:
            raise TopicRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"no topic {name}")
        if partitions <= len(topic.partitions):
            raise TopicRefused(
                ErrorCode.INVALID_PARTITIONS,
                f"{partitions} partitions, expected more than {len(topic.partitions)}",
            )
        _check_partitions(partitions)
        if not validate_only:
            new = range(len(topic.partitions), partitions)
            topic.partitions += [self._open(name, index) for index in new]
            self._save()

    def configure(self, name: str, changes: Mapping[str, str | None], validate_only: bool) -> None:
        """Set settings of a topic, or return them to the default.

        Parameters
        ----------
        name : str
            The topic.
        changes : mapping of str to str or None
            Values by setting; None for the default.
        validate_only : bool
            True to check the request and change nothing.

        Raises
        ------
        TopicRefused
            If there is no such topic, or a value is refused.
        """
        topic = self._topics.get(name)
        if topic is None:
            raise TopicRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"no topic {name}")
        merged = {**topic.configs, **changes}
        configs = {key: value for key, value in merged.items() if value is not None}
        check_configs(configs)
        if not validate_only:
            topic.configs = configs
            self._save()

    def delete(self, name: str) -> bool:
        """Remove a topic and its data; return whether there was one."""
        topic = self._topics.pop(name, None)
        if topic is None:
            return False
        self._save()
        for index, log in enumerate(topic.partitions):
            log.close()
            shutil.rmtree(self._partition_folder(name, index))
        return True

    def new_producer_id(self) -> int:
        """Return a producer id never given out before, also not before a restart."""
        if self._next_producer_id >= self._reserved_producer_ids:
            self._reserved_producer_ids = self._next_producer_id + _PRODUCER_ID_BLOCK
            self._save()
        self._next_producer_id += 1
        return self._next_producer_id - 1

    def close(self) -> None:
        """Close the logs."""
        for topic in self._topics.values():
            for log in topic.partitions:
                log.close()

    def _partition_folder(self, name: str, index: int) -> Path:
        return self._folder / "partitions" / f"{name}-{index}"

    def _open(self, name: str, index: int) -> PartitionLog:
        return PartitionLog(self._partition_folder(name, index))

    def _remove_orphans(self) -> None:
        """Remove what a death in the middle of `create` or `delete` has left."""
        known = {
            self._partition_folder(topic.name, index)
            for topic in self._topics.values()
            for index in range(len(topic.partitions))
        }
        for folder in (self._folder / "partitions").glob("*"):
            if folder not in known:
                shutil.rmtree(folder)

    def _load(self) -> None:
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
            if stored["format"] != _FORMAT:
                raise ValueError(f"format {stored['format']}, expected {_FORMAT}")
            rows = [(t["name"], int(t["partitions"]), t["configs"]) for t in stored["topics"]]
            self._next_producer_id = self._reserved_producer_ids = int(stored["producer_ids"])
        except (ValueError, KeyError, TypeError) as error:
            raise BrokerDataError(f"{self._file} was not written by this broker: {error}") from None
        for name, partitions, configs in rows:
            logs = [self._open(name, index) for index in range(partitions)]
            self._topics[name] = BrokerTopic(name, configs, logs)

    def _save(self) -> None:
        rows = [
            {"name": topic.name, "partitions": len(topic.partitions), "configs": topic.configs}
            for topic in self._topics.values()
        ]
        stored = {"format": _FORMAT, "producer_ids": self._reserved_producer_ids, "topics": rows}
        scratch = self._file.with_suffix(".tmp")
        scratch.write_text(json.dumps(stored, indent=1), encoding="utf-8")
        scratch.replace(self._file)


def check_configs(configs: Mapping[str, str]) -> None:
    """Raise `TopicRefused` if a setting this broker acts on has a value it cannot act on."""
    for name, value in configs.items():
        if name == "cleanup.policy" and not _POLICIES.issuperset(value.split(",")):
            raise TopicRefused(ErrorCode.INVALID_CONFIG, f"{name}={value!r}, expected compact and/or delete")
        if name == "message.timestamp.type" and value not in _TIMESTAMP_TYPES:
            raise TopicRefused(ErrorCode.INVALID_CONFIG, f"{name}={value!r}, expected CreateTime or LogAppendTime")
        if name in _INTEGER_CONFIGS and not re.fullmatch(r"-1|\d{1,18}", value):
            raise TopicRefused(ErrorCode.INVALID_CONFIG, f"{name}={value!r}, expected a number")


def _check_partitions(partitions: int) -> None:
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise TopicRefused(ErrorCode.INVALID_PARTITIONS, f"{partitions} partitions, expected 1 to {MAX_PARTITIONS}")
