"""The requests of transactional producers."""

import time
from typing import Final

from loopback_kafka.api_groups import MAX_METADATA_BYTES, GroupsApi
from loopback_kafka.members import MemberRef
from loopback_kafka.offsets import Committed, TopicPartition
from loopback_kafka.protocol import ApiKey, ErrorCode, Fields, Handlers, Header, Request
from loopback_kafka.topics import Topics
from loopback_kafka.transactions import NO_PRODUCER, ProducerRef, State, Transactions

_FENCED_SINCE: Final = {
    ApiKey.INIT_PRODUCER_ID: 4,
    ApiKey.ADD_PARTITIONS_TO_TXN: 2,
    ApiKey.ADD_OFFSETS_TO_TXN: 2,
    ApiKey.END_TXN: 2,
}
"""The first version of each request that is answered PRODUCER_FENCED in place of INVALID_PRODUCER_EPOCH."""
_VERSION_2_SINCE: Final = 5
"""The first version of EndTxn and TxnOffsetCommit that follows KIP-890."""
_MANY_SINCE: Final = 4
"""The first version of AddPartitionsToTxn that names several transactions."""


class TransactionsApi:
    """The coordinator of every transaction, driven by requests."""

    def __init__(self, transactions: Transactions, topics: Topics, groups: GroupsApi) -> None:
        self._transactions = transactions
        self._topics = topics
        self._groups = groups

    def handlers(self) -> Handlers:
        """Return the handlers by request."""
        return {
            ApiKey.INIT_PRODUCER_ID: self.init_producer_id,
            ApiKey.ADD_PARTITIONS_TO_TXN: self.add_partitions,
            ApiKey.ADD_OFFSETS_TO_TXN: self.add_offsets,
            ApiKey.TXN_OFFSET_COMMIT: self.commit_offsets,
            ApiKey.END_TXN: self.end,
            ApiKey.LIST_TRANSACTIONS: self.list,
        }

    async def init_producer_id(self, header: Header, request: Request) -> Fields:
        """Give out a producer id; with a transactional id always the same one, in its next epoch."""
        if request.transactional_id is None:
            error, producer = ErrorCode.NONE, ProducerRef(self._topics.new_producer_id(), 0)
        elif not request.transactional_id:
            error, producer = ErrorCode.INVALID_REQUEST, NO_PRODUCER
        else:
            expected = ProducerRef(request.producer_id, request.producer_epoch)
            error, producer = self._transactions.init(
                request.transactional_id, request.transaction_timeout_ms, expected, time.monotonic()
            )
        return _producer_answer(header, error, producer)

    async def add_partitions(self, header: Header, request: Request) -> Fields:
        """Add partitions to a transaction; from version 4 on, which brokers use, to several or only check them."""
        if header.version >= _MANY_SINCE:
            rows = [
                {
                    "transactional_id": asked.transactional_id,
                    "topic_results": self._add_partitions(
                        header,
                        asked.transactional_id,
                        ProducerRef(asked.producer_id, asked.producer_epoch),
                        asked.topics,
                        asked.verify_only,
                    ),
                }
                for asked in request.transactions
            ]
            return {"throttle_time_ms": 0, "error_code": 0, "results_by_transaction": rows}
        producer = ProducerRef(request.v3_and_below_producer_id, request.v3_and_below_producer_epoch)
        name = request.v3_and_below_transactional_id
        rows = self._add_partitions(header, name, producer, request.v3_and_below_topics, verify_only=False)
        return {"throttle_time_ms": 0, "results_by_topic_v3_and_below": rows}

    def _add_partitions(
        self, header: Header, name: str, producer: ProducerRef, topics: list[Request], verify_only: bool
    ) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        for topic in topics:
            results = []
            for index in topic.partitions:
                partition = (topic.name, index)
                if self._topics.partition(*partition) is None:
                    error = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                elif verify_only:
                    error = self._transactions.check_partition(name, producer, partition)
                    if error is ErrorCode.INVALID_TXN_STATE:  # as Apache Kafka answers other brokers
                        error = ErrorCode.TRANSACTION_ABORTABLE
                else:
                    error = self._transactions.add_partition(name, producer, partition, time.monotonic())
                results.append({"partition_index": index, "partition_error_code": _code_for(header, error)})
            rows.append({"name": topic.name, "results_by_partition": results})
        return rows

    async def add_offsets(self, header: Header, request: Request) -> Fields:
        """Announce that a group's offsets will be part of a transaction."""
        producer = ProducerRef(request.producer_id, request.producer_epoch)
        error = self._transactions.add_offsets(
            request.transactional_id, producer, request.group_id, {}, time.monotonic()
        )
        return {"throttle_time_ms": 0, "error_code": _code_for(header, error)}

    async def commit_offsets(self, header: Header, request: Request) -> Fields:
        """Add offsets to a transaction, if the member, where one is named, belongs to the current generation."""
        accepted: dict[TopicPartition, Committed] = {}
        refused: dict[TopicPartition, ErrorCode] = {}
        for topic in request.topics:
            for part in topic.partitions:
                key, metadata = (topic.name, part.partition_index), part.committed_metadata or ""
                if self._topics.partition(*key) is None:
                    refused[key] = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                elif len(metadata) > MAX_METADATA_BYTES:
                    refused[key] = ErrorCode.OFFSET_METADATA_TOO_LARGE
                else:
                    accepted[key] = Committed(part.committed_offset, metadata)
        error = self._add_offsets(header, request, accepted)
        topics = [
            {
                "name": topic.name,
                "partitions": [
                    {
                        "partition_index": part.partition_index,
                        "error_code": refused.get((topic.name, part.partition_index), error),
                    }
                    for part in topic.partitions
                ],
            }
            for topic in request.topics
        ]
        return {"throttle_time_ms": 0, "topics": topics}

    def _add_offsets(self, header: Header, request: Request, offsets: dict[TopicPartition, Committed]) -> ErrorCode:
        name, group = request.transactional_id, request.group_id
        producer = ProducerRef(request.producer_id, request.producer_epoch)
        error = self._groups.check_transactional_commit(
            group, MemberRef(request.member_id, request.generation_id, request.group_instance_id)
        )
        if error is ErrorCode.NONE and header.version < _VERSION_2_SINCE:
            error = self._transactions.check_group(name, producer, group)
        if error is ErrorCode.NONE:
            error = self._transactions.add_offsets(name, producer, group, offsets, time.monotonic())
        return error

    async def list(self, _header: Header, request: Request) -> Fields:
        """Return the transactions in some states, of some producers; of all where none are named."""
        states, producer_ids = request.state_filters, request.producer_id_filters
        rows = [
            {
                "transactional_id": one.name,
                "producer_id": one.producer.producer_id,
                "transaction_state": one.state.value,
            }
            for one in self._transactions.all()
            if (not states or one.state in states) and (not producer_ids or one.producer.producer_id in producer_ids)
        ]
        unknown = [name for name in states if name not in list(State)]
        return {
            "throttle_time_ms": 0,
            "error_code": ErrorCode.NONE,
            "unknown_state_filters": unknown,
            "transaction_states": rows,
        }

    async def end(self, header: Header, request: Request) -> Fields:
        """Commit or abort a transaction."""
        error, producer = self._transactions.end(
            request.transactional_id,
            ProducerRef(request.producer_id, request.producer_epoch),
            is_commit=request.committed,
            takes_next_epoch=header.version >= _VERSION_2_SINCE,
        )
        return _producer_answer(header, error, producer)


def _producer_answer(header: Header, error: ErrorCode, producer: ProducerRef) -> Fields:
    return {
        "throttle_time_ms": 0,
        "error_code": _code_for(header, error),
        "producer_id": producer.producer_id,
        "producer_epoch": producer.epoch,
    }


def _code_for(header: Header, error: ErrorCode) -> ErrorCode:
    """Return the error code for the version of the request: those of fenced producers differ."""
    if error is ErrorCode.INVALID_PRODUCER_EPOCH and header.version >= _FENCED_SINCE[header.api]:
        return ErrorCode.PRODUCER_FENCED
    return error
