"""The Kafka wire protocol, seen from the server: requests decoded, responses encoded.

kafka-python's protocol classes encode and decode both directions. Only the client's directions are
documented, so its version is pinned and the tests here decode what they encode.
"""

import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from kafka.protocol import admin, consumer, metadata, producer

Request = Any
"""A decoded request of kafka-python: attributes in snake case, one class for every version."""

Fields = Mapping[str, Any]
"""A response by field name; fields that the version in use does not have are dropped."""


class ErrorCode(IntEnum):
    """The error codes of the protocol that this broker answers with."""

    NONE = 0
    OFFSET_OUT_OF_RANGE = 1
    CORRUPT_MESSAGE = 2
    UNKNOWN_TOPIC_OR_PARTITION = 3
    MESSAGE_TOO_LARGE = 10
    OFFSET_METADATA_TOO_LARGE = 12
    INVALID_TOPIC_EXCEPTION = 17
    ILLEGAL_GENERATION = 22
    INCONSISTENT_GROUP_PROTOCOL = 23
    INVALID_GROUP_ID = 24
    UNKNOWN_MEMBER_ID = 25
    INVALID_SESSION_TIMEOUT = 26
    REBALANCE_IN_PROGRESS = 27
    UNSUPPORTED_VERSION = 35
    TOPIC_ALREADY_EXISTS = 36
    INVALID_PARTITIONS = 37
    INVALID_REPLICATION_FACTOR = 38
    INVALID_CONFIG = 40
    INVALID_REQUEST = 42
    POLICY_VIOLATION = 44
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45
    INVALID_PRODUCER_EPOCH = 47
    INVALID_TXN_STATE = 48
    INVALID_PRODUCER_ID_MAPPING = 49
    INVALID_TRANSACTION_TIMEOUT = 50
    CONCURRENT_TRANSACTIONS = 51
    KAFKA_STORAGE_ERROR = 56
    NON_EMPTY_GROUP = 68
    GROUP_ID_NOT_FOUND = 69
    MEMBER_ID_REQUIRED = 79
    GROUP_MAX_SIZE_REACHED = 81
    FENCED_INSTANCE_ID = 82
    INVALID_RECORD = 87
    UNSTABLE_OFFSET_COMMIT = 88
    PRODUCER_FENCED = 90
    TRANSACTION_ABORTABLE = 120


