"""Requests as bytes, and a transactional producer that sends them one after the other."""

import socket
import struct
import time
from collections import defaultdict
from typing import Any

from kafka.protocol.consumer import FetchRequest, JoinGroupRequest, OffsetFetchRequest, SyncGroupRequest
from kafka.protocol.metadata import FindCoordinatorRequest
from kafka.protocol.producer import EndTxnRequest, InitProducerIdRequest, ProduceRequest, TxnOffsetCommitRequest

from loopback_kafka.protocol import APIS, ApiKey, ErrorCode
from loopback_kafka.transactions import NO_PRODUCER, ProducerRef

from .builders import Sender, make_batch
from .clients import DEADLINE_S
from .committed import read_fetched

_COORDINATOR_ERRORS = (14, 15, 16)
TRANSACTION = 1
READ_COMMITTED = 1


def connect(bootstrap: str) -> socket.socket:
    host, _, port = bootstrap.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=DEADLINE_S)


def ask(connection: socket.socket, request: Any) -> Any:
    """Send one request and return the decoded response."""
    request.with_header(correlation_id=3, client_id="raw")
    connection.sendall(request.encode(header=True, framed=True))
    with connection.makefile("rb") as stream:
        head = stream.read(4)
        if len(head) < 4:
            raise ConnectionResetError("closed in place of an answer")
        (size,) = struct.unpack(">i", head)
        frame = stream.read(size)
    response = APIS[ApiKey(request.API_KEY)].response
    return response.decode(frame, version=request.API_VERSION, header=True)


class WireProducer:
    """A transactional producer as of KIP-890: what it appends belongs to its transaction without an announcement."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        self.name = name
        self.ref: ProducerRef = NO_PRODUCER
        self._connection = connection
        self._sequences: defaultdict[tuple[str, int], int] = defaultdict(int)

    def init(self, timeout_ms: int = 60_000) -> ErrorCode:
        """Find the coordinator and become the producer of the transactional id."""
        self._retry(FindCoordinatorRequest(version=3, key=self.name, key_type=TRANSACTION))
        request = InitProducerIdRequest(
            version=4,
            transactional_id=self.name,
            transaction_timeout_ms=timeout_ms,
            producer_id=-1,
            producer_epoch=-1,
        )
        return self._take(self._retry(request))

    def append(self, topic: str, *keys: bytes, partition: int = 0) -> ErrorCode:
        """Append one batch."""
        place = (topic, partition)
        batch = make_batch(
            [(key, b"v") for key in keys],
            Sender(*self.ref, self._sequences[place]),
            timestamp=int(time.time() * 1000),
            is_transactional=True,
        )
        data = ProduceRequest.TopicProduceData
        part = data.PartitionProduceData(version=12, index=partition, records=batch)
        request = ProduceRequest(
            version=12,
            transactional_id=self.name,
            acks=-1,
            timeout_ms=10_000,
            topic_data=[data(version=12, name=topic, partition_data=[part])],
        )
        while True:
            (row,) = ask(self._connection, request).responses[0].partition_responses
            if row.error_code != ErrorCode.CONCURRENT_TRANSACTIONS:
                break
        if row.error_code == 0:
            self._sequences[place] += len(keys)
        return ErrorCode(row.error_code)

    def add_offset(
        self, group: str, topic: str, offset: int, member: tuple[str, int] = ("", -1), instance: str | None = None
    ) -> ErrorCode:
        """Add an offset of partition 0 to the transaction."""
        topics = TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic
        part = topics.TxnOffsetCommitRequestPartition(
            version=5, partition_index=0, committed_offset=offset, committed_leader_epoch=-1, committed_metadata=""
        )
        request = TxnOffsetCommitRequest(
            version=5,
            transactional_id=self.name,
            group_id=group,
            producer_id=self.ref.producer_id,
            producer_epoch=self.ref.epoch,
            generation_id=member[1],
            member_id=member[0],
            group_instance_id=instance,
            topics=[topics(version=5, name=topic, partitions=[part])],
        )
        while True:
            (row,) = ask(self._connection, request).topics[0].partitions
            if row.error_code != ErrorCode.CONCURRENT_TRANSACTIONS:
                return ErrorCode(row.error_code)

    def end(self, is_commit: bool = True) -> ErrorCode:
        """End the transaction and go on with the next epoch."""
        request = EndTxnRequest(
            version=5,
            transactional_id=self.name,
            producer_id=self.ref.producer_id,
            producer_epoch=self.ref.epoch,
            committed=is_commit,
        )
        return self._take(self._retry(request))

    def _retry(self, request: Any) -> Any:
        """Ask until the coordinator is found, and has finished what it does."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            answer = ask(self._connection, request)
            if answer.error_code not in (*_COORDINATOR_ERRORS, ErrorCode.CONCURRENT_TRANSACTIONS):
                return answer
            assert time.monotonic() < deadline, f"{request.name} was answered {answer.error_code} all the time"

    def _take(self, answer: Any) -> ErrorCode:
        if answer.error_code == 0:
            self.ref = ProducerRef(answer.producer_id, answer.producer_epoch)
            self._sequences.clear()
        return ErrorCode(answer.error_code)


