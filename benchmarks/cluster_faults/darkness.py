"""Seconds in which events wait and none is answered, by the times at which brokers appended both."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec
from kafka.record import MemoryRecords

from benchmarks.cluster_faults.auditor import ANSWERS, SHOP, Entry, Place
from loopback_kafka.cluster import ClusterNode


class Batch(NamedTuple):
    """A batch of a partition's log.

    Attributes
    ----------
    appended_ms : int
        Time of the append, by the broker.
    producer_id : int
        Producer of a transaction, -1 outside of any.
    committed : bool or None
        True or False for the marker that ends a transaction, None for records.
    origins : tuple of str
        The input record that led to each of its records, "topic:partition:offset".
    """

    appended_ms: int
    producer_id: int = -1
    committed: bool | None = None
    origins: tuple[str, ...] = ()


class Wait(NamedTuple):
    """One event and its answer: milliseconds since the epoch."""

    arrived_ms: int
    answered_ms: int


class Darkness(NamedTuple):
    """The longest darkness of a partition: of the median one, and of the worst."""

    p50_s: float
    worst_s: float


def visible_ms(batches: Iterable[Batch]) -> dict[str, int]:
    """Return when a reader of what is committed could first see the answer to each input record.

    It sees a record once no transaction that began before it in its partition is open.

    Parameters
    ----------
    batches : iterable of Batch
        All of one partition, in their order.
    """
    seen: dict[str, int] = {}
    open_since: dict[int, int] = {}
    hidden: list[tuple[int, Batch]] = []
    for number, batch in enumerate(batches):
        if batch.committed is None:
            hidden.append((number, batch))
            if batch.producer_id >= 0:
                open_since.setdefault(batch.producer_id, number)
        else:
            began = open_since.pop(batch.producer_id, number)
            if not batch.committed:
                hidden = [one for one in hidden if one[1].producer_id != batch.producer_id or one[0] < began]
        stable = min(open_since.values(), default=number + 1)
        for origin in (origin for at, shown in hidden if at < stable for origin in shown.origins):
            seen.setdefault(origin, batch.appended_ms)
        hidden = [one for one in hidden if one[0] >= stable]
    return seen


def longest_dark_s(waits: Iterable[Wait]) -> float:
    """Return the longest time in which an event of a partition waited all along and none was answered.

    Examples
    --------
    >>> longest_dark_s([Wait(0, 10), Wait(1000, 9000), Wait(2000, 9000), Wait(20_000, 20_010)])
    8.0
    """
    by_answer = sorted(waits, key=lambda wait: wait.answered_ms)
    oldest = [wait.arrived_ms for wait in by_answer]
    for index in range(len(oldest) - 2, -1, -1):
        oldest[index] = min(oldest[index], oldest[index + 1])
    longest, previous = 0, 0
    for wait, waiting_since in zip(by_answer, oldest, strict=True):
        longest = max(longest, wait.answered_ms - max(previous, waiting_since))
        previous = wait.answered_ms
    return longest / 1000


def darkness(arrivals: Iterable[tuple[Entry, int]], answered: dict[str, int]) -> Darkness:
    """Return the darkness of the partitions of the shop's topics.

    Parameters
    ----------
    arrivals : iterable of (Entry, int)
        Records that asked for an answer, and when each arrived, in milliseconds.
    answered : dict of str to int
        When each was answered.
    """
    waits: dict[Place, list[Wait]] = defaultdict(list)
    for entry, arrived_ms in arrivals:
        if entry.place in answered:
            waits[entry.topic, entry.partition].append(Wait(arrived_ms, answered[entry.place]))
    dark = [longest_dark_s(of_partition) for of_partition in waits.values()]
    return Darkness(median(dark), max(dark)) if dark else Darkness(0.0, 0.0)


def asked(entries: dict[str, list[Entry]]) -> list[Entry]:
    """Return the records of the shop that asked for an answer."""
    return [entry for topic in SHOP for entry in entries.get(topic, ()) if "answer" in entry.headers]


def sent_ms(entry: Entry) -> int:
    """Return when an event took place, which is when its producer sent it first."""
    return int(msgspec.json.decode(entry.value or b"")["occurred_at"] * 1000)


def answers_ms(leaders: Sequence[ClusterNode]) -> dict[str, int]:
    """Return when each answer could be seen, from the files of the nodes that lead the partitions of the answers."""
    seen: dict[str, int] = {}
    for partition, leader in enumerate(leaders):
        seen |= visible_ms(batches_of(leader.data_dir / "logs" / f"{ANSWERS}-{partition}"))
    return seen


def batches_of(folder: Path) -> Iterator[Batch]:
    """Yield the batches of a partition from its files: clients are shown no markers, and so no time of a commit."""
    for file in sorted(folder.glob("*.log")):
        records = MemoryRecords(file.read_bytes())
        while records.has_next():
            batch = records.next_batch()
            producer_id = batch.producer_id if batch.is_transactional else -1
            if batch.is_control_batch:
                yield Batch(batch.max_timestamp, producer_id, next(iter(batch)).commit)
            else:
                origins = (dict(record.headers or ()).get("origin", b"").decode() for record in batch)
                yield Batch(batch.max_timestamp, producer_id, origins=tuple(one.rpartition(":")[0] for one in origins))
