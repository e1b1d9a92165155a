"""Ctrl-C and SIGTERM while a `with` block lasts."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Interruptions(ExitStack):
    """End work in order after Ctrl-C or SIGTERM; a context manager.

    The first signal ends a loop over `each` between two items, never within the work on one; a second raises
    KeyboardInterrupt.

    Parameters
    ----------
    at_once : bool
        The first signal raises KeyboardInterrupt wherever it strikes, and all others are ignored: by then everything
        is ending.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        super().__init__()
        self.happened = False
        self._at_once = at_once
        self._waits = False

    def __enter__(self) -> Self:
        self.enter_context(_handled(self._take))
        return super().__enter__()

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items until the end or an interruption, whichever comes first."""
        iterator = iter(items)
        while True:
            try:
                # While the next item is waited for, a signal has to cut the wait short.
                self._waits = True
                if self.happened:
                    return
                item = next(iterator)
            except (StopIteration, KeyboardInterrupt):
                return
            finally:
                self._waits = False
            yield item

    def _take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of handlers
        is_second, self.happened = self.happened, True
        if not is_second if self._at_once else is_second or self._waits:
            raise KeyboardInterrupt


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back signals until the end of the block, so that no process is started and then lost."""
    came: list[int] = []
    try:
        with _handled(lambda number, _frame: came.append(number)):
            yield
    finally:
        for number in came:
            signal.raise_signal(number)


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Let a handler take the signals; only the main thread can."""
    is_main = threading.current_thread() is threading.main_thread()
    before = [(each, signal.signal(each, handler)) for each in (signal.SIGINT, signal.SIGTERM) if is_main]
    try:
        yield
    finally:
        for number, handler_before in before:
            signal.signal(number, handler_before)
