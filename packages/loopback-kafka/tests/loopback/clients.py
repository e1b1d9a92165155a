"""Three Kafka clients behind one small interface, so that one test can run with each of them."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import confluent_kafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

MIB = 1024 * 1024
DEADLINE_S = 40.0
"""How long anything may take before a test fails; passing tests take a fraction of it."""


_NOT_YET = (
    confluent_kafka.KafkaError.NOT_LEADER_FOR_PARTITION,
    confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART,
    confluent_kafka.KafkaError.LEADER_NOT_AVAILABLE,
    confluent_kafka.KafkaError._TRANSPORT,
    confluent_kafka.KafkaError._TIMED_OUT,
)


class NoText(str):
    """The name of a header as a client may write it that does not look: bytes that are no UTF-8."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return b"tr\xff\xfe " + super().encode()


class Message(NamedTuple):
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


Pairs = Sequence[tuple[bytes, bytes | None]]


@dataclass(frozen=True, slots=True)
class Client:
    """A client library: produce pairs; consume a number of messages as a group and commit."""

    name: str
    produce: Callable[[str, str, Pairs, bool], None]
    consume: Callable[[str, str, str, int], list[Message]]


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return the first true value of `condition`, asked again and again until the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:.0f} s: {what}"
        time.sleep(0.02)
    return value


def create_topic(bootstrap: str, name: str, partitions: int = 1, **configs: str) -> None:
    """Make a topic and return when the broker describes all its partitions."""
    dotted = {key.replace("_", "."): value for key, value in configs.items()}
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        admin.create_topics([NewTopic(name, partitions, 1, topic_configs=dotted)])
    end_offsets(bootstrap, name, partitions)


def end_offsets(bootstrap: str, topic: str, partitions: int = 1) -> dict[int, int]:
    """Return the end offset of every partition, as soon as each has its leader."""
    return until(lambda: _end_offsets(bootstrap, topic, partitions), f"the ends of {topic}")


def _end_offsets(bootstrap: str, topic: str, partitions: int) -> dict[int, int] | None:
    consumer = confluent_kafka.Consumer(librdkafka(bootstrap, {"group.id": "unused"}))
    ends = {}
    try:
        known = consumer.list_topics(topic, timeout=10).topics[topic]
        if known.error is not None or len(known.partitions) < partitions:
            return None
        for index in range(partitions):
            partition = confluent_kafka.TopicPartition(topic, index)
            ends[index] = consumer.get_watermark_offsets(partition, 10)[1]
    except confluent_kafka.KafkaException as failure:
        # A topic just made or a broker just started may not have its leaders yet.
        if failure.args[0].code() not in _NOT_YET:
            raise
        return None
    finally:
        consumer.close()
    return ends


def librdkafka(bootstrap: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration that keeps librdkafka's complaints about killed brokers quiet."""
    return {"bootstrap.servers": bootstrap, "log_level": 0, **options}


def drain(poll: Callable[[], Iterable[Message]], count: int) -> list[Message]:
    found: list[Message] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} messages, expected {count}"
        found += poll()
    return found


def _kafka_python_produce(bootstrap: str, topic: str, pairs: Pairs, idempotent: bool) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=idempotent)
    with closing(producer):
        sent = [producer.send(topic, key=key, value=value) for key, value in pairs]
        for future in sent:
            future.get(timeout=DEADLINE_S)


def _kafka_python_consume(bootstrap: str, topic: str, group: str, count: int) -> list[Message]:
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )

    def poll() -> list[Message]:
        batches = consumer.poll(timeout_ms=200).values()
        return [Message(m.partition, m.offset, m.key, m.value) for b in batches for m in b]

    with closing(consumer):
        found = drain(poll, count)
        consumer.commit()
    return found


def _aiokafka_produce(bootstrap: str, topic: str, pairs: Pairs, idempotent: bool) -> None:
    async def run() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=idempotent)
        async with producer:
            sent = [await producer.send(topic, key=key, value=value) for key, value in pairs]
            await asyncio.gather(*sent)

    asyncio.run(run())


def _aiokafka_consume(bootstrap: str, topic: str, group: str, count: int) -> list[Message]:
    async def run() -> list[Message]:
        found: list[Message] = []
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        async with consumer, asyncio.timeout(DEADLINE_S):
            while len(found) < count:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    found += [Message(m.partition, m.offset, m.key, m.value) for m in batch]
            await consumer.commit()
        return found

    return asyncio.run(run())


def _confluent_produce(bootstrap: str, topic: str, pairs: Pairs, idempotent: bool) -> None:
    failures: list[Any] = []
    producer = confluent_kafka.Producer(
        librdkafka(
            bootstrap,
            {"acks": "all", "enable.idempotence": idempotent, "partitioner": "murmur2_random"},
        )
    )
    for key, value in pairs:
        producer.produce(topic, key=key, value=value, on_delivery=lambda error, _: failures.append(error))
    assert producer.flush(DEADLINE_S) == 0
    assert [error for error in failures if error is not None] == []


def _confluent_consume(bootstrap: str, topic: str, group: str, count: int) -> list[Message]:
    consumer = confluent_kafka.Consumer(
        librdkafka(
            bootstrap,
            {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False},
        )
    )
    consumer.subscribe([topic])

    def poll() -> list[Message]:
        batch = consumer.consume(500, timeout=0.2)
        return [Message(m.partition(), m.offset(), m.key(), m.value()) for m in batch if not m.error()]

    try:
        found = drain(poll, count)
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    return found


CLIENTS = [
    Client("kafka-python", _kafka_python_produce, _kafka_python_consume),
    Client("aiokafka", _aiokafka_produce, _aiokafka_consume),
    Client("librdkafka", _confluent_produce, _confluent_consume),
]
KAFKA_PYTHON, AIOKAFKA, LIBRDKAFKA = CLIENTS


def send_packed(bootstrap: str, topic: str, partition: int, compression: str, count: int) -> None:
    """Send a batch of so many records of a mebibyte each that compress well."""
    asyncio.run(_send_packed(bootstrap, topic, partition, compression, count))


async def _send_packed(bootstrap: str, topic: str, partition: int, compression: str, count: int) -> None:
    most = 2 * count * MIB
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, compression_type=compression, max_batch_size=most, max_request_size=most
    )
    await producer.start()
    try:
        batch = producer.create_batch()
        for _ in range(count):
            batch.append(key=b"packed", value=bytes(MIB), timestamp=None)
        batch.close()
        await (await producer.send_batch(batch, topic, partition=partition))
    finally:
        await producer.stop()
