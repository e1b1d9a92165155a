"""`python -m benchmarks.load`: reports, refusals, and what is left behind. No time is asserted."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import pytest

from benchmarks.load import run as bench_run
from benchmarks.load.__main__ import Measure, main
from benchmarks.load.hops import Hop
from benchmarks.load.latency import Client, Latency, Timing
from benchmarks.load.live import LiveRate
from benchmarks.load.run import BenchReport, Machine
from benchmarks.load.target import CONSENT, FLOOR, OURS
from benchmarks.load.throughput import Memory, Throughput
from benchmarks.load.workload import Send
from loopback_kafka import BrokerProcess
from stream_coupons.kafka import admin
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.settings import KafkaSettings

DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Result:
    exit_code: object
    stdout: str
    stderr: str


class Run(Protocol):
    def __call__(self, *args: object, measure: Measure = bench_run.run) -> Result: ...


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in this process."""
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*args: object, measure: Measure = bench_run.run) -> Result:
        try:
            code: object = main([str(arg) for arg in args], measure)
        except SystemExit as stop:  # of argparse
            code = stop.code
        return Result(code, *capsys.readouterr())

    return invoke


@pytest.fixture
def bootstrap(broker: BrokerProcess) -> str:
    """A broker that has the topics."""
    with admin.admin_client(Connection(broker.bootstrap)) as client:
        admin.apply(client, KafkaSettings())
    return broker.bootstrap


@pytest.fixture(autouse=True)
def _ticks_come_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """To settle takes as long as a tick."""
    monkeypatch.setenv("STREAM_COUPONS_WORKER__TICK_EVERY_S", "0.5")


RunBroker = Callable[[], AbstractContextManager[BrokerProcess]]
RATES = (100, 200)
TINY = (
    "--events", 400, "--shoppers", 450, "--coupons", 20, "--workers", 1, "--seconds", 3, "--rates", 100, 200
)  # fmt: skip


def check_report(found: dict[str, Any]) -> None:
    """All figures are there and fit together."""
    assert set(found) == {
        "options", "machine", "throughput", "memory", "rates", "missing", "interrupted", "notes",
    }  # fmt: skip
    assert found["options"] | {"events": 400, "shoppers": 450, "coupons": 20, "workers": 1} == found["options"]
    assert found["missing"] == 0
    assert found["interrupted"] is False
    speed = found["throughput"]
    assert 0 < speed["events"] <= 400
    assert speed["events_per_s"] > 0
    assert speed["worker_cpu_us_per_event"] > 0
    assert speed["batches_per_s"] > 0
    assert speed["peak_rss_bytes"] > 10_000_000
    # One event in ten of both backlogs, at a random place of its session.
    assert 30 <= speed["triggers"] <= 90
    memory = found["memory"]
    assert memory["shoppers"] > 0
    assert memory["bytes_per_shopper"] == round(memory["growth_bytes"] / memory["shoppers"], 1)
    assert [each["rate"] for each in found["rates"]] == list(RATES)
    for each in found["rates"]:
        check_rate(each)
    assert any("--shoppers" in note for note in found["notes"])


def check_rate(found: dict[str, Any]) -> None:
    """A rate that one worker keeps up with has a cost, a latency and the parts of it."""
    events = 3 * found["rate"]
    assert 0 < found["events"] <= events
    assert found["worker_cpu_us_per_event"] > 0
    assert found["cores_used"] > 0
    assert found["agents"]["users"]["batches_per_s"] <= found["batches_per_s"]
    assert found["agents"]["users"]["records_per_batch"] > 0
    assert not found["is_saturated"]
    for figures in (found["latency"], found["floor"]):
        assert (figures["rate"], figures["events"]) == (found["rate"], events)
        assert 0 < figures["measured"] <= figures["awaited"]
        assert 0 < figures["p50_ms"] <= figures["p90_ms"] <= figures["p99_ms"] <= figures["p999_ms"]
    assert found["floor"]["awaited"] == events
    way = found["hops"]
    assert (way[0]["source"], way[0]["target"]) == ("due", "cart-events")
    assert (way[-1]["source"], way[-1]["target"]) == ("coupon-issues", "read")
    assert all(hop["count"] == found["latency"]["measured"] for hop in (way[0], way[-1]))
    assert max(hop["p50_ms"] for hop in way) <= found["latency"]["max_ms"] + 1.0


