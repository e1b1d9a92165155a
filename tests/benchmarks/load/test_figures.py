"""From samples and times to figures."""

from benchmarks.load.latency import Timing, summary
from benchmarks.load.throughput import Mark, memory, warmed_up


def sample(at: float, records: int) -> Mark:
    done = {"browse-events": float(records), "ticks": 3.0}
    return Mark(at=at, records=done, batches={}, batch_s={}, lag={}, worker_cpu_s=at, broker_cpu_s=at)


def test_the_warm_up_is_the_first_tenth() -> None:
    samples = [sample(0, 0), sample(1, 50), sample(2, 120), sample(3, 600), sample(4, 1000)]
    assert warmed_up(samples) is samples[2]


def test_a_backlog_gone_at_once_counts_from_before_it_began() -> None:
    samples = [sample(0, 0), sample(1, 0), sample(2, 900), sample(3, 1000)]
    assert warmed_up(samples) is samples[1]


def test_nothing_done_is_not_an_error() -> None:
    assert warmed_up([sample(0, 0), sample(1, 0)]) is not None


def test_memory_is_growth_by_new_shoppers() -> None:
    found = memory(300, 5_000, 65_000)
    assert (found.shoppers, found.growth_bytes, found.bytes_per_shopper) == (300, 60_000, 200.0)


def test_memory_is_not_known_without_new_shoppers() -> None:
    assert memory(0, 5_000, 65_000).bytes_per_shopper is None


def test_latency_counts_from_when_an_event_was_due_without_the_warm_up() -> None:
    due = {f"e{number}": float(number) for number in range(100)}
    came = {name: at + (9.0 if at < 10 else 0.001 * (at - 9)) for name, at in due.items()}
    found = summary(Timing(due=due, came=came, late_s=[0.0] * 99 + [0.5], cpu_s=1.0, wall_s=10.0), 1.0, 1000)
    assert (found.awaited, found.measured, found.missing) == (100, 90, 0)
    assert (found.p50_ms, found.p90_ms, found.p99_ms, found.max_ms) == (45.0, 81.0, 90.0, 90.0)
    assert found.p999_ms == 90.0
    assert (found.sent_late_p99_ms, found.sent_late_max_ms, found.client_cpu_ratio) == (0.0, 500.0, 0.1)


def test_what_did_not_come_is_missing_unless_it_is_excused() -> None:
    due = {f"e{number}": float(number) for number in range(100)}
    came = {name: at + 0.1 for name, at in due.items() if at % 10}
    assert summary(Timing(due=due, came=came), 1.0, 100).missing == 10
    assert summary(Timing(due=due, came=came), 1.0, 100, pending=4).missing == 6


def test_no_answer_at_all_has_no_percentiles() -> None:
    found = summary(Timing(due={"e": 1.0}), 1.0, 1)
    assert (found.p50_ms, found.max_ms, found.missing) == (None, None, 1)
