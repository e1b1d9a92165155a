"""Apache Kafka as a cluster of several nodes, each a child process on the loopback interface."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from loopback_kafka.apache import ApacheKafka
from loopback_kafka.errors import BrokerFailed
from loopback_kafka.ports import HOST

if TYPE_CHECKING:  # kafka-python takes long to import, and only questions about roles need it
    from kafka import KafkaAdminClient

ANSWER_WITHIN_S: Final = 30.0
PAUSE_S: Final = 0.2


class ClusterNode(ApacheKafka):
    """One node of an `ApacheKafkaCluster`: broker and voter of the controllers' quorum.

    Parameters
    ----------
    node_id : int
        Id of the node, from 1.
    """

    _heap = "200m"

    def __init__(self, data_dir: Path, node_id: int, start_timeout_s: float) -> None:
        super().__init__(data_dir, start_timeout_s=start_timeout_s)
        self._node_id = node_id
        self.port = self._claim_port()
        self._controller_port = self._claim_port()
        self._of_cluster = ""

    @property
    def node_id(self) -> int:
        """Id of the node."""
        return self._node_id

    @property
    def voter(self) -> str:
        """The node as a voter of the quorum, "ID@HOST:PORT"."""
        return f"{self._node_id}@{HOST}:{self._controller_port}"

    def join(self, cluster_id: str, settings: str) -> None:
        """Make the node one of a cluster, before it starts for the first time.

        Parameters
        ----------
        cluster_id : str
            Id that all nodes of the cluster share.
        settings : str
            Lines of `server.properties` that replace those of a single node.
        """
        self._cluster_id, self._of_cluster = cluster_id, settings

    def _settings(self, controller_port: int) -> str:
        return super()._settings(controller_port) + self._of_cluster


class ApacheKafkaCluster:
    """Nodes of Apache Kafka 4.x that replicate every topic; use it as a context manager.

    Topics have three replicas unless their creator asks for another number, and an acknowledged record lies on two of
    them at least. So one node may be lost without a pause longer than `broker.session.timeout.ms`, which is Kafka's
    default of 9 s, as are all other timeouts of sessions and elections.

    Parameters
    ----------
    data_dir : Path
        Folder of the nodes' data.
    nodes : int
        Number of nodes, at least 3.
    settings : dict of str to str, optional
        Further broker settings, the same for all nodes.
    start_timeout_s : float
        Longest time until a node is ready.

    Attributes
    ----------
    nodes : list of ClusterNode
        Each may be killed, stopped, paused, resumed and started on its own.
    """

    def __init__(
        self,
        data_dir: Path,
        nodes: int = 3,
        *,
        settings: dict[str, str] | None = None,
        start_timeout_s: float = 120.0,
    ) -> None:
        if nodes < 3:
            raise BrokerFailed(f"a cluster of {nodes} nodes does not survive the loss of one, expected at least 3")
        self.nodes = [
            ClusterNode(data_dir / f"node-{number}", number, start_timeout_s) for number in range(1, nodes + 1)
        ]
        text = self._settings(settings or {})
        for node in self.nodes:
            node.join(self.nodes[0]._cluster_id, text)

    def _settings(self, more: dict[str, str]) -> str:
        settings = {
            "controller.quorum.voters": ",".join(node.voter for node in self.nodes),
            "default.replication.factor": "3",
            "min.insync.replicas": "2",
            "offsets.topic.replication.factor": "3",
            "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2",
            "share.coordinator.state.topic.replication.factor": "3",
            "share.coordinator.state.topic.min.isr": "2",
            "broker.session.timeout.ms": "9000",
            "broker.heartbeat.interval.ms": "2000",
            "group.initial.rebalance.delay.ms": "3000",
            "group.min.session.timeout.ms": "6000",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000",
            "num.network.threads": "2",  # several nodes share the cores of one machine
            "num.io.threads": "4",
        } | more
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    @property
    def bootstrap(self) -> str:
        """The addresses of all nodes, "127.0.0.1:PORT,127.0.0.1:PORT,127.0.0.1:PORT"."""
        return ",".join(node.bootstrap for node in self.nodes)

    @property
    def advertised(self) -> str:
        """The addresses for workers: the same."""
        return self.bootstrap

    def node(self, node_id: int) -> ClusterNode:
        """Return the node of an id.

        Raises
        ------
        BrokerFailed
            If there is none.
        """
        for node in self.nodes:
            if node.node_id == node_id:
                return node
        raise BrokerFailed(f"no node {node_id}, expected one of 1 to {len(self.nodes)}")

    def start(self, nodes: Sequence[ClusterNode] = ()) -> Self:
        """Start nodes at the same time, those that do not run if none are named, and return when all are ready.

        Raises
        ------
        BrokerUnavailable
            When the machine lacks what Apache Kafka needs.
        BrokerFailed
            When a node is not ready in time, or ends instead.
        """
        wanted = nodes or [node for node in self.nodes if not node.is_running]
        with ThreadPoolExecutor(len(self.nodes)) as pool:  # the first nodes wait for a majority
            for started in [pool.submit(node.start) for node in wanted]:
                started.result()
        return self

    def kill(self) -> None:
        """Kill all nodes: to stop them takes long, since the last one waits in vain for others to take over."""
        for node in self.nodes:
            node.kill()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    # ------------------------------------------------------------ roles

    def leader(self, topic: str, partition: int) -> ClusterNode:
        """Return the node that leads a partition.

        Raises
        ------
        BrokerFailed
            If the topic has no such partition, or the partition no leader.
        """
        (described,) = self._ask(lambda client: client.describe_topics([topic]))
        for one in described["partitions"]:
            if one["partition_index"] == partition:
                return self.node(one["leader_id"])
        raise BrokerFailed(f"{topic} has no partition {partition}")

    def group_coordinator(self, group_id: str) -> ClusterNode:
        """Return the node that coordinates a consumer group.

        Raises
        ------
        BrokerFailed
            If no running node knows the group.
        """
        running = self._running()
        listed = self._ask(lambda client: [client.list_groups([node.node_id]) for node in running])
        for node, groups in zip(running, listed, strict=True):
            if any(one["group_id"] == group_id for one in groups):
                return node
        raise BrokerFailed(f"no node coordinates group {group_id}")

    def transaction_coordinator(self, transactional_id: str | None = None) -> ClusterNode:
        """Return the node that coordinates the transactions of an id, or of most ids if none is given.

        Raises
        ------
        BrokerFailed
            If no running node knows one.
        """
        running = [node.node_id for node in self._running()]
        listed = self._ask(lambda client: client.list_transactions(running))
        counts = {
            node_id: sum(transactional_id in (None, one.transactional_id) for one in found)
            for node_id, found in listed.items()
        }
        most = max(counts, key=counts.__getitem__)
        if not counts[most]:
            raise BrokerFailed(f"no node coordinates transactions of {transactional_id or 'any id'}")
        return self.node(most)

    def controller(self) -> ClusterNode:
        """Return the node whose controller is active: the leader of the quorum."""
        quorum = self._ask(lambda client: client.describe_metadata_quorum())
        return self.node(quorum["topics"][0]["partitions"][0]["leader_id"])

    def _running(self) -> list[ClusterNode]:
        return [node for node in self.nodes if node.is_running]

    def _ask(self, question: "Callable[[KafkaAdminClient], Any]") -> Any:
        """Return the answer to a question, asked again for a while: clients also try nodes that are down."""
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError

        deadline = time.monotonic() + ANSWER_WITHIN_S
        while True:
            try:
                running = [node.bootstrap for node in self._running()]
                with closing(KafkaAdminClient(bootstrap_servers=running)) as client:
                    return question(client)
            except KafkaError as error:
                if time.monotonic() > deadline:
                    raise BrokerFailed(f"no node answers: {error!r}") from error
                time.sleep(PAUSE_S)
