"""Transactions of our own requests: what is sent, sent again and given up."""

import asyncio
import time
from collections import defaultdict, deque
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.client import CoordinationType
from aiokafka.errors import (
    ConcurrentTransactions,
    IllegalGenerationError,
    InvalidProducerEpoch,
    KafkaConnectionError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
)
from aiokafka.record.memory_records import MemoryRecords

from stream_coupons.kafka import transactions
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.producer import in_batches
from stream_coupons.kafka.records import Membership, Output
from stream_coupons.kafka.transactions import TransactionalId, TransactionalProducer

INPUT = TopicPartition("browse", 0)
MEMBER = Membership("m", 4)
OUTPUTS = [Output("issues", 0, b"k", b"1"), Output("changelog", 1, b"k", b"2"), Output("issues", 0, b"k", b"3")]
TIMEOUT_S = 10.0
USED = TransactionalId("g", "users", MEMBER.member_id, "0")


class Client:
    """aiokafka's, with one broker; `errors` by topic, or by kind of request, are answered once each."""

    def __init__(self) -> None:
        self.errors: defaultdict[str, deque[Any]] = defaultdict(deque)
        self.sent: list[Any] = []
        self.epoch = 0
        self.looked_up: list[Any] = []
        self.cluster = SimpleNamespace(leader_for_partition=lambda _: 1)

    async def bootstrap(self) -> None:
        """Connect."""

    async def _wait_on_metadata(self, topic: str) -> None:
        """Known."""

    async def force_metadata_update(self) -> None:
        self.looked_up.append("metadata")

    async def coordinator_lookup(self, kind: Any, key: str) -> int:
        self.looked_up.append((kind, key))
        return 1

    async def send(self, node: int, request: Any) -> Any:
        assert node == 1
        struct = request.build(request._CLASSES[0])
        said = type(struct).SCHEMA.decode(BytesIO(struct.encode()))
        kind = type(struct).__name__.strip("_")
        named = dict(zip(type(struct).SCHEMA.names, said, strict=True))
        self.sent.append((kind, named))
        if (failure := self._error(kind)) is not None and not hasattr(failure, "errno"):
            raise failure
        if "topics" in named:
            return SimpleNamespace(topics=[self._answer(topic, rows) for topic, rows, _ in named["topics"]])
        if failure is None:
            self.epoch += 1
        return SimpleNamespace(error_code=failure.errno if failure else 0, producer_id=7, producer_epoch=self.epoch)

    def _error(self, key: str) -> Any:
        return self.errors[key].popleft() if self.errors[key] else None

    def _answer(self, topic: str, rows: list[Any]) -> Any:
        found = [(row[0], self._error(topic)) for row in rows]
        return topic, [(partition, error.errno if error else 0, None) for partition, error in found], {}

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.sent]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client()
    monkeypatch.setattr(transactions, "AIOKafkaClient", lambda **_: client)
    monkeypatch.setattr(transactions, "FAILED_PAUSE_S", 0.0)
    monkeypatch.setattr(transactions, "LONGEST_PAUSE_S", 0.0)
    return client


def commit(client: Client, outputs: list[Output] = OUTPUTS, *, times: int = 1) -> None:
    async def run() -> None:
        producer = TransactionalProducer(Connection(), USED, TIMEOUT_S)
        await producer.start()
        client.sent.clear()
        for _ in range(times):
            batches = in_batches(outputs, 300, is_transactional=True)
            await producer.commit(batches, {INPUT: 5}, MEMBER)

    asyncio.run(run())


def values(records: bytes) -> list[bytes]:
    return [record.value for record in MemoryRecords(records).next_batch()]


def test_records_and_offsets_leave_at_once_and_one_request_ends_the_transaction(client: Client) -> None:
    commit(client)
    assert client.kinds() == ["Produce", "TxnOffsetCommit", "EndTxn"]
    (_, produce), (_, offsets), (_, end) = client.sent
    appended = {topic: {row[0]: values(row[1]) for row in rows} for topic, rows, _ in produce["topics"]}
    assert appended == {"issues": {0: [b"1", b"3"]}, "changelog": {1: [b"2"]}}
    assert [offsets[name] for name in ("group_id", "generation_id", "member_id")] == ["g", 4, "m"]
    assert offsets["topics"] == [("browse", [(0, 5, -1, "", {})], {})]
    assert end["committed"]
    assert {said["transactional_id"] for _, said in client.sent} == {"g/users/m/0"}


