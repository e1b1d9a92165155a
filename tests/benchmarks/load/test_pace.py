"""Rates that do not yield to stalls, and percentiles."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.pace import on_schedule, percentile


class Clock:
    """Time that passes only when somebody sleeps or works, and who oversleeps by a given time."""

    def __init__(self, oversleeps_s: float = 0.0) -> None:
        self.now = 100.0
        self.naps = 0
        self._oversleeps_s = oversleeps_s

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.naps += 1
        if seconds > 0:
            self.now += seconds + self._oversleeps_s


def sent(clock: Clock, count: int, rate: float, work_s: dict[int, float]) -> list[tuple[float, float]]:
    """(when it was due, when it was sent) of every event; some take time."""

    async def run() -> list[tuple[float, float]]:
        found = []
        async for number, due in on_schedule(count, rate, clock.now, clock, clock.sleep):
            found.append((due, clock.now))
            clock.now += work_s.get(number, 0.0)
        return found

    return asyncio.run(run())


def test_events_are_evenly_spaced() -> None:
    assert [at for _, at in sent(Clock(), 5, 4.0, {})] == [100.0, 100.25, 100.5, 100.75, 101.0]


@given(
    rate=st.floats(1.0, 5000.0),
    oversleeps_s=st.floats(0.0, 0.5),
    work_s=st.dictionaries(st.integers(0, 49), st.floats(0.0, 3.0)),
)
def test_nothing_is_early_and_no_stall_moves_the_schedule(
    rate: float, oversleeps_s: float, work_s: dict[int, float]
) -> None:
    found = sent(Clock(oversleeps_s), 50, rate, work_s)
    assert [due for due, _ in found] == [100.0 + number / rate for number in range(50)]
    assert all(at >= due for due, at in found)


def test_a_stall_is_seen_by_all_who_were_due_in_it() -> None:
    found = sent(Clock(), 100, 10.0, {10: 2.0})
    late = [at - due for due, at in found]
    # The stall begins with the 11th event; those due during it leave at its end, one behind the other.
    assert late[10] == pytest.approx(0.0)
    assert late[11:30] == pytest.approx([2.0 - 0.1 * number for number in range(1, 20)])
    assert late[31:] == pytest.approx([0.0] * 69)


def test_who_is_always_late_lets_others_run() -> None:
    clock = Clock()
    sent(clock, 10, 1000.0, dict.fromkeys(range(10), 1.0))
    assert clock.naps >= 10


def test_percentiles_of_a_thousand() -> None:
    ordered = [float(value) for value in range(1, 1001)]
    assert [percentile(ordered, ratio) for ratio in (0.5, 0.9, 0.99, 1.0)] == [500.0, 900.0, 990.0, 1000.0]
