"""Make the broker's topics be what the registry says, or say how they differ."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic, OffsetSpec
from kafka.errors import (
    AuthorizationError,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotCoordinatorError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    UnknownBrokerIdError,
)

from stream_coupons.core.errors import BadConfig, BrokerAway
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import BOOTSTRAP_TIMEOUT_MS
from stream_coupons.kafka.connection import Connection, connecting, why_denied
from stream_coupons.kafka.settings import Guarantee, KafkaSettings
from stream_coupons.kafka.topics import Topic

TRANSACTIONS = "transaction.version"
NEEDED_TRANSACTIONS = 2
"""Level of that feature of a cluster from which on requests add themselves to a transaction (KIP-890)."""

COORDINATOR_WAIT_S = 10.0
"""Longest wait for the coordinator of a consumer group, which is away while its broker restarts or is overloaded."""

COORDINATOR_PAUSE_S = 0.2

AWAY = (
    KafkaConnectionError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    UnknownBrokerIdError,
)
"""Errors of a client that no broker answers, or that a partition has no leader: it has the broker -1 then."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as the registry wants it and how the broker's differs: missing, or a list of differences."""

    topic: Topic
    exists: bool
    differences: tuple[str, ...] = ()


@contextmanager
def admin_client(connection: Connection) -> Iterator[KafkaAdminClient]:
    """Connect to the brokers as an administrator, for the length of a `with` block.

    Raises
    ------
    BrokerAway
        If no broker can be reached, or none answers a request within the block.
    BadConfig
        If one refuses a request within the block.
    """
    with connecting(connection) as options:
        client = KafkaAdminClient(**options, bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS, request_timeout_ms=30_000)
    try:
        yield client
    except AuthorizationError as error:
        raise BadConfig(why_denied(connection, error)) from error
    except AWAY as error:
        raise BrokerAway(f"the broker at {connection.bootstrap} does not answer any more ({error!r})") from error
    except KafkaError as error:
        raise BadConfig(f"the broker at {connection.bootstrap} refused: {error}") from error
    finally:
        client.close()


def compare(client: KafkaAdminClient, settings: KafkaSettings) -> list[TopicState]:
    """Compare the broker's topics with the registry.

    Parameters
    ----------
    client : KafkaAdminClient
        A connected client; it needs DescribeConfigs on all topics.
    settings : KafkaSettings
        Partitions of the topics whose number the registry leaves open.

    Returns
    -------
    list of TopicState
        One a topic of the registry, in its order. Other topics of the broker are not in it.

    Raises
    ------
    BadConfig
        If the broker denies the configuration of a topic.
    """
    existing = set(client.list_topics())
    here = [topic for topic in topics.ALL if topic.name in existing]
    partitions: dict[str, int] = {}
    configs: dict[str, dict[str, Any]] = {}
    if here:
        described = client.describe_topics([topic.name for topic in here])
        partitions = {entry["name"]: len(entry["partitions"]) for entry in described}
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in here]
        configs = client.describe_configs(resources, config_filter="all").get("topic", {})
    return [
        _compare_one(topic, partitions.get(topic.name), configs.get(topic.name, {}), settings) for topic in topics.ALL
    ]


def _compare_one(topic: Topic, partitions: int | None, configs: dict[str, Any], settings: KafkaSettings) -> TopicState:
    if partitions is None:
        return TopicState(topic, exists=False)
    if not configs:
        raise BadConfig(
            f"the broker at {settings.bootstrap} denies {settings.username or 'this client'} the configuration of "
            f"{settings.broker_name(topic.name)}. Give DescribeConfigs on all topics, see "
            "docs/how-to/run-in-production.md"
        )
    wanted = topic.partitions or settings.partitions
    differences = []
    if partitions != wanted:
        differences.append(f"has {partitions} partitions, expected {wanted}")
    for name, value in topic.configs().items():
        found = configs.get(name, {}).get("value")
        if found != value:
            differences.append(f"{name} is {found}, expected {value}")
    return TopicState(topic, exists=True, differences=tuple(differences))


def apply(client: KafkaAdminClient, settings: KafkaSettings, *, check_only: bool = False) -> list[TopicState]:
    """Create the topics that are missing.

    Parameters
    ----------
    client : KafkaAdminClient
        A connected client.
    settings : KafkaSettings
        Partitions and replication of new topics.
    check_only : bool
        Create nothing: a missing topic is an error.

    Returns
    -------
    list of TopicState
        The topics as they were before.

    Raises
    ------
    BadConfig
        If a topic exists but differs: nothing is created or changed then, since a changed partition count would send
        shoppers to other partitions than their state. With `check_only`, also if one is missing.
    """
    states = compare(client, settings)
    names = {state: settings.broker_name(state.topic.name) for state in states}
    wrong = [f"{name} {text}" for state, name in names.items() for text in state.differences]
    absent = [f"{name} does not exist" for state, name in names.items() if not state.exists] if check_only else []
    if len(absent) == len(states):
        where = f" of the namespace {settings.namespace}" * bool(settings.namespace)
        raise BadConfig(f"{settings.bootstrap} has none of the topics{where}. Run `stream-coupons topics apply`.")
    if absent and not wrong:
        raise BadConfig("topics are missing:\n  " + "\n  ".join(absent) + "\nRun `stream-coupons topics apply`.")
    wrong += absent
    if wrong:
        raise BadConfig(
            "topics differ from the registry:\n  " + "\n  ".join(wrong) + "\nNothing was changed. "
            "kafka.partitions must be the number that the topics were created with; they must never be given more, "
            "states would not follow their keys. What else differs, alter with your broker's own tools."
        )
    missing = [state.topic for state in states if not state.exists]
    if missing:
        client.create_topics([_new_topic(topic, settings) for topic in missing])
        client.wait_for_topics([topic.name for topic in missing])
    return states