def fetch_request(topic: str, isolation_level: int, max_wait_ms: int = 0) -> FetchRequest:
    """Return the request for what there is in partition 0."""
    topics = FetchRequest.FetchTopic
    part = topics.FetchPartition(
        version=11,
        partition=0,
        current_leader_epoch=-1,
        fetch_offset=0,
        log_start_offset=-1,
        partition_max_bytes=1 << 20,
    )
    return FetchRequest(
        version=11,
        replica_id=-1,
        max_wait_ms=max_wait_ms,
        min_bytes=1,
        max_bytes=1 << 20,
        isolation_level=isolation_level,
        session_id=0,
        session_epoch=-1,
        topics=[topics(version=11, topic=topic, partitions=[part])],
        forgotten_topics_data=[],
        rack_id="",
    )


def fetch(connection: socket.socket, topic: str, isolation_level: int) -> Any:
    """Return the row of partition 0 that a fetch from its start is answered with."""
    request = fetch_request(topic, isolation_level)
    (row,) = ask(connection, request).responses[0].partitions
    return row


def committed_keys(connection: socket.socket, topic: str) -> list[bytes | None]:
    """Return the keys of partition 0 that a reader of committed records sees."""
    row = fetch(connection, topic, READ_COMMITTED)
    aborted = [(one.producer_id, one.first_offset) for one in row.aborted_transactions or ()]
    return [key for _, key in read_fetched(bytes(row.records or b""), aborted, 0)[0]]


def committed_offset(connection: socket.socket, group: str, topic: str, require_stable: bool) -> tuple[int, int]:
    """Return (error, offset) for partition 0."""
    topics = [OffsetFetchRequest.OffsetFetchRequestTopic(version=7, name=topic, partition_indexes=[0])]
    request = OffsetFetchRequest(version=7, group_id=group, topics=topics, require_stable=require_stable)
    (row,) = ask(connection, request).topics[0].partitions
    return row.error_code, row.committed_offset


def join(connection: socket.socket, group: str, instance: str | None = None) -> tuple[str, int]:
    """Become the one member of a group; return its id and generation."""
    while ask(connection, FindCoordinatorRequest(version=3, key=group, key_type=0)).error_code in _COORDINATOR_ERRORS:
        pass
    protocol = JoinGroupRequest.JoinGroupRequestProtocol(version=5, name="range", metadata=b"")
    member_id = ""
    while True:
        joined = ask(
            connection,
            JoinGroupRequest(
                version=5,
                group_id=group,
                session_timeout_ms=30_000,
                rebalance_timeout_ms=30_000,
                member_id=member_id,
                group_instance_id=instance,
                protocol_type="consumer",
                protocols=[protocol],
            ),
        )
        member_id = joined.member_id
        if joined.error_code not in (*_COORDINATOR_ERRORS, ErrorCode.MEMBER_ID_REQUIRED):
            break
    assert joined.error_code == 0
    synced = SyncGroupRequest(
        version=3,
        group_id=group,
        generation_id=joined.generation_id,
        member_id=member_id,
        group_instance_id=instance,
        assignments=[],
    )
    assert ask(connection, synced).error_code == 0
    return member_id, joined.generation_id
