"""What every client must be able to do on every broker."""

import time
from collections import Counter
from contextlib import closing

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import (
    MessageSizeTooLargeError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from kafka.partitioner.default import murmur2

from loopback_kafka import BrokerProcess

from .clients import (
    AIOKAFKA,
    CLIENTS,
    DEADLINE_S,
    KAFKA_PYTHON,
    LIBRDKAFKA,
    Client,
    create_topic,
    end_offsets,
    librdkafka,
    until,
)

pytestmark = pytest.mark.kafka


@pytest.fixture(params=CLIENTS, ids=lambda client: client.name)
def client(request: pytest.FixtureRequest) -> Client:
    return request.param


def pairs(count: int) -> list[tuple[bytes, bytes]]:
    return [(b"k%d" % (i % 10), b"v%d" % i) for i in range(count)]


@pytest.mark.parametrize("idempotent", [False, True], ids=["plain", "idempotent"])
def test_what_is_produced_is_consumed_once_and_in_order(
    broker: BrokerProcess, unique: str, client: Client, idempotent: bool
) -> None:
    create_topic(broker.bootstrap, unique, partitions=3)
    client.produce(broker.bootstrap, unique, pairs(300), idempotent)
    found = client.consume(broker.bootstrap, unique, unique, 300)
    assert Counter((m.key, m.value) for m in found) == Counter(pairs(300))
    for partition in range(3):
        offsets = [m.offset for m in found if m.partition == partition]
        assert offsets == list(range(len(offsets)))
    for key in {key for key, _ in pairs(10)}:
        values = [m.value for m in found if m.key == key]
        assert values == [value for k, value in pairs(300) if k == key]


def test_end_offsets_count_every_record(broker: BrokerProcess, unique: str, client: Client) -> None:
    create_topic(broker.bootstrap, unique)
    client.produce(broker.bootstrap, unique, pairs(25), False)
    assert end_offsets(broker.bootstrap, unique) == {0: 25}


@pytest.mark.parametrize("writer", CLIENTS, ids=lambda client: client.name)
def test_a_group_goes_on_where_it_committed(broker: BrokerProcess, unique: str, client: Client, writer: Client) -> None:
    create_topic(broker.bootstrap, unique)
    writer.produce(broker.bootstrap, unique, pairs(10), False)
    client.consume(broker.bootstrap, unique, unique, 10)
    writer.produce(broker.bootstrap, unique, [(b"k", b"later")], False)
    (message,) = client.consume(broker.bootstrap, unique, unique, 1)
    assert (message.offset, message.value) == (10, b"later")


def test_every_client_puts_a_key_into_the_same_partition(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique, partitions=4)
    keys = [b"shopper-%d" % i for i in range(20)]
    for client in CLIENTS:
        client.produce(broker.bootstrap, unique, [(key, b"v") for key in keys], False)
    found = LIBRDKAFKA.consume(broker.bootstrap, unique, unique, len(CLIENTS) * len(keys))
    expected = {key: (murmur2(key) & 0x7FFFFFFF) % 4 for key in keys}
    assert {(m.key, m.partition) for m in found} == set(expected.items())


def test_tombstones_arrive_as_such(broker: BrokerProcess, unique: str, client: Client) -> None:
    create_topic(broker.bootstrap, unique, cleanup_policy="compact")
    client.produce(broker.bootstrap, unique, [(b"k", b"v"), (b"k", None)], True)
    found = client.consume(broker.bootstrap, unique, unique, 2)
    assert [m.value for m in found] == [b"v", None]


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd", "snappy"])
def test_compressed_batches_pass_through(broker: BrokerProcess, unique: str, codec: str) -> None:
    create_topic(broker.bootstrap, unique)
    producer = confluent_kafka.Producer(librdkafka(broker.bootstrap, {"compression.type": codec}))
    for key, value in pairs(100):
        producer.produce(unique, key=key, value=value * 20)
    assert producer.flush(DEADLINE_S) == 0
    for client in CLIENTS:
        found = client.consume(broker.bootstrap, unique, f"{unique}-{client.name}", 100)
        assert [(m.key, m.value) for m in found] == [(key, value * 20) for key, value in pairs(100)]


def test_an_oversized_message_is_refused(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique, max_message_bytes="10000")
    # kafka-python 3's producer is idempotent by default and then gives up altogether.
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap, max_request_size=1 << 20, enable_idempotence=False)
    with closing(producer):
        with pytest.raises(MessageSizeTooLargeError):
            producer.send(unique, value=b"x" * 20_000).get(timeout=DEADLINE_S)
        producer.send(unique, value=b"x" * 5_000).get(timeout=DEADLINE_S)
    assert end_offsets(broker.bootstrap, unique) == {0: 1}


