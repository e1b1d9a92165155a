"""A worker that cannot work as it was called says so in one line, and has not joined anything by then."""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from loopback_kafka.ports import ClaimedPort
from stream_coupons.cli import worker
from stream_coupons.core.errors import BadConfig, BrokerAway
from stream_coupons.kafka import admin
from stream_coupons.kafka.connection import Connection
from stream_coupons.secret import ALLOW_PUBLIC
from stream_coupons.worker import state_log

pytestmark = pytest.mark.process


def run_worker(*arguments: object, public: bool = True, verb: str = "worker") -> "subprocess.CompletedProcess[str]":
    """Run a worker or a learner; `public` allows it the public key."""
    command = [sys.executable, "-m", "stream_coupons", verb, *map(str, arguments)]
    return run(command, os.environ | ({ALLOW_PUBLIC: "1"} if public else {}))


def run(command: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120, env=environment
    )


CRASHING = """
from stream_coupons.cli.main import main
from stream_coupons.runtime.agent_loop import AgentLoop

async def fail(self, ownership):
    raise OSError("no more files")

AgentLoop._own = fail
main()
"""


def test_the_last_line_of_a_worker_that_crashes_says_why(bootstrap: str) -> None:
    command = [sys.executable, "-c", CRASHING, "worker", "--bootstrap", bootstrap, "--metrics-port", "0"]
    done = run(command, os.environ | {ALLOW_PUBLIC: "1"})
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].strip().endswith("the worker ends: OSError('no more files')")


@pytest.mark.parametrize("verb", ["worker", "learner"])
def test_a_metrics_port_that_is_taken_is_an_error_before_the_group_is_joined(
    bootstrap: str, unique: str, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("STREAM_COUPONS_KAFKA__GROUP_ID", unique)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_worker("--bootstrap", bootstrap, "--metrics-port", port, verb=verb)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: worker.metrics_port: {port} is in use: ")
    assert len(done.stderr.splitlines()) == 1
    with admin.admin_client(Connection(bootstrap)) as client:
        assert unique not in str(client.list_groups())


def test_a_process_that_decides_imports_only_what_its_settings_ask_for() -> None:
    code = "import sys, stream_coupons.worker.worker_process; print(*sys.modules)"
    imported = set(run([sys.executable, "-c", code], dict(os.environ)).stdout.split())
    assert "faust" in imported
    assert not {"river", "sklearn", "scipy", "pandas"} & imported
    engine = {name.rpartition(".")[2] for name in imported if name.startswith("stream_coupons.")}
    assert {"serving", "delivery"} <= engine
    assert not {"kalman", "learner", "river_model", "row_scorer", "rocks", "transactions"} & engine


def test_a_worker_waits_at_its_start_for_a_broker_and_ends_at_once_if_one_refuses_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "RETRY_PAUSE_S", 0.0)
    monkeypatch.setattr(state_log, "FIRST_AFTER_S", 0.0)
    caplog.set_level(logging.INFO)
    answers: list[Exception | str] = ["the key", BrokerAway("no broker answers at k:9092")]
    claimed = ClaimedPort()
    port = claimed.number

    def check() -> str:
        answer = answers.pop()
        if isinstance(answer, Exception):
            raise answer
        with urlopen(f"http://127.0.0.1:{port}/live", timeout=10) as live:
            assert live.status == 200, "it is not killed for the brokers' sake"
        with pytest.raises(HTTPError) as ready:
            urlopen(f"http://127.0.0.1:{port}/ready", timeout=10)
        assert ready.value.read() == b"not ready: no broker of Kafka answers\n"
        return answer

    assert worker.when_kafka_answers(check, "127.0.0.1", port) == "the key"
    socket.create_server(("127.0.0.1", port)).close()  # the worker can listen there
    waits = "Kafka has not answered for 0 s; waiting (no broker answers at k:9092)"
    assert [re.sub(r"\d+ s\b", "0 s", text) for text in caplog.messages] == [waits, "Kafka answers after 0 s"]
    answers[:] = [BadConfig("the broker refused the name")]
    with pytest.raises(BadConfig, match="refused the name"):
        worker.when_kafka_answers(check, "127.0.0.1", port)


def test_a_worker_that_waits_for_a_broker_ends_at_sigterm() -> None:
    """As the first process of a container it would be killed, after the whole grace period, for want of a handler."""
    before = signal.getsignal(signal.SIGTERM)

    def check() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise BrokerAway("no broker answers at k:9092")

    with pytest.raises(SystemExit) as ended:
        worker.when_kafka_answers(check, "127.0.0.1", 0)
    assert ended.value.code == 0
    assert signal.getsignal(signal.SIGTERM) == before
