"""Contact with the brokers: the time of their last answer, and attempts that go on until one answers."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

log = logging.getLogger(__name__)

PAUSE_S = 1.0
"""Pause between two attempts."""


class Contact:
    """The time since brokers last answered this process; clients in several threads note it.

    Parameters
    ----------
    clock : callable, optional
        Returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answered_at = clock()

    def note(self) -> None:
        """Note that a broker has answered now."""
        self._answered_at = self._clock()

    @property
    def silent_s(self) -> float:
        """Seconds since the last answer; since the start while there was none."""
        return self._clock() - self._answered_at


async def connect(start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]) -> None:
    """Start a client of aiokafka; try again until a broker answers.

    Parameters
    ----------
    start : callable
        Makes a client and starts it.
    stop : callable
        Stops a client that could not connect.
    """
    while True:
        try:
            return await start()
        except KafkaConnectionError:
            await stop()
            await asyncio.sleep(PAUSE_S)


async def retry(what: str, attempt: Callable[[], Awaitable[None]], is_wanted: Callable[[], bool]) -> None:
    """Make attempts until one succeeds, or none is wanted any more; a failure for want of a broker is logged.

    Parameters
    ----------
    what : str
        Names the work in the log.
    attempt : callable
        Does the work.
    is_wanted : callable
        Asked before each attempt.

    Raises
    ------
    KafkaError
        If a broker refuses, so that another attempt would fail, too.
    """
    while is_wanted():
        try:
            await attempt()
        except (KafkaError, OSError) as error:
            # aiokafka does not call a time-out retriable, though another broker may answer the next attempt.
            if isinstance(error, KafkaError) and not (error.retriable or isinstance(error, KafkaTimeoutError)):
                raise
            log.warning("%s: %r; tried again in %.0f s", what, error, PAUSE_S)
            await asyncio.sleep(PAUSE_S)
        else:
            break
