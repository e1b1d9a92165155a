"""The benchmark runs, sees what is wrong, and our worker needs less CPU than plain Faust: a ratio, never a time."""

import os
from collections import Counter, defaultdict, deque
from typing import Any

import pytest

from benchmarks.load.latency import Timing
from benchmarks.load.report import Results, figures, medians, summary
from benchmarks.load.runtimes import BY_NAME, RuntimeFailed
from benchmarks.load.steps import AgentSteps, new_agents
from benchmarks.load.throughput import Mark
from benchmarks.load.workload import Workload
from benchmarks.profile import Logs, cells, drive, pipeline, sources
from benchmarks.speed import Plan, check, measure, parse
from loopback_kafka import apache_kafka_missing

WRITTEN = dict.fromkeys(("vectors", "updates", "issues"), 100)


def run(runtime: str, cpu_us: float) -> dict[str, Any]:
    figures = {"cpu_us": cpu_us, "events_per_s": 9.0, "peak_mib": 5.0}
    return {"runtime": runtime, **figures, "written": WRITTEN}


def mark(at: float, cpu_s: float, records: dict[str, float], lag: dict[str, int]) -> Mark:
    return Mark(at=at, worker_cpu_s=cpu_s, broker_cpu_s=0.0, batches={}, batch_s={}, records=records, lag=lag)


def live_run(runtime: str, rate: float, cpu_us: float, lag_after: int = 0) -> dict[str, Any]:
    """A load of 10 seconds after which a runtime is behind by some records, of which an event has two."""
    sent = int(rate * 10)
    done = float(sent - lag_after // 2)
    records, lag = {"browse-events": done, "user-vectors": done}, {"user-vectors": lag_after}
    first, last = mark(0.0, 1.0, {}, {}), mark(10.0, 1.0 + cpu_us * sent / 1e6, records, lag)
    due = {f"e{number}": float(number) for number in range(100)}
    came = {name: at + (0.04 if number < 90 else 0.09) for number, (name, at) in enumerate(due.items())}
    return figures(runtime, rate, first, last, Timing(due=due, came=came))


def test_a_live_run_has_a_latency_unless_lag_grew() -> None:
    found = live_run("ours", 300.0, 900.0, lag_after=600)  # of a second
    assert (found["cpu_us"], found["cores_used"], found["is_saturated"]) == (900.0, 0.27, False)
    assert (found["p50_ms"], found["p99_ms"]) == (40.0, 90.0)
    found = live_run("ours", 300.0, 900.0, lag_after=2400)
    assert (found["is_saturated"], found["p50_ms"]) == (True, None)
    assert found["cpu_us"] == 1500.0  # of the events that were done


def test_one_saturated_run_leaves_a_runtime_without_a_latency() -> None:
    runs = [live_run("ours", 300.0, cpu_us, lag) for cpu_us, lag in ((900.0, 0), (1000.0, 0), (1300.0, 2400))]
    [found] = medians([*runs])
    assert (found["cpu_us"], found["cpu_us_least"], found["cpu_us_most"]) == (1000.0, 900.0, 2166.7)
    assert (found["is_saturated"], found["p50_ms"]) == (True, None)
    assert medians(runs[:2])[0]["p50_ms"] == 40.0


def test_a_backlog_is_as_long_as_it_was_whatever_the_loads_take() -> None:
    plan = Plan(Workload(events=1000), 4, 0.05, 1, [], live=[BY_NAME["ours"]], live_rates=[100.0, 300.0], live_s=10.0)
    assert (plan.workload.events, plan.published.events) == (1000, 5000)
    assert Plan(Workload(events=1000), 4, 0.05, 1, []).published.events == 1000


@pytest.mark.kafka
@pytest.mark.slow
def test_a_worker_needs_less_cpu_than_plain_faust() -> None:
    missing = apache_kafka_missing()
    if missing and os.environ.get("STREAM_COUPONS_REQUIRE_KAFKA") != "1":
        pytest.skip(missing)
    workload, contestants = Workload(events=3_000), [BY_NAME["ours"], BY_NAME["faust"]]
    results = measure(Plan(workload, 4, 0.05, 1, contestants, live=contestants, live_rates=[100.0], live_s=3.0))
    assert results.ratios()["ours/faust"]["median"] < 0.9
    assert [(one["runtime"], one["rate"]) for one in results.live] == [("ours", 100.0), ("faust", 100.0)]
    assert all(one["cpu_us"] > 0 and one["missing"] == 0 for one in results.live)


def test_the_steps_of_the_peers_come_to_as_many_coupons_as_there_are_carts() -> None:
    workload, logs, sent = Workload(events=300, at_a_time=30), Logs(), Counter[str]()
    all_records = sources(workload, 2, logs)
    readers = {topic: steps for steps in map(AgentSteps, new_agents(workload, 2)) for topic in steps.reads}
    states: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    waiting = deque(all_records)
    while waiting:
        record = waiting.popleft()
        if (steps := readers.get(record.topic)) is None:
            continue
        own = states[steps.name]
        for output in steps.step(record, own.get, own.__setitem__):
            sent[output.topic] += 1
            waiting.append(logs.append(output.topic, output.partition, output.key, output.value))
    assert sent["coupon-issues"] == sum(record.topic == "cart-events" for record in all_records) > 0


def test_a_runtime_that_wrote_too_little_fails_the_benchmark() -> None:
    check(run("ours", 1.0), carts=100)
    with pytest.raises(RuntimeFailed, match=r"wrote 100 issues.*103 carts"):
        check(run("faust", 1.0), carts=103)


def test_ratios_compare_the_runs_of_one_repetition() -> None:
    runs = [run("ours", 10.0), run("faust", 100.0), run("ours", 20.0), run("faust", 50.0)]
    results = Results(Workload(events=1_000), 4, 0.05, 2, 100, True, runs)
    assert summary(results)["ratios"] == {"ours/faust": {"median": 0.25, "least": 0.1, "most": 0.4}}


@pytest.mark.parametrize(
    "wrong", [["--events", "5"], ["--warm-up", "1"], ["--runtimes", "flink"], ["--live-rates", "1"]]
)
def test_options_that_cannot_be_are_refused_before_a_broker_starts(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        parse(wrong)
    assert error.value.code == 2


def test_a_profile_runs_the_whole_workload() -> None:
    owners, records, logs = pipeline(Workload(events=300, at_a_time=30), partitions=2)
    sent = drive(owners, records, logs, size=100)
    assert sent["coupon-issues"] == sum(record.topic == "cart-events" for record in records) > 0
    number, size = cells(owners)
    assert number >= 60
    assert size > 100 * number
