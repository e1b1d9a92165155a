"""End a worker that has work and does not get on, or hangs on its way out: its supervisor starts a new one.

Nothing is lost by that, and lag returns to zero. It is a thread, since what hangs may be the event loop, or a service
of Faust's that other services wait for.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
LEAVING_S = 20.0
"""How long a worker that was told to leave may take. Of those who stop a process, many allow 30 s."""
CRASHED_S = 3.0


class Watched(Protocol):
    """An application, as seen from outside."""

    @property
    def should_stop(self) -> bool:
        """Whether it is on its way out."""

    @property
    def crashed(self) -> bool:
        """Whether it is so because of an error."""


class Watchdog(threading.Thread):
    """Ends the process with exit code 1.

    Parameters
    ----------
    progress : callable
        A number that changes with the work done; None when there is none to do.
    stalled_after_s : float
        Seconds without a change after which the worker is given up.
    """

    def __init__(
        self,
        app: Watched,
        progress: Callable[[], int | None],
        stalled_after_s: float,
        end: Callable[[int], object] = os._exit,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._app = app
        self._progress = progress
        self._stalled_after_s = stalled_after_s
        self._end = end
        # Not time.sleep: it waits by the system's clock, which may be set, and fails where that one is faked.
        self._wait = wait or threading.Event().wait

    def run(self) -> None:
        """Watch until the process ends, by itself or by this."""
        last: int | None = None
        since = time.monotonic()
        while not self._app.should_stop:
            self._wait(LOOK_EVERY_S)
            try:
                now = self._progress()
            except Exception:
                # Amid a rebalance some of it cannot be asked for; what can never be asked for does not get on.
                log.debug("progress is not known", exc_info=True)
                now = last
            if now is None or now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > self._stalled_after_s:
                log.critical("no record was done for %.0f s though there is work: ending", self._stalled_after_s)
                return self._give_up()
        self._wait(CRASHED_S if self._app.crashed else LEAVING_S)
        log.critical("the worker did not end in time: ending it")
        return self._give_up()

    def _give_up(self) -> None:
        logging.shutdown()
        self._end(1)
