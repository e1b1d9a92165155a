"""Bench: what it reports, what it refuses, and that nothing is left. No time is asserted: machines differ."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from stream_coupons import admin
from stream_coupons.bench import CONSENT
from stream_coupons.bench.target import FLOOR, OURS
from stream_coupons.broker import BrokerProcess, Engine
from stream_coupons.connection import Connection

from .conftest import DEADLINE_S, Run


@pytest.fixture(autouse=True)
def _ticks_come_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """To settle takes as long as a tick."""
    monkeypatch.setenv("STREAM_COUPONS_WORKER__TICK_EVERY_S", "0.5")


RunBroker = Callable[[], AbstractContextManager[BrokerProcess]]
TINY = ("--events", 400, "--shoppers", 450, "--coupons", 20, "--workers", 1, "--rate", 100, "--seconds", 1)


def check_report(found: dict[str, Any]) -> None:
    """All figures are there and fit together."""
    assert set(found) == {
        "options", "machine", "throughput", "memory", "latency", "floor", "missing", "notes",
    }  # fmt: skip
    assert found["options"] | {"events": 400, "shoppers": 450, "coupons": 20, "workers": 1} == found["options"]
    assert found["missing"] == 0
    speed = found["throughput"]
    assert 0 < speed["events"] <= 400
    assert speed["events_per_s"] > 0
    assert speed["worker_cpu_us_per_event"] > 0
    assert speed["peak_rss_bytes"] > 10_000_000
    # One event in ten of both backlogs, at a random place of its session.
    assert 30 <= speed["triggers"] <= 90
    memory = found["memory"]
    assert memory["shoppers"] > 0
    assert memory["bytes_per_shopper"] == round(memory["growth_bytes"] / memory["shoppers"], 1)
    for part, count in (("latency", 100), ("floor", 100)):
        figures = found[part]
        assert figures["rate"] == 100.0
        assert figures["events"] == count
        assert 0 < figures["measured"] <= figures["awaited"]
        assert 0 < figures["p50_ms"] <= figures["p90_ms"] <= figures["p99_ms"] <= figures["max_ms"]
    assert found["floor"]["awaited"] == 100
    assert any("--shoppers" in note for note in found["notes"])


@pytest.mark.process
@pytest.mark.slow
def test_the_report_is_a_table_and_json(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    result = run("bench", *TINY, "--json", file)
    assert result.exit_code == 0, result.stdout + result.stderr
    for text in ("throughput", "events/s", "CPU, workers", "CPU, broker", "memory, peak", "memory, shopper"):
        assert text in result.stdout
    for text in ("latency, p50", "latency, p99", "latency, max", "floor, p99", "led to its coupon"):
        assert text in result.stdout
    found = json.loads(file.read_bytes())
    check_report(found)
    assert found["options"]["engine"] == "embedded"
    assert found["throughput"]["broker_cpu_us_per_event"] > 0


@pytest.mark.kafka
@pytest.mark.slow
def test_a_test_broker_is_left_as_it_was(run: Run, run_broker: RunBroker, engine: Engine) -> None:
    guarantee = "exactly_once" if engine == "kafka" else "at_least_once"
    with run_broker() as broker:
        result = run("bench", *TINY, "--bootstrap", broker.bootstrap, CONSENT, "--guarantee", guarantee, "--json", "-")
        assert result.exit_code == 0, result.stdout + result.stderr
        with admin.admin_client(Connection(broker.bootstrap)) as client:
            deadline = time.monotonic() + DEADLINE_S
            while set(client.list_topics()) & OURS and time.monotonic() < deadline:
                time.sleep(0.1)  # Apache Kafka deletes behind its answer
            assert not set(client.list_topics()) & OURS
            assert not [group for group in client.list_groups() if "bench-" in str(group)]
    found = json.loads(result.stdout)
    check_report(found)
    assert found["options"]["engine"] == "bootstrap"
    assert found["options"]["guarantee"] == guarantee
    assert found["throughput"]["broker_cpu_us_per_event"] is None


@pytest.mark.process
def test_a_broker_that_may_be_in_use_is_refused(run: Run, bootstrap: str) -> None:
    result = run("bench", *TINY, "--bootstrap", bootstrap, CONSENT)
    assert result.exit_code == 2
    assert f"the broker at {bootstrap} has the topics" in result.stderr
    assert "it may be in use" in result.stderr
    with admin.admin_client(Connection(bootstrap)) as client:
        found = set(client.list_topics())
    assert OURS - {FLOOR} <= found
    assert FLOOR not in found


@pytest.mark.process
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ("--bootstrap", "127.0.0.1:1"),
            f"never do that to a production system. If it is a test broker, add {CONSENT}",
        ),
        (("--bootstrap", "127.0.0.1:1", "--engine", "kafka", CONSENT), "expected one of them"),
        (("--engine", "rabbit"), "broker engine 'rabbit', expected one of embedded, kafka"),
        (("--workers", "5"), "--workers 5: with kafka.partitions = 4, expected at most 4"),
        (("--rate", "10", "--seconds", "2"), "--rate times --seconds is 20 events, expected at least 100"),
        (("--events", "1000000", "--shoppers", "10"), "--shoppers 10: each would come on 15,060 days"),
        (("--guarantee", "exactly_once"), "kafka.guarantee is exactly_once, but the broker"),
        (("--json", "no-such-folder/bench.json"), "--json no-such-folder/bench.json: expected a file in a folder"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_what_cannot_work_is_refused_in_one_line(run: Run, options: tuple[str, ...], text: str) -> None:
    result = run("bench", *options)
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("options", [("--events", 1), ("--rate", 0), ("--seconds", 0), ("--guarantee", "maybe")])
def test_an_option_out_of_range_is_refused(run: Run, options: tuple[object, ...]) -> None:
    result = run("bench", *options)
    assert result.exit_code == 2
    assert str(options[0]) in result.stderr


def processes_with(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "stream_coupons", "bench", "--events", "3000", "--shoppers", "300"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as bench:
        deadline = time.monotonic() + DEADLINE_S
        while len(processes_with(str(tmp_path))) < 3:  # the broker and two workers
            assert bench.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        bench.send_signal(number)
        stdout, stderr = bench.communicate(timeout=DEADLINE_S)
    assert bench.returncode == 130, stderr
    assert stdout == ""
    assert "interrupted: nothing is reported, nothing left behind" in stderr
    assert list(tmp_path.iterdir()) == []
    assert processes_with(str(tmp_path)) == []
