"""From counters at two moments of a steady load to its cost, and whether workers kept up."""

import pytest
from msgspec.structs import replace

from benchmarks.load.latency import Timing, summary
from benchmarks.load.live import AgentBatches, Behind, LiveRate, live_rate, who_fell_behind
from benchmarks.load.throughput import Mark

NOTHING = summary(Timing(), 300.0, 3000)


def mark(at: float, events: float, lag: int = 0, broker_cpu_s: float = 0.0) -> Mark:
    """After `at` seconds: each event is a record of two agents, a batch of each has ten."""
    return Mark(
        at=at,
        worker_cpu_s=events * 0.001,
        broker_cpu_s=broker_cpu_s,
        batches={"users": 100 + events / 10, "neighbours": events / 10, "budgets": 7},
        batch_s={"users": events / 10 * 0.02, "neighbours": events / 10 * 0.005},
        records={"browse-events": events * 0.75, "cart-events": events * 0.25, "user-vectors": events, "ticks": 3},
        lag={"browse-events": lag} if lag else {},
    )


def between(first: Mark, last: Mark) -> LiveRate:
    return live_rate(first, last, NOTHING, [], NOTHING, Behind(deciding=False, learning=False))


def test_the_cost_is_over_what_was_done_between_the_moments() -> None:
    found = between(mark(5.0, 1000, broker_cpu_s=1.0), mark(15.0, 4000, broker_cpu_s=1.6))
    assert (found.rate, found.events, found.seconds) == (300.0, 3000, 10.0)
    assert (found.worker_cpu_us_per_event, found.broker_cpu_us_per_event) == (1000.0, 200.0)
    assert (found.cores_used, found.batches_per_s, found.events_per_batch) == (0.3, 60.0, 5.0)
    assert found.worker_cpu_us_per_batch == 5000.0


def test_batches_are_those_of_agents_that_had_any() -> None:
    assert between(mark(0.0, 0), mark(10.0, 3000)).agents == {
        "users": AgentBatches(batches_per_s=30.0, records_per_batch=10.0, mean_ms=20.0),
        "neighbours": AgentBatches(batches_per_s=30.0, records_per_batch=10.0, mean_ms=5.0),
    }


def test_the_cpu_of_somebody_elses_broker_is_not_known() -> None:
    assert between(mark(0.0, 0), mark(10.0, 3000)).broker_cpu_us_per_event is None


def test_nothing_done_is_no_error() -> None:
    assert between(mark(0.0, 0), mark(0.0, 0)).events == 1


def behind(first: Mark, last: Mark, tick_every_s: float = 5.0) -> Behind:
    return who_fell_behind(first, last, 1.0, tick_every_s)


# 600 records a second, browse events and vectors: a commit interval of a second and a second of grace are 1,200.
@pytest.mark.parametrize(("before", "after", "expected"), [(0, 1200, False), (600, 1900, False), (0, 1600, True)])
def test_a_rate_is_saturated_if_lag_grew_by_more_than_commits_explain(before: int, after: int, expected: bool) -> None:
    assert behind(mark(0.0, 0, before), mark(10.0, 3000, after)) == (expected, False)


def test_workers_that_did_nothing_are_saturated() -> None:
    assert behind(mark(0.0, 0), mark(10.0, 0, 3000)).deciding


# 100 labels a second come every five seconds: of them, 700 may be there at any moment.
@pytest.mark.parametrize(("after", "expected"), [(700, False), (3000, True)])
def test_a_learner_that_falls_behind_does_not_saturate_a_rate(after: int, expected: bool) -> None:
    last = mark(10.0, 3000)
    last = replace(last, records=last.records | {"training-examples": 1000}, lag={"training-examples": after})
    assert behind(mark(0.0, 0), last) == (False, expected)


def test_a_saturated_rate_has_no_latency_but_counts_what_is_missing() -> None:
    due = {f"e{number}": float(number) for number in range(100)}
    came = {name: at + 50.0 for name, at in due.items() if name != "e50"}
    found = summary(Timing(due=due, came=came), 1.0, 100, is_saturated=True)
    assert (found.p50_ms, found.p99_ms, found.p999_ms, found.max_ms) == (None, None, None, None)
    assert (found.awaited, found.missing) == (100, 1)


def test_what_was_due_while_counters_were_read_is_warm_up() -> None:
    due = {f"e{number}": float(number) for number in range(100)}
    timing = Timing(due=due, came={name: at + 0.001 for name, at in due.items()}, measured_from=40.0)
    assert timing.measured()[0] == "e40"
    assert summary(timing, 1.0, 100).measured == 60
