"""Metadata, and making, changing and deleting topics."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from loopback_kafka.offsets import CommittedOffsets
from loopback_kafka.protocol import ApiKey, ErrorCode, Fields, Handlers, Header, Request
from loopback_kafka.topics import (
    DEFAULT_CONFIGS,
    DEFAULT_PARTITIONS,
    BrokerTopic,
    TopicRefused,
    Topics,
)

NODE_ID: Final = 1
CLUSTER_ID: Final = "stream-coupons-embedded"
_TOPIC_RESOURCE: Final = 2
_BROKER_RESOURCE: Final = 4
_SET, _DELETE = 0, 1
_SOURCE_TOPIC, _SOURCE_DEFAULT = 1, 5


@dataclass(frozen=True, slots=True)
class Node:
    """Address of this node."""

    host: str
    port: int


class TopicsApi:
    """The requests about topics and about the cluster."""

    def __init__(self, node: Node, topics: Topics, offsets: CommittedOffsets) -> None:
        self._node = node
        self._topics = topics
        self._offsets = offsets

    def handlers(self) -> Handlers:
        """Return the handlers by request."""
        return {
            ApiKey.METADATA: self.metadata,
            ApiKey.DESCRIBE_CLUSTER: self.describe_cluster,
            ApiKey.CREATE_TOPICS: self.create_topics,
            ApiKey.DELETE_TOPICS: self.delete_topics,
            ApiKey.CREATE_PARTITIONS: self.create_partitions,
            ApiKey.DESCRIBE_CONFIGS: self.describe_configs,
            ApiKey.INCREMENTAL_ALTER_CONFIGS: self.alter_configs,
        }

    async def metadata(self, header: Header, request: Request) -> Fields:
        """Describe the node and the topics asked for; topics are never made by asking."""
        asks_all = request.topics is None or (header.version == 0 and not request.topics)
        names = [topic.name for topic in self._topics.all()] if asks_all else [topic.name for topic in request.topics]
        node = {"node_id": NODE_ID, "host": self._node.host, "port": self._node.port, "rack": None}
        return {
            "throttle_time_ms": 0,
            "brokers": [node],
            "cluster_id": CLUSTER_ID,
            "controller_id": NODE_ID,
            "topics": [_describe_topic(name, self._topics.get(name)) for name in names],
        }

    async def describe_cluster(self, _header: Header, _request: Request) -> Fields:
        """Describe the one node."""
        node = {
            "broker_id": NODE_ID,
            "host": self._node.host,
            "port": self._node.port,
            "rack": None,
        }
        return {
            "throttle_time_ms": 0,
            "error_code": 0,
            "error_message": None,
            "endpoint_type": 1,
            "cluster_id": CLUSTER_ID,
            "controller_id": NODE_ID,
            "brokers": [node],
        }

    async def create_topics(self, _header: Header, request: Request) -> Fields:
        """Make topics."""
        rows = [self._create(topic, request.validate_only) for topic in request.topics]
        return {"throttle_time_ms": 0, "topics": rows}

    def _create(self, asked: Request, validate_only: bool) -> Fields:
        partitions = asked.num_partitions
        if asked.assignments:
            partitions = len(asked.assignments)
        elif partitions == -1:
            partitions = DEFAULT_PARTITIONS
        configs = {config.name: config.value for config in asked.configs if config.value is not None}

        def make() -> None:
            if asked.replication_factor not in (-1, 1):
                raise TopicRefused(
                    ErrorCode.INVALID_REPLICATION_FACTOR,
                    f"replication factor {asked.replication_factor}, expected 1: one node",
                )
            if validate_only:
                self._topics.check_new(asked.name, partitions, configs)
            else:
                self._topics.create(asked.name, partitions, configs)

        answer = {"num_partitions": partitions, "replication_factor": 1, "configs": []}
        return {"name": asked.name, **answer, **_attempt(make)}

    async def delete_topics(self, _header: Header, request: Request) -> Fields:
        """Delete topics, their records and the offsets committed for them."""
        rows = []
        for name in request.topic_names:
            if self._topics.delete(name):
                self._offsets.forget_topic(name)
                rows.append({"name": name, "error_code": 0, "error_message": None})
            else:
                code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                rows.append({"name": name, "error_code": code, "error_message": f"no topic {name}"})
        return {"throttle_time_ms": 0, "responses": rows}

    async def create_partitions(self, _header: Header, request: Request) -> Fields:
        """Add partitions to topics."""
        rows = []
        for topic in request.topics:
            grow = partial(self._topics.grow, topic.name, topic.count, request.validate_only)
            rows.append({"name": topic.name, **_attempt(grow)})
        return {"throttle_time_ms": 0, "results": rows}

    async def describe_configs(self, _header: Header, request: Request) -> Fields:
        """Describe settings: those given for a topic and the defaults of those acted on."""
        return {
            "throttle_time_ms": 0,
            "results": [self._describe_configs(resource) for resource in request.resources],
        }

    def _describe_configs(self, resource: Request) -> Fields:
        row = {
            "error_code": ErrorCode.NONE,
            "error_message": None,
            "resource_type": resource.resource_type,
            "resource_name": resource.resource_name,
            "configs": [],
        }
        if resource.resource_type == _BROKER_RESOURCE:
            own: dict[str, str] = {}
        elif (
            resource.resource_type == _TOPIC_RESOURCE
            and (topic := self._topics.get(resource.resource_name)) is not None
        ):
            own = topic.configs
        else:
            return row | {"error_code": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}
        asked = resource.configuration_keys
        configs = [
            _describe_config(name, value, name in own)
            for name, value in {**DEFAULT_CONFIGS, **own}.items()
            if asked is None or name in asked
        ]
        return row | {"configs": configs}

    async def alter_configs(self, _header: Header, request: Request) -> Fields:
        """Set settings of topics or return them to their defaults."""
        rows = []
        for resource in request.resources:
            alter = partial(self._alter, resource, request.validate_only)
            rows.append(
                {
                    "resource_type": resource.resource_type,
                    "resource_name": resource.resource_name,
                    **_attempt(alter),
                }
            )
        return {"throttle_time_ms": 0, "responses": rows}

    def _alter(self, resource: Request, validate_only: bool) -> None:
        if resource.resource_type != _TOPIC_RESOURCE:
            raise TopicRefused(ErrorCode.INVALID_REQUEST, "only topics can be configured")
        changes = {}
        for config in resource.configs:
            if config.config_operation not in (_SET, _DELETE):
                raise TopicRefused(ErrorCode.INVALID_REQUEST, f"{config.name}: expected set or delete")
            changes[config.name] = config.value if config.config_operation == _SET else None
        self._topics.configure(resource.resource_name, changes, validate_only)


def _attempt(change: Callable[[], None]) -> dict[str, object]:
    """Make a change and return the error fields of its row."""
    try:
        change()
    except TopicRefused as refusal:
        return {"error_code": refusal.code, "error_message": str(refusal)}
    return {"error_code": ErrorCode.NONE, "error_message": None}


def _describe_topic(name: str, topic: BrokerTopic | None) -> Fields:
    partitions = [
        {
            "error_code": 0,
            "partition_index": index,
            "leader_id": NODE_ID,
            "leader_epoch": 0,
            "replica_nodes": [NODE_ID],
            "isr_nodes": [NODE_ID],
            "offline_replicas": [],
        }
        for index in range(len(topic.partitions) if topic else 0)
    ]
    error = ErrorCode.NONE if topic else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    return {
        "error_code": error,
        "name": name,
        "is_internal": False,
        "partitions": partitions,
    }


def _describe_config(name: str, value: str, is_own: bool) -> Fields:
    return {
        "name": name,
        "value": value,
        "read_only": False,
        "config_source": _SOURCE_TOPIC if is_own else _SOURCE_DEFAULT,
        "is_sensitive": False,
        "synonyms": [],
        "config_type": 2,
        "documentation": None,
    }
