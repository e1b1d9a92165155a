"""Ctrl-C and SIGTERM taken by an object for as long as a `with` block lasts."""

import signal
import threading
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