def _new_topic(topic: Topic, settings: KafkaSettings) -> NewTopic:
    return NewTopic(
        topic.name,
        num_partitions=topic.partitions or settings.partitions,
        replication_factor=settings.replication,
        topic_configs=topic.configs(),
    )


def check_guarantee(client: KafkaAdminClient, settings: KafkaSettings) -> None:
    """Check that the broker has the transactions that `kafka.guarantee` needs.

    Parameters
    ----------
    client : KafkaAdminClient
        A connected client.
    settings : KafkaSettings
        The guarantee; nothing is checked for at-least-once.

    Raises
    ------
    BadConfig
        If the guarantee is exactly-once and the cluster's `TRANSACTIONS` are below `NEEDED_TRANSACTIONS`.
    """
    if settings.guarantee is Guarantee.EXACTLY_ONCE:
        level = transaction_level(client)
        if level < NEEDED_TRANSACTIONS:
            raise BadConfig(
                f"kafka.guarantee is exactly_once, but the broker at {settings.bootstrap} has {TRANSACTIONS} {level}, "
                f"expected {NEEDED_TRANSACTIONS}: set kafka.guarantee = at_least_once or use Apache Kafka 4.0; "
                f"after an upgrade: kafka-features.sh upgrade --feature {TRANSACTIONS}={NEEDED_TRANSACTIONS}"
            )


def transaction_level(client: KafkaAdminClient) -> int:
    """Return the level of the cluster's feature `TRANSACTIONS`; 0 if it has none."""
    _, level = client.describe_features().get(TRANSACTIONS, {}).get("finalized", (0, 0))
    return int(level)


def count_members(client: KafkaAdminClient, group_id: str) -> int:
    """Return the number of running members of a consumer group.

    Parameters
    ----------
    client : KafkaAdminClient
        A connected client.
    group_id : str
        The group.

    Returns
    -------
    int
        At least 0; 0 also if there is no such group.
    """
    return len(describe_group(client, group_id)["members"])


def describe_group(client: KafkaAdminClient, group_id: str) -> dict[str, Any]:
    """Return the coordinator's description of a consumer group; one that does not exist has no members.

    Parameters
    ----------
    client : KafkaAdminClient
        A connected client.
    group_id : str
        The group.
    """
    found: dict[str, Any] = _ask_coordinator(lambda: client.describe_groups([group_id]))[group_id]
    return found


def committed_offsets(client: KafkaAdminClient, settings: KafkaSettings) -> dict[TopicPartition, Any]:
    """Return the offsets that the groups of deciding and learning processes have committed.

    Parameters
    ----------
    client : KafkaAdminClient
        A connected client.
    settings : KafkaSettings
        The names of the groups.

    Returns
    -------
    dict of TopicPartition to OffsetAndMetadata
        The next offset to read, by partition, of the one group that reads its topic.
    """
    learner = {topic.name for topic in topics.READ_BY_AGENTS if "learner" in topic.read_by}
    return {
        tp: offset
        for group in settings.group_ids
        for tp, offset in _ask_coordinator(partial(client.list_group_offsets, group)).get(group, {}).items()
        if (tp.topic in learner) == (group == settings.learner_group_id)
    }


def _ask_coordinator(request: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Send a request to a group's coordinator, again for a while if there is none."""
    give_up_at = time.monotonic() + COORDINATOR_WAIT_S
    while True:
        try:
            return request()
        except (NotCoordinatorError, CoordinatorNotAvailableError, CoordinatorLoadInProgressError):
            if time.monotonic() > give_up_at:
                raise
        time.sleep(COORDINATOR_PAUSE_S)


def lag(client: KafkaAdminClient, settings: KafkaSettings) -> dict[str, int]:
    """Return the number of records that each topic's agents have not committed yet.

    Parameters
    ----------
    client : KafkaAdminClient
        A connected client.
    settings : KafkaSettings
        Groups, and partitions of the topics.

    Returns
    -------
    dict of str to int
        Offsets between what is committed and the end, summed over partitions, by topic in `READ_BY_AGENTS`. Markers of
        transactions count as records do. All of a partition counts where nothing is committed.
    """
    committed = committed_offsets(client, settings)
    wanted = [
        TopicPartition(topic.name, partition)
        for topic in topics.READ_BY_AGENTS
        for partition in range(topic.partitions or settings.partitions)
    ]
    ends = client.list_partition_offsets(dict.fromkeys(wanted, OffsetSpec.LATEST))
    behind = dict.fromkeys((topic.name for topic in topics.READ_BY_AGENTS), 0)
    for tp, end in ends.items():
        done = committed[tp].offset if tp in committed else 0
        behind[tp.topic] += max(end.offset - max(done, 0), 0)
    return behind
