"""Traffic by hour of the week, which tells how much of a campaign's demand lies in any interval."""

import math
from functools import lru_cache

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WEEK_HOURS = 168
HOUR_S = 3600.0
PRIOR_S = 900.0
"""Seconds of mean traffic that each hour of the week starts with."""
HOUR_WEIGHT_S = 8 * HOUR_S
"""Seconds of one hour of the week, seen in other weeks, after which older ones fade."""


class Traffic(Struct, frozen=True, array_like=True):
    """Decisions by hour of the week (UTC, Thursday first as the epoch begins), learnt online.

    An hour of the week extrapolates to the rest of a campaign; the cumulative share that was observed does not.

    Attributes
    ----------
    decisions, seconds : tuple of float
        Decisions and time seen in each hour of the week, of length 168.
    """

    decisions: tuple[float, ...] = (0.0,) * WEEK_HOURS
    seconds: tuple[float, ...] = (0.0,) * WEEK_HOURS

    def note(self, since: float, until: float, decisions: float) -> "Traffic":
        """Return the traffic with the decisions of an interval spread over its hours; one above a week is left out.

        Parameters
        ----------
        since, until : float
            UTC epoch seconds.
        decisions : float
            Number of decisions in the interval.

        Examples
        --------
        >>> traffic = Traffic().note(0.0, 3600.0, 60.0)
        >>> traffic.decisions[0], traffic.seconds[0]
        (60.0, 3600.0)
        """
        if not 0.0 < until - since <= WEEK_HOURS * HOUR_S:
            return self
        counts, seconds = list(self.decisions), list(self.seconds)
        per_second = decisions / (until - since)
        for hour in range(int(since / HOUR_S), math.ceil(until / HOUR_S)):
            passed = min(until, (hour + 1) * HOUR_S) - max(since, hour * HOUR_S)
            fading = max(0.0, 1.0 - passed / HOUR_WEIGHT_S)
            row = hour % WEEK_HOURS
            counts[row] = fading * counts[row] + passed * per_second
            seconds[row] = fading * seconds[row] + passed
        return Traffic(tuple(counts), tuple(seconds))

    def between(self, since: float, until: float) -> float:
        """Return the seconds of an interval weighted by the traffic of their hours, over a week's mean.

        An hour that was never seen weighs 1, so that without history these are plain seconds.

        Parameters
        ----------
        since, until : float
            UTC epoch seconds.

        Examples
        --------
        >>> Traffic().between(3600.0, 5400.0)
        1800.0
        """
        cumulative = _cumulative(self)
        (first, last), hours = np.divmod((since / HOUR_S, until / HOUR_S), WEEK_HOURS)
        before, after = np.interp(hours, _HOURS, cumulative)
        return float((last - first) * cumulative[-1] + after - before)


_HOURS = np.arange(WEEK_HOURS + 1.0)


@lru_cache(maxsize=4)
def _cumulative(traffic: Traffic) -> Floats:
    """Return the weighted seconds since the start of the week at each of its hours, shape (169,)."""
    counts, seconds = np.array(traffic.decisions), np.array(traffic.seconds)
    mean = counts.sum() / seconds.sum() if counts.any() else 1.0
    weights = (counts / mean + PRIOR_S) / (seconds + PRIOR_S)
    return np.concatenate(([0.0], np.cumsum(weights / weights.mean() * HOUR_S)))