class ApiKey(IntEnum):
    """The requests this broker answers; a client asking for another is disconnected."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    DESCRIBE_GROUPS = 15
    LIST_GROUPS = 16
    API_VERSIONS = 18
    CREATE_TOPICS = 19
    DELETE_TOPICS = 20
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28
    DESCRIBE_CONFIGS = 32
    CREATE_PARTITIONS = 37
    DELETE_GROUPS = 42
    INCREMENTAL_ALTER_CONFIGS = 44
    DESCRIBE_CLUSTER = 60
    LIST_TRANSACTIONS = 66


@dataclass(frozen=True, slots=True)
class Api:
    """One request and its response, with the range of versions offered to clients."""

    request: Any
    response: Any
    min_version: int
    max_version: int


# The upper bounds stop short of topic ids (Produce 13, Fetch 13, Metadata 10, DeleteTopics 6), of leader epochs
# that a single node has no use for, of requests that name several groups at once (OffsetFetch 8), and of transactions
# with two-phase commit (InitProducerId 6).
APIS: Final[Mapping[ApiKey, Api]] = {
    ApiKey.PRODUCE: Api(producer.ProduceRequest, producer.ProduceResponse, 3, 12),
    ApiKey.FETCH: Api(consumer.FetchRequest, consumer.FetchResponse, 4, 11),
    ApiKey.LIST_OFFSETS: Api(consumer.ListOffsetsRequest, consumer.ListOffsetsResponse, 1, 5),
    ApiKey.METADATA: Api(metadata.MetadataRequest, metadata.MetadataResponse, 0, 9),
    ApiKey.OFFSET_COMMIT: Api(consumer.OffsetCommitRequest, consumer.OffsetCommitResponse, 2, 7),
    ApiKey.OFFSET_FETCH: Api(consumer.OffsetFetchRequest, consumer.OffsetFetchResponse, 1, 7),
    ApiKey.FIND_COORDINATOR: Api(metadata.FindCoordinatorRequest, metadata.FindCoordinatorResponse, 0, 3),
    ApiKey.JOIN_GROUP: Api(consumer.JoinGroupRequest, consumer.JoinGroupResponse, 0, 7),
    ApiKey.HEARTBEAT: Api(consumer.HeartbeatRequest, consumer.HeartbeatResponse, 0, 4),
    ApiKey.LEAVE_GROUP: Api(consumer.LeaveGroupRequest, consumer.LeaveGroupResponse, 0, 4),
    ApiKey.SYNC_GROUP: Api(consumer.SyncGroupRequest, consumer.SyncGroupResponse, 0, 5),
    ApiKey.DESCRIBE_GROUPS: Api(admin.DescribeGroupsRequest, admin.DescribeGroupsResponse, 0, 5),
    ApiKey.LIST_GROUPS: Api(admin.ListGroupsRequest, admin.ListGroupsResponse, 0, 4),
    ApiKey.API_VERSIONS: Api(metadata.ApiVersionsRequest, metadata.ApiVersionsResponse, 0, 4),
    ApiKey.CREATE_TOPICS: Api(admin.CreateTopicsRequest, admin.CreateTopicsResponse, 0, 5),
    ApiKey.DELETE_TOPICS: Api(admin.DeleteTopicsRequest, admin.DeleteTopicsResponse, 0, 5),
    ApiKey.INIT_PRODUCER_ID: Api(producer.InitProducerIdRequest, producer.InitProducerIdResponse, 0, 5),
    ApiKey.ADD_PARTITIONS_TO_TXN: Api(producer.AddPartitionsToTxnRequest, producer.AddPartitionsToTxnResponse, 0, 5),
    ApiKey.ADD_OFFSETS_TO_TXN: Api(producer.AddOffsetsToTxnRequest, producer.AddOffsetsToTxnResponse, 0, 4),
    ApiKey.END_TXN: Api(producer.EndTxnRequest, producer.EndTxnResponse, 0, 5),
    ApiKey.TXN_OFFSET_COMMIT: Api(producer.TxnOffsetCommitRequest, producer.TxnOffsetCommitResponse, 0, 5),
    ApiKey.DESCRIBE_CONFIGS: Api(admin.DescribeConfigsRequest, admin.DescribeConfigsResponse, 1, 4),
    ApiKey.CREATE_PARTITIONS: Api(admin.CreatePartitionsRequest, admin.CreatePartitionsResponse, 0, 3),
    ApiKey.DELETE_GROUPS: Api(admin.DeleteGroupsRequest, admin.DeleteGroupsResponse, 0, 2),
    ApiKey.INCREMENTAL_ALTER_CONFIGS: Api(
        admin.IncrementalAlterConfigsRequest, admin.IncrementalAlterConfigsResponse, 0, 1
    ),
    ApiKey.DESCRIBE_CLUSTER: Api(admin.DescribeClusterRequest, admin.DescribeClusterResponse, 0, 1),
    ApiKey.LIST_TRANSACTIONS: Api(admin.ListTransactionsRequest, admin.ListTransactionsResponse, 0, 0),
}


FEATURES: Final[Fields] = {
    "supported_features": [{"name": "transaction.version", "min_version": 0, "max_version": 2}],
    "finalized_features_epoch": 0,
    "finalized_features": [{"name": "transaction.version", "max_version_level": 2, "min_version_level": 2}],
}
"""The features in the answer to ApiVersions: producers may use the transactions of KIP-890."""


class BadFrame(Exception):
    """Bytes that are no request this broker knows; the connection is closed."""


class UnsupportedVersion(BadFrame):
    """A known request in a version outside the advertised range."""

    def __init__(self, header: "Header") -> None:
        super().__init__(f"{header.api.name}: version {header.version} is not offered")
        self.header = header


@dataclass(frozen=True, slots=True)
class Header:
    """The common header of all requests."""

    api: ApiKey
    version: int
    correlation_id: int
    client_id: str


Handler = Callable[[Header, Request], Awaitable[Fields | None]]
"""Answers one kind of request; None where the client expects no answer."""

Handlers = dict[ApiKey, Handler]

_FIXED = struct.Struct(">hhih")


def decode_request(frame: bytes) -> tuple[Header, Request]:
    """Return the header and the decoded body of one frame (without its length prefix).

    Raises
    ------
    UnsupportedVersion
        When the version is outside the range of `APIS`.
    BadFrame
        When the frame cannot be decoded.
    """
    try:
        key, version, correlation_id, id_length = _FIXED.unpack_from(frame)
        position = _FIXED.size + max(id_length, 0)
        client_id = frame[_FIXED.size : position].decode()
        header = Header(ApiKey(key), version, correlation_id, client_id)
    except (struct.error, ValueError) as error:
        raise BadFrame(f"not a request header: {error}") from None
    api = APIS[header.api]
    if not api.min_version <= version <= api.max_version:
        raise UnsupportedVersion(header)
    try:
        if api.request.flexible_version_q(version):
            position = _skip_tags(frame, position)
        body = memoryview(frame)[position:]
        return header, api.request.decode(body, version=version)
    # The decoder is generated code: a short or garbled body surfaces as any of these.
    except (struct.error, ValueError, IndexError, TypeError, MemoryError) as error:
        raise BadFrame(f"{header.api.name} v{version} does not decode: {error}") from None


def _skip_tags(frame: bytes, position: int) -> int:
    """Step over the tagged fields that end a flexible request header."""
    count, position = _unsigned_varint(frame, position)
    for _ in range(count):
        _, position = _unsigned_varint(frame, position)
        size, position = _unsigned_varint(frame, position)
        position += size
    return position


def _unsigned_varint(frame: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = frame[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 28:
            raise BadFrame("a tagged field's number is longer than 32 bits")


def encode_response(header: Header, fields: Fields, version: int | None = None) -> bytes:
    """Return a framed response.

    Parameters
    ----------
    header : Header
        Of the request.
    fields : dict
        Fields of the response by name; those that the version does not have are left out.
    version : int, optional
        Version of the response; by default that of the request.
    """
    version = header.version if version is None else version
    message = _fill(APIS[header.api].response, version, fields)
    message.with_header(correlation_id=header.correlation_id)
    encoded: bytes = message.encode(header=True, framed=True)
    return encoded


def api_versions() -> list[Fields]:
    """Return the rows of an ApiVersions response."""
    return [
        {"api_key": int(key), "min_version": api.min_version, "max_version": api.max_version}
        for key, api in APIS.items()
    ]


def _fill(message_class: Any, version: int, fields: Fields) -> Any:
    values = {}
    for name, field in message_class._struct.fields.items():
        if name not in fields or not field.for_version_q(version):
            continue
        value = fields[name]
        if value is not None and field.is_struct_array():
            value = [_fill(field.data_class, version, item) for item in value]
        elif value is not None and field.is_struct():
            value = _fill(field.data_class, version, value)
        values[name] = value
    return message_class(version=version, **values)
