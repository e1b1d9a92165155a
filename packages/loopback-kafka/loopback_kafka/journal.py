"""An append-only file of JSON lines that holds a small state, and is rewritten when it has grown."""

import json
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

logger = logging.getLogger(__name__)

_REWRITE_BYTES: Final = 4 * 1024 * 1024


class Journal:
    """The changes of a state, one JSON value a line.

    Opening it applies every line up to the first that is torn, and rewrites the file. What `append` has written
    survives the death of the process.

    Parameters
    ----------
    path : Path
    apply : callable
        Applies one row to the state; raises ValueError, TypeError or KeyError for a row that it cannot apply.
    rows : callable
        Returns the rows that hold the present state.
    """

    def __init__(self, path: Path, apply: Callable[[Any], None], rows: Callable[[], Iterable[Any]]) -> None:
        self._path = path
        self._rows = rows
        self._fd = -1
        self._size = self._rewrite_at = 0
        self._load(apply)
        self.rewrite()

    def append(self, rows: Iterable[Any]) -> None:
        """Write rows, all or, if the disk is full, none; raises OSError.

        The state must hold the rows before the next call, which may rewrite the file.
        """
        if self._size > self._rewrite_at:
            self.rewrite()
        left = memoryview(_encode(rows))
        size = self._size + len(left)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size = size

    def rewrite(self) -> None:
        """Replace the file, in one atomic step, by the rows of the present state."""
        scratch = self._path.with_suffix(".tmp")
        scratch.write_bytes(_encode(self._rows()))
        scratch.replace(self._path)
        self.close()
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self._size = os.fstat(self._fd).st_size
        self._rewrite_at = max(_REWRITE_BYTES, 4 * self._size)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _load(self, apply: Callable[[Any], None]) -> None:
        if not self._path.exists():
            return
        for number, line in enumerate(self._path.read_bytes().split(b"\n"), start=1):
            if not line:
                continue
            try:
                apply(json.loads(line))
            except (ValueError, TypeError, KeyError):
                # Only the last line can be torn by a kill; nothing after a bad one is trusted.
                logger.warning("%s: cut at line %d", self._path, number)
                return


def _encode(rows: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
