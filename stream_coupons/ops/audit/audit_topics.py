"""Read the topics of a system for an audit, without a consumer group and without commits."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec

from stream_coupons import secret
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.formats import event_of
from stream_coupons.kafka.records import Record
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.ops.audit.audit import READ, audit
from stream_coupons.ops.audit.coverage_check import TABLES
from stream_coupons.ops.audit.findings import Findings
from stream_coupons.ops.audit.offsets import AuditedOffsets, Partition
from stream_coupons.ops.audit.promised import PromisedRules
from stream_coupons.settings import Settings

EFFECTS_FIRST = (
    (topics.DEAD_LETTERS,),
    (topics.ISSUES, topics.LEASE_REPORTS),
    tuple(topics.BY_NAME[name] for name in TABLES),
    tuple(topic for topic in topics.ALL if topic.name in READ or topic in topics.READ_BY_AGENTS),
)
"""Topics in the order in which their ends are read. Leases and reports cause each other: reports come first."""


def take_marks(client: KafkaAdminClient, kafka: KafkaSettings) -> AuditedOffsets:
    """Return the begin and end offsets of a system's topics, and the offsets that its workers have committed.

    Committed offsets are read first, so that their effects lie before the ends. Ends of effects are read before those
    of their causes, so that the cause of each record read lies before its end too.
    """
    committed = admin.committed_offsets(client, kafka)
    ends: dict[Partition, int] = {}
    for some in EFFECTS_FIRST:
        ends = offsets(client, some, kafka, OffsetSpec.LATEST) | ends
    begins = offsets(client, EFFECTS_FIRST[-1], kafka, OffsetSpec.EARLIEST)
    return AuditedOffsets(
        begins, ends, {(tp.topic, tp.partition): position.offset for tp, position in committed.items()}
    )


def offsets(
    client: KafkaAdminClient, some: Iterable[topics.Topic], kafka: KafkaSettings, spec: OffsetSpec | int
) -> dict[Partition, int]:
    """Return an offset of every partition of some topics: the first, the next, or that of a time in milliseconds.

    It is -1 where no record is as late as that time.
    """
    wanted = [
        TopicPartition(topic.name, partition)
        for topic in some
        for partition in range(topic.partitions or kafka.partitions)
    ]
    found = client.list_partition_offsets(dict.fromkeys(wanted, spec))
    return {(tp.topic, tp.partition): position.offset for tp, position in found.items()}


def read_records(
    connection: Connection, names: Iterable[str], key: bytes | None = None, begins: dict[Partition, int] | None = None
) -> Iterator[Record]:
    """Yield the records of some topics until now, in order within each partition.

    All of them, or from the offsets `begins` on; with `key`, of its partitions. The value of a dead letter is the event
    of its record, as `Reader` gives it.
    """
    with Reader(connection, list(names), from_beginning=True, key=key) as reader:
        if begins is not None:
            reader.seek(begins)
        for one in reader.read_to_end():
            record = record_of(one)
            if record.topic == topics.DEAD_LETTERS.name and connection.formats:
                source = dict(record.headers).get("topic") or b""
                event = event_of(connection.formats, source.decode(errors="replace"), record.value, record.headers)
                record = record._replace(value=event)
            yield record


def record_of(one: Any) -> Record:
    """Return a record of kafka-python as ours."""
    return Record(one.topic, one.partition, one.offset, one.timestamp, one.key, one.value, tuple(one.headers or ()))


def audit_topics(settings: Settings) -> Findings:
    """Audit a system by its topics, its settings and its secret."""
    kafka = settings.kafka
    with admin.admin_client(kafka) as client:
        marks = take_marks(client, kafka)
    promised = PromisedRules(secret.rules_of(settings), key_since_ms=secret.known_since(settings) * 1000)
    return audit(partial(read_records, kafka), marks, promised)
