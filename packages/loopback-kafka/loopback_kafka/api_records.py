"""Produce, fetch and list offsets."""

import asyncio
import time
from collections import defaultdict
from typing import Final

from loopback_kafka.log import PartitionLog
from loopback_kafka.protocol import ApiKey, ErrorCode, Fields, Handlers, Header, Request
from loopback_kafka.record_batches import CorruptBatch, read_header
from loopback_kafka.sequences import AppendRefused
from loopback_kafka.topics import Topics
from loopback_kafka.transactions import ProducerRef, Transactions

_LATEST: Final = -1
_EARLIEST: Final = -2
_READ_COMMITTED: Final = 1
MAX_FETCH_BYTES: Final = 48 * 1024 * 1024
MAX_WAIT_S: Final = 300.0
_ADDS_PARTITIONS_SINCE: Final = 12
"""The first version of Produce in which a batch adds its partition to the transaction (KIP-890)."""


class RecordsApi:
    """The requests that read and write records."""

    def __init__(self, topics: Topics, transactions: Transactions) -> None:
        self._topics = topics
        self._transactions = transactions
        transactions.on_marker = self._wake
        self._waiting: defaultdict[PartitionLog, set[asyncio.Event]] = defaultdict(set)

    def handlers(self) -> Handlers:
        """Return the handlers by request."""
        return {
            ApiKey.PRODUCE: self.produce,
            ApiKey.FETCH: self.fetch,
            ApiKey.LIST_OFFSETS: self.list_offsets,
        }

    async def produce(self, header: Header, request: Request) -> Fields | None:
        """Append batches; with acks=0 the client expects no answer."""
        adds_partitions = header.version >= _ADDS_PARTITIONS_SINCE
        topics = [
            {
                "name": topic.name,
                "partition_responses": [
                    self._append(topic.name, part, request.transactional_id, adds_partitions)
                    for part in topic.partition_data
                ],
            }
            for topic in request.topic_data
        ]
        return None if request.acks == 0 else {"responses": topics, "throttle_time_ms": 0}

    def _append(self, name: str, part: Request, transactional_id: str | None, adds_partitions: bool) -> Fields:
        topic = self._topics.get(name)
        log = self._topics.partition(name, part.index)
        answer = {
            "index": part.index,
            "error_code": ErrorCode.NONE,
            "base_offset": -1,
            "log_append_time_ms": -1,
            "log_start_offset": log.start_offset if log else -1,
            "record_errors": [],
            "error_message": None,
        }
        if topic is None or log is None:
            return answer | {"error_code": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}
        at_ms = int(time.time() * 1000) if topic.config("message.timestamp.type") == "LogAppendTime" else None
        try:
            self._admit_to_transaction((name, part.index), part.records or b"", transactional_id, adds_partitions)
            base_offset = log.append(
                part.records or b"", topic.limit("max.message.bytes"), topic.has_policy("compact"), at_ms
            )
        except AppendRefused as refusal:
            return answer | {"error_code": refusal.code, "error_message": str(refusal)}
        self._wake(log)
        return answer | {"base_offset": base_offset, "log_append_time_ms": -1 if at_ms is None else at_ms}

    def _admit_to_transaction(
        self, partition: tuple[str, int], batch: bytes, transactional_id: str | None, adds_partitions: bool
    ) -> None:
        """Raise AppendRefused for a transactional batch whose producer may not append it."""
        try:
            header = read_header(batch)
        except CorruptBatch:  # the log refuses it
            return
        if not header.is_transactional:
            return
        if transactional_id is None:
            raise AppendRefused(ErrorCode.INVALID_RECORD, "a batch of a transaction needs a transactional id")
        producer = ProducerRef(header.producer_id, header.producer_epoch)
        if adds_partitions:
            error = self._transactions.add_partition(transactional_id, producer, partition, time.monotonic())
        else:
            error = self._transactions.check_partition(transactional_id, producer, partition)
        if error is not ErrorCode.NONE:
            raise AppendRefused(error, f"{transactional_id}: {error.name}")

    def _wake(self, log: PartitionLog) -> None:
        """Wake the fetches that wait for more of a log."""
        for event in self._waiting.get(log, ()):
            event.set()

    async def fetch(self, _header: Header, request: Request) -> Fields:
        """Answer with what there is, or wait for `min_bytes` of it as long as the client allows."""
        deadline = time.monotonic() + min(request.max_wait_ms / 1000, MAX_WAIT_S)
        logs = [
            log
            for topic in request.topics
            for part in topic.partitions
            if (log := self._topics.partition(topic.topic, part.partition)) is not None
        ]
        grown = asyncio.Event()
        for log in logs:
            self._waiting[log].add(grown)
        try:
            while not self._is_ready(request) and (left := deadline - time.monotonic()) > 0:
                grown.clear()
                try:
                    async with asyncio.timeout(left):
                        await grown.wait()
                except TimeoutError:
                    break
        finally:
            self._stop_waiting(logs, grown)
        return self._read(request)

    def _stop_waiting(self, logs: list[PartitionLog], event: asyncio.Event) -> None:
        for log in logs:
            self._waiting[log].discard(event)
            if not self._waiting[log]:
                del self._waiting[log]

    def _is_ready(self, request: Request) -> bool:
        """Return True if a response now has `min_bytes` of data or an error, or no topics are requested."""
        if not request.topics:
            return True
        found = 0
        for topic in request.topics:
            for part in topic.partitions:
                log = self._topics.partition(topic.topic, part.partition)
                if log is None or not log.start_offset <= part.fetch_offset <= log.end_offset:
                    return True
                found += log.available(part.fetch_offset, request.min_bytes, _is_committed(request))
                if found >= request.min_bytes:
                    return True
        return False

    def _read(self, request: Request) -> Fields:
        left = min(request.max_bytes, MAX_FETCH_BYTES)
        is_first = True
        topics = []
        for topic in request.topics:
            rows = []
            for part in topic.partitions:
                log = self._topics.partition(topic.topic, part.partition)
                row, size = _read_partition(log, part, left, is_first, _is_committed(request))
                left -= size
                is_first = is_first and size == 0
                rows.append(row)
            topics.append({"topic": topic.topic, "partitions": rows})
        # Session id 0: no incremental fetch sessions, every request names all its partitions.
        return {"throttle_time_ms": 0, "error_code": 0, "session_id": 0, "responses": topics}

    async def list_offsets(self, _header: Header, request: Request) -> Fields:
        """Answer with the first, the next, or the first offset not older than a time."""
        topics = [
            {
                "name": topic.name,
                "partitions": [
                    self._find_offset(topic.name, part, _is_committed(request)) for part in topic.partitions
                ],
            }
            for topic in request.topics
        ]
        return {"throttle_time_ms": 0, "topics": topics}

    def _find_offset(self, name: str, part: Request, is_committed: bool) -> Fields:
        log = self._topics.partition(name, part.partition_index)
        row = {
            "partition_index": part.partition_index,
            "error_code": ErrorCode.NONE,
            "timestamp": -1,
            "offset": -1,
            "leader_epoch": 0,
        }
        if log is None:
            return row | {"error_code": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}
        end = log.stable_offset if is_committed else log.end_offset
        if part.timestamp == _LATEST:
            return row | {"offset": end}
        if part.timestamp == _EARLIEST:
            return row | {"offset": log.start_offset}
        found = log.find_timestamp(part.timestamp)
        return row if found is None or found[0] >= end else row | {"offset": found[0], "timestamp": found[1]}


