"""Long work in a loop in which others wait."""

import asyncio
import threading

from stream_coupons.runtime.turns import Turns


class Time:
    """A clock that passes when somebody works or sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


def worked(pieces: int, piece_s: float, *, is_behind: bool = False) -> tuple[Time, float]:
    """The time, and how much of it the work took."""
    time = Time()
    turns = Turns(0.002, 0.25, lambda: time.now, time.sleep)

    async def work() -> None:
        turns.begin()
        for _ in range(pieces):
            time.now += piece_s
            await turns.give_way(is_behind=is_behind)

    asyncio.run(work())
    return time, pieces * piece_s / (time.now - 100.0)


def test_it_goes_on_within_a_slice_and_gives_way_after_it() -> None:
    time, _ = worked(10, 0.00051)
    assert len(time.slept) == 2


def test_a_piece_longer_than_a_slice_is_followed_by_a_longer_rest() -> None:
    short, _ = worked(1, 0.003)
    long, _ = worked(1, 0.006)
    assert abs(long.slept[0] - 2 * short.slept[0]) < 1e-9


def test_the_work_takes_its_share_of_the_time() -> None:
    _, share = worked(400, 0.00051)
    assert abs(share - 0.25) < 0.01


def test_who_is_behind_gives_way_but_does_not_rest() -> None:
    time, share = worked(400, 0.00051, is_behind=True)
    assert len(time.slept) == 100
    assert share > 0.999


def test_time_without_work_does_not_count() -> None:
    time = Time()
    turns = Turns(0.002, 0.25, lambda: time.now, time.sleep)

    async def work() -> None:
        turns.begin()
        time.now += 60.0
        turns.begin()
        await turns.give_way()

    asyncio.run(work())
    assert time.slept == []


def test_waiting_for_a_core_is_no_work() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def work() -> None:
        turns = Turns(0.02, 0.25, sleep=sleep)
        turns.begin()
        threading.Event().wait(0.1)  # as if others had the core
        await turns.give_way()

    asyncio.run(work())
    assert slept == []
