"""Medians and ratios of the runs of one session."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from benchmarks.load.latency import Timing
from benchmarks.load.latency import summary as latency_of
from benchmarks.load.live import fell_behind
from benchmarks.load.run import machine_now
from benchmarks.load.runtimes import BY_NAME
from benchmarks.load.steps import SOURCES
from benchmarks.load.throughput import Mark
from benchmarks.load.workload import Workload
from loopback_kafka.kafka_jars import KAFKA_VERSION
from stream_coupons.kafka import topics

COMPARED = ("faust", "quixstreams")
"""What the worker is compared with."""

READ = frozenset(topic.name for topic in topics.READ_BY_AGENTS)
MAX_COMMIT_INTERVAL_S = 2.8
"""Seconds between two commits of the runtime that commits least often: plain Faust."""
PACKAGES = ("faust-streaming", "aiokafka", "quixstreams", "rocksdict", "confluent-kafka", "numpy", "msgspec", "uvloop")


@dataclass(frozen=True, slots=True)
class Results:
    """All runs of one session, in the order in which they were made."""

    workload: Workload
    partitions: int
    warm_up: float
    repeats: int
    carts: int
    is_pinned: bool
    runs: Sequence[dict[str, Any]]
    live: Sequence[dict[str, Any]] = ()

    def of(self, runtime: str, figure: str) -> list[float]:
        """A figure of every run of a runtime."""
        return [run[figure] for run in self.runs if run["runtime"] == runtime]

    def median(self, runtime: str, figure: str) -> float:
        """The median of a figure."""
        return statistics.median(self.of(runtime, figure))

    @property
    def runtimes(self) -> list[str]:
        """Those that ran, in order."""
        return list(dict.fromkeys(run["runtime"] for run in self.runs))

    def ratios(self) -> dict[str, dict[str, float]]:
        """CPU of our worker over that of others, each pair of runs of one repetition by itself: median, least, most."""
        ratios = {}
        for other in COMPARED:
            if {"ours", other} <= set(self.runtimes):
                pairs = zip(self.of("ours", "cpu_us"), self.of(other, "cpu_us"), strict=True)
                each = [ours / theirs for ours, theirs in pairs if theirs > 0]
                if each:
                    ratios[f"ours/{other}"] = {
                        "median": round(statistics.median(each), 3),
                        "least": round(min(each), 3),
                        "most": round(max(each), 3),
                    }
        return ratios


def figures(runtime: str, rate: float, first: Mark, last: Mark, timing: Timing) -> dict[str, Any]:
    """Return what a runtime spent between two moments of a load, and its latency if it kept up."""
    seconds, cpu_s = last.at - first.at, last.worker_cpu_s - first.worker_cpu_s
    is_saturated = fell_behind(first, last, READ, MAX_COMMIT_INTERVAL_S)
    # Committed offsets are up to a commit interval old, so they count only for a runtime that fell behind.
    done = sum(last.records.get(name, 0.0) - first.records.get(name, 0.0) for name in SOURCES)
    found = latency_of(timing, rate, len(timing.late_s), is_saturated=is_saturated)
    return {
        "runtime": runtime,
        "rate": rate,
        "cpu_us": round(cpu_s / max(done if is_saturated else seconds * rate, 1) * 1e6, 1),
        "cores_used": round(cpu_s / seconds, 3),
        "is_saturated": is_saturated,
        "lag_before": sum(first.lag.values()),
        "lag_after": sum(last.lag.values()),
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


def environment() -> dict[str, Any]:
    """What the figures depend on."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        **msgspec.to_builtins(machine_now()),
        "Apache Kafka": KAFKA_VERSION,
        **versions,
    }


def summary(results: Results) -> dict[str, Any]:
    """All of it, for machines."""
    return {
        "environment": environment(),
        "workload": msgspec.to_builtins(results.workload),
        "partitions": results.partitions,
        "warm_up": results.warm_up,
        "repeats": results.repeats,
        "carts": results.carts,
        "pinned": results.is_pinned,
        "runtimes": {name: BY_NAME[name].about for name in results.runtimes},
        "ratios": results.ratios(),
        "medians": {
            name: {figure: round(results.median(name, figure), 2) for figure in ("cpu_us", "events_per_s", "peak_mib")}
            for name in results.runtimes
        },
        "live": medians(results.live),
        "runs": list(results.runs),
        "live_runs": list(results.live),
    }
