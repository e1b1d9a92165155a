"""Which keys time is due for: a heap, derived from the states, never stored."""

import heapq


class Deadlines:
    """Deadlines of the keys of a partition; the latest one set for a key counts."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}

    def set(self, key: str, due: float | None) -> None:
        """Set, move or (with None) remove a key's deadline."""
        if due is None:
            self._due.pop(key, None)
        elif self._due.get(key) != due:
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))

    def pop_due(self, at: float) -> list[str]:
        """Remove and return the keys whose deadline has come, in order of their deadlines."""
        keys = []
        while self._heap and self._heap[0][0] <= at:
            due, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                keys.append(key)
        return keys
