"""A clock for tests, and the time at which it starts."""

START = 1_000_000_000.0
"""Default time of the clock and of every event built here: 2001-09-09 01:46:40 UTC, epoch seconds."""


class ManualClock:
    """A clock that stands still until it is set. Call it for the time, as `time.time`.

    Parameters
    ----------
    now : float
        UTC epoch seconds.

    Attributes
    ----------
    now : float
        Current time, UTC epoch seconds. Assign to it to set the clock, back as well.

    Examples
    --------
    >>> clock = ManualClock()
    >>> clock.advance(3600.0)
    >>> clock() - START
    3600.0
    """

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the current time, UTC epoch seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Set the clock forward by `seconds`."""
        self.now += seconds
