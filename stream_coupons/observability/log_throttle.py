"""Say once a minute what a library says hundreds of times a second while no broker answers."""

import logging
import time
from collections.abc import Callable

EVERY_S = 60.0


def say_once_a_minute(library: str) -> None:
    """Limit what the loggers of a library, as far as it is imported, say at any one place of its code."""
    once = OnceAMinute()
    for name in list(logging.root.manager.loggerDict):
        # A filter of a logger is not asked of what its children say.
        if name == library or name.startswith(f"{library}."):
            logging.getLogger(name).addFilter(once)


class OnceAMinute(logging.Filter):
    """Lets one line a minute pass from each place in the code, and says with it how many it has held back."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._said: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the line is to be written."""
        place, now = (record.pathname, record.lineno), self._now()
        said_at, held_back = self._said.get(place, (now - EVERY_S, 0))
        if now - said_at < EVERY_S:
            self._said[place] = (said_at, held_back + 1)
            return False
        self._said[place] = (now, 0)
        if held_back:
            record.msg = (
                f"{record.getMessage()} ({held_back} like this were left out in the last {now - said_at:.0f} s)"
            )
            record.args = ()
        return True
