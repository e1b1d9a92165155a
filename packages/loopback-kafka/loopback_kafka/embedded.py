"""The embedded broker as a child process."""

import subprocess
import sys

from loopback_kafka.process import BrokerProcess, read_line_within

_READY_PREFIX = "listening on "


class EmbeddedBroker(BrokerProcess):
    """A Kafka-protocol broker of one node in Python, for demonstration and tests.

    It never syncs to disk: what it acknowledged survives its own death, not the machine's. It has
    no replication and no authentication. Never for production.
    """

    def _prepare(self) -> list[str]:
        if self.port is None:
            self.port = self._claim_port()
        module = [sys.executable, "-m", "loopback_kafka", "--exit-with-stdin"]
        command = [*module, "--data", str(self.data_dir.resolve()), "--port", str(self.port)]
        if self.advertised_port is not None:
            command += ["--proxied-port", str(self.proxied_port), "--advertised-port", str(self.advertised_port)]
        return command

    def _await_ready(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        line = read_line_within(process.stdout, self._start_timeout_s)
        if line is None:
            raise self._failure(f"the broker was not ready after {self._start_timeout_s:.0f} s")
        if not line.startswith(_READY_PREFIX):
            raise self._failure("the broker ended before it was ready")
        self.port = int(line.rpartition(":")[2])
