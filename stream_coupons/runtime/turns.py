"""Long work in a loop in which others wait: a slice at a time, and between slices the loop is theirs.

Work is measured in CPU time of its thread: on a busy machine, waiting for a core is no work that others must be
compensated for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable


class Turns:
    """Gives way after each slice of work, for so long that the work takes no more than its share of the time.

    Parameters
    ----------
    slice_s : float
        Nobody waits for longer than this and one piece of work.
    share : float
        Of the time that the work may take, above 0 and at most 1.
    """

    def __init__(
        self,
        slice_s: float,
        share: float,
        clock: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._slice_s = slice_s
        self._rest_ratio = 1.0 / share - 1.0
        self._clock = clock
        self._sleep = sleep
        self._began = 0.0

    def begin(self) -> None:
        """The work begins, or goes on after it had nothing to do."""
        self._began = self._clock()

    async def give_way(self, *, is_behind: bool = False) -> None:
        """Between two pieces of work: let others run if a slice is over; who is behind does not rest beyond that."""
        worked_s = self._clock() - self._began
        if worked_s >= self._slice_s:
            await self._sleep(0.0 if is_behind else worked_s * self._rest_ratio)
            self._began = self._clock()