def _is_committed(request: Request) -> bool:
    """Return True if a reader asks for committed records only."""
    return bool(request.isolation_level == _READ_COMMITTED)


def _read_partition(
    log: PartitionLog | None, part: Request, bytes_left: int, is_first: bool, is_committed: bool
) -> tuple[Fields, int]:
    """Return the row of one partition and how many bytes of records are in it."""
    row: dict[str, object] = {
        "partition_index": part.partition,
        "error_code": ErrorCode.NONE,
        "high_watermark": log.end_offset if log else -1,
        "last_stable_offset": log.stable_offset if log else -1,
        "log_start_offset": log.start_offset if log else -1,
        "aborted_transactions": None,
        "preferred_read_replica": -1,
        "records": b"",
    }
    if log is None:
        return row | {"error_code": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}, 0
    if not log.start_offset <= part.fetch_offset <= log.end_offset:
        return row | {"error_code": ErrorCode.OFFSET_OUT_OF_RANGE}, 0
    max_bytes = max(0, min(part.partition_max_bytes, bytes_left))
    if not is_committed:
        records = log.read(part.fetch_offset, max_bytes, whole_first=is_first)
        return row | {"records": records}, len(records)
    records, aborted = log.read_committed(part.fetch_offset, max_bytes, whole_first=is_first)
    skipped = [{"producer_id": one.producer_id, "first_offset": one.first_offset} for one in aborted]
    return row | {"records": records, "aborted_transactions": skipped}, len(records)
