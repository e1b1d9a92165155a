"""CPU and memory of the three agents in one process, without a broker, and the functions that take the time.

    python -m benchmarks.profile
    python -m benchmarks.profile --shoppers 100000 --events 1200000 --fill 1000000 --functions 0

The agents take turns over the same stream as `speed` uses, a batch each, on several partitions; each reads what is sent
to it. The second line measures how cost grows: the last two events of each shopper, when their states are full.
cProfile makes small functions look dearer than they are; the CPU per event is measured without it.
"""

import argparse
import cProfile
import itertools
import os
import pstats
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from benchmarks.load import processes
from benchmarks.load.steps import READS, new_agents
from benchmarks.load.workload import Workload
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.records import Output, Record
from stream_coupons.runtime.batch import BatchProcessor
from stream_coupons.runtime.cells import MemoryCells
from stream_coupons.worker.memory import collect_rarely

AT_MS = 1_900_000_000_000
UNCOMMITTED = 1
"""Batches that are applied but not committed: their outputs stay in the outbox, as they do between two commits."""


class Owner:
    """An agent's batches, the records that wait for it and how far it has read."""

    def __init__(self, agent: Any, partitions: int) -> None:
        self.name: str = agent.name
        self.batches: BatchProcessor[Any] = BatchProcessor(agent, topics.TICKS.name, topics.partition_for, partitions)
        for partition in range(partitions):
            self.batches.adopt(partition, MemoryCells())
        self.waiting: list[Record] = []
        self._ends: list[dict[int, dict[str, int]]] = [{}] * (UNCOMMITTED + 1)

    def turn(self, size: int) -> Iterator[Any]:
        """Apply one batch; what was sent."""
        batch, self.waiting = self.waiting[:size], self.waiting[size:]
        parts: defaultdict[int, list[Record]] = defaultdict(list)
        ends = {partition: dict(of_topic) for partition, of_topic in self._ends[-1].items()}
        for record in batch:
            parts[record.partition].append(record)
            ends.setdefault(record.partition, {})[record.topic] = record.offset + 1
        committed = self._ends.pop(0)
        self._ends.append(ends)
        work = {partition: (records, committed.get(partition, {})) for partition, records in parts.items()}
        for result in self.batches.apply_all(work):
            self.batches.save(result)
            yield from result.outputs


class Logs:
    """Gives records their offsets."""

    def __init__(self) -> None:
        self._ends: Counter[tuple[str, int]] = Counter()

    def append(self, topic: str, partition: int, key: bytes, value: bytes, headers: Sequence[Any] = ()) -> Record:
        """The record as it would be read."""
        offset = self._ends[topic, partition]
        self._ends[topic, partition] += 1
        return Record(topic, partition, offset, AT_MS, key, value, tuple(headers))


def sources(workload: Workload, partitions: int, logs: Logs) -> list[Record]:
    """The event file as records."""
    records = []
    for topic, event in workload.stream():
        key = topic.key_of(event)
        records.append(logs.append(topic.name, topics.partition_for(key, partitions), key, encode(event)))
    return records


def drive(
    owners: Sequence[Owner],
    records: Sequence[Record],
    logs: Logs,
    size: int,
    take: Callable[[Output], None] | None = None,
) -> Counter[str]:
    """Feed the records a batch at a time until nobody has anything to do; what was sent, by topic.

    `take` is called with what none of the owners reads.
    """
    readers = {topic: owner for owner in owners for topic in READS[owner.name]}
    users, sent, todo = owners[0], Counter[str](), iter(records)
    while True:
        # A worker's batch is filled with what waits in all of its topics.
        users.waiting += itertools.islice(todo, max(size - len(users.waiting), 0))
        if not any(owner.waiting for owner in owners):
            return sent
        for owner in owners:
            for output in owner.turn(size):
                sent[output.topic] += 1
                reader = readers.get(output.topic)
                if reader is not None:
                    reader.waiting.append(
                        logs.append(output.topic, output.partition, output.key, output.value, output.headers)
                    )
                elif take is not None:
                    take(output)


def pipeline(workload: Workload, partitions: int) -> tuple[list[Owner], list[Record], Logs]:
    """Agents without states, and what they are to read."""
    logs = Logs()
    owners = [Owner(agent, partitions) for agent in new_agents(workload, partitions)]
    return owners, sources(workload, partitions, logs), logs


def cells(owners: Sequence[Owner]) -> tuple[int, int]:
    """Return the number of state records of all agents, and their bytes with their keys."""
    sizes = [
        len(key) + len(data)
        for owner in owners
        for partition in owner.batches.owned
        for key, data in owner.batches.cells(partition).items()
    ]
    return len(sizes), sum(sizes)


def main() -> None:
    """Run the events once as they are and once under cProfile; print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000, help="source events (default: %(default)s)")
    parser.add_argument(
        "--fill", type=int, default=0, help="of them before anything is measured (default: %(default)s)"
    )
    parser.add_argument("--shoppers", type=int, default=Workload().shoppers, help="(default: %(default)s)")
    parser.add_argument("--coupons", type=int, default=Workload().coupons, help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=2000, help="records in a batch (default: %(default)s)")
    parser.add_argument("--partitions", type=int, default=4, help="of every topic (default: %(default)s)")
    parser.add_argument("--functions", type=int, default=40, help="rows of the table; 0: none (default: %(default)s)")
    options = parser.parse_args()
    workload = Workload(events=options.events, shoppers=options.shoppers, coupons=options.coupons)
    collect_rarely()  # as a worker does
    for profiler in (None, cProfile.Profile(time.process_time)) if options.functions else (None,):
        rss_bytes = processes.rss_bytes([os.getpid()])
        owners, records, logs = pipeline(workload, options.partitions)
        drive(owners, records[: options.fill], logs, options.batch)
        began = time.process_time()
        with profiler or nullcontext():
            sent = drive(owners, records[options.fill :], logs, options.batch)
        if profiler is None:
            events = options.events - options.fill
            print(f"CPU per event: {(time.process_time() - began) / events * 1e6:.2f} µs")
            print("sent per event:", {topic: round(count / events, 3) for topic, count in sent.items()})
            number, size = cells(owners)
            grown = processes.rss_bytes([os.getpid()]) - rss_bytes
            print(f"state records: {number:,} of {size:,} bytes; memory grew by {grown:,} bytes, with the event file")
        else:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(options.functions)


if __name__ == "__main__":
    main()
