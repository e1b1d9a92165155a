"""The requests of consumer groups: membership, committed offsets, descriptions."""

import asyncio
import copy
import time
from collections.abc import Callable
from typing import Final, TypeVar

from loopback_kafka.api_topics import NODE_ID, Node
from loopback_kafka.groups import Group
from loopback_kafka.members import (
    GroupState,
    JoinAnswer,
    JoinRequest,
    MemberRef,
    SyncAnswer,
)
from loopback_kafka.offsets import Committed, CommittedOffsets
from loopback_kafka.protocol import ApiKey, ErrorCode, Fields, Handlers, Header, Request
from loopback_kafka.transactions import Transactions

Answer = TypeVar("Answer", JoinAnswer, SyncAnswer)

MAX_METADATA_BYTES: Final = 4096
_NOT_COMMITTED: Final = Committed(-1, "")


class GroupsApi:
    """The coordinator of every group, driven by requests and by `tick`."""

    def __init__(
        self, node: Node, offsets: CommittedOffsets, transactions: Transactions, initial_delay_s: float
    ) -> None:
        self._node = node
        self._offsets = offsets
        self._transactions = transactions
        self._initial_delay_s = initial_delay_s
        self._groups: dict[str, Group] = {}

    def handlers(self) -> Handlers:
        """Return the handlers by request."""
        return {
            ApiKey.FIND_COORDINATOR: self.find_coordinator,
            ApiKey.JOIN_GROUP: self.join,
            ApiKey.SYNC_GROUP: self.sync,
            ApiKey.HEARTBEAT: self.heartbeat,
            ApiKey.LEAVE_GROUP: self.leave,
            ApiKey.OFFSET_COMMIT: self.commit,
            ApiKey.OFFSET_FETCH: self.fetch_offsets,
            ApiKey.LIST_GROUPS: self.list_groups,
            ApiKey.DESCRIBE_GROUPS: self.describe_groups,
            ApiKey.DELETE_GROUPS: self.delete_groups,
        }

    def reached_at(self, node: Node) -> "GroupsApi":
        """Return the same groups for those who reach this node at another address."""
        view = copy.copy(self)
        view._node = node
        return view

    async def tick(self) -> None:
        """Let time pass in every group."""
        now = time.monotonic()
        for group in list(self._groups.values()):
            group.tick(now)
            if group.is_idle:
                # The generation of a group that comes back starts over, as after a restart.
                del self._groups[group.name]

    async def find_coordinator(self, _header: Header, _request: Request) -> Fields:
        """Answer with this node, which coordinates all groups and transactions."""
        return {
            "throttle_time_ms": 0,
            "error_code": 0,
            "error_message": None,
            "node_id": NODE_ID,
            "host": self._node.host,
            "port": self._node.port,
        }

    async def join(self, header: Header, request: Request) -> Fields:
        """Join a group; answered when every member has joined."""
        answer: asyncio.Future[JoinAnswer] = asyncio.get_running_loop().create_future()
        if not request.group_id:
            answer.set_result(JoinAnswer(ErrorCode.INVALID_GROUP_ID, request.member_id))
        else:
            group = self._groups.setdefault(request.group_id, Group(request.group_id, self._initial_delay_s))
            group.join(_join_request(header, request), time.monotonic(), _resolver(answer))
        joined = await answer
        return {
            "throttle_time_ms": 0,
            "error_code": joined.error,
            "generation_id": joined.generation,
            "protocol_type": joined.protocol_type,
            # Null is allowed from version 7 on only.
            "protocol_name": joined.protocol or (None if header.version >= 7 else ""),
            "leader": joined.leader,
            "member_id": joined.member_id,
            "members": [
                {"member_id": member_id, "group_instance_id": instance_id, "metadata": metadata}
                for member_id, instance_id, metadata in joined.members
            ],
        }

    async def sync(self, _header: Header, request: Request) -> Fields:
        """Receive an assignment; answered when the leader has sent it."""
        answer: asyncio.Future[SyncAnswer] = asyncio.get_running_loop().create_future()
        group = self._groups.get(request.group_id)
        if group is None:
            answer.set_result(SyncAnswer(ErrorCode.UNKNOWN_MEMBER_ID))
        else:
            assignments = {row.member_id: bytes(row.assignment) for row in request.assignments}
            ref = _member_ref(request)
            group.sync(ref, assignments, time.monotonic(), _resolver(answer))
        synced = await answer
        return {
            "throttle_time_ms": 0,
            "error_code": synced.error,
            "protocol_type": group.protocol_type if group else None,
            "protocol_name": group.protocol if group else None,
            "assignment": synced.assignment,
        }

    async def heartbeat(self, _header: Header, request: Request) -> Fields:
        """Extend a member's session."""
        group = self._groups.get(request.group_id)
        error = ErrorCode.UNKNOWN_MEMBER_ID
        if group is not None:
            error = group.heartbeat(_member_ref(request), time.monotonic())
        return {"throttle_time_ms": 0, "error_code": error}

    async def leave(self, header: Header, request: Request) -> Fields:
        """Leave a group; one member before version 3, several from then on."""
        if header.version < 3:
            error = self._leave(request.group_id, MemberRef(request.member_id))
            return {"throttle_time_ms": 0, "error_code": error}
        rows = []
        for member in request.members:
            ref = MemberRef(member.member_id, instance_id=member.group_instance_id)
            rows.append(
                {
                    "member_id": member.member_id,
                    "group_instance_id": member.group_instance_id,
                    "error_code": self._leave(request.group_id, ref),
                }
            )
        return {"throttle_time_ms": 0, "error_code": 0, "members": rows}

    def _leave(self, group_id: str, ref: MemberRef) -> ErrorCode:
        group = self._groups.get(group_id)
        if group is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        return group.leave(ref, time.monotonic())

    async def commit(self, _header: Header, request: Request) -> Fields:
        """Commit offsets, if the member belongs to the current generation."""
        generation = request.generation_id_or_member_epoch
        instance_id = getattr(request, "group_instance_id", None)
        group = self._groups.get(request.group_id)
        if group is not None:
            ref = MemberRef(request.member_id, generation, instance_id)
            error = group.check_commit(ref, time.monotonic())
        else:
            error = ErrorCode.NONE if generation < 0 else ErrorCode.ILLEGAL_GENERATION
        accepted: dict[tuple[str, int], Committed] = {}
        topics = []
        for topic in request.topics:
            rows = []
            for part in topic.partitions:
                metadata = part.committed_metadata or ""
                code = error
                if len(metadata) > MAX_METADATA_BYTES:
                    code = ErrorCode.OFFSET_METADATA_TOO_LARGE
                if code is ErrorCode.NONE:
                    accepted[topic.name, part.partition_index] = Committed(part.committed_offset, metadata)
                rows.append({"partition_index": part.partition_index, "error_code": code})
            topics.append({"name": topic.name, "partitions": rows})
        if accepted:
            self._offsets.commit(request.group_id, accepted)
        return {"throttle_time_ms": 0, "topics": topics}

    def check_transactional_commit(self, group_id: str, ref: MemberRef) -> ErrorCode:
        """Return whether a member may add a group's offsets to a transaction."""
        return self._groups.get(group_id, Group(group_id, 0.0)).check_transactional_commit(ref)

    async def fetch_offsets(self, _header: Header, request: Request) -> Fields:
        """Answer with a group's committed offsets, all of them if none are named.

        With `require_stable`, offsets that an open transaction may change are answered UNSTABLE_OFFSET_COMMIT.
        """
        committed = self._offsets.of_group(request.group_id)
        pending = self._transactions.pending_offsets(request.group_id) if request.require_stable else frozenset()
        wanted: dict[str, list[int]] = {}
        if request.topics is None:
            for topic, partition in committed:
                wanted.setdefault(topic, []).append(partition)
        else:
            wanted = {topic.name: list(topic.partition_indexes) for topic in request.topics}
        topics = [
            {
                "name": topic,
                "partitions": [
                    _offset_row(
                        partition,
                        committed.get((topic, partition), _NOT_COMMITTED),
                        is_stable=(topic, partition) not in pending,
                    )
                    for partition in partitions
                ],
            }
            for topic, partitions in wanted.items()
        ]
        return {"throttle_time_ms": 0, "error_code": 0, "topics": topics}

    async def list_groups(self, _header: Header, request: Request) -> Fields:
        """List the groups with members and those that have committed offsets."""
        wanted = getattr(request, "states_filter", None)
        names = dict.fromkeys([*self._groups, *self._offsets.groups()])
        rows = []
        for name in names:
            group = self._groups.get(name)
            state = group.state if group else GroupState.EMPTY
            if not wanted or state in wanted:
                kind = group.protocol_type if group else "consumer"
                rows.append({"group_id": name, "protocol_type": kind, "group_state": str(state)})
        return {"throttle_time_ms": 0, "error_code": 0, "groups": rows}

    async def describe_groups(self, _header: Header, request: Request) -> Fields:
        """Describe groups and their members."""
        rows = [self._describe(name) for name in request.groups]
        return {"throttle_time_ms": 0, "groups": rows}

    def _describe(self, name: str) -> Fields:
        group = self._groups.get(name)
        if group is None:
            known = name in self._offsets.groups()
            group = Group(name, 0.0, GroupState.EMPTY if known else GroupState.DEAD)
        protocol = group.protocol or ""
        return {
            "error_code": 0,
            "error_message": None,
            "group_id": name,
            "group_state": str(group.state),
            "protocol_type": group.protocol_type,
            "protocol_data": protocol,
            "members": [
                {
                    "member_id": member.member_id,
                    "group_instance_id": member.instance_id,
                    "client_id": member.client_id,
                    "client_host": f"/{self._node.host}",
                    "member_metadata": member.protocols.get(protocol, b""),
                    "member_assignment": member.assignment,
                }
                for member in group.members.values()
            ],
        }

    async def delete_groups(self, _header: Header, request: Request) -> Fields:
        """Delete groups without members, with their offsets."""
        rows = [{"group_id": name, "error_code": self._delete(name)} for name in request.groups_names]
        return {"throttle_time_ms": 0, "results": rows}

    def _delete(self, name: str) -> ErrorCode:
        group = self._groups.get(name)
        if group is not None and group.members:
            return ErrorCode.NON_EMPTY_GROUP
        was_known = self._groups.pop(name, None) is not None
        had_offsets = self._offsets.forget_group(name)
        return ErrorCode.NONE if was_known or had_offsets else ErrorCode.GROUP_ID_NOT_FOUND


