"""Stores of the saved cells of partitions: here in memory, in `rocks` on a disk.

A store lasts no longer than its worker. The changelog is durable: the new owner of a partition reads it into an empty
store. So a store is never older than the changelog, needs no log of its own, and may be lost at any moment.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

Changes = Mapping[str, bytes | None]
"""New cells by key; None where there is none any more."""


class CellStore(Protocol):
    """The saved cells of one partition, by key."""

    def get(self, key: str) -> bytes | None:
        """Return the bytes of a key's cell; None if there is none."""

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Return all keys and cells, in no certain order."""

    def save(self, changes: Changes) -> None:
        """Replace cells by new ones."""

    def discard(self) -> None:
        """Delete all cells: the partition belongs to another worker."""


class MemoryCells:
    """Cells in a dictionary.

    Examples
    --------
    >>> cells = MemoryCells({"ann": b"1", "bob": b"2"})
    >>> cells.save({"ann": b"3", "bob": None})
    >>> list(cells.items()), cells.get("bob")
    ([('ann', b'3')], None)
    """

    def __init__(self, cells: Mapping[str, bytes] = {}) -> None:
        self._cells = dict(cells)

    def get(self, key: str) -> bytes | None:
        """Return the bytes of a key's cell; None if there is none."""
        return self._cells.get(key)

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Return all keys and cells."""
        return iter(self._cells.items())

    def save(self, changes: Changes) -> None:
        """Replace cells by new ones."""
        for key, data in changes.items():
            if data is None:
                self._cells.pop(key, None)
            else:
                self._cells[key] = data

    def discard(self) -> None:
        """Delete all cells."""
        self._cells.clear()


NewStore = Callable[[int], CellStore]
"""Makes the empty store of a partition."""


def in_memory(_partition: int) -> CellStore:
    """Return an empty store in memory."""
    return MemoryCells()


class Stores(Protocol):
    """All stores of one worker."""

    def of(self, agent: str) -> NewStore:
        """Return the function that makes the stores of an agent."""

    def close(self) -> None:
        """Release memory and files; no cell can be read any more."""


class MemoryStores:
    """All in memory: there is nothing to open or to close."""

    def of(self, _agent: str) -> NewStore:
        """Return the function that makes the stores of an agent."""
        return in_memory

    def close(self) -> None:
        """Do nothing: memory needs no closing."""
