"""The broker to measure on: one of our own, or a test broker that must have nothing of the engine's on it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import GroupIdNotFoundError, KafkaError

from loopback_kafka import BrokerProcess
from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.settings import KafkaSettings

CONSENT = "--yes-it-is-a-test-broker"
"""Option that allows topics to be created and deleted on a broker that runs."""
FLOOR = "stream-coupons-bench-floor"
"""A plain topic, to measure what broker and client cost without the engine."""
OURS = frozenset({*(topic.name for topic in topics.ALL), FLOOR})


class RunningBroker(BrokerProcess):
    """A broker that somebody else runs: it is neither started nor stopped."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(Path())
        self._bootstrap = bootstrap

    @property
    def bootstrap(self) -> str:
        """Its address."""
        return self._bootstrap

    @property
    def advertised(self) -> str:
        """The same."""
        return self._bootstrap

    def _prepare(self) -> list[str]:
        raise NotImplementedError

    def _await_ready(self, process: object) -> None:
        raise NotImplementedError


@contextmanager
def borrowed(kafka: KafkaSettings, warn: Callable[[str], None]) -> Iterator[BrokerProcess]:
    """A running broker for as long as the block; its topics and the group of `kafka` are deleted afterwards.

    The names of topics are fixed. So a broker on which one of them exists may be in use by a real system. It is
    refused, whether the topic is empty or not: only what was created here is ever deleted.

    Parameters
    ----------
    kafka : KafkaSettings
        Address of the broker, and a consumer group that nothing else uses.
    warn : callable
        Callback with a message about what could not be deleted.

    Raises
    ------
    BadConfig
    """
    with admin.admin_client(kafka) as client:
        found = sorted(OURS & set(client.list_topics()))
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise BadConfig(
            f"the broker at {kafka.bootstrap} has the topics {', '.join(found[:3])}{more}: it may be in use. The "
            "benchmark creates them itself, writes made-up events to them and deletes them; it runs on a broker "
            "without them. If they are left from a benchmark that was killed, delete them with your broker's own tools"
        )
    try:
        yield RunningBroker(kafka.bootstrap)
    finally:
        with admin.admin_client(kafka) as client:
            _delete(client, kafka.group_ids, warn)


def _delete(client: KafkaAdminClient, group_ids: Sequence[str], warn: Callable[[str], None]) -> None:
    created = sorted(OURS & set(client.list_topics()))
    try:
        if created:
            client.delete_topics(created)
    except KafkaError as error:
        warn(f"not all topics of the benchmark could be deleted: {error}")
    for group_id in group_ids:
        try:
            client.delete_groups([group_id])
        except GroupIdNotFoundError:
            pass  # no process came as far as joining it
        except KafkaError as error:
            warn(f"the group {group_id} could not be deleted: {error}")


def create_floor(kafka: KafkaSettings) -> None:
    """Create the plain topic, with as many partitions as the others."""
    with admin.admin_client(kafka) as client:
        client.create_topics([NewTopic(FLOOR, num_partitions=kafka.partitions, replication_factor=kafka.replication)])
        client.wait_for_topics([FLOOR])
