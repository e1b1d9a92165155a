"""What a worker's port answers: metrics, whether it is ready and why not, and nothing else."""

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPMessage

import pytest
from prometheus_client import CollectorRegistry

from stream_coupons.core.errors import BadConfig
from stream_coupons.endpoint import Endpoint
from stream_coupons.metrics import Metrics


class Worker:
    """As far as its port shows it."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.endpoint = Endpoint("127.0.0.1", 0, Metrics(CollectorRegistry()).registry, lambda: self.missing)

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


def test_metrics_are_there_also_while_it_is_not_ready(worker: Worker) -> None:
    worker.missing = ["a broker"]
    status, text, headers = worker.get("/metrics")
    assert status == 200
    assert "stream_coupons_ready 0.0" in text.splitlines()
    assert headers["Content-Type"].startswith("text/plain; version=")


@pytest.mark.parametrize("path", ["/", "/metrics/x", "/health", "/favicon.ico"])
def test_there_is_nothing_else(worker: Worker, path: str) -> None:
    status, text, _ = worker.get(path)
    assert (status, text) == (404, "there are /metrics and /ready\n")


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadConfig, match=f"^worker.metrics_port: {port} is in use: .*--metrics-port"):
            Endpoint("127.0.0.1", port, CollectorRegistry(), list)


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(BadConfig, match=f"^worker.metrics_host: cannot listen on {host}:9464: .+"):
        Endpoint(host, 9464, CollectorRegistry(), list)
