"""A worker that has work and does none of it is given up; one that has none, or gets on, is not."""

import asyncio
from collections.abc import Iterable

import pytest

from stream_coupons.runtime.watchdog import Stalled, Watchdog


class Over(Exception):
    """All values were looked at."""


async def watch(progress: Iterable[int | None], stalled_after_s: float) -> None:
    """Look once for each value; real time hardly passes, so 0 s without progress is already too long."""
    values = list(progress)

    def next_value() -> int | None:
        if not values:
            raise Over
        return values.pop(0)

    watchdog = Watchdog(next_value, stalled_after_s)

    async def no_time(_n: float) -> None:
        await asyncio.sleep(0.001)

    watchdog.sleep = no_time  # type: ignore[method-assign]
    try:
        await watchdog._watch.fun(watchdog)
    except Over:
        return


@pytest.mark.parametrize("progress", [[1, 2, 3, 4], [None, None, None], [1, None, 1, None, 1]])
def test_it_lets_be_who_gets_on_or_has_nothing_to_do(progress: list[int | None]) -> None:
    asyncio.run(watch(progress, 0.0))


def test_it_gives_up_who_has_work_and_does_none() -> None:
    with pytest.raises(Stalled):
        asyncio.run(watch([None, 7, 7, 7, 7], 0.0))


def test_it_has_patience() -> None:
    asyncio.run(watch([7, 7, 7, 7], 3600.0))
