"""Ctrl-C and SIGTERM as an orderly end: once raised, the way out is not cut short by another one."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from stream_coupons.lab.signals import TakesSignals


class Interruption(TakesSignals):
    """Raises KeyboardInterrupt at the first signal and ignores all others until it is left; a context manager."""

    _is_held = False

    def _take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of handlers
        is_first, self.happened = not self.happened, True
        if is_first and not self._is_held:
            raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let a signal wait until the end of the block: for steps that must not be left half done."""
        before = self.happened
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self.happened and not before:
            raise KeyboardInterrupt
