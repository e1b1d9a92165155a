"""Shared states of all keys of a partition: small, saved with the cells in one record batch."""

import copy
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

State = TypeVar("State")
Read = TypeVar("Read", covariant=True)

SHARED_PREFIX = "\0"
"""Prefix of shared states' keys in changelog and store; no cell's key has it."""


class Readable(Protocol[Read]):
    """States to be looked at."""

    def get(self, key: str, /) -> Read | None:
        """Return the state of a key, to be read only; None if there is none."""

    def items(self) -> Iterable[tuple[str, Read]]:
        """Return all keys and states."""


class SharedStates(Generic[State]):
    """The shared states of one attempt: what is changed is a copy, which counts when the attempt is saved.

    Parameters
    ----------
    below : Readable
        The states that the attempt begins with.
    new : callable
        Makes the state of a key that has none.
    """

    def __init__(self, below: Readable[State], new: Callable[[], State]) -> None:
        self._below = below
        self._new = new
        self.changed: dict[str, State] = {}
        self.before_change: Callable[[], None] | None = None
        """Called before a state is changed: it finishes what is deferred, which must not see the change."""

    def get(self, key: str, /) -> State | None:
        """Return the state of a key, to be read only: a change would break the saved one."""
        changed = self.changed.get(key)
        return changed if changed is not None else self._below.get(key)

    def change(self, key: str, new: State | None = None) -> State:
        """Return a key's state to be changed: a shallow copy, so replace its fields and do not change them in place.

        Parameters
        ----------
        key : str
            The key.
        new : State, optional
            Saved and returned if there is none; by default the new state of the class.

        Examples
        --------
        >>> states = SharedStates({"tea": 1}, int)
        >>> states.change("tea"), states.change("milk", 5), sorted(states.items())
        (1, 5, [('milk', 5), ('tea', 1)])
        """
        if self.before_change is not None:
            self.before_change()
        state = self.changed.get(key)
        if state is None:
            below = self._below.get(key)
            state = copy.copy(below) if below is not None else new if new is not None else self._new()
            self.changed[key] = state
        return state

    def items(self) -> Iterable[tuple[str, State]]:
        """Return all keys and states, to be read only."""
        return (dict(self._below.items()) | self.changed).items()
