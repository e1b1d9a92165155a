"""What is reported of a measurement that a signal ends early, and which plans are refused."""

from typing import Any

import pytest
from msgspec.structs import replace

from benchmarks.load import run as bench_run
from benchmarks.load.run import BenchPlan
from benchmarks.load.throughput import Memory, Throughput
from benchmarks.load.workload import Workload
from stream_coupons.core.errors import BadConfig
from stream_coupons.settings import Settings

PLAN = BenchPlan(
    settings=Settings(), workload=Workload(), engine="kafka", workers=1, rates=(100.0, 300.0), seconds=10.0
)
SPEED = Throughput(
    events=90_000, seconds=40.0, events_per_s=2250.0, worker_cpu_us_per_event=123.4, cores_used=0.9,
    broker_cpu_us_per_event=80.0, batches_per_s=20.0, events_per_batch=112.5, peak_rss_bytes=2**29,
    triggers=15_000, pending=0, missing=2,
)  # fmt: skip
MEMORY = Memory(shoppers=5000, growth_bytes=2**24, bytes_per_shopper=3355.4)


def interrupted(monkeypatch: pytest.MonkeyPatch, *, has_backlog: bool) -> bench_run.BenchReport:
    def measure(plan: BenchPlan, found: bench_run.Measured, *_: Any) -> None:  # noqa: ARG001 - the signature of _measure
        if has_backlog:
            found.backlog = SPEED, MEMORY
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_run, "_measure", measure)
    return bench_run.run(PLAN, lambda *_: None, lambda *_: None)


def test_what_was_measured_before_an_interruption_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    found = interrupted(monkeypatch, has_backlog=True)
    assert (found.interrupted, found.throughput, found.rates, found.missing) == (True, SPEED, [], 2)


def test_an_interruption_before_anything_was_measured_is_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(monkeypatch, has_backlog=False)


def test_the_smallest_of_several_rates_must_be_enough() -> None:
    bench_run.check(PLAN)
    with pytest.raises(BadConfig, match="is 50 events, expected at least 100"):
        bench_run.check(replace(PLAN, rates=(300.0, 5.0)))
