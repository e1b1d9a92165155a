"""One run: a runtime on empty topics, warmed up and stopped, a backlog put before it, and what it spends on it."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError

from benchmarks.runtimes import Cores, Running, Runtime, RuntimeFailed, started
from benchmarks.steps import SOURCES, WRITTEN
from loopback_kafka import BrokerProcess
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.settings import Settings
from stream_coupons_lab.bench import processes
from stream_coupons_lab.bench.workload import Workload
from stream_coupons_lab.demo.system import LocalSystem

POLL_S = 0.1
SETTLED_S = 1.5
"""Lag must stay at zero for so long: what a runtime still has in its buffers would raise it again."""
Event = tuple[str, bytes, bytes, int]
"""(topic, key, value, partition)."""


def event_file(workload: Workload, partitions: int) -> list[Event]:
    """All source events as bytes, in the order in which they are published."""
    events = []
    for topic, event in workload.stream():
        key = topic.key_of(event)
        events.append((topic.name, key, encode(event), topics.partition_for(key, partitions)))
    return events


@dataclass(frozen=True, slots=True)
class Bench:
    """A broker, a stream and the cores: what all runs share."""

    broker: BrokerProcess
    workload: Workload
    partitions: int
    events: Sequence[Event]
    warm_up: int
    cores: Cores
    folder: Path

    def run(self, runtime: Runtime, number: int, on_progress: Callable[[int], None]) -> dict[str, Any]:
        """Run one runtime; what it spent, and what it wrote.

        Raises
        ------
        RuntimeFailed
        """
        group = f"{runtime.name}-{number}"
        with admin.admin_client(Connection(self.broker.bootstrap)) as client:
            self.make_topics(client)
            watch = Watch(client, group, runtime.reads, self.partitions, on_progress)
            with self.started(runtime, group) as running:
                self.publish(self.events[: self.warm_up])
                watch.wait_idle(running, self.warm_up)
                pid = running.process.pid
                os.kill(pid, signal.SIGSTOP)
                try:
                    self.publish(self.events[self.warm_up :])
                    cpu_s, began = processes.cpu_s([pid]), time.perf_counter()
                finally:
                    os.kill(pid, signal.SIGCONT)
                end, later = watch.wait_idle(running, len(self.events))
                measured = len(self.events) - self.warm_up
                return {
                    "runtime": runtime.name,
                    "cpu_us": (end.cpu_s - cpu_s) / measured * 1e6,
                    "events_per_s": measured / (end.at - began),
                    "peak_mib": processes.peak_rss_bytes([pid]) / topics.MIB,
                    "idle_cpu_ratio": (later.cpu_s - end.cpu_s) / (later.at - end.at),
                    "written": watch.count(WRITTEN) if runtime.is_full else {},
                }

    @contextmanager
    def started(self, runtime: Runtime, group: str) -> Iterator[Running]:
        """Run a runtime on the measured core until the block is left; this process stays on the others."""
        with (
            self.cores.measuring(),
            started(runtime, group, self.broker, self.workload, self.partitions, self.folder / group) as running,
        ):
            os.sched_setaffinity(0, self.cores.others)
            yield running

    def make_topics(self, client: KafkaAdminClient) -> None:
        """Delete what the last run left, then create all topics of ours, empty."""
        left = [name for name in client.list_topics() if not name.startswith("__")]
        if left:
            client.delete_topics(left)
            while set(left) & set(client.list_topics()):
                time.sleep(0.05)
        settings = Settings(kafka=KafkaSettings(bootstrap=self.broker.bootstrap, partitions=self.partitions))
        LocalSystem(self.broker, settings, self.folder).prepare(self.workload.catalogue())

    def publish(self, events: Sequence[Event]) -> None:
        """Append events.

        Raises
        ------
        RuntimeFailed
        """
        failures: list[Any] = []
        producer = Producer(
            {
                "bootstrap.servers": self.broker.bootstrap,
                "enable.idempotence": True,
                "linger.ms": 50,
                "queue.buffering.max.messages": 500_000,
                "error_cb": failures.append,
            }
        )
        for topic, key, value, partition in events:
            while True:
                try:
                    producer.produce(topic, value, key, partition)
                    break
                except BufferError:
                    producer.poll(0.1)
        if producer.flush(60.0) or failures:
            raise RuntimeFailed(f"the broker did not take the event file: {failures[:1]}")


@dataclass(frozen=True, slots=True)
class Sample:
    """A moment, and the CPU seconds spent until then."""

    at: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Watch:
    """Follows how far a group has committed its input topics."""

    client: KafkaAdminClient
    group: str
    reads: Sequence[str]
    partitions: int
    on_progress: Callable[[int], None]

    def wait_idle(self, running: Running, published: int) -> tuple[Sample, Sample]:
        """When all input is committed and stays so: the first moment of that, and a later one.

        Raises
        ------
        RuntimeFailed
            If it takes too long, or the process ends.
        """
        deadline = time.monotonic() + 120.0 + published / 200.0
        first: Sample | None = None
        while True:
            running.check()
            now = Sample(time.perf_counter(), processes.cpu_s([running.process.pid]))
            committed, behind = self._offsets()
            self.on_progress(committed)
            if behind or committed < published:
                first = None
            elif first is None:
                first = now
            elif now.at - first.at >= SETTLED_S:
                return first, now
            if time.monotonic() > deadline:
                raise RuntimeFailed(
                    f"{self.group}: {committed} of {published} events committed, lag {behind}, no end in sight\n"
                    + running.tail()
                )
            time.sleep(POLL_S)

    def counts(self) -> tuple[int, int, int]:
        """Return the numbers of source events committed, of input records appended, and of those not committed."""
        committed, behind = self._offsets()
        return committed, sum(self._ends(self.reads).values()), behind

    def _offsets(self) -> tuple[int, int]:
        """(source events committed, lag over all input topics)."""
        try:
            # Our learner has a group of its own; the other runtimes have none of that name.
            groups = (self.group, KafkaSettings(group_id=self.group).learner_group_id)
            committed = {
                tp: offset
                for group in groups
                for tp, offset in self.client.list_group_offsets(group).get(group, {}).items()
            }
        except KafkaError as error:
            # A new broker has no coordinator until somebody joins a group.
            if not error.retriable:
                raise
            return 0, 1
        source = behind = 0
        for tp, end in self._ends(self.reads).items():
            done = max(committed[tp].offset, 0) if tp in committed else 0
            behind += max(end - done, 0)
            source += done if tp.topic in SOURCES else 0
        return source, behind

    def _ends(self, names: Sequence[str]) -> dict[TopicPartition, int]:
        wanted = [
            TopicPartition(name, partition)
            for name in names
            for partition in range(topics.BY_NAME[name].partitions or self.partitions)
        ]
        ends = self.client.list_partition_offsets(dict.fromkeys(wanted, OffsetSpec.LATEST))
        return {tp: end.offset for tp, end in ends.items()}

    def count(self, named: dict[str, str]) -> dict[str, int]:
        """Records in topics, by what they are called."""
        ends = self._ends(list(named.values()))
        return {noun: sum(end for tp, end in ends.items() if tp.topic == topic) for noun, topic in named.items()}
