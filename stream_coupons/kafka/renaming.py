"""The namespace in the requests and answers of aiokafka's clients."""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, cast

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest
from aiokafka.protocol.struct import Struct
from aiokafka.protocol.types import Array, Bytes, Schema, String

NAME_FIELDS: Final = frozenset(
    {
        *("topic", "topics", "subscription"),
        *("group", "group_id", "groups", "consumer_group"),
        *("transactional_id", "coordinator_key"),
    }
)
"""Fields that hold names of topics, groups and transactional ids."""

MEMBER_FIELDS: Final = frozenset({"protocol_metadata", "member_metadata", "member_assignment"})
"""Fields that hold the subscription or the assignment of a group's member, encoded."""

MEMBER_TYPES: Final = {
    JoinGroupRequest.API_KEY: ConsumerProtocolMemberMetadata,
    SyncGroupRequest.API_KEY: ConsumerProtocolMemberAssignment,
}

Rename = Callable[[str], str]
Message = TypeVar("Message", bound=Struct)


def rename_messages(client: Any, outbound: Rename, inbound: Rename) -> None:
    """Change the names in all messages of a client of aiokafka, but for fetches, which have the namespace already.

    Parameters
    ----------
    client : aiokafka.client.AIOKafkaClient
        The client.
    outbound, inbound : callable
        Return the broker's name of a topic, group or transactional id, and the client's.
    """
    send, ask_metadata, take_metadata = client.send, client._metadata_update, client.cluster.update_metadata

    async def send_renamed(node: int, request: Any, **options: Any) -> Any:
        if request.API_KEY == FetchRequest.API_KEY:
            return await send(node, request, **options)
        return renamed(await send(node, _RenamedRequest(request, outbound), **options), inbound)

    async def ask_renamed(cluster: Any, topics: Iterable[str] | None) -> Any:
        return await ask_metadata(cluster, [outbound(topic) for topic in topics or ()])

    client.send = send_renamed
    client._metadata_update = ask_renamed
    client.cluster.update_metadata = lambda metadata: take_metadata(renamed(metadata, inbound))


class _RenamedRequest:
    """A request whose names are changed when it is built for the version that a broker has."""

    def __init__(self, request: Any, rename: Rename) -> None:
        self._request = request
        self._rename = rename

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    def prepare(self, versions: Any) -> Any:
        """Return the request in the latest version that both sides have."""
        return renamed(self._request.prepare(versions), self._rename)


def renamed(message: Message, rename: Rename) -> Message:
    """Return a request or an answer with other names.

    Parameters
    ----------
    message : aiokafka.protocol.struct.Struct
        The message; it is not changed.
    rename : callable
        Returns the other name of a topic, group or transactional id.
    """
    member = MEMBER_TYPES.get(getattr(message, "API_KEY", -1))

    def convert(kind: Any, value: Any, name: str) -> Any:
        if value is None:
            return None
        if isinstance(kind, Schema):
            return tuple(map(convert, kind.fields, value, kind.names))
        if isinstance(kind, Array):
            return [convert(kind.array_of, each, name) for each in value]
        if isinstance(kind, String) and name in NAME_FIELDS:
            return rename(value)
        if name in MEMBER_FIELDS and kind is Bytes and member is not None and value:
            return renamed(member.decode(value), rename).encode()
        return value

    names, kinds = message.SCHEMA.names, message.SCHEMA.fields
    values = map(convert, kinds, map(message.get_item, names), names)
    return cast(Message, type(message)(*values))
