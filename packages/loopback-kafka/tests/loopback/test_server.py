"""What only the embedded broker promises: its bounds, its refusals, its process."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import confluent_kafka
import pytest
from kafka.protocol.producer import InitProducerIdRequest, ProduceRequest

from loopback_kafka import BrokerError, BrokerFailed, EmbeddedBroker, open_broker
from loopback_kafka.protocol import ErrorCode
from loopback_kafka.server import MAX_FRAME_BYTES

from .builders import Sender, make_batch, numbered
from .clients import AIOKAFKA, create_topic, end_offsets, librdkafka, until
from .wire import READ_COMMITTED, WireProducer, ask, connect, fetch

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path_factory.mktemp("embedded")) as broker:
        yield broker


def produce(topic: str, batch: bytes, acks: int = -1) -> ProduceRequest:
    data = ProduceRequest.TopicProduceData
    part = data.PartitionProduceData(version=7, index=0, records=batch)
    return ProduceRequest(
        version=7,
        transactional_id=None,
        acks=acks,
        timeout_ms=1000,
        topic_data=[data(version=7, name=topic, partition_data=[part])],
    )


def test_a_retried_idempotent_batch_is_suppressed_also_after_a_kill(tmp_path: Path, unique: str) -> None:
    with EmbeddedBroker(tmp_path / "data") as broker:
        create_topic(broker.bootstrap, unique)
        batch = make_batch([(b"k", b"v"), (b"k", b"w")], Sender(4242, 0, 0))
        rows = []
        for _ in range(2):
            with connect(broker.bootstrap) as connection:
                rows += [ask(connection, produce(unique, batch)) for _ in range(2)]
            broker.kill()
            broker.start()
        answers = [row.responses[0].partition_responses[0] for row in rows]
        assert [(a.error_code, a.base_offset) for a in answers] == [(0, 0)] * 4
        assert end_offsets(broker.bootstrap, unique) == {0: 2}


@pytest.mark.parametrize(
    ("batch", "code"),
    [
        (numbered(2)[:-1] + b"?", ErrorCode.CORRUPT_MESSAGE),
        (numbered(1)[:30], ErrorCode.CORRUPT_MESSAGE),
        (make_batch([(b"k", b"v")], Sender(9, 0, 0), is_transactional=True), 87),
    ],
    ids=["checksum", "short", "transaction"],
)
def test_a_bad_batch_is_refused_with_its_code(embedded: EmbeddedBroker, unique: str, batch: bytes, code: int) -> None:
    create_topic(embedded.bootstrap, unique)
    with connect(embedded.bootstrap) as connection:
        answer = ask(connection, produce(unique, batch)).responses[0].partition_responses[0]
        assert answer.error_code == code
    assert end_offsets(embedded.bootstrap, unique) == {0: 0}


def test_answers_on_one_connection_come_in_order(embedded: EmbeddedBroker, unique: str) -> None:
    create_topic(embedded.bootstrap, unique)
    with connect(embedded.bootstrap) as connection:
        for correlation_id in range(20):
            request = produce(unique, numbered(1))
            request.with_header(correlation_id=correlation_id, client_id="raw")
            connection.sendall(request.encode(header=True, framed=True))
        with connection.makefile("rb") as stream:
            seen = []
            for _ in range(20):
                size, correlation_id = struct.unpack(">ii", stream.read(8))
                stream.read(size - 4)
                seen.append(correlation_id)
    assert seen == list(range(20))


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">i", MAX_FRAME_BYTES + 1),
        struct.pack(">i", -5),
        struct.pack(">i", 12) + b"\xff" * 12,
        struct.pack(">ihhihi", 14, 9999, 0, 1, -1, 0),
    ],
    ids=["too-large", "negative", "garbage", "unknown-request"],
)
def test_a_bad_frame_closes_its_connection_and_no_other(embedded: EmbeddedBroker, sent: bytes) -> None:
    with connect(embedded.bootstrap) as good, connect(embedded.bootstrap) as bad:
        bad.sendall(sent)
        assert bad.recv(1) == b""
        answer = ask(good, InitProducerIdRequest(version=1, transactional_id=None))
        assert answer.error_code == 0


def test_a_transaction_open_too_long_is_aborted_by_the_broker_itself(embedded: EmbeddedBroker, unique: str) -> None:
    create_topic(embedded.bootstrap, unique)
    with connect(embedded.bootstrap) as connection:
        producer = WireProducer(connection, unique)
        producer.init(timeout_ms=1)
        assert producer.append(unique, b"lost") is ErrorCode.NONE
        until(lambda: fetch(connection, unique, READ_COMMITTED).last_stable_offset == 2, "it is aborted")
        assert producer.append(unique, b"late") is ErrorCode.INVALID_PRODUCER_EPOCH


def test_compaction_shrinks_the_file_while_in_use(tmp_path: Path, unique: str) -> None:
    with EmbeddedBroker(tmp_path / "data") as broker:
        create_topic(broker.bootstrap, unique, cleanup_policy="compact", segment_bytes="100000")
        rounds = [(b"k%d" % (i % 5), b"%d" % i + b"x" * 1000) for i in range(2000)]
        AIOKAFKA.produce(broker.bootstrap, unique, rounds, False)
        (path,) = (tmp_path / "data").rglob(f"{unique}-0/*.log")
        until(lambda: path.stat().st_size < 100_000, "the log is compacted")
        AIOKAFKA.produce(broker.bootstrap, unique, [(b"k0", b"last")], False)
        assert end_offsets(broker.bootstrap, unique) == {0: 2001}
        broker.kill()
        broker.start()
        assert end_offsets(broker.bootstrap, unique) == {0: 2001}
        found = []
        consumer = confluent_kafka.Consumer(
            librdkafka(broker.bootstrap, {"group.id": unique, "enable.partition.eof": True})
        )
        with closing(consumer):
            consumer.assign([confluent_kafka.TopicPartition(unique, 0, 0)])
            while True:
                message = until(lambda: consumer.poll(0.5), "a message or the end")
                if message.error():
                    break
                found.append((message.key(), message.value()))
        assert dict(found) == {**dict(rounds), b"k0": b"last"}


def test_a_torn_tail_is_cut_at_the_start(tmp_path: Path, unique: str) -> None:
    with EmbeddedBroker(tmp_path / "data") as broker:
        create_topic(broker.bootstrap, unique)
        for _ in range(2):
            AIOKAFKA.produce(broker.bootstrap, unique, [(b"k", b"v")], False)
        broker.kill()
        (path,) = (tmp_path / "data").rglob(f"{unique}-0/*.log")
        os.truncate(path, path.stat().st_size - 3)
        broker.start()
        assert end_offsets(broker.bootstrap, unique) == {0: 1}
        assert "cut at byte" in broker.log_file.read_text()


def test_a_data_folder_serves_one_broker_at_a_time(embedded: EmbeddedBroker) -> None:
    with pytest.raises(BrokerFailed, match="in use by another broker"):
        EmbeddedBroker(embedded.data_dir).start()


def test_a_port_can_be_asked_for(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as broker:
        port = broker.port
    with EmbeddedBroker(tmp_path, port) as broker:
        assert broker.bootstrap == f"127.0.0.1:{port}"


def test_an_address_is_not_known_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(BrokerFailed, match="not started"):
        _ = EmbeddedBroker(tmp_path).bootstrap


def test_an_unknown_engine_is_a_bad_setting(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="embedded, kafka"):
        open_broker("rabbit", tmp_path)  # type: ignore[arg-type]


PARENT = """
import sys, pathlib
from loopback_kafka import open_broker
broker = open_broker("embedded", pathlib.Path(sys.argv[1])).start()
print(broker.port, flush=True)
sys.stdin.read()
"""


def test_the_broker_ends_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    port = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()

    def is_gone() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    until(is_gone, "the broker is gone")
