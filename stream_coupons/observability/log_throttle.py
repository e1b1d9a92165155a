"""Limits for lines that a library repeats hundreds of times a second while no broker answers."""

import logging
import time
from collections.abc import Callable

EVERY_S = 60.0


def throttle(library: str, *, is_patient: bool = False) -> None:
    """Limit the lines that the loggers of a library, as far as it is imported, write at any one place of its code.

    Parameters
    ----------
    library : str
        Name of its uppermost logger.
    is_patient : bool
        Write the first line only when the place has repeated itself for a minute. Stack traces are written at once.
    """
    once = OnceAMinute(is_patient=is_patient)
    for name in list(logging.root.manager.loggerDict):
        # A filter of a logger is not asked of what its children say.
        if name == library or name.startswith(f"{library}."):
            logging.getLogger(name).addFilter(once)


class OnceAMinute(logging.Filter):
    """Lets one line a minute pass from each place in the code, with the number of lines that it has held back.

    Parameters
    ----------
    now : callable, optional
        Returns monotonic seconds.
    is_patient : bool
        Hold back the first line of a place, too, unless it has a stack trace.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, *, is_patient: bool = False) -> None:
        super().__init__()
        self._now = now
        self._first_age_s = 0.0 if is_patient else EVERY_S
        self._said: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the line is to be written."""
        place, now = (record.pathname, record.lineno), self._now()
        said_at, held_back = self._said.get(place, (now - (EVERY_S if record.exc_info else self._first_age_s), 0))
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
