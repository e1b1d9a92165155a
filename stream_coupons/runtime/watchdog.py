"""End a worker that has work and does not get on: its supervisor starts a new one, and lag returns to zero."""

import logging
import time
from collections.abc import Callable

from mode import Service

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0


class Stalled(Exception):
    """There was work, and none of it was done for long."""


class Watchdog(Service):  # type: ignore[misc]
    """Raises `Stalled`, which ends the application.

    Parameters
    ----------
    progress : callable
        A number that changes with the work done; None when there is none to do.
    stalled_after_s : float
        Seconds without a change after which the worker is given up.
    """

    def __init__(self, progress: Callable[[], int | None], stalled_after_s: float) -> None:
        super().__init__()
        self._progress = progress
        self._stalled_after_s = stalled_after_s

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch(self) -> None:
        last: int | None = None
        since = time.monotonic()
        while not self.should_stop:
            await self.sleep(LOOK_EVERY_S)
            now = self._progress()
            if now is None or now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > self._stalled_after_s:
                raise Stalled(f"no record was done for {self._stalled_after_s:.0f} s though there are some")
