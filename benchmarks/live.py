"""What a live event costs at steady rates: our worker and Quix Streams, each on a core of its own.

Every run begins with empty topics. The runtime works off a warm-up first; then events are due at fixed moments, as in
`stream-coupons bench`, and CPU and latency are taken after the first tenth of them.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from benchmarks.measure import Bench, Watch
from benchmarks.runtimes import Runtime, RuntimeFailed
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.connection import Connection
from stream_coupons_lab.bench import processes
from stream_coupons_lab.bench.latency import Client, Send, Timing, summary

WARM_UP = 2_000
"""Events that a runtime works off before the load."""
MAX_BEHIND_S = 3.0
"""Growth of lag, in seconds of what is appended, above which a runtime does not keep up: commits are a second apart."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A runtime at a moment.

    Attributes
    ----------
    cpu_s : float
        CPU seconds used until then.
    committed, appended, lag : int
        Source events that its group has committed; records of all its inputs, and those that are not committed.
    """

    at: float
    cpu_s: float
    committed: int
    appended: int
    lag: int


@dataclass(frozen=True, slots=True)
class Load:
    """A steady load on a runtime."""

    bench: Bench
    rate: float
    seconds: float

    @property
    def events(self) -> int:
        """Events of the load."""
        return int(self.rate * self.seconds)

    def run(self, runtime: Runtime, number: int, show: Callable[[int], None]) -> dict[str, Any]:
        """Measure a runtime.

        Raises
        ------
        RuntimeFailed
            If it ends, or keeps up and an event that should have led to a coupon led to none.
        """
        bench, group = self.bench, f"live-{runtime.name}-{self.rate:g}-{number}"
        sends = [
            Send(topic, partition, key, value, _trigger(topic, value))
            for topic, key, value, partition in bench.events[WARM_UP : WARM_UP + self.events]
        ]
        marks: list[Mark] = []
        with admin.admin_client(Connection(bench.broker.bootstrap)) as client:
            bench.make_topics(client)
            watch = Watch(client, group, runtime.reads, bench.partitions, lambda _: None)
            with bench.started(runtime, group) as running:
                bench.publish(bench.events[:WARM_UP])
                watch.wait_idle(running, WARM_UP)
                pid = running.process.pid
                issues = Client(Connection(bench.broker.bootstrap), topics.ISSUES.name, bench.partitions, _trigger_of)
                timing = issues.measure(
                    sends,
                    self.rate,
                    lambda share: show(int(share * len(sends))),
                    lambda: marks.append(Mark(time.monotonic(), processes.cpu_s([pid]), *watch.counts())),
                )
                running.check()
        found = figures(runtime.name, self.rate, marks[0], marks[1], timing)
        # Missing coupons are an error only of a runtime that kept up.
        if found["missing"] and not found["is_saturated"]:
            raise RuntimeFailed(f"{group}: {found['missing']} events led to no coupon")
        return found


def figures(runtime: str, rate: float, first: Mark, last: Mark, timing: Timing) -> dict[str, Any]:
    """Return what a runtime spent between two moments of a load, and its latency if it kept up."""
    seconds, cpu_s = last.at - first.at, last.cpu_s - first.cpu_s
    is_saturated = last.lag - first.lag > (last.appended - first.appended) / seconds * MAX_BEHIND_S
    # Committed offsets are up to a commit interval old, so they count only for a runtime that fell behind.
    events = last.committed - first.committed if is_saturated else seconds * rate
    found = summary(timing, rate, len(timing.late_s), is_saturated=is_saturated)
    return {
        "runtime": runtime,
        "rate": rate,
        "cpu_us": round(cpu_s / max(events, 1) * 1e6, 1),
        "cores_used": round(cpu_s / seconds, 3),
        "is_saturated": is_saturated,
        "lag_before": first.lag,
        "lag_after": last.lag,
        "missing": found.missing,
        "p50_ms": found.p50_ms,
        "p99_ms": found.p99_ms,
        "sent_late_p99_ms": found.sent_late_p99_ms,
    }


def medians(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the median of each figure over the runs of a runtime at a rate; saturated if one of them was."""
    groups: dict[tuple[float, str], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["rate"], run["runtime"]), []).append(run)
    return [
        {
            "runtime": runtime,
            "rate": rate,
            "is_saturated": any(run["is_saturated"] for run in group),
            **{
                name: None if any(run[name] is None for run in group) else statistics.median(run[name] for run in group)
                for name in ("cpu_us", "cores_used", "p50_ms", "p99_ms")
            },
            "cpu_us_least": min(run["cpu_us"] for run in group),
            "cpu_us_most": max(run["cpu_us"] for run in group),
        }
        for (rate, runtime), group in groups.items()
    ]


def _trigger(topic: str, value: bytes) -> str:
    return str(msgspec.json.decode(value)["event_id"]) if topic == topics.CART.name else ""


def _trigger_of(issue: bytes) -> str:
    return str(msgspec.json.decode(issue)["trigger_id"])
