"""A worker's HTTP port: what it answers, and that no client can hold up others or use up the process."""

import os
import resource
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPMessage

import pytest
from prometheus_client import CollectorRegistry

from stream_coupons.core.errors import BadConfig
from stream_coupons.observability.endpoint import Endpoint
from stream_coupons.observability.metrics import Metrics

pytestmark = pytest.mark.process


class Worker:
    """As far as its port shows it."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.dead: list[str] = []
        probes = {"/ready": lambda: self.missing, "/live": lambda: self.dead}
        registry = Metrics(CollectorRegistry()).registry
        self.endpoint = Endpoint("127.0.0.1", 0, registry, probes)

    def get(self, path: str) -> tuple[int, str, HTTPMessage]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.endpoint.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode(), refusal.headers


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.endpoint.close()


def test_ready_says_whether_it_is_and_what_is_missing(worker: Worker) -> None:
    assert worker.get("/ready")[:2] == (200, "ready\n")
    worker.missing = ["no broker has answered", "its state is not recovered"]
    assert worker.get("/ready")[:2] == (
        503,
        "not ready: no broker has answered\nnot ready: its state is not recovered\n",
    )
    assert worker.get("/ready?now")[0] == 503


def test_live_says_whether_it_is_whatever_is_missing_for_being_ready(worker: Worker) -> None:
    worker.missing = ["no broker has answered"]
    assert worker.get("/live")[:2] == (200, "live\n")
    worker.dead = ["its event loop has hung for 31 s"]
    assert worker.get("/live")[:2] == (503, "not live: its event loop has hung for 31 s\n")


def test_metrics_are_there_also_while_it_is_not_ready(worker: Worker) -> None:
    worker.missing = ["a broker"]
    status, text, headers = worker.get("/metrics")
    assert status == 200
    assert "stream_coupons_ready 0.0" in text.splitlines()
    assert headers["Content-Type"].startswith("text/plain; version=")


@pytest.mark.parametrize("path", ["/", "/metrics/x", "/health", "/favicon.ico"])
def test_there_is_nothing_else(worker: Worker, path: str) -> None:
    status, text, _ = worker.get(path)
    assert (status, text) == (404, "the paths are /metrics, /ready, /live\n")


def raw(worker: Worker, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", worker.endpoint.port), timeout=10) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /ready HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"GET /ready\r\n\r\n", b"400 Bad Request"),
        (b"\xff\xfe / HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"GET /ready HTTP/1.1\r\nX: " + b"x" * 8192 + b"\r\n\r\n", b"431 Request Header Fields Too Large"),
    ],
)
def test_what_is_no_request_of_ours_is_refused(worker: Worker, request_: bytes, status: bytes) -> None:
    assert raw(worker, request_).startswith(b"HTTP/1.1 " + status)


def test_head_answers_without_a_body(worker: Worker) -> None:
    head, body = raw(worker, b"HEAD /metrics HTTP/1.1\r\n\r\n").split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body == b""


def test_who_asks_nothing_is_disconnected(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_coupons.observability.endpoint.REQUEST_WITHIN_S", 0.1)
    with socket.create_connection(("127.0.0.1", worker.endpoint.port), timeout=10) as client:
        client.sendall(b"GET /metrics")
        assert client.recv(1) == b""


HALF_OPEN = 5000
LISTENING = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from tests.deploy.exporter import running_exporter
with running_exporter() as address:
    print(address, flush=True)
    sys.stdin.read()
"""


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def test_five_thousand_half_open_connections_cost_no_threads_and_hold_up_no_scrape() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < HALF_OPEN + 500:
        pytest.skip(f"at most {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    pipe = subprocess.PIPE
    with ExitStack() as clients, subprocess.Popen([sys.executable, "-c", LISTENING], stdin=pipe, stdout=pipe) as server:
        clients.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        assert server.stdout is not None
        host, _, port = server.stdout.readline().decode().strip().partition(":")
        before = threads(server.pid)
        for _ in range(HALF_OPEN):
            clients.enter_context(socket.create_connection((host, int(port)), timeout=10))
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
            assert b"stream_coupons_records_total" in answer.read()
        assert server.poll() is None
        assert threads(server.pid) - before <= 16


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadConfig, match=f"^worker.metrics_port: {port} is in use: .*--metrics-port"):
            Endpoint("127.0.0.1", port, CollectorRegistry(), {})


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(BadConfig, match=f"^worker.metrics_host: cannot listen on {host}:9464: .+"):
        Endpoint(host, 9464, CollectorRegistry(), {})
