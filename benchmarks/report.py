"""Medians and ratios of the runs of one session."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from benchmarks.live import medians
from benchmarks.runtimes import BY_NAME
from loopback_kafka.kafka_jars import KAFKA_VERSION
from stream_coupons_lab.bench import processes
from stream_coupons_lab.bench.workload import Workload

COMPARED = ("faust", "quixstreams", "quix-counter", "floor")
"""What the worker is compared with."""

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


def environment() -> dict[str, Any]:
    """What the figures depend on."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "cpu": processes.cpu_model() or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system() + " " + platform.release(),
        "Python": platform.python_version(),
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
            name: {
                figure: round(results.median(name, figure), 2)
                for figure in ("cpu_us", "events_per_s", "peak_mib", "idle_cpu_ratio")
            }
            for name in results.runtimes
        },
        "live": medians(results.live),
        "runs": list(results.runs),
        "live_runs": list(results.live),
    }
