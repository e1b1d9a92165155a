"""The CPU that traces cost: the agents' steps with traces over those without, side by side.

    python -m benchmarks.tracing
    python -m benchmarks.tracing --sampled 1 --batch 10

Three copies of the agents read the same events in turns: without headers; with a traceparent on every event, which is
carried on; and traced besides, with spans for a share of the events. Every ten thousand events, some 5 s of a busy
worker, they are exported to a collector in a process of its own; the CPU of that is measured apart. The median ratio of
neighbouring turns counts, with its 95 % bootstrap interval. Reading and writing Kafka is left out: a worker's ratio is
nearer to 1.
"""

import argparse
import itertools
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.collector import Collector
from benchmarks.load.steps import new_agents
from benchmarks.load.workload import Workload
from benchmarks.profile import Logs, Owner, drive, sources
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Record
from stream_coupons.observability.tracing import BatchTraces, SpanSink, TracedBatches
from stream_coupons.runtime.cells import MemoryCells
from stream_coupons.worker.memory import collect_rarely

PARTITIONS, FILL, EVENTS_A_TURN, TURNS_AN_EXPORT, RESAMPLES = 4, 6000, 100, 100, 2000


class TracedOwner(Owner):
    """An agent's batches, traced, whose outputs are delivered nowhere."""

    def __init__(self, agent: Any, traces: BatchTraces) -> None:
        super().__init__(agent, PARTITIONS)
        self.batches: TracedBatches[Any] = TracedBatches(
            traces, agent, topics.TICKS.name, topics.partition_for, PARTITIONS
        )
        for partition in range(PARTITIONS):
            self.batches.adopt(partition, MemoryCells())
        self._traces = traces

    def turn(self, size: int) -> Iterator[Any]:
        """Apply and deliver one batch; what was sent."""
        outputs = list(super().turn(size))
        self._traces.delivered(outputs, time.time_ns())
        yield from outputs


def with_contexts(records: Sequence[Record], share: float) -> list[Record]:
    """Return the records with a traceparent each; a share of them has the sampled flag."""
    chance, found = random.Random(7), []
    for record in records:
        context = f"00-{chance.getrandbits(128):032x}-{chance.getrandbits(64):016x}-{chance.random() < share:02x}"
        found.append(record._replace(headers=(("traceparent", context.encode()),)))
    return found


class Copy:
    """A copy of the agents, and the events that it is to read."""

    def __init__(self, owners: Sequence[Owner], records: Sequence[Record], logs: Logs, batch: int) -> None:
        self._owners, self._records, self._logs, self._batch = owners, iter(records), logs, batch

    def play(self, events: int) -> None:
        """Play the next events."""
        drive(self._owners, list(itertools.islice(self._records, events)), self._logs, self._batch)


def median_within(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Return the median of ratios, and the ends of its 95 % bootstrap interval."""
    chance = random.Random(7)
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return statistics.median(ratios), medians[RESAMPLES // 40], medians[-RESAMPLES // 40]


def main() -> None:
    """Print the ratios with their intervals over the turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sampled", type=float, default=0.01, help="share of the events (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=50, help="records in a batch (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=400, help="(default: %(default)s)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        with Collector() as collector:
            print(collector.endpoint, flush=True)
            sys.stdin.read()
        print(len(collector.spans))
        return
    command = [sys.executable, "-m", "benchmarks.tracing", "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "3600000"  # exported below, where it is measured
        sink = SpanSink.to(process.stdout.readline().strip())
        traces = BatchTraces(sink, 0.0, "users", "benchmark")
        workload = Workload(events=FILL + EVENTS_A_TURN * options.turns, shoppers=1500)
        copies = []
        for kind in ("plain", "carried", "traced"):
            users, *others = new_agents(workload, PARTITIONS)
            first = TracedOwner(users, traces) if kind == "traced" else Owner(users, PARTITIONS)
            logs = Logs()
            records = sources(workload, PARTITIONS, logs)
            played = records if kind == "plain" else with_contexts(records, options.sampled)
            copies.append(Copy([first, *(Owner(each, PARTITIONS) for each in others)], played, logs, options.batch))
        collect_rarely()
        for each in copies:
            each.play(FILL)
        sink.flush()
        turns, export_s = [], 0.0
        for turn in range(options.turns):
            cpu_s = [0.0] * len(copies)
            for place in (turn + n for n in range(len(copies))):  # each comes first in turn
                began = time.process_time()
                copies[place % len(copies)].play(EVENTS_A_TURN)
                cpu_s[place % len(copies)] = time.process_time() - began
            turns.append(cpu_s)
            if turn % TURNS_AN_EXPORT == TURNS_AN_EXPORT - 1:
                began = time.process_time()
                sink.flush()
                export_s += time.process_time() - began
        sink.shutdown()
        process.stdin.close()
        received = process.stdout.read().strip()
    export = export_s / sum(cpu_s[0] for cpu_s in turns)
    for name, place, more in (("carried", 1, 0.0), ("carried and traced", 2, export)):
        median, low, high = (value + more for value in median_within([each[place] / each[0] for each in turns]))
        print(f"{name}: {median:.3f} of the CPU without traces ({low:.3f} to {high:.3f}), of it export {more:.4f}")
    plain_us = statistics.median(cpu_s[0] for cpu_s in turns) / EVENTS_A_TURN * 1e6
    print(f"{options.sampled:.0%} of {plain_us:.0f} µs events sampled, batches of {options.batch}; {received} spans")


if __name__ == "__main__":
    main()
