"""Reports of deliveries that wait long for the broker."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


@contextmanager
def report_overdue(agent: str, records: int, after_s: float, on_overdue: Callable[[str], None]) -> Iterator[None]:
    """Call a function each time that the block has waited for `after_s`, and log it at doubling intervals.

    The block goes on: an idempotent producer gives up no record, and a second one beside it could double or overtake
    what the first one sends. Needs a running event loop.

    Parameters
    ----------
    agent : str
        The agent that delivers.
    records : int
        The number of records in the delivery, for the log.
    after_s : float
        Seconds between two calls.
    on_overdue : callable
        Called with the agent's name.
    """
    loop = asyncio.get_running_loop()
    began, logged_s = time.monotonic(), 0.0
    timer: asyncio.TimerHandle

    def note() -> None:
        nonlocal timer, logged_s
        on_overdue(agent)
        waited_s = time.monotonic() - began
        if waited_s >= 2 * logged_s:
            log.error("%s: %d records have waited for the broker for %.0f s", agent, records, waited_s)
            logged_s = waited_s
        timer = loop.call_later(after_s, note)  # noqa: F821 - it is deleted at the end

    timer = loop.call_later(after_s, note)
    try:
        yield
    finally:
        timer.cancel()
        del note, timer  # they refer to each other: one a delivery would stay until Python looks at what is old
