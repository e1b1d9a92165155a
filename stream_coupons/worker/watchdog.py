"""End a worker of which a part has work and does not get on, or that hangs on its way out; a supervisor starts anew.

Nothing is lost by that, and lag returns to zero. It is a thread, since what hangs may be the event loop, or a service
of Faust's that other services wait for. Before it ends the process it tells where every task waits, and
last why it ends.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Protocol

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
LEAVING_S = 20.0
"""Seconds that a worker has to leave. Many supervisors allow 30 s."""
CRASHED_S = 3.0
ENDS = "the worker ends: %s"
"""The last line of a worker that ends by itself, whoever ends it."""


class Watched(Protocol):
    """An application, as seen from outside."""

    loop: Any

    @property
    def should_stop(self) -> bool:
        """True while it is on its way out."""

    @property
    def crashed(self) -> bool:
        """True if an error has ended it."""

    @property
    def crash_reason(self) -> BaseException | None:
        """The error that has ended it; None if none has."""


class Watchdog(threading.Thread):
    """Ends the process with exit code 1.

    Parameters
    ----------
    progress : callable
        How far each part has come that has work to do: a number that changes when it gets on.
    look : callable
        Called as often as the progress is asked for.
    stalled_after_s : float
        Seconds without a change in any one part after which the worker is given up. They are counted in looks at the
        progress: none pass while the whole process is stopped, and fewer while it is starved of CPU time.
    """

    def __init__(
        self,
        app: Watched,
        progress: Callable[[], Mapping[Hashable, int]],
        look: Callable[[], object],
        stalled_after_s: float,
        end: Callable[[int], object] = os._exit,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._app = app
        self._progress = progress
        self._look = look
        self._stalled_after_s = stalled_after_s
        self._end = end
        # Not time.sleep: it waits by the system's clock, which may be set, and fails where that one is faked.
        self._wait = wait or threading.Event().wait

    def run(self) -> None:
        """Watch until the process ends, by itself or by this."""
        seen: dict[Hashable, tuple[int, int]] = {}
        while not self._app.should_stop:
            self._wait(LOOK_EVERY_S)
            try:
                self._look()
                at_work = self._progress()
            except Exception:
                # Amid a rebalance some of it cannot be asked for; what can never be asked for does not get on.
                log.debug("progress is not known", exc_info=True)
                at_work = {part: count for part, (count, _) in seen.items()}
            seen = {
                part: (count, seen[part][1] + 1 if part in seen and seen[part][0] == count else 0)
                for part, count in at_work.items()
            }
            stalled = [part for part, (_, looks) in seen.items() if looks * LOOK_EVERY_S > self._stalled_after_s]
            if stalled:
                return self._give_up(
                    f"no record was done for {self._stalled_after_s:.0f} s though there is work: {stalled}"
                )
        self._look()
        self._wait(CRASHED_S if self._app.crashed else LEAVING_S)
        return self._give_up(
            repr(self._app.crash_reason) if self._app.crashed else "it was told to, and did not in time"
        )

    def _give_up(self, why: str) -> None:
        try:
            for task in asyncio.all_tasks(self._app.loop):
                log.error("%s waits in %s", task.get_name(), " < ".join(_places(task.get_coro())))
        except RuntimeError:
            log.error("where the tasks wait is not known", exc_info=True)  # they come and go while we look
        log.critical(ENDS, why)
        logging.shutdown()
        self._end(1)


def _places(waiting: Any) -> list[str]:
    """Return where a suspended coroutine waits, innermost first: file and line of it and of what it awaits."""
    places: list[str] = []
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "ag_frame", None)
        if frame is not None:
            places.insert(0, f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}")
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "ag_await", None)
    return places
