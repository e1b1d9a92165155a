"""Read the topics of a system for an audit: no group, no commit, nobody is disturbed."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec

from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.records import Record
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.lab.audit.accounts import TABLES
from stream_coupons.lab.audit.audit import READ, audit
from stream_coupons.lab.audit.findings import Findings
from stream_coupons.lab.audit.marks import Marks, Partition

EFFECTS_FIRST = (
    (topics.DEAD_LETTERS,),
    (topics.ISSUES, topics.LEASE_REPORTS),
    tuple(topics.BY_NAME[name] for name in TABLES),
    tuple(topic for topic in topics.ALL if topic.name in READ or topic in topics.READ_BY_AGENTS),
)
"""Topics by the order in which their ends are asked for. Leases and reports lead to each other: reports come first."""


def take_marks(client: KafkaAdminClient, kafka: KafkaSettings) -> Marks:
    """Where the topics of a system begin and end, and what its workers have committed.

    What is committed is asked first, so that all that it led to lies before the ends. Ends of effects are asked before
    those of their causes, so that the cause of whatever is read lies before its end too.
    """
    committed = admin.committed_offsets(client, kafka)
    ends: dict[Partition, int] = {}
    for some in EFFECTS_FIRST:
        ends = offsets(client, some, kafka, OffsetSpec.LATEST) | ends
    begins = offsets(client, EFFECTS_FIRST[-1], kafka, OffsetSpec.EARLIEST)
    return Marks(begins, ends, {(tp.topic, tp.partition): position.offset for tp, position in committed.items()})


def offsets(
    client: KafkaAdminClient, some: Iterable[topics.Topic], kafka: KafkaSettings, spec: OffsetSpec
) -> dict[Partition, int]:
    """First or next offset of every partition of some topics."""
    wanted = [
        TopicPartition(topic.name, partition)
        for topic in some
        for partition in range(topic.partitions or kafka.partitions)
    ]
    found = client.list_partition_offsets(dict.fromkeys(wanted, spec))
    return {(tp.topic, tp.partition): position.offset for tp, position in found.items()}


def read_records(connection: Connection, names: Iterable[str], key: bytes | None = None) -> Iterator[Record]:
    """All records of some topics up to now, in order within each partition; with `key`, of its partitions only."""
    with Reader(connection, list(names), from_beginning=True, key=key) as reader:
        for one in reader.read_to_end():
            yield record_of(one)


def record_of(one: Any) -> Record:
    """A record as kafka-python gives it."""
    return Record(one.topic, one.partition, one.offset, one.timestamp, one.key, one.value, tuple(one.headers or ()))


def audit_topics(kafka: KafkaSettings) -> Findings:
    """Audit a system by its topics."""
    with admin.admin_client(kafka) as client:
        marks = take_marks(client, kafka)
    return audit(partial(read_records, kafka), marks)
