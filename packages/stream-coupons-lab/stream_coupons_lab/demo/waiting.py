"""A sign of life while a call blocks."""

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console

LINE_EVERY_S = 4.0


class Waiting:
    """A spinner on a terminal; elsewhere a line at once, and one every few seconds. Use it as a context manager."""

    def __init__(self, console: Console, what: str, line_every_s: float = LINE_EVERY_S) -> None:
        self._console = console
        self._what = what
        self._line_every_s = line_every_s
        self._is_over = threading.Event()
        self._status = console.status(f"{what} ...") if console.is_terminal else None
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        else:
            self._console.print(f"{self._what} ...")
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        if self._status is not None:
            self._status.stop()
        else:
            self._thread.join()

    def _repeat(self) -> None:
        began = time.monotonic()
        while not self._is_over.wait(self._line_every_s):
            self._console.print(f"{self._what} ... {time.monotonic() - began:.0f} s")
