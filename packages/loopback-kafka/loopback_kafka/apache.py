"""Apache Kafka as a child process: one node in KRaft mode, on the loopback interface."""

import base64
import socket
import struct
import subprocess
import time
import uuid
from pathlib import Path
from typing import BinaryIO, Final

from loopback_kafka.errors import BrokerFailed
from loopback_kafka.kafka_jars import GUARD_CLASS, apache_kafka_missing, kafka_classpath
from loopback_kafka.ports import HOST
from loopback_kafka.process import BrokerProcess

__all__ = ["ApacheKafka", "apache_kafka_missing"]

_POLL_S: Final = 0.05
_METADATA_KEY, _METADATA_VERSION, _NO_CLIENT_ID = 3, 1, -1
_JVM: Final = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # a broker that lives for minutes gains more from a quick start
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)


class ApacheKafka(BrokerProcess):
    """Apache Kafka 4.x, one node that is broker and controller, with JDK 17 and Maven.

    For tests and development: one replica, plain text, loopback only. A first start resolves the
    jars with Maven into a cache folder.
    """

    _pipes_output = False
    _node_id = 1
    _heap = "512m"

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        advertised_port: int | None = None,
        start_timeout_s: float = 90.0,
    ) -> None:
        super().__init__(data_dir, port, advertised_port=advertised_port, start_timeout_s=start_timeout_s)
        self._controller_port: int | None = None
        # The id may begin with a dash.
        self._cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()

    @property
    def _settings_file(self) -> Path:
        return self.data_dir.resolve() / "server.properties"

    @property
    def _logs(self) -> Path:
        return self.data_dir.resolve() / "logs"

    def _prepare(self) -> list[str]:
        java = ["java", f"-Xmx{self._heap}", *_JVM, "-cp", kafka_classpath()]
        if self.port is None:
            self.port = self._claim_port()
        if self._controller_port is None:
            self._controller_port = self._claim_port()
        self._settings_file.write_text(self._settings(self._controller_port), encoding="utf-8")
        if not (self._logs / "meta.properties").exists():
            self._format(java)
        return [*java, GUARD_CLASS, "kafka.Kafka", str(self._settings_file)]

    def _format(self, java: list[str]) -> None:
        """Write the cluster id and the first metadata into the data folder."""
        tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={self._cluster_id}"]
        done = subprocess.run(
            [*java, *tool, "--config", str(self._settings_file)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BrokerFailed(f"formatting {self._logs} failed: {done.stderr or done.stdout}")

    def _settings(self, controller_port: int) -> str:
        listeners = f"PLAINTEXT://{HOST}:{self.port}"
        advertised = listeners
        if self.advertised_port is not None:
            listeners += f",PROXIED://{HOST}:{self.proxied_port}"
            advertised += f",PROXIED://{HOST}:{self.advertised_port}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": self._node_id,
            "controller.quorum.voters": f"{self._node_id}@{HOST}:{controller_port}",
            "listeners": f"{listeners},CONTROLLER://{HOST}:{controller_port}",
            "advertised.listeners": advertised,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": self._logs,
            "auto.create.topics.enable": "false",
            "num.partitions": 4,
            "message.max.bytes": 32 * 1024 * 1024,
            "replica.fetch.max.bytes": 32 * 1024 * 1024,
            "offsets.topic.num.partitions": 4,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
            "share.coordinator.state.topic.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            # After a kill the node waits for the session of its former self to end.
            "broker.session.timeout.ms": 1500,
            "broker.heartbeat.interval.ms": 300,
            "group.initial.rebalance.delay.ms": 200,
            "group.min.session.timeout.ms": 100,
            "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
            "log.cleaner.threads": 1,
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def _await_ready(self, process: "subprocess.Popen[str]") -> None:
        assert self.port is not None
        deadline = time.monotonic() + self._start_timeout_s
        while not is_serving(self.port, self._node_id):
            if process.poll() is not None:
                raise self._failure("Apache Kafka ended before it was ready")
            if time.monotonic() > deadline:
                raise self._failure(f"Apache Kafka was not ready after {self._start_timeout_s:.0f} s")
            time.sleep(_POLL_S)


def is_serving(port: int, node_id: int) -> bool:
    """Return True if a broker on this port answers a metadata request and lists itself in the response.

    A connection alone proves too little: Kafka listens before its node is registered. Request and
    response are packed by hand, because importing a client for them takes as long as a poll.
    """
    request = struct.pack(">hhihi", _METADATA_KEY, _METADATA_VERSION, 1, _NO_CLIENT_ID, 0)
    try:
        with socket.create_connection((HOST, port), timeout=2.0) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as stream:
                _size, _correlation_id, nodes = struct.unpack(">iii", stream.read(12))
                return any(_read_node_id(stream) == node_id for _ in range(nodes))
    except (OSError, struct.error):
        return False


def _read_node_id(stream: BinaryIO) -> int:
    """Read one broker of a metadata response, and return its id."""
    node_id, length = struct.unpack(">ih", stream.read(6))
    _port, rack_length = struct.unpack(">ih", stream.read(length + 6)[length:])
    stream.read(max(rack_length, 0))
    return int(node_id)
