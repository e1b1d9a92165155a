"""Ctrl-C and SIGTERM taken by an object for as long as a `with` block lasts."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self


class TakesSignals:
    """Base of what decides what a signal does; `happened` says whether one came."""

    def __init__(self) -> None:
        self.happened = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        raise NotImplementedError


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until the end of the block, so that no process is started and then lost."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    taken = (signal.SIGINT, signal.SIGTERM)
    before = [(each, signal.signal(each, lambda number, _frame: came.append(number))) for each in taken]
    try:
        yield
    finally:
        for each, handler in before:
            signal.signal(each, handler)
        for number in came:
            signal.raise_signal(number)
