"""Export of a stopped system: all states, and the topics that a system cannot go on without."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
from kafka import KafkaAdminClient

from stream_coupons import __version__
from stream_coupons.core.errors import BadConfig, StreamCouponsError
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.plurals import counted
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.kafka.topics import Cleanup, Topic
from stream_coupons.ops.digest import Digest, StateDigest
from stream_coupons.ops.system.files import FORMAT, MANIFEST, FileDigest, Manifest, SavedRecord, writing
from stream_coupons.ops.system.moving import RAW_CELLS, SHARED, PlacedState
from stream_coupons.ops.system.shares import AccountTotals, totals_of
from stream_coupons.runtime.cells import in_memory
from stream_coupons.runtime.changelog import KafkaChangelog
from stream_coupons.runtime.steps import SHARED_PREFIX
from stream_coupons.worker.app import TABLE_OF

KEPT_TOPICS = (
    topics.CATALOG,
    topics.CAMPAIGNS,
    topics.CAMPAIGN_CHANGES,
    topics.CODES,
    topics.SNAPSHOTS,
    topics.RESULT_TOTALS,
    topics.FINGERPRINTS,
)
"""Topics beside the changelogs that a system goes on from."""


class NotDrained(StreamCouponsError):
    """The system still works on something."""


def check_drained(client: KafkaAdminClient, kafka: KafkaSettings) -> None:
    """Check that a system is stopped and has processed all of its input.

    Ticks do not count: time passes in the next system, too.

    Raises
    ------
    NotDrained
        Naming each group that has members, and each topic with records that are not processed.
    """
    running = {group: admin.count_members(client, group) for group in kafka.group_ids}
    missing = [
        f"{counted(members, 'member')} of the group {kafka.broker_name(group)}: stop its processes, and wait for "
        f"kafka.session_timeout_s where members are static"
        for group, members in running.items()
        if members
    ]
    lag = {name: behind for name, behind in admin.lag(client, kafka).items() if name != topics.TICKS.name and behind}
    missing += [
        f"{kafka.broker_name(name)} has {counted(behind, 'record')} that no process has committed"
        for name, behind in lag.items()
    ]
    if lag:
        missing.append("let workers and a learner run until `stream-coupons status` shows no lag, then stop them")
    if missing:
        raise NotDrained("the system is not drained:\n  " + "\n  ".join(missing))


def export_system(kafka: KafkaSettings, folder: Path) -> Manifest:
    """Write a stopped system to the files of a new folder, and return the manifest.

    Raises
    ------
    NotDrained
        If it is not stopped, or has not processed all of its input.
    BadConfig
        If the folder exists, or cannot be made.
    """
    with admin.admin_client(kafka) as client:
        admin.apply(client, kafka, check_only=True)
        check_drained(client, kafka)
        committed = {(tp.topic, tp.partition): at.offset for tp, at in admin.committed_offsets(client, kafka).items()}
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise BadConfig(f"cannot make the folder {folder}: {error.strerror}; expected a new one") from None
    files: dict[str, FileDigest] = {}
    summary = Summary()
    for agent, table in TABLE_OF.items():
        name = topics.changelog(table).name
        with writing(folder, name, files) as writer:
            for partition, key, value in states_of(kafka, agent):
                _check_sent(agent, partition, key, value, committed)
                writer.write(SavedRecord(partition, key.encode(), value))
                summary.take(agent, key, value)
    for topic in KEPT_TOPICS:
        with writing(folder, topic.name, files) as writer:
            for record in _records(kafka, topic):
                writer.write(record)
    manifest = Manifest(
        format=FORMAT,
        version=__version__,
        at=round(time.time(), 3),
        partitions=kafka.partitions,
        files=files,
        states=summary.states,
        accounts=summary.accounts,
    )
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


class Summary:
    """Properties of a system that no move changes: digests of shoppers and neighbours, and totals of accounts."""

    def __init__(self) -> None:
        self._digests = {agent: StateDigest(agent) for agent in TABLE_OF if agent != "budgets"}
        self._purses: defaultdict[str, list[Purse]] = defaultdict(list)

    def take(self, agent: str, key: str, value: bytes) -> None:
        """Take a state of any partition; each once."""
        if key.startswith(SHARED_PREFIX):
            if agent == "users" and isinstance(purse := SHARED.decode(value), Purse):
                self._purses[key.removeprefix(SHARED_PREFIX)].append(purse)
        elif agent in self._digests:
            self._digests[agent].take(key.encode(), value)

    @property
    def states(self) -> dict[str, Digest]:
        """Digests of the states that belong to one key, by agent."""
        return {agent: digest.result() for agent, digest in self._digests.items()}

    @property
    def accounts(self) -> dict[str, AccountTotals]:
        """Totals by account."""
        return {account_id: totals_of(found, account_id) for account_id, found in sorted(self._purses.items())}


def states_of(kafka: KafkaSettings, agent: str) -> Iterator[PlacedState]:
    """Yield partition, key and value of an agent's states, with one partition in memory at a time."""
    source = KafkaChangelog(kafka, topics.changelog(TABLE_OF[agent]).name, in_memory, lambda: None)
    for partition in range(kafka.partitions):
        [cells] = asyncio.run(source.read([partition])).values()
        for key, value in sorted(cells.items()):
            yield partition, key, value


def _check_sent(agent: str, partition: int, key: str, value: bytes, committed: dict[tuple[str, int], int]) -> None:
    """Check that no output is kept of an input that may come again."""
    for kept in [] if key.startswith(SHARED_PREFIX) else RAW_CELLS.decode(value).outbox:
        if kept.offset >= committed.get((kept.topic, partition), 0):
            raise NotDrained(
                f"{agent}: outputs of {kept.topic}:{partition}:{kept.offset} may not have been sent: start a worker "
                "and stop it by SIGTERM when it is ready"
            )


def _records(kafka: KafkaSettings, topic: Topic) -> Iterator[SavedRecord]:
    """Yield the records of a topic; of a compacted one, the latest of each key."""
    with Reader(kafka, [topic.name], from_beginning=True) as reader:
        found = [
            SavedRecord(one.partition, one.key, one.value, list(one.headers or ())) for one in reader.read_to_end()
        ]
    if topic.cleanup is Cleanup.DELETE:
        yield from found
        return
    latest: dict[bytes | None, SavedRecord] = {}
    for record in found:
        latest.pop(record.key, None)
        latest[record.key] = record
    yield from (record for record in latest.values() if record.value is not None)