def test_a_message_of_megabytes_passes(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique)
    size = 3 << 20
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap, max_request_size=size + 1000)
    with closing(producer):
        producer.send(unique, value=b"x" * size).get(timeout=DEADLINE_S)
    (message,) = KAFKA_PYTHON.consume(broker.bootstrap, unique, unique, 1)
    assert message.value is not None
    assert len(message.value) == size


def test_acks_0_is_appended_without_an_answer(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique)
    with closing(KafkaProducer(bootstrap_servers=broker.bootstrap, acks=0)) as producer:
        for key, value in pairs(50):
            producer.send(unique, key=key, value=value)
        producer.flush(timeout=DEADLINE_S)
    until(lambda: end_offsets(broker.bootstrap, unique) == {0: 50}, "50 records")


def test_an_unknown_topic_is_not_made_by_asking(broker: BrokerProcess, unique: str) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap)) as admin:
        with pytest.raises(UnknownTopicOrPartitionError):
            admin.delete_topics([unique])
        consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap)
        with closing(consumer):
            assert not consumer.partitions_for_topic(unique)
        assert unique not in admin.list_topics()


def test_topics_are_made_described_and_deleted(broker: BrokerProcess, unique: str) -> None:
    configs = {"cleanup.policy": "compact", "retention.ms": "12345", "max.message.bytes": "9999"}
    with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap)) as admin:
        admin.create_topics([NewTopic(unique, 3, 1, topic_configs=configs)])
        until(lambda: unique in admin.list_topics(), "the topic is listed")
        with pytest.raises(TopicAlreadyExistsError):
            admin.create_topics([NewTopic(unique, 3, 1)])
        admin.delete_topics([unique])
        until(lambda: unique not in admin.list_topics(), "the topic is gone")


def test_configs_are_described_as_set_and_can_be_changed(broker: BrokerProcess, unique: str) -> None:
    create_topic(
        broker.bootstrap,
        unique,
        cleanup_policy="compact",
        retention_ms="12345",
        max_message_bytes="9999",
    )
    admin = AdminClient(librdkafka(broker.bootstrap, {}))
    resource = confluent_kafka.admin.ConfigResource("topic", unique)

    def described() -> dict[str, str]:
        (future,) = admin.describe_configs([resource]).values()
        return {name: entry.value for name, entry in future.result(DEADLINE_S).items()}

    assert described()["cleanup.policy"] == "compact"
    assert described()["retention.ms"] == "12345"
    assert described()["max.message.bytes"] == "9999"
    resource.add_incremental_config(
        confluent_kafka.admin.ConfigEntry(
            "retention.ms",
            "54321",
            incremental_operation=confluent_kafka.admin.AlterConfigOpType.SET,
        )
    )
    (future,) = admin.incremental_alter_configs([resource]).values()
    future.result(DEADLINE_S)
    until(lambda: described()["retention.ms"] == "54321", "the new setting")