def test_the_answer_to_an_end_begins_the_next_transaction_with_new_numbers(client: Client) -> None:
    commit(client, times=2)
    epochs = [said["producer_epoch"] for kind, said in client.sent if kind == "EndTxn"]
    assert epochs == [1, 2]
    for epoch, records in zip(
        epochs, [said["topics"][0][1][0][1] for kind, said in client.sent if kind == "Produce"], strict=True
    ):
        batch = MemoryRecords(records).next_batch()
        assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (7, epoch, 0)
        assert batch.is_transactional


def test_what_does_not_fit_into_one_batch_is_appended_in_order_in_the_same_transaction(client: Client) -> None:
    outputs = [Output("issues", 0, b"k", bytes([number]) * 200) for number in range(3)]
    commit(client, outputs)
    sent = [said["topics"][0][1][0][1] for kind, said in client.sent if kind == "Produce"]
    assert [values(records)[0][:1] for records in sent] == [b"\x00", b"\x01", b"\x02"]
    assert [MemoryRecords(records).next_batch().base_sequence for records in sent] == [0, 1, 2]
    assert client.kinds().count("EndTxn") == 1


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("issues", NotLeaderForPartitionError()),
        ("issues", ConcurrentTransactions()),
        ("browse", ConcurrentTransactions()),
        ("Produce", KafkaConnectionError()),
        ("TxnOffsetCommit", KafkaConnectionError()),
        ("EndTxn", KafkaConnectionError()),
        ("EndTxn", ConcurrentTransactions()),
    ],
)
def test_what_was_not_taken_is_sent_again_and_nothing_else(client: Client, where: str, error: Exception) -> None:
    client.errors[where].append(error)
    commit(client)
    again = {"issues": "Produce", "browse": "TxnOffsetCommit"}.get(where, where)
    assert client.kinds().count(again) == 2
    assert len(client.sent) == 4
    if where == "issues":
        assert [topic for topic, _, _ in [said for kind, said in client.sent if kind == "Produce"][1]["topics"]] == [
            "issues"
        ], "the changelog has its batch"
    if not isinstance(error, ConcurrentTransactions):
        assert "metadata" in client.looked_up


def test_a_transaction_that_does_not_end_is_asked_for_less_and_less_often(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator cannot end one while too few brokers are there to take its marker."""
    monkeypatch.setattr(transactions, "FAILED_PAUSE_S", 0.1)
    began = time.monotonic()
    client.errors["EndTxn"].extend([ConcurrentTransactions()] * 50)
    commit(client)
    assert client.kinds().count("EndTxn") == 51
    assert time.monotonic() - began > 5 * 50 * transactions.PAUSE_S
    assert "metadata" not in client.looked_up


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("issues", MessageSizeTooLargeError()),
        ("browse", IllegalGenerationError()),
        ("issues", InvalidProducerEpoch()),
        ("EndTxn", InvalidProducerEpoch()),
    ],
)
def test_nothing_is_committed_of_which_a_part_was_refused(client: Client, where: str, error: Exception) -> None:
    client.errors[where].append(error)
    with pytest.raises(type(error)):
        commit(client)
    assert where == "EndTxn" or "EndTxn" not in client.kinds()


def test_a_broker_that_takes_nothing_for_long_is_asked_until_it_does(client: Client) -> None:
    client.errors["issues"].extend(NotLeaderForPartitionError() for _ in range(100))
    commit(client)
    assert client.kinds().count("Produce") == 101
    assert client.kinds()[-1] == "EndTxn"


def test_coordinators_are_looked_up_once(client: Client) -> None:
    commit(client, times=3)
    assert client.looked_up == [(CoordinationType.TRANSACTION, str(USED)), (CoordinationType.GROUP, "g")]
