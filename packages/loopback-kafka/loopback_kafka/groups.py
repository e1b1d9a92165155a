"""Consumer groups as a state machine: no I/O, no clock of its own, no asyncio.

Whoever holds a `Group` passes the time in (seconds, from one monotonic clock) and a callback for
every answer that may have to wait: joining waits for the other members, syncing for the leader.
`Group.tick` does what the passing of time demands.

References
----------
.. [1] Apache Kafka, KIP-62, KIP-134, KIP-345 and KIP-394: sessions and rebalance timeouts, the
   initial delay, static members, member ids given out before the first join. The cooperative
   server-side protocol of KIP-848 is not offered.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from loopback_kafka.members import (
    GroupMember,
    GroupState,
    JoinAnswer,
    JoinRequest,
    MemberRef,
    OnJoin,
    OnSync,
    SyncAnswer,
)
from loopback_kafka.protocol import ErrorCode

MAX_MEMBERS: Final = 256
MIN_SESSION_S: Final = 0.1
MAX_SESSION_S: Final = 1800.0


@dataclass(slots=True)
class Group:
    """One consumer group.

    Parameters
    ----------
    name : str
    initial_delay_s : float
        How long the first rebalance of an empty group waits for more members.
    """

    name: str
    initial_delay_s: float
    state: GroupState = GroupState.EMPTY
    generation: int = 0
    protocol_type: str = ""
    protocol: str | None = None
    leader: str | None = None
    members: dict[str, GroupMember] = field(default_factory=dict)
    _ids_given: dict[str, float] = field(default_factory=dict)
    _hold_until: float = 0.0
    _rebalance_ends_at: float = 0.0

    @property
    def is_idle(self) -> bool:
        """True if the group has no members and no client is about to join."""
        return not self.members and not self._ids_given

    def join(self, request: JoinRequest, now: float, answer: OnJoin) -> None:
        """Take a member in, or back in; `answer` is called now or when the rebalance is complete."""
        error = self._refuse_join(request)
        if error is not ErrorCode.NONE:
            answer(JoinAnswer(error, request.member_id))
            return
        member_id = request.member_id
        if not member_id and request.instance_id is None and request.wants_id_first:
            member_id = f"{request.client_id}-{uuid.uuid4()}"
            self._ids_given[member_id] = now + request.session_timeout_s
            answer(JoinAnswer(ErrorCode.MEMBER_ID_REQUIRED, member_id))
            return
        if not member_id:
            member_id = f"{request.instance_id or request.client_id}-{uuid.uuid4()}"
            if self._replace_static(request, member_id, now, answer):
                return
        self._ids_given.pop(member_id, None)
        member = self._admit(member_id, request, now)
        if member.on_join is not None:  # a client that gave up on its first request and asks again
            member.on_join(JoinAnswer(ErrorCode.REBALANCE_IN_PROGRESS, member_id))
        member.on_join = answer
        self._rebalance(now)

    def sync(self, ref: MemberRef, assignments: Mapping[str, bytes], now: float, answer: OnSync) -> None:
        """Hand out the leader's assignments; `answer` is called now or when the leader has synced."""
        error = self._check(ref)
        if error is ErrorCode.NONE and self.state is GroupState.PREPARING_REBALANCE:
            error = ErrorCode.REBALANCE_IN_PROGRESS
        if error is not ErrorCode.NONE:
            answer(SyncAnswer(error))
            return
        member = self.members[ref.member_id]
        self._extend(member, now)
        if self.state is GroupState.STABLE:
            answer(SyncAnswer(ErrorCode.NONE, member.assignment))
            return
        member.on_sync = answer
        if ref.member_id == self.leader:
            self._complete_sync(assignments, now)

    def heartbeat(self, ref: MemberRef, now: float) -> ErrorCode:
        """Extend a member's session; tells it to rejoin while a rebalance is being prepared."""
        error = self._check(ref)
        if ref.member_id in self.members and error is not ErrorCode.FENCED_INSTANCE_ID:
            self._extend(self.members[ref.member_id], now)
        if error is ErrorCode.NONE and self.state is GroupState.PREPARING_REBALANCE:
            return ErrorCode.REBALANCE_IN_PROGRESS
        return error

    def leave(self, ref: MemberRef, now: float) -> ErrorCode:
        """Remove a member at its own wish, or a static one by its instance id."""
        member_id = ref.member_id or self._static_member(ref.instance_id) or ""
        if self._ids_given.pop(member_id, None) is not None:
            return ErrorCode.NONE
        error = self._check_identity(MemberRef(member_id, instance_id=ref.instance_id))
        if error is ErrorCode.NONE:
            self._remove(member_id, now)
        return error

    def check_transactional_commit(self, ref: MemberRef) -> ErrorCode:
        """Return whether a member may add offsets to a transaction; requests that name no member always may."""
        is_anonymous = ref.generation < 0 and not ref.member_id and ref.instance_id is None
        return ErrorCode.NONE if is_anonymous else self._check(ref)

    def check_commit(self, ref: MemberRef, now: float) -> ErrorCode:
        """Return whether a member, or with generation -1 an outsider, may commit offsets now."""
        if ref.generation < 0 and not self.members:
            return ErrorCode.NONE
        error = self._check(ref)
        if error is not ErrorCode.NONE:
            return error
        if self.state is GroupState.COMPLETING_REBALANCE:
            return ErrorCode.REBALANCE_IN_PROGRESS
        self._extend(self.members[ref.member_id], now)
        return ErrorCode.NONE

    def tick(self, now: float) -> None:
        """Evict members whose session is over and complete a rebalance that has waited enough."""
        for member_id in [m for m, ends_at in self._ids_given.items() if ends_at <= now]:
            del self._ids_given[member_id]
        for member in list(self.members.values()):
            # While its join waits, a client has no way to send heartbeats.
            if member.session_ends_at <= now and member.on_join is None:
                self._remove(member.member_id, now)
        if self.state is GroupState.PREPARING_REBALANCE:
            if self._rebalance_ends_at <= now:
                self._drop_absent()
            self._complete_join(now)

    def _refuse_join(self, request: JoinRequest) -> ErrorCode:
        member_id = request.member_id
        if not MIN_SESSION_S <= request.session_timeout_s <= MAX_SESSION_S:
            return ErrorCode.INVALID_SESSION_TIMEOUT
        if member_id and request.instance_id is not None:
            error = self._check_identity(MemberRef(member_id, instance_id=request.instance_id))
            if error is not ErrorCode.NONE:
                return error
        if member_id and member_id not in self.members and member_id not in self._ids_given:
            return ErrorCode.UNKNOWN_MEMBER_ID
        if member_id not in self.members and len(self.members) >= MAX_MEMBERS:
            return ErrorCode.GROUP_MAX_SIZE_REACHED
        others = [member for key, member in self.members.items() if key != member_id]
        if others and request.protocol_type != self.protocol_type:
            return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        common = set(request.protocols).intersection(*(member.protocols for member in others))
        return ErrorCode.NONE if common else ErrorCode.INCONSISTENT_GROUP_PROTOCOL

    def _admit(self, member_id: str, request: JoinRequest, now: float) -> GroupMember:
        member = self.members.get(member_id)
        if member is None:
            member = self.members[member_id] = GroupMember(
                member_id, request.instance_id, request.client_id, 0.0, 0.0, {}, now
            )
        member.session_timeout_s = request.session_timeout_s
        member.rebalance_timeout_s = max(request.rebalance_timeout_s, request.session_timeout_s)
        member.protocols = dict(request.protocols)
        self.protocol_type = request.protocol_type
        self._extend(member, now)
        return member

    def _replace_static(self, request: JoinRequest, new_id: str, now: float, answer: OnJoin) -> bool:
        """Give the place of a static member that came back to its new id.

        In a stable group whose member asks for the same as before nothing is rebalanced, and the
        answer is given here; a leader is then told the old leader's id, so that it does not assign.
        """
        old_id = self._static_member(request.instance_id)
        if old_id is None:
            return False
        old = self.members.pop(old_id)
        self._fence(old)
        was_leader = self.leader == old_id
        if was_leader:
            self.leader = new_id
        member = self._admit(new_id, request, now)
        member.assignment = old.assignment
        if self.state is not GroupState.STABLE or member.protocols != old.protocols:
            return False
        leader = old_id if was_leader else self.leader or ""
        answer(JoinAnswer(ErrorCode.NONE, new_id, self.generation, self.protocol_type, self.protocol, leader))
        return True

    def _static_member(self, instance_id: str | None) -> str | None:
        if instance_id is None:
            return None
        return next((m for m, x in self.members.items() if x.instance_id == instance_id), None)

    @staticmethod
    def _fence(member: GroupMember) -> None:
        if member.on_join is not None:
            member.on_join(JoinAnswer(ErrorCode.FENCED_INSTANCE_ID, member.member_id))
        if member.on_sync is not None:
            member.on_sync(SyncAnswer(ErrorCode.FENCED_INSTANCE_ID))

    def _check_identity(self, ref: MemberRef) -> ErrorCode:
        owner = self._static_member(ref.instance_id)
        if owner is not None and owner != ref.member_id:
            return ErrorCode.FENCED_INSTANCE_ID
        return ErrorCode.NONE if ref.member_id in self.members else ErrorCode.UNKNOWN_MEMBER_ID

    def _check(self, ref: MemberRef) -> ErrorCode:
        error = self._check_identity(ref)
        if error is ErrorCode.NONE and ref.generation != self.generation:
            return ErrorCode.ILLEGAL_GENERATION
        return error

    @staticmethod
    def _extend(member: GroupMember, now: float) -> None:
        member.session_ends_at = now + member.session_timeout_s

    def _rebalance(self, now: float) -> None:
        """Start a rebalance unless one runs; every member must join again."""
        if self.state is not GroupState.PREPARING_REBALANCE:
            for member in self.members.values():
                if member.on_sync is not None:
                    member.on_sync(SyncAnswer(ErrorCode.REBALANCE_IN_PROGRESS))
                    member.on_sync = None
            is_first = self.state is GroupState.EMPTY
            self.state = GroupState.PREPARING_REBALANCE
            self._hold_until = now + (self.initial_delay_s if is_first else 0.0)
            longest = max(member.rebalance_timeout_s for member in self.members.values())
            self._rebalance_ends_at = now + longest
        self._complete_join(now)

    def _complete_join(self, now: float) -> None:
        """Start the next generation once every member has joined."""
        if not self.members:
            self._become_empty()
            return
        joined = all(member.on_join is not None for member in self.members.values())
        if not joined or now < self._hold_until:
            return
        self.generation += 1
        self.state = GroupState.COMPLETING_REBALANCE
        if self.leader not in self.members:
            self.leader = next(iter(self.members))
        self.protocol = self._choose_protocol()
        roster = tuple(
            (member.member_id, member.instance_id, member.protocols[self.protocol]) for member in self.members.values()
        )
        for member in self.members.values():
            self._extend(member, now)
            member.assignment = b""
            answer, member.on_join = member.on_join, None
            if answer is not None:
                answer(self._joined(member, roster))

    def _joined(self, member: GroupMember, roster: tuple[tuple[str, str | None, bytes], ...]) -> JoinAnswer:
        return JoinAnswer(
            error=ErrorCode.NONE,
            member_id=member.member_id,
            generation=self.generation,
            protocol_type=self.protocol_type,
            protocol=self.protocol,
            leader=self.leader or "",
            members=roster if member.member_id == self.leader else (),
        )

    def _choose_protocol(self) -> str:
        """Return the protocol the leader prefers among those every member knows."""
        common = set.intersection(*(set(member.protocols) for member in self.members.values()))
        leader = self.members[self.leader or ""]
        return next(protocol for protocol in leader.protocols if protocol in common)

    def _complete_sync(self, assignments: Mapping[str, bytes], now: float) -> None:
        self.state = GroupState.STABLE
        for member in self.members.values():
            member.assignment = assignments.get(member.member_id, b"")
            self._extend(member, now)
            answer, member.on_sync = member.on_sync, None
            if answer is not None:
                answer(SyncAnswer(ErrorCode.NONE, member.assignment))

    def _remove(self, member_id: str, now: float) -> None:
        member = self.members.pop(member_id)
        if member.on_join is not None:
            member.on_join(JoinAnswer(ErrorCode.UNKNOWN_MEMBER_ID, member_id))
        if member.on_sync is not None:
            member.on_sync(SyncAnswer(ErrorCode.UNKNOWN_MEMBER_ID))
        if not self.members:
            self._become_empty()
        else:
            self._rebalance(now)

    def _drop_absent(self) -> None:
        """Remove the members that did not join again within the rebalance timeout."""
        for member_id in [m for m, x in self.members.items() if x.on_join is None]:
            del self.members[member_id]

    def _become_empty(self) -> None:
        if self.state is not GroupState.EMPTY:
            self.generation += 1
        self.state = GroupState.EMPTY
        self.leader = self.protocol = None