def test_the_configs_of_an_unknown_topic_are_an_error(broker: BrokerProcess, unique: str) -> None:
    admin = AdminClient(librdkafka(broker.bootstrap, {}))
    (future,) = admin.describe_configs([confluent_kafka.admin.ConfigResource("topic", unique)]).values()
    with pytest.raises(confluent_kafka.KafkaException, match="UNKNOWN_TOPIC_OR_PART"):
        future.result(DEADLINE_S)


def test_partitions_are_added(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique, partitions=1)
    admin = AdminClient(librdkafka(broker.bootstrap, {}))
    (future,) = admin.create_partitions([confluent_kafka.admin.NewPartitions(unique, 3)]).values()
    future.result(DEADLINE_S)
    until(lambda: end_offsets(broker.bootstrap, unique, 3) == {0: 0, 1: 0, 2: 0}, "3 partitions")


def test_the_cluster_is_one_node_at_the_bootstrap_address(broker: BrokerProcess) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap)) as admin:
        (node,) = admin.describe_cluster()["brokers"]
        assert f"{node['host']}:{node['port']}" == broker.bootstrap


def test_offsets_are_found_by_time(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique)
    start_ms = int(time.time() * 1000) - 100_000
    with closing(KafkaProducer(bootstrap_servers=broker.bootstrap)) as producer:
        for number in range(10):
            producer.send(unique, value=b"v", timestamp_ms=start_ms + 10 * number)
        producer.flush(timeout=DEADLINE_S)
    partition = TopicPartition(unique, 0)
    with closing(KafkaConsumer(bootstrap_servers=broker.bootstrap)) as consumer:
        found = consumer.offsets_for_times({partition: start_ms + 35})[partition]
        assert (found.offset, found.timestamp) == (4, start_ms + 40)
        assert consumer.offsets_for_times({partition: start_ms + 91})[partition] is None
        assert consumer.beginning_offsets([partition]) == {partition: 0}
        assert consumer.end_offsets([partition]) == {partition: 10}


def test_an_offset_out_of_range_resets_the_consumer(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique)
    AIOKAFKA.produce(broker.bootstrap, unique, pairs(3), False)
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
    with closing(consumer):
        partition = TopicPartition(unique, 0)
        consumer.assign([partition])
        consumer.seek(partition, 1000)
        batch = until(lambda: consumer.poll(timeout_ms=200).get(partition), "records")
        assert batch[0].offset == 0


def test_a_long_poll_does_not_hold_up_other_connections(broker: BrokerProcess, unique: str) -> None:
    create_topic(broker.bootstrap, unique)
    waiting = confluent_kafka.Consumer(
        librdkafka(
            broker.bootstrap,
            {
                "group.id": unique,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 60_000,
                "socket.timeout.ms": 70_000,
            },
        )
    )
    waiting.assign([confluent_kafka.TopicPartition(unique, 0, 0)])
    assert waiting.poll(0.3) is None
    LIBRDKAFKA.produce(broker.bootstrap, unique, [(b"k", b"v")], False)
    message = until(lambda: waiting.poll(0.5), "the long poll wakes up")
    assert message.value() == b"v"
    waiting.close()


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_records_of_a_topic_with_the_brokers_time_have_that_whatever_their_sender_says(
    broker: BrokerProcess, unique: str, compression: str | None
) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap)) as admin:
        admin.create_topics([NewTopic(unique, 1, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})])
        admin.wait_for_topics([unique])
    began_ms = int(time.time() * 1000)
    with closing(KafkaProducer(bootstrap_servers=broker.bootstrap, compression_type=compression)) as producer:
        for number in range(3):
            producer.send(unique, b"%d" % number, timestamp_ms=1000 + number)
        producer.flush()
    with closing(KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")) as consumer:
        consumer.assign([TopicPartition(unique, 0)])
        found = [next(consumer) for _ in range(3)]
    assert [record.value for record in found] == [b"0", b"1", b"2"]
    assert all(began_ms <= record.timestamp <= time.time() * 1000 for record in found)
