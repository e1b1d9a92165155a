"""Pace of the learner: its lag, and whether it is to leave out more examples or fewer."""

import time
from collections.abc import Callable

from stream_coupons.core.messages.learning import MAX_THINNING

BEHIND_S = 10.0
"""Largest age of examples, since their append, that is no lag: a restart or a rebalance takes as long."""
CATCH_UP_S = 600.0
"""A backlog that is gone within this time, as fast as it shrinks now, is learnt whole."""
IDLE_RATIO = 0.6
"""Least share of the time spent waiting for examples at which twice as many can be learnt."""


class Pace:
    """Lag and idle time of the learner, since its last step.

    Parameters
    ----------
    every_s : float
        Least time between two steps.
    clock, now : callable
        Monotonic time and epoch time, seconds.

    Attributes
    ----------
    lag_s : float
        Age of the example that was taken last, in seconds since its append; 0 if none waits.
    is_overrun : bool
        True if the learner falls behind at the highest level of thinning.
    """

    def __init__(
        self,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._every_s, self._clock, self._now = every_s, clock, now
        self.begin()

    def begin(self) -> None:
        """Start anew, with an unknown lag."""
        self.lag_s = self._waited_s = 0.0
        self.is_overrun = False
        self._previous_s: float | None = None
        self._began_at = self._clock()

    def wait(self, seconds: float, *, in_vain: bool) -> None:
        """Count time spent waiting for examples; after a wait in vain there are none."""
        self._waited_s += seconds
        if in_vain:
            self.lag_s = 0.0

    def take(self, appended_at: float | None) -> None:
        """Note the append time of the example taken last, epoch seconds."""
        if appended_at is not None:
            self.lag_s = max(self._now() - appended_at, 0.0)
        if self._previous_s is None:
            self._previous_s, self._began_at, self._waited_s = self.lag_s, self._clock(), 0.0

    def step(self, thinning: int) -> int:
        """Return the change of the level of thinning: 1 behind, -1 with time to spare, else 0.

        Parameters
        ----------
        thinning : int
            The level now.
        """
        elapsed_s = self._clock() - self._began_at
        if self._previous_s is None or elapsed_s < self._every_s:
            return 0
        caught_up_s = self._previous_s - self.lag_s
        is_behind = self.lag_s > BEHIND_S
        is_losing = is_behind and caught_up_s * CATCH_UP_S < self.lag_s * elapsed_s
        has_time = not is_behind and self._waited_s > IDLE_RATIO * elapsed_s
        self._previous_s, self._began_at, self._waited_s = self.lag_s, self._clock(), 0.0
        self.is_overrun = is_losing and thinning == MAX_THINNING
        return int(is_losing) - int(has_time)
