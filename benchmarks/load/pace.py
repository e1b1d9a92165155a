"""A steady rate that does not yield to stalls, and percentiles of what was measured under it.

Who waits for an answer before the next question, or shifts the schedule after a stall, leaves out the very questions
that would have waited longest (coordinated omission). Here every event has its moment from the start; one that leaves
late is counted from when it was due.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import numpy as np


async def on_schedule(
    count: int,
    rate: float,
    begins_at: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[tuple[int, float]]:
    """(number, when it is due) of every event: none comes early, and what is late comes without a pause.

    Parameters
    ----------
    count : int
        Number of events.
    rate : float
        Events a second.
    begins_at : float
        Due time of the first event, by `clock`.
    """
    for number in range(count):
        due = begins_at + number / rate
        # Once in any case: who is late all the time must still let others run.
        await sleep(max(due - clock(), 0.0))
        while (early_s := due - clock()) > 0:
            await sleep(early_s)
        yield number, due


def percentile(values: Sequence[float], ratio: float) -> float:
    """Return the least of the values that is not exceeded by `ratio` of them (nearest rank): one that was measured.

    Examples
    --------
    >>> [percentile(range(1, 201), ratio) for ratio in (0.5, 0.99, 1.0)]
    [100.0, 198.0, 200.0]
    """
    return float(np.quantile(values, ratio, method="inverted_cdf"))
