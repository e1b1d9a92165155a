"""Ctrl-C and SIGTERM as an orderly end: once raised, the way out is not cut short by another one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self


class Interruption:
    """Raises KeyboardInterrupt at the first signal and ignores all others until it is left; a context manager."""

    def __init__(self) -> None:
        self._happened = False
        self._is_held = False
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

    def _take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of handlers
        is_first, self._happened = not self._happened, True
        if is_first and not self._is_held:
            raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let a signal wait until the end of the block: for steps that must not be left half done."""
        before = self._happened
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._happened and not before:
            raise KeyboardInterrupt
