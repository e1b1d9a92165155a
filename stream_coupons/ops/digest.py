"""One digest for all states of an agent, so that two runs over the same log can be compared."""

from collections.abc import Iterable
from hashlib import blake2b
from types import NoneType
from typing import Any

import msgspec
from msgspec import Struct

from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.keyed import KeyedAgent
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.runtime.cells import CellCodec, StateCodec
from stream_coupons.runtime.steps import SHARED_PREFIX

AGENTS: dict[str, type[KeyedAgent[Any]]] = {agent.name: agent for agent in (Users, Budgets, Neighbours)}
DIGEST_BYTES = 16

_encode = msgspec.msgpack.Encoder().encode


class Digest(Struct, frozen=True):
    """The number, the bytes and the hash of an agent's states."""

    keys: int
    bytes: int
    blake2b: str


class StateDigest:
    """Takes cells of one agent, and what its partitions share, in any order of keys; the last of a key counts.

    Only the key and the step's own state count: how far each topic was applied and the outbox differ by how a log was
    cut into batches. Memory: some 200 bytes a key.
    """

    def __init__(self, agent: str) -> None:
        self._codec: CellCodec[Any] = CellCodec(AGENTS[agent].state_type)
        self._shared: StateCodec[Any] = StateCodec(AGENTS[agent].shared_type or NoneType)
        self._states: dict[bytes, tuple[int, bytes]] = {}

    def take(self, key: bytes, cell: bytes | None, partition: int = 0) -> None:
        """A key's cell; None when the key is gone.

        Parameters
        ----------
        partition : int
            The partition it is of: each has its own shared state of a key.

        Raises
        ------
        msgspec.DecodeError
            If the bytes are no cell of this agent.
        """
        is_shared = key.startswith(SHARED_PREFIX.encode())
        if is_shared:
            key += f"{SHARED_PREFIX}{partition}".encode()
        if cell is None:
            self._states.pop(key, None)
            return
        state = _encode(self._shared.decode(cell) if is_shared else self._codec.decode(cell).state)
        self._states[key] = len(state), blake2b(state, digest_size=DIGEST_BYTES).digest()

    def result(self) -> Digest:
        """BLAKE2b over keys and states, sorted by key."""
        whole = blake2b(digest_size=DIGEST_BYTES)
        for key, (_, digest) in sorted(self._states.items()):
            whole.update(len(key).to_bytes(8, "big") + key + digest)
        return Digest(len(self._states), sum(size for size, _ in self._states.values()), whole.hexdigest())


def digests_of(states: Iterable[tuple[str, int, str, bytes]]) -> dict[str, Digest]:
    """The digest of every agent, from (agent, partition, key, cell) of all states."""
    digests = {agent: StateDigest(agent) for agent in AGENTS}
    for agent, partition, key, cell in states:
        digests[agent].take(key.encode(), cell, partition)
    return {agent: digest.result() for agent, digest in digests.items()}
