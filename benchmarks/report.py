"""What the runs say: medians, ratios, a page for people and a chart."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.live import medians
from benchmarks.page import PAGE
from benchmarks.runtimes import BY_NAME, LIVE
from stream_coupons.broker.kafka_jars import KAFKA_VERSION
from stream_coupons.lab.bench.workload import Workload

COMPARED = ("faust", "quixstreams", "quix-unordered", "quix-counter", "floor")
"""What the worker is compared with."""

PACKAGES = ("faust-streaming", "aiokafka", "quixstreams", "rocksdict", "confluent-kafka", "numpy", "msgspec", "uvloop")
BAR, GAP, LABEL, WIDTH = 22, 12, 120, 720


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
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": platform.system() + " " + platform.release(),
        "Python": platform.python_version(),
        "Apache Kafka": KAFKA_VERSION,
        **versions,
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


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


def write_report(results: Results, folder: Path) -> None:
    """`benchmarks.md` and `benchmarks.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.svg").write_text(chart(results), encoding="utf-8")
    (folder / "benchmarks.md").write_text(page(results), encoding="utf-8")


def page(results: Results) -> str:
    """The page for people."""
    facts = environment()
    return PAGE.format(
        ratios=_ratio_table(results),
        table=_table(results),
        live=_live_table(results),
        written=_written_table(results),
        events=f"{results.workload.events:,}",
        warm_up=f"{results.warm_up:.0%}",
        carts=f"{results.carts:,}",
        shoppers=f"{results.workload.shoppers:,}",
        coupons=results.workload.coupons,
        partitions=results.partitions,
        repeats=results.repeats,
        machine=f"{facts.pop('cpu')}, {facts.pop('cores')} cores, {facts.pop('system')}",
        pinned=(
            "on a core of its own; the broker and all else run on the others"
            if results.is_pinned
            else "on the machine's only core, together with the broker"
        ),
        versions=", ".join(f"{name} {value}" for name, value in facts.items()),
    )


def _ratio_table(results: Results) -> str:
    lines = ["| CPU of our worker over that of | Median | Least | Most |", "|---|---:|---:|---:|"]
    for name, ratio in results.ratios().items():
        other = name.partition("/")[2]
        lines.append(f"| {BY_NAME[other].about} | {ratio['median']} | {ratio['least']} | {ratio['most']} |")
    return "\n".join(lines)


def _table(results: Results) -> str:
    lines = [
        "| Runtime | What it does | CPU, µs per event | Least to most | Events/s | Peak memory, MiB |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name in results.runtimes:
        cpu = results.of(name, "cpu_us")
        lines.append(
            f"| {name} | {BY_NAME[name].about} | {statistics.median(cpu):.1f} | {min(cpu):.1f} to {max(cpu):.1f} "
            f"| {results.median(name, 'events_per_s'):,.0f} | {results.median(name, 'peak_mib'):.0f} |"
        )
    return "\n".join(lines)


def _live_table(results: Results) -> str:
    about = {runtime.name: runtime.about for runtime in LIVE}
    lines = [
        "| Events/s | Runtime | What it does | CPU, µs per event | Least to most | Latency p50, ms | p99, ms |",
        "|---:|---|---|---:|---:|---:|---:|",
    ]
    for each in medians(results.live):
        times = "saturated | " if each["is_saturated"] else f"{each['p50_ms']:.0f} | {each['p99_ms']:.0f}"
        lines.append(
            f"| {each['rate']:,g} | {each['runtime']} | {about[each['runtime']]} | {each['cpu_us']:,.0f} "
            f"| {each['cpu_us_least']:,.0f} to {each['cpu_us_most']:,.0f} | {times} |"
        )
    return "\n".join(lines)


def _written_table(results: Results) -> str:
    full = {run["runtime"]: run["written"] for run in results.runs if run["written"]}
    nouns = list(next(iter(full.values()), {}))
    lines = ["| Runtime | " + " | ".join(nouns) + " |", "|---|" + "---:|" * len(nouns)]
    lines += [
        f"| {name} | " + " | ".join(f"{counts[noun]:,}" for noun in nouns) + " |" for name, counts in full.items()
    ]
    return "\n".join(lines)


def chart(results: Results) -> str:
    """Horizontal bars of CPU per event, with a line from the least to the most of all runs."""
    bars = {name: results.of(name, "cpu_us") for name in results.runtimes}
    scale = (WIDTH - LABEL - 80) / max(max(values) for values in bars.values())
    height = 44 + len(bars) * (BAR + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="13" role="img">',
        "<title>CPU per source event, by runtime</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="22" font-weight="bold">CPU per source event, µs (less is better)</text>',
    ]
    for row, (name, values) in enumerate(bars.items()):
        y, median = 36 + row * (BAR + GAP), statistics.median(values)
        color = "#1b7f5c" if name == "ours" else "#9aa5b1" if not BY_NAME[name].is_full else "#4a6fa5"
        least, most = LABEL + min(values) * scale, LABEL + max(values) * scale
        middle = y + BAR / 2
        parts += [
            f'<text x="{LABEL - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{median * scale:.1f}" height="{BAR}" fill="{color}"/>',
            f'<path d="M{least:.1f} {middle}H{most:.1f}" stroke="#222222"/>',
            f'<text x="{most + 8:.1f}" y="{middle + 4}">{median:.1f}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