def _resolver(future: "asyncio.Future[Answer]") -> Callable[[Answer], None]:
    """Return a callback that sets the future, unless the connection went away meanwhile."""

    def resolve(answer: Answer) -> None:
        if not future.done():
            future.set_result(answer)

    return resolve


def _join_request(header: Header, request: Request) -> JoinRequest:
    session_s = request.session_timeout_ms / 1000
    return JoinRequest(
        member_id=request.member_id,
        instance_id=getattr(request, "group_instance_id", None),
        client_id=header.client_id or "client",
        session_timeout_s=session_s,
        rebalance_timeout_s=max(request.rebalance_timeout_ms / 1000, session_s),
        protocol_type=request.protocol_type,
        protocols={row.name: bytes(row.metadata) for row in request.protocols},
        wants_id_first=header.version >= 4,
    )


def _member_ref(request: Request) -> MemberRef:
    instance_id = getattr(request, "group_instance_id", None)
    return MemberRef(request.member_id, request.generation_id, instance_id)


def _offset_row(partition: int, committed: Committed, is_stable: bool) -> Fields:
    shown = committed if is_stable else _NOT_COMMITTED
    return {
        "partition_index": partition,
        "committed_offset": shown.offset,
        "committed_leader_epoch": -1,
        "metadata": shown.metadata,
        "error_code": ErrorCode.NONE if is_stable else ErrorCode.UNSTABLE_OFFSET_COMMIT,
    }
