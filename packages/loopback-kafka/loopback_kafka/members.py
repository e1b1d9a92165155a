"""Requests and responses of the members of a consumer group, independent of the wire format."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from loopback_kafka.protocol import ErrorCode


class GroupState(StrEnum):
    """The states of a group, by the names the protocol uses."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A member's request to join; `protocols` is in its order of preference."""

    member_id: str
    instance_id: str | None
    client_id: str
    session_timeout_s: float
    rebalance_timeout_s: float
    protocol_type: str
    protocols: Mapping[str, bytes]
    wants_id_first: bool


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """The answer to a join; `members` is filled for the leader only."""

    error: ErrorCode
    member_id: str
    generation: int = -1
    protocol_type: str | None = None
    protocol: str | None = None
    leader: str = ""
    members: tuple[tuple[str, str | None, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class SyncAnswer:
    """The answer to a sync: the partitions assigned, as the leader encoded them."""

    error: ErrorCode
    assignment: bytes = b""


@dataclass(frozen=True, slots=True)
class MemberRef:
    """The reference to a member in a request."""

    member_id: str
    generation: int = -1
    instance_id: str | None = None


OnJoin = Callable[[JoinAnswer], None]
OnSync = Callable[[SyncAnswer], None]


@dataclass(slots=True)
class GroupMember:
    """One member of a group; a callback is set while its request waits for an answer."""

    member_id: str
    instance_id: str | None
    client_id: str
    session_timeout_s: float
    rebalance_timeout_s: float
    protocols: dict[str, bytes]
    session_ends_at: float
    assignment: bytes = b""
    on_join: OnJoin | None = None
    on_sync: OnSync | None = None
