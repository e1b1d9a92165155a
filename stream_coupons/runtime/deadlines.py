"""Which keys time is due for: a heap per partition, derived from the states, never stored."""

import heapq
from collections import defaultdict


class Deadlines:
    """Deadlines of the keys of all partitions of a table; the latest one set for a key counts."""

    def __init__(self) -> None:
        self._heaps: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)
        self._due: dict[str, float] = {}

    def set(self, partition: int, key: str, due: float | None) -> None:
        """Set, move or (with None) remove a key's deadline."""
        if due is None:
            self._due.pop(key, None)
        elif self._due.get(key) != due:
            self._due[key] = due
            heapq.heappush(self._heaps[partition], (due, key))

    def pop_due(self, partition: int, at: float) -> list[str]:
        """Remove and return the keys whose deadline has come, in order of their deadlines."""
        heap, keys = self._heaps[partition], []
        while heap and heap[0][0] <= at:
            due, key = heapq.heappop(heap)
            if self._due.get(key) == due:
                del self._due[key]
                keys.append(key)
        return keys

    def clear(self) -> None:
        """Forget all."""
        self._heaps.clear()
        self._due.clear()
