"""Deadlines of the keys of a partition."""

import heapq
import sys

MAX_STALE_RATIO = 0.5
"""Entries of the heap that count no more, over those that do: beyond it they are cleared out."""


class Deadlines:
    """Deadlines of the keys of a partition; the latest one set for a key counts."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, tuple[float, str]] = {}
        """By key the entry of the heap that counts: there is one for each shopper, so they share what they hold."""

    def set(self, key: str, due: float | None) -> None:
        """Set, move or remove a key's deadline.

        Parameters
        ----------
        key : str
            The key.
        due : float or None
            UTC epoch seconds; None removes it.

        Examples
        --------
        >>> deadlines = Deadlines()
        >>> for key, due in [("ann", 5.0), ("bob", 3.0), ("ann", 1.0), ("bob", None)]:
        ...     deadlines.set(key, due)
        >>> deadlines.pop_due(9.0)
        ['ann']
        """
        if due is None:
            self._due.pop(key, None)
            return
        old = self._due.get(key)
        if old is None or old[0] != due:
            entry = self._due[key] = (due, key if old is None else old[1])
            heapq.heappush(self._heap, entry)
            if len(self._heap) > (1.0 + MAX_STALE_RATIO) * len(self._due) + 1:
                self._heap = list(self._due.values())
                heapq.heapify(self._heap)

    def pop_due(self, at: float) -> list[str]:
        """Remove and return the keys whose deadline is at or before a time in UTC epoch seconds, the earliest first."""
        return self.split_due(at, sys.maxsize)[0]

    def split_due(self, at: float, most: int) -> tuple[list[str], list[str]]:
        """Return the keys that are due, the earliest first: up to `most`, which are removed, and the rest, which stay.

        Parameters
        ----------
        at : float
            UTC epoch seconds; a deadline at this time is due.
        most : int
            Most keys to remove.

        Examples
        --------
        >>> deadlines = Deadlines()
        >>> for key, due in [("ann", 5.0), ("bob", 3.0), ("cat", 7.0)]:
        ...     deadlines.set(key, due)
        >>> deadlines.split_due(5.0, 1), deadlines.pop_due(9.0)
        ((['bob'], ['ann']), ['ann', 'cat'])
        """
        entries = []
        while self._heap and self._heap[0][0] <= at:
            entry = heapq.heappop(self._heap)
            if self._due.get(entry[1]) is entry:
                entries.append(entry)
        for _, key in entries[:most]:
            del self._due[key]
        for entry in entries[most:]:
            heapq.heappush(self._heap, entry)
        keys = [key for _, key in entries]
        return keys[:most], keys[most:]
