"""The state of a process in its log and in its title: starting, ready, not ready, waiting for Kafka, stopping."""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

try:
    from setproctitle import setproctitle
except ImportError:

    def setproctitle(title: str) -> None:
        """Keep the title: the package that can set it is not installed."""


from stream_coupons.kafka.contact import Contact

log = logging.getLogger(__name__)

FIRST_AFTER_S = 10.0
GROWTH = 3.0
MAX_INTERVAL_S = 600.0


class Observable(Protocol):
    """A process of which the state is reported."""

    contact: Contact

    def is_away(self) -> bool:
        """Return whether no broker answers."""

    def is_stopping(self) -> bool:
        """Return whether the process is on its way out."""

    def why_not_ready(self) -> Sequence[str]:
        """Return what is missing for being ready."""


class GrowingIntervals:
    """Tells when a line about something that lasts is due: after 10 s, 30 s, 90 s and so on, at least every 10 minutes.

    Examples
    --------
    >>> intervals = GrowingIntervals()
    >>> [second for second in range(1, 1600) if intervals.is_due(second)]
    [10, 30, 90, 270, 810, 1410]
    """

    def __init__(self) -> None:
        self._due_s = FIRST_AFTER_S
        self.has_begun = False
        """True if a line was due since the last reset."""

    def is_due(self, lasts_s: float) -> bool:
        """Return whether a line is due for something that has lasted so long."""
        if lasts_s < self._due_s:
            return False
        self._due_s = min(lasts_s * GROWTH, lasts_s + MAX_INTERVAL_S)
        self.has_begun = True
        return True

    def reset(self) -> None:
        """Begin anew: it is over."""
        self._due_s, self.has_begun = FIRST_AFTER_S, False


class StateLog:
    """Logs each change of state; call `look` several times a second, from any one thread.

    Parameters
    ----------
    role : str
        "worker" or "learner".
    process : Observable
        The process.
    addresses : str
        Addresses of the brokers.
    describe : callable
        Returns what a process that is ready does.
    clock : callable
        Returns monotonic seconds.
    set_title : callable, optional
        Sets the title of the process.
    """

    def __init__(
        self,
        role: str,
        process: Observable,
        addresses: str,
        describe: Callable[[], str],
        clock: Callable[[], float],
        set_title: Callable[[str], object] = setproctitle,
    ) -> None:
        self._role = role
        self._process = process
        self._addresses = addresses
        self._describe = describe
        self._clock = clock
        self._set_title = set_title
        self._title = ""
        self._away, self._unready = GrowingIntervals(), GrowingIntervals()
        self._silent_s = 0.0
        self._unready_since: float | None = clock()
        self._is_ready = False

    def look(self) -> None:
        """Log what has changed since the last call, and what lasts when a line about it is due."""
        state = self._state()
        if state != self._title:
            self._title = state
            self._set_title(f"stream-coupons {self._role}: {state}")

    def _state(self) -> str:
        if self._process.is_stopping():
            if self._title != "stopping":
                log.info("stopping")
            return "stopping"
        if self._process.is_away():
            return self._wait()
        if self._away.has_begun:
            log.info("Kafka answers again after %.0f s", self._silent_s)
            self._is_ready = False
        self._away.reset()
        reasons = self._process.why_not_ready()
        return self._lack(reasons) if reasons else self._run()

    def _wait(self) -> str:
        self._silent_s = self._process.contact.silent_s
        if self._away.is_due(self._silent_s):
            log.warning("Kafka has not answered for %.0f s; waiting (%s)", self._silent_s, self._addresses)
        self._unready_since = None
        return "waiting for Kafka"

    def _lack(self, reasons: Sequence[str]) -> str:
        if self._unready_since is None:
            self._unready_since = self._clock()
        if self._unready.is_due(self._clock() - self._unready_since):
            log.warning("not ready: %s", "; ".join(reasons))
            self._is_ready = False
        return "not ready" if self._is_ready or self._unready.has_begun else "starting"

    def _run(self) -> str:
        if not self._is_ready:
            log.info("ready: %s", self._describe())
        self._is_ready, self._unready_since = True, None
        self._unready.reset()
        return "ready"
