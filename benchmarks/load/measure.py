"""One run: a runtime on empty topics, warmed up, and then a backlog or a steady load."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec

from benchmarks.load import processes, throughput
from benchmarks.load.live import under_load
from benchmarks.load.report import figures
from benchmarks.load.runtimes import Cores, Running, Runtime, RuntimeFailed, started
from benchmarks.load.steps import WRITTEN
from benchmarks.load.throughput import Show
from benchmarks.load.workload import Send, Workload
from loopback_kafka import BrokerProcess
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.system import LocalSystem

SETTLED_S = 1.5
"""Seconds for which lag must stay at zero: what a runtime still has in its buffers would raise it again."""
LIVE_WARM_UP = 2_000
"""Events that a runtime works off before a steady load."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A broker, a stream and the cores: what all runs share."""

    broker: BrokerProcess
    workload: Workload
    partitions: int
    sends: Sequence[Send]
    cores: Cores
    folder: Path

    def backlog(self, runtime: Runtime, number: int, warm_up: int, show: Show) -> dict[str, Any]:
        """Put all events of the workload behind the warm-up before a runtime; return what it spent and wrote.

        Raises
        ------
        RuntimeFailed
        """
        with self._warm(runtime, f"{runtime.name}-{number}", warm_up) as running:
            pid, sends = running.process.pid, self.sends[warm_up : self.workload.events]
            os.kill(pid, signal.SIGSTOP)
            try:
                self._publish(sends)
                cpu_s, began = processes.cpu_s([pid]), time.monotonic()
            finally:
                os.kill(pid, signal.SIGCONT)
            end = throughput.drain(running, show, SETTLED_S)[-1]
            return {
                "runtime": runtime.name,
                "cpu_us": (end.worker_cpu_s - cpu_s) / len(sends) * 1e6,
                "events_per_s": len(sends) / (end.at - began),
                "peak_mib": processes.peak_rss_bytes([pid]) / topics.MIB,
                "written": self._written(running.client),
            }

    def steady(self, runtime: Runtime, number: int, rate: float, events: int, show: Show) -> dict[str, Any]:
        """Send so many events at a rate; return what the runtime spent, and its latency if it kept up.

        Raises
        ------
        RuntimeFailed
            If it ends, or keeps up and an event that should have led to a coupon led to none.
        """
        group = f"live-{runtime.name}-{rate:g}-{number}"
        with self._warm(runtime, group, LIVE_WARM_UP) as running:
            sends = self.sends[LIVE_WARM_UP : LIVE_WARM_UP + events]
            found = figures(runtime.name, rate, *under_load(running, running.settings.kafka, sends, rate, show))
        # Missing coupons are an error only of a runtime that kept up.
        if found["missing"] and not found["is_saturated"]:
            raise RuntimeFailed(f"{group}: {found['missing']} events led to no coupon")
        return found

    @contextmanager
    def _warm(self, runtime: Runtime, group: str, warm_up: int) -> Iterator[Running]:
        """Run a runtime on empty topics and on the measured core, with the warm-up done, until the block is left."""
        kafka = KafkaSettings(bootstrap=self.broker.bootstrap, partitions=self.partitions, group_id=group)
        settings = self.workload.settings(Settings(kafka=kafka))
        with admin.admin_client(kafka) as client:
            self._make_topics(client, settings)
            with (
                self.cores.measuring(),
                started(runtime, settings, self.broker, self.workload, self.folder / group, client) as running,
            ):
                os.sched_setaffinity(0, self.cores.others)
                self._publish(self.sends[:warm_up])
                throughput.drain(running, lambda _: None, SETTLED_S)
                yield running

    def _make_topics(self, client: KafkaAdminClient, settings: Settings) -> None:
        """Delete what the last run left, then create all topics of ours, empty."""
        left = [name for name in client.list_topics() if not name.startswith("__")]
        if left:
            client.delete_topics(left)
            while set(left) & set(client.list_topics()):
                time.sleep(0.05)
        LocalSystem(self.broker, settings, self.folder).prepare(self.workload.catalogue())

    def _publish(self, sends: Sequence[Send]) -> None:
        with Publisher(KafkaSettings(bootstrap=self.broker.bootstrap), self.partitions) as publisher:
            throughput.publish(publisher, sends, len(sends), lambda _: None)

    def _written(self, client: KafkaAdminClient) -> dict[str, int]:
        """Return the numbers of records in the topics that the steps write to."""
        found = {}
        for noun, name in WRITTEN.items():
            places = [
                TopicPartition(name, number) for number in range(topics.BY_NAME[name].partitions or self.partitions)
            ]
            ends = client.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
            found[noun] = sum(end.offset for end in ends.values())
        return found