@pytest.mark.process
@pytest.mark.slow
def test_the_report_is_a_table_and_json(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "load.json"
    result = run(*TINY, "--json", file)
    assert result.exit_code == 0, result.stdout + result.stderr
    for text in ("backlog", "us/event", "p99.9", "from, to", "due, cart-events", "memory: ", "led to its coupon"):
        assert text in result.stdout
    found = json.loads(file.read_bytes())
    check_report(found)
    assert found["options"]["engine"] == "embedded"
    assert found["throughput"]["broker_cpu_us_per_event"] > 0


@pytest.mark.kafka
def test_a_test_broker_is_left_as_it_was(run: Run, run_broker: RunBroker) -> None:
    guarantee = "exactly_once"
    with run_broker() as broker:
        result = run(*TINY, "--bootstrap", broker.bootstrap, CONSENT, "--guarantee", guarantee, "--json", "-")
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
    result = run(*TINY, "--bootstrap", bootstrap, CONSENT)
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
        (("--rates", "10", "--seconds", "2"), "--rates times --seconds is 20 events, expected at least 100"),
        (("--events", "1000000", "--shoppers", "10"), "--shoppers 10: each would come on 16,320 days"),
        (("--json", "no-such-folder/load.json"), "--json no-such-folder/load.json: expected a file in a folder"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_what_cannot_work_is_refused_in_one_line(run: Run, options: tuple[str, ...], text: str) -> None:
    result = run(*options)
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("options", [("--events", 1), ("--rates", 0), ("--seconds", 0), ("--guarantee", "maybe")])
def test_an_option_out_of_range_is_refused(run: Run, options: tuple[object, ...]) -> None:
    result = run(*options)
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
    command = [sys.executable, "-m", "benchmarks.load", "--events", "3000", "--shoppers", "300"]
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


@pytest.mark.process
@pytest.mark.slow
def test_an_interruption_amid_the_rates_reports_those_before_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = Client.measure

    def interrupted_at_200(client: Client, sends: list[Send], rate: float, *hooks: Any) -> Timing:
        if rate == 200.0:
            signal.raise_signal(signal.SIGINT)
        return measure(client, sends, rate, *hooks)

    monkeypatch.setattr(Client, "measure", interrupted_at_200)
    result = run(*TINY, "--json", "-")
    assert result.exit_code == 130, result.stderr
    found = json.loads(result.stdout)
    assert found["interrupted"] is True
    assert [each["rate"] for each in found["rates"]] == [100.0]
    assert "only what is reported was measured to its end" in result.stderr


# ------------------------------------------------------------ what is printed, of figures that nobody measured


def latency(rate: float, p50_ms: float | None = 40.0, missing: int = 0) -> Latency:
    return Latency(
        rate=rate, events=3000, awaited=300, pending=0, missing=missing, repeated=0, measured=270, p50_ms=p50_ms,
        p90_ms=p50_ms, p99_ms=p50_ms, p999_ms=p50_ms, max_ms=p50_ms, sent_late_p99_ms=1.0, sent_late_max_ms=2.0,
        client_cpu_ratio=0.2,
    )  # fmt: skip


def live_rate(rate: float, *, is_saturated: bool = False) -> LiveRate:
    names = ("due", "cart-events", "coupon-proposals", "coupon-reservations", "coupon-issues", "read")
    hops = [] if is_saturated else [
        Hop(source=source, target=target, count=270, p50_ms=1234.5, p99_ms=2345.6)
        for source, target in pairwise(names)
    ]  # fmt: skip
    return LiveRate(
        rate=rate, events=2700, seconds=27.0, is_saturated=is_saturated, is_learner_behind=False,
        worker_cpu_us_per_event=3512.0,
        worker_cpu_us_per_batch=2100.0, broker_cpu_us_per_event=None, cores_used=1.35, batches_per_s=123.4,
        events_per_batch=0.81, agents={}, lag_before={"browse-events": 30},
        lag_after={"browse-events": 40_000, "user-vectors": 5000, "training-examples": 50_000}, hops=hops,
        latency=latency(rate, None if is_saturated else 3456.7), floor=latency(rate, 12.3),
    )  # fmt: skip


def report(*rates: LiveRate, interrupted: bool = False) -> BenchReport:
    return BenchReport(
        options={"engine": "kafka", "guarantee": "at_least_once", "workers": 2, "shoppers": 20_000, "coupons": 200},
        machine=Machine(cores=2, processor="A processor", system="Linux", python="3.11", version="1", load_before=0.0),
        throughput=Throughput(
            events=90_000, seconds=40.0, events_per_s=2250.0, worker_cpu_us_per_event=123.4, cores_used=0.9,
            broker_cpu_us_per_event=80.0, batches_per_s=20.0, events_per_batch=112.5, peak_rss_bytes=2**29,
            triggers=15_000, pending=0, missing=0,
        ),
        memory=Memory(shoppers=5000, growth_bytes=2**24, bytes_per_shopper=3355.4),
        rates=list(rates), missing=0, interrupted=interrupted, notes=[],
    )  # fmt: skip


def test_the_tables_of_four_rates_fit_into_a_hundred_columns(run: Run) -> None:
    result = run(measure=lambda *_: report(*map(live_rate, (100.0, 300.0, 1000.0, 3000.0))))
    assert result.exit_code == 0
    tables = [line for line in result.stdout.splitlines() if line and line[0] in "┏┃┡│├└"]
    assert max(map(len, tables)) <= 100
    assert not any("…" in line for line in tables)
    assert re.search(r"│ +1,000 │ +3,512 │ +1\.35 │ +123 │ +0\.8 │ +3,457 │", result.stdout)
    assert re.search(r"│ coupon-proposals, coupon-reservations │ +1,234/2,346 │", result.stdout)
    assert re.search(r"│ +backlog │ +123 │ +0\.90 │ +20 │ +112\.5 │", result.stdout)
    assert "backlog: 90,000 events in 40.0 s after the warm-up, 2,250 events/s" in result.stdout


def test_a_saturated_rate_is_named_and_has_no_latency(run: Run) -> None:
    result = run(measure=lambda *_: report(live_rate(300.0), live_rate(3000.0, is_saturated=True)))
    [row] = [line for line in result.stdout.splitlines() if line.startswith("│") and "3,000 │" in line]
    assert "saturated" in row
    assert "saturated: at 3,000 events/s lag grew from 30 to 45,000 records in 27 s" in result.stdout
    assert "40,000 of them in browse-events" in result.stdout
    assert "3,000/s" not in result.stdout  # nor has it parts of a latency


@pytest.mark.parametrize("rates", [(), (100.0,)])
def test_an_interruption_reports_what_there_is(run: Run, tmp_path: Path, rates: tuple[float, ...]) -> None:
    file = tmp_path / "load.json"
    found = report(*map(live_rate, rates), interrupted=True)
    result = run("--json", file, measure=lambda *_: found)
    assert result.exit_code == 130
    assert "interrupted: only what is reported was measured to its end" in result.stderr
    assert "2,250 events/s" in result.stdout
    written = json.loads(file.read_bytes())
    assert written["interrupted"] is True
    assert [each["rate"] for each in written["rates"]] == list(rates)
