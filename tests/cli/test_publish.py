"""Publishing: what is bad is refused with its line and reason, what is good arrives."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

import msgspec
import pytest

from loopback_kafka import open_broker
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.settings import KafkaSettings

from .conftest import DEADLINE_S, Run, browse, envelope, records, write_lines

BROWSE = topics.BROWSE.name
EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples"
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def mixed(tmp_path: Path, unique: str) -> Path:
    """Good lines 1, 3 and 8; five bad ones."""
    return write_lines(
        tmp_path / "events.jsonl",
        envelope(browse(unique, 1)),
        envelope({"event_id": "e", "user_id": unique}),
        envelope(browse(unique, 3)),
        b"nonsense",
        envelope(browse(unique), "coupon-issues"),
        {"tick": 5},
        envelope({**browse(unique), "context": {"x": "y" * 1_100_000}}),
        envelope({"event_id": "c", "user_id": unique, "occurred_at": 1, "item": {"item_id": "i"}}, "cart-events"),
        envelope({**browse(unique), "schema_version": 2}),
    )


REASONS = {"invalid": 1, "not_an_input": 2, "not_json": 1, "too_large": 1, "unknown_version": 1}


@pytest.mark.kafka
def test_bad_lines_are_refused_and_good_ones_sent(run: Run, bootstrap: str, unique: str, mixed: Path) -> None:
    refused = mixed.with_name("refused.jsonl")
    result = run("publish", mixed, "-b", bootstrap, "--json", "--refused", refused)
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report == {
        "lines": 9,
        "sent": {"browse-events": 2, "cart-events": 1},
        "appended": 3,
        "refused": REASONS,
        "interrupted": False,
    }
    assert "line 2: invalid  browse-events: Object missing required field `occurred_at`" in result.stderr
    assert "refused: invalid 1, not_an_input 2, not_json 1, too_large 1, unknown_version 1" in result.stderr
    written = [json.loads(line) for line in refused.read_bytes().splitlines()]
    assert [line["line"] for line in written] == [2, 4, 5, 6, 7, 9]
    assert written[1]["text"] == "nonsense"
    found = records(bootstrap, BROWSE, unique)
    assert [msgspec.json.decode(r.value) for r in found] == [browse(unique, 1), browse(unique, 3)]
    assert {(r.key, r.partition) for r in found} == {(unique.encode(), topics.partition_for(unique.encode(), 4))}


def test_a_dry_run_checks_all_and_needs_no_broker(run: Run, mixed: Path) -> None:
    result = run("publish", mixed, "-b", NOWHERE, "--dry-run", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["lines"], report["sent"], report["appended"], report["refused"]) == (9, {}, 0, REASONS)
    assert "line 2: invalid" in result.stderr
    assert "nothing was sent: --dry-run" in result.stderr


def test_a_dry_run_of_a_good_file(run: Run, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "e.jsonl", *(envelope(browse("u", i)) for i in range(20)))
    result = run("publish", path, "-b", NOWHERE, "--dry-run")
    assert result.exit_code == 0
    assert "20 lines, 20 good, 0 refused" in result.stdout


def test_a_dry_run_warns_of_events_too_old_to_lead_to_a_coupon(run: Run, tmp_path: Path) -> None:
    now = time.time()
    ages = [now - 60, now - 2 * 3600, now - 3 * 3600, 0, now / 1000]
    path = write_lines(
        tmp_path / "e.jsonl", *(envelope({**browse("u", i), "occurred_at": at}) for i, at in enumerate(ages))
    )
    result = run("publish", path, "-b", NOWHERE, "--dry-run", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["warnings"] == [
        "line 2: browse-events: occurred_at is more than policy.trigger_timeout_s (3600 s) ago: the event counts in "
        "the profile and leads to no coupon (2 times)",
        "line 4: browse-events: occurred_at is before the year 2000, expected UTC epoch seconds (2 times)",
    ]


def test_what_workers_refuse_as_from_the_future_is_refused(run: Run, tmp_path: Path) -> None:
    day_s = 86400.0
    at = [time.time() + ahead_s for ahead_s in (0.9 * day_s, 1.1 * day_s)]
    path = write_lines(tmp_path / "e.jsonl", *(envelope(browse("u", at=each)) for each in at))
    result = run("publish", path, "--dry-run", "--json")
    assert json.loads(result.stdout)["refused"] == {"from_the_future": 1}
    assert "line 2: from_the_future  occurred_at" in result.stderr
    config = tmp_path / "settings.toml"
    config.write_text("[profile]\nmax_ahead_s = 172800.0\n")
    assert run("publish", path, "--dry-run", "--config", config).exit_code == 0


def test_fields_that_workers_would_ignore_are_warned_of(run: Run, tmp_path: Path) -> None:
    good = browse("u", at=time.time())
    misspelt = {**good, "itme": {}, "item": {"item_id": "i", "categroy": "tea"}, "context": {"any": 1}}
    path = write_lines(tmp_path / "e.jsonl", envelope(good), envelope(misspelt), envelope(misspelt))
    result = run("publish", path, "--dry-run", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["warnings"] == [
        "line 2: browse-events: itme: no such field, expected item? (2 times)",
        "line 2: browse-events: item.categroy: no such field, expected category? (2 times)",
    ]
    assert "warning: line 2: browse-events: itme: no such field, expected item?" in result.stderr


@pytest.mark.kafka
def test_a_json_array_is_published_element_by_element(run: Run, bootstrap: str, unique: str, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_text(json.dumps([browse(unique, 1), {"user_id": unique}, browse(unique, 3)], indent=2))
    result = run("publish", path, "-t", BROWSE, "-b", bootstrap)
    assert result.exit_code == 1
    assert "element 2: invalid" in result.stderr
    found = records(bootstrap, BROWSE, unique)
    assert [msgspec.json.decode(r.value) for r in found] == [browse(unique, 1), browse(unique, 3)]


def test_every_example_of_the_inputs_is_good_as_it_lies_there(run: Run) -> None:
    for topic in topics.INPUTS:
        result = run("publish", EXAMPLES / f"{topic.name}.v1.json", "-t", topic.name, "--dry-run")
        *warnings, last = result.stderr.splitlines()
        assert (result.exit_code, last) == (0, "nothing was sent: --dry-run")
        assert all("trigger_timeout_s" in warning for warning in warnings)  # they happened in the past


def test_messages_without_an_envelope_are_told_of_the_option(run: Run) -> None:
    result = run("publish", EXAMPLES / "browse-events.v1.json", "--dry-run")
    assert result.exit_code == 1
    assert "element 1: not_an_envelope" in result.stderr
    assert "or --topic for messages of one topic" in result.stderr


@pytest.mark.parametrize("data", [b"[{]", b'[{"event_id": "a"}\n, ', b"[] x"])
def test_what_begins_as_an_array_and_is_none_is_an_error(run: Run, data: bytes) -> None:
    result = run("publish", "-", "-t", BROWSE, "--dry-run", stdin=data)
    assert result.exit_code == 2
    assert "is no JSON array" in result.stderr


@pytest.mark.kafka
def test_bare_messages_go_to_the_topic_given(run: Run, bootstrap: str, unique: str) -> None:
    order = {"event_id": f"{unique}-o", "user_id": unique, "occurred_at": 1, "order_id": "o"}
    result = run("publish", "-", "-t", "order-events", "-b", bootstrap, stdin=json.dumps(order).encode())
    assert result.exit_code == 0
    assert len(records(bootstrap, "order-events", unique)) == 1


@pytest.mark.kafka
def test_nothing_sent_is_nothing_wrong(run: Run, bootstrap: str) -> None:
    assert run("publish", "-", "-b", bootstrap, stdin=b"\n").exit_code == 0


@pytest.mark.parametrize("topic", ["coupon-catalog", "ticks", "nonsense"])
def test_only_topics_of_upstream_services_are_written(run: Run, topic: str) -> None:
    result = run("publish", "-", "--topic", topic, stdin=b"")
    assert result.exit_code == 2
    assert f"--topic '{topic}'" in result.stderr


def test_the_file_is_not_overwritten_by_its_refusals(run: Run, mixed: Path) -> None:
    before = mixed.read_bytes()
    assert run("publish", mixed, "--refused", mixed).exit_code == 2
    assert mixed.read_bytes() == before


@pytest.mark.kafka
def test_an_interruption_says_what_was_appended(bootstrap: str, unique: str) -> None:
    command = [sys.executable, "-m", "stream_coupons", "publish", "-", "-b", bootstrap, "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(5):
            process.stdin.write(json.dumps(envelope(browse(unique, number))).encode() + b"\n")
        process.stdin.flush()
        deadline = time.monotonic() + DEADLINE_S
        # The pipe stays open: the command waits for more when it is interrupted.
        while len(records(bootstrap, BROWSE, unique)) < 5:
            assert time.monotonic() < deadline, "the events did not arrive"
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        report = json.loads(process.stdout.read())
        assert process.wait(DEADLINE_S) == 130
    assert (report["appended"], report["interrupted"]) == (5, True)


@pytest.mark.process
def test_a_broker_that_is_gone_is_waited_for_aloud(tmp_path: Path) -> None:
    with open_broker("embedded", tmp_path / "broker") as broker:
        with admin.admin_client(Connection(broker.bootstrap)) as client:
            admin.apply(client, KafkaSettings())
        command = [sys.executable, "-m", "stream_coupons", "publish", "-", "-b", broker.bootstrap]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            timer = Timer(DEADLINE_S, process.kill)
            timer.start()
            assert process.stdin is not None
            assert process.stderr is not None
            process.stdin.write(json.dumps(envelope(browse("u", 1))) + "\n")
            process.stdin.flush()
            while not records(broker.bootstrap, BROWSE, "u"):
                assert process.poll() is None
            broker.kill()
            process.stdin.write(json.dumps(envelope(browse("u", 2))) + "\n")
            process.stdin.flush()
            lines = iter(process.stderr.readline, "")
            said = f"waiting for the broker at {broker.bootstrap}; events not appended yet: 1"
            assert any(said in line for line in lines)
            broker.start()
            process.stdin.close()
            assert process.wait(DEADLINE_S) == 0
            timer.cancel()
        assert len(records(broker.bootstrap, BROWSE, "u")) == 2
