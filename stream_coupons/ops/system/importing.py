"""Import of an exported system into new topics."""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from kafka import KafkaAdminClient
from kafka.admin import OffsetSpec
from msgspec import Raw, Struct
from msgspec.structs import replace

from stream_coupons.core.errors import BadConfig, BadMessage, StreamCouponsError
from stream_coupons.core.messages.learning import LiftBrake
from stream_coupons.core.money.accounts import Accounts
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.codec import Decoder, with_fields
from stream_coupons.kafka.namespace import add_namespace
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.ops.audit.audit_topics import offsets
from stream_coupons.ops.coupon_codes import pools_of
from stream_coupons.ops.system.exporting import KEPT_TOPICS, Summary, states_of
from stream_coupons.ops.system.files import Manifest, SavedRecord, check_files, read_manifest, read_saved
from stream_coupons.ops.system.moving import Move, PlacedState
from stream_coupons.ops.system.shares import AccountTotals
from stream_coupons.worker.app import TABLE_OF

CHANGELOGS = {agent: topics.changelog(table) for agent, table in TABLE_OF.items()}
AS_THEY_ARE = tuple(
    topic for topic in KEPT_TOPICS if topic not in (topics.SNAPSHOTS, topics.RESULT_TOTALS, topics.FINGERPRINTS)
)
SHORTENED = (topics.ISSUES, topics.LEASES, topics.LEASE_REPORTS)
"""Topics whose beginning is in the old system; `verify` judges what lies behind it."""

NOTHING = AccountTotals(0, 0, 0)


class NotEqual(StreamCouponsError):
    """The imported states differ from the exported ones."""


def import_system(kafka: KafkaSettings, folder: Path) -> Manifest:
    """Write an exported system into new topics, and return its manifest.

    Workers cannot start before the end: the fingerprint of the secret is written last.

    Parameters
    ----------
    kafka : KafkaSettings
        The target; its `partitions` are those of the new topics.
    folder : Path
        The files of the export.

    Raises
    ------
    BadConfig
        If the files are damaged, or a topic of the target has records.
    NotEqual
        If digest or totals of the new states differ from those of the manifest.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    with admin.admin_client(kafka) as client:
        admin.apply(client, kafka)
        _check_empty(client, kafka)
    asyncio.run(_shorten(kafka))
    with Publisher(kafka, kafka.partitions) as publisher:
        _publish_all(kafka, folder, publisher)
        publisher.flush()
        _check_equal(manifest, kafka)
        for record in read_saved(folder, topics.FINGERPRINTS.name):
            publisher.send_bytes(topics.FINGERPRINTS, record.key, record.value, record.partition, record.headers)
    return manifest


def _check_empty(client: KafkaAdminClient, kafka: KafkaSettings) -> None:
    ends = offsets(client, topics.ALL, kafka, OffsetSpec.LATEST)
    used = sorted({kafka.broker_name(name) for (name, _), end in ends.items() if end})
    if used:
        raise BadConfig(
            f"expected empty topics at {kafka.bootstrap}, but these had records: {', '.join(used)}. Delete all topics "
            "of the system, or set another kafka.namespace"
        )


async def _shorten(kafka: KafkaSettings) -> None:
    """Let the partitions of some topics begin behind an aborted record, as after retention."""
    name = f"{kafka.group_id}-import"
    producer = AIOKafkaProducer(**kafka.options(), transactional_id=name)
    add_namespace(producer.client, kafka.namespace)
    async with producer:
        await producer.begin_transaction()
        for topic in SHORTENED:
            for partition in range(kafka.partitions):
                await producer.send_and_wait(topic.name, b"", partition=partition)
        await producer.abort_transaction()


def _publish_all(kafka: KafkaSettings, folder: Path, publisher: Publisher) -> None:
    """Publish everything but the fingerprints of the secret."""

    def read(agent: str) -> Iterator[PlacedState]:
        for record in read_saved(folder, CHANGELOGS[agent].name):
            yield record.partition, (record.key or b"").decode(), record.value or b""

    reports = _messages(folder, topics.RESULT_TOTALS)
    move = Move(read, _limits(folder), reports, kafka.partitions)
    for agent, partition, key, data in move.states():
        publisher.send_bytes(CHANGELOGS[agent], key.encode(), data, partition)
    for report in move.reports():
        publisher.send(topics.RESULT_TOTALS, report)
    for record in _furthest(read_saved(folder, topics.SNAPSHOTS.name)):
        publisher.send_bytes(topics.SNAPSHOTS, record.key, _begun_anew(record.value or b""), record.partition)
    for topic in AS_THEY_ARE:
        for record in read_saved(folder, topic.name):
            publisher.send_bytes(topic, record.key, record.value, record.partition, record.headers)


def _messages(folder: Path, topic: topics.Topic) -> Iterator[Any]:
    """Yield the messages of a topic that workers read, too: others are ignored by them."""
    decode = Decoder(topic)
    for record in read_saved(folder, topic.name):
        try:
            message = decode(record.value, topic.max_message_bytes)
        except BadMessage:
            continue
        if record.key == topic.key_of(message):
            yield message


def _limits(folder: Path) -> Accounts:
    """Return the accounts of the exported catalogue."""
    pools = pools_of(read_saved(folder, topics.CODES.name))
    return Accounts(_messages(folder, topics.CATALOG), _messages(folder, topics.CAMPAIGNS), pools.sizes())


class _SavedSnapshot(Struct):
    domain: str = ""
    feature_schema: str = ""
    format_version: int = 0
    source_offset: int = -1
    brake: LiftBrake = LiftBrake()


def _furthest(saved: Iterable[SavedRecord]) -> Iterable[SavedRecord]:
    """Return the snapshot of each domain and release that has learnt most: their offsets begin anew."""
    stamped = [(msgspec.json.decode(one.value or b"", type=_SavedSnapshot), one) for one in saved]
    stamped.sort(key=lambda one: one[0].source_offset)
    return {(stamp.domain, stamp.feature_schema, stamp.format_version): one for stamp, one in stamped}.values()


def _begun_anew(snapshot: bytes) -> bytes:
    """Return a snapshot of the same models that has learnt no record of the new topics.

    Version and number of examples are bounded by the offset that a snapshot has learnt up to, so they begin anew, too.
    """
    period = msgspec.json.decode(snapshot, type=_SavedSnapshot).brake.period
    news = {"version": Raw(b"%d" % period), "examples": Raw(b"0"), "source_offset": Raw(b"-1")}
    return with_fields(snapshot, news, (*news, "thinning", "origins"))


def _check_equal(manifest: Manifest, kafka: KafkaSettings) -> None:
    """Read all states back, and compare their digests and totals with those of the export."""
    summary = Summary()
    for agent in TABLE_OF:
        for _, key, value in states_of(kafka, agent):
            summary.take(agent, key, value)
    found = {agent: digest for agent, digest in summary.states.items() if digest != manifest.states.get(agent)}
    differing = [
        f"states of {agent}: {digest}, expected {manifest.states.get(agent)}" for agent, digest in found.items()
    ]
    for account_id, after in summary.accounts.items():
        before = manifest.accounts.get(account_id, NOTHING)
        if before.held is None:
            after = replace(after, held=None)  # holds that fall with time are rounded up in each purse
        if before != after:
            differing.append(f"{account_id}: {after}, expected {before}")
    if differing:
        raise NotEqual(
            "the import differs from the export, and no worker can start on it: " + "; ".join(differing) + ". Delete "
            "the topics of the target and go on with the old system"
        )
