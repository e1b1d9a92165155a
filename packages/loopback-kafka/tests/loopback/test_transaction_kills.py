"""The broker's process dies between any two writes of an end: all of the transaction is there, or nothing."""

import shutil
from pathlib import Path

import pytest

from loopback_kafka import BrokerFailed, EmbeddedBroker
from loopback_kafka.offsets import Committed, CommittedOffsets
from loopback_kafka.protocol import ErrorCode
from loopback_kafka.topics import Topics
from loopback_kafka.transactions import NO_PRODUCER, Transactions

from .clients import create_topic
from .committed import committed
from .wire import WireProducer, connect, join

pytestmark = pytest.mark.process

PROGRAM = Path(__file__).with_name("failing_broker.py")
TOPIC, PARTITIONS, GROUP, NAME = "t", 3, "g", "p"
WRITES = 1 + PARTITIONS + 1 + 1
"""Of a commit: the decision, markers, offsets, and that all is done."""


class FailingBroker(EmbeddedBroker):
    """The embedded broker with a failpoint."""

    def __init__(self, data: Path, *failpoint: str) -> None:
        super().__init__(data)
        self._failpoint = failpoint

    def _prepare(self) -> list[str]:
        python, *module = super()._prepare()
        return [
            python,
            str(PROGRAM),
            *self._failpoint,
            *module[module.index("--exit-with-stdin") :],
        ]


def run_transaction(data: Path, failpoint: str, is_commit: bool) -> WireProducer | None:
    """Return the producer whose end the broker did not survive, None if it did."""
    with FailingBroker(data, failpoint) as broker, connect(broker.bootstrap) as connection:
        create_topic(broker.bootstrap, TOPIC, PARTITIONS)
        producer = WireProducer(connection, NAME)
        producer.init()
        for partition in range(PARTITIONS):
            assert producer.append(TOPIC, b"a", partition=partition) is ErrorCode.NONE
        assert producer.add_offset(GROUP, TOPIC, 7, join(connection, GROUP)) is ErrorCode.NONE
        try:
            producer.end(is_commit)
        except ConnectionError:
            return producer
    return None


def outcome(data: Path, producer: WireProducer, is_commit: bool) -> bool:
    """Whether the transaction was committed; see that all of the folder agrees, and the answer to the same end."""
    topics, offsets = Topics(data), CommittedOffsets(data / "offsets.jsonl")
    transactions = Transactions(data / "transactions.jsonl", topics, offsets)
    try:
        logs = [topics.partition(TOPIC, partition) for partition in range(PARTITIONS)]
        seen = [committed(log) for log in logs if log is not None]
        assert seen in ([[b"a"]] * PARTITIONS, [[]] * PARTITIONS)
        assert all(log.stable_offset == log.end_offset == 2 for log in logs if log is not None), "one marker in each"
        is_committed = bool(seen[0])
        assert offsets.of_group(GROUP) == ({(TOPIC, 0): Committed(7, "")} if is_committed else {})
        error, after = transactions.end(NAME, producer.ref, is_commit, takes_next_epoch=True)
        assert (error is ErrorCode.NONE) == (is_committed == is_commit)
        assert after == (NO_PRODUCER if error else (producer.ref.producer_id, producer.ref.epoch + 1))
        assert transactions.init(NAME, 1000, NO_PRODUCER, 0.0)[1].epoch > producer.ref.epoch
        return is_committed
    finally:
        topics.close()
        offsets.close()
        transactions.close()


@pytest.mark.parametrize("kept", ["0.5", "1"])
@pytest.mark.parametrize("write", range(1, WRITES + 1))
def test_a_commit_is_all_or_nothing_over_a_kill(tmp_path: Path, write: int, kept: str) -> None:
    producer = run_transaction(tmp_path, f"{write}:{kept}", is_commit=True)
    assert producer is not None, "the broker lives"
    is_decided = write > 1 or kept == "1"
    assert outcome(tmp_path, producer, is_commit=True) == is_decided


@pytest.mark.parametrize("write", [1, 2, PARTITIONS + 2])
def test_an_abort_commits_nothing_over_a_kill(tmp_path: Path, write: int) -> None:
    producer = run_transaction(tmp_path, f"{write}:0.5", is_commit=False)
    assert producer is not None, "the broker lives"
    assert not outcome(tmp_path, producer, is_commit=False)


def test_there_are_no_more_writes_than_are_tried(tmp_path: Path) -> None:
    assert run_transaction(tmp_path, f"{WRITES + 1}:0", is_commit=True) is None


def test_a_kill_of_the_broker_that_recovers_changes_nothing(tmp_path: Path) -> None:
    first = tmp_path / "first"
    producer = run_transaction(first, "2:1", is_commit=True)
    assert producer is not None
    for write in range(1, WRITES - 1):  # one marker is there; the others, the offset and the last line are left
        again = tmp_path / str(write)
        shutil.copytree(first, again)
        with pytest.raises(BrokerFailed, match="ended before it was ready"):
            FailingBroker(again, f"{write}:0.5", "--recovery").start()
        assert outcome(again, producer, is_commit=True)
