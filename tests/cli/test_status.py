"""`status` and `doctor`: what is well, what is not and why, and the exit code that states it."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from loopback_kafka.ports import ClaimedPort
from stream_coupons import secret
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.connection import Connection
from stream_coupons.observability.endpoint import Endpoint
from stream_coupons.observability.metrics import Metrics
from stream_coupons.ops.status import ask_worker
from stream_coupons.testing import browse, item

from .conftest import Run, RunBroker


@pytest.fixture
def worker() -> Iterator[tuple[str, Metrics, list[str]]]:
    """The port of a worker: its address, its metrics, and why it is not ready."""
    metrics, reasons = Metrics(CollectorRegistry(), "abc"), list[str]()
    endpoint = Endpoint("127.0.0.1", 0, metrics.registry, {"/ready": lambda: reasons})
    with closing(endpoint):
        yield f"http://127.0.0.1:{endpoint.port}", metrics, reasons


@pytest.mark.process
def test_a_worker_reports_version_settings_starved_decisions_and_topics_that_it_holds_back(
    worker: tuple[str, Metrics, list[str]],
) -> None:
    address, metrics, reasons = worker
    metrics.decisions.labels("given").inc(3)
    metrics.decisions.labels("sold_out").inc(1)
    metrics.stopped.labels("users", "browse-events", "not_json").set(1)
    found = ask_worker(address)
    assert (found.reasons, found.settings, found.sold_out_ratio, found.stopped) == ([], "abc", 0.25, ["browse-events"])
    reasons.append("cannot write to Kafka (22 s)")
    assert ask_worker(address).reasons == ["cannot write to Kafka (22 s)"]
    assert not ask_worker(f"http://127.0.0.1:{ClaimedPort().number}").answers


@pytest.fixture
def empty(run_broker: RunBroker) -> Iterator[str]:
    """The address of a broker without topics."""
    with run_broker() as broker:
        yield broker.bootstrap


@pytest.mark.kafka
def test_a_system_without_workers_is_not_well_and_the_lag_and_rate_of_its_events_are_shown(
    run: Run, empty: str
) -> None:
    assert run("topics", "apply", "-b", empty).exit_code == 0
    with Publisher(Connection(empty), 4) as publisher:
        for number in range(60):
            publisher.send(topics.BROWSE, browse(f"u{number}", item("A"), at=time.time()))
    result = run("status", "-b", empty, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert found["problems"] == [
        "no worker is in the group stream-coupons: start one with `stream-coupons worker`",
        "no learner is in the group stream-coupons-learner: start one with `stream-coupons learner`",
    ]
    assert found["events_per_s"] == 1.0
    assert {one["topic"]: one["lag"] for one in found["inputs"] if one["lag"]} == {"browse-events": 60}
    shown = run("status", "-b", empty)
    assert (shown.exit_code, "not well" in shown.stdout) == (1, True)
    assert "no worker is in the group" in shown.stderr


@pytest.mark.kafka
def test_a_worker_that_is_named_and_not_ready_is_a_problem_with_its_reason(
    run: Run, bootstrap: str, worker: tuple[str, Metrics, list[str]]
) -> None:
    address, _, reasons = worker
    reasons.append("cannot write to Kafka (22 s)")
    found = json.loads(run("status", "-b", bootstrap, "--json", "--worker", address).stdout)
    assert f"{address} is not ready: cannot write to Kafka (22 s)" in found["problems"]


@pytest.mark.kafka
def test_doctor_finds_missing_topics_and_then_a_secret_that_the_workers_do_not_draw_by(
    run: Run, empty: str, tmp_path: Path
) -> None:
    secret.make(tmp_path / "secret.key")
    config = tmp_path / "settings.toml"
    config.write_text(f'secret_file = "{tmp_path / "secret.key"}"\n[worker]\ntick_every_s = 0\n')
    about = ("-b", empty, "-c", config)
    missing = run("doctor", *about)
    assert missing.exit_code == 1
    assert "WRONG  topics: browse-events does not exist -> run `stream-coupons topics apply`" in missing.stdout
    run("topics", "apply", *about)
    findings = json.loads(run("doctor", *about, "--json").stdout)
    [wrong] = [finding for finding in findings if not finding["is_well"]]
    assert (wrong["check"], "no key was adopted" in wrong["text"]) == ("secret", True)
    assert run("secret", "adopt", *about).exit_code == 0
    healthy = run("doctor", *about)
    assert healthy.exit_code == 0, healthy.stdout
    assert f"ok     topics: {len(topics.ALL)} topics ready" in healthy.stdout
    assert "ok     clock: not compared: no worker wrote a tick within 3 s" in healthy.stdout
