"""Requests of transactions (KIP-890) that aiokafka has no classes for: their versions, fields and answers."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)
from aiokafka.structs import TopicPartition

Row = TypeVar("Row")

_TEXT = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)
_NO_TAGS: dict[int, bytes] = {}


def _by_topic(*of_partition: tuple[str, Any]) -> CompactArray:
    """Return the type of an array of topics, each with an array of partitions."""
    partitions = CompactArray(("partition", Int32), *of_partition, _TAGS)
    return CompactArray(("topic", _TEXT), ("partitions", partitions), _TAGS)


_PRODUCER = (("producer_id", Int64), ("producer_epoch", Int16))
_NEW_PRODUCER = Schema(("throttle_time_ms", Int32), ("error_code", Int16), *_PRODUCER, _TAGS)


class _Request(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = API_VERSION = -1
    SCHEMA = Schema()
    RESPONSE_TYPE = Response


class _InitProducerIdAnswer(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 22, 4
    SCHEMA = _NEW_PRODUCER


class InitProducerId(_Request):
    """Begin as the producer of a transactional id, and abort what it left open."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 22, 4, _InitProducerIdAnswer
    SCHEMA = Schema(("transactional_id", _TEXT), ("timeout_ms", Int32), *_PRODUCER, _TAGS)


class _ProduceAnswer(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 0, 12
    SCHEMA = Schema(
        (
            "topics",
            _by_topic(
                ("error_code", Int16),
                ("offset", Int64),
                ("timestamp", Int64),
                ("log_start_offset", Int64),
                ("record_errors", CompactArray(("index", Int32), ("text", _TEXT), _TAGS)),
                ("error_message", _TEXT),
            ),
        ),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class Produce(_Request):
    """Append transactional batches."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 0, 12, _ProduceAnswer
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("acks", Int16),
        ("timeout_ms", Int32),
        ("topics", _by_topic(("records", CompactBytes))),
        _TAGS,
    )


class _TxnOffsetCommitAnswer(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 28, 5
    SCHEMA = Schema(("throttle_time_ms", Int32), ("topics", _by_topic(("error_code", Int16))), _TAGS)


class TxnOffsetCommit(_Request):
    """Commit offsets with the transaction."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 28, 5, _TxnOffsetCommitAnswer
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("group_id", _TEXT),
        *_PRODUCER,
        ("generation_id", Int32),
        ("member_id", _TEXT),
        ("group_instance_id", _TEXT),
        ("topics", _by_topic(("offset", Int64), ("leader_epoch", Int32), ("metadata", _TEXT))),
        _TAGS,
    )


class _EndTxnAnswer(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 26, 5
    SCHEMA = _NEW_PRODUCER


class EndTxn(_Request):
    """Commit or abort the transaction; the answer begins the next."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 26, 5, _EndTxnAnswer
    SCHEMA = Schema(("transactional_id", _TEXT), *_PRODUCER, ("committed", Boolean), _TAGS)


class _ListTransactionsAnswer(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 66, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("unknown_states", CompactArray(_TEXT)),
        (
            "transactions",
            CompactArray(("transactional_id", _TEXT), ("producer_id", Int64), ("state", _TEXT), _TAGS),
        ),
        _TAGS,
    )


class ListTransactions(_Request):
    """List the transactions in some states that a broker coordinates (KIP-664)."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 66, 0, _ListTransactionsAnswer
    SCHEMA = Schema(("states", CompactArray(_TEXT)), ("producer_ids", CompactArray(Int64)), _TAGS)


class VersionedRequest(Request[_Request]):  # type: ignore[misc]
    """A request of one version, as aiokafka's client takes it."""

    API_KEY = _Request.API_KEY

    def __init__(self, struct: type[_Request], *fields: Any) -> None:
        self.API_KEY = struct.API_KEY
        self._CLASSES = (struct,)
        self._fields = fields

    def build(self, request_struct_class: type[Any]) -> Any:
        """Return the request with its fields."""
        return request_struct_class(*self._fields, _NO_TAGS)


def in_topics(rows: Mapping[TopicPartition, Row], fields: Callable[[Row], tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return rows in the form of a request: by topic, ready to encode.

    Parameters
    ----------
    rows : mapping of TopicPartition to any
        One a partition.
    fields : callable
        Returns the fields of a row that follow the partition's number.
    """
    by_topic: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for tp, row in rows.items():
        by_topic[tp.topic].append((tp.partition, *fields(row), _NO_TAGS))
    return [(topic, partitions, _NO_TAGS) for topic, partitions in by_topic.items()]
