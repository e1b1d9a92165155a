"""Replay: twice the same bytes; bad lines are refused, bad messages become dead letters."""

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream_coupons import secret
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.records import Output
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline
from stream_coupons_lab.offline.replay import EventClock
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

from .conftest import Run, browse, envelope, write_lines


def record(hours: int, shoppers: int) -> tuple[list[dict[str, Any]], list[Any]]:
    """What a simulated world sends in a closed loop with the engine: lines, and its coupons."""
    world = World(WorldSettings(seed=5, shoppers=shoppers, days=7, coupons=12))
    decode, issues, recorded = Decoder(topics.ISSUES), list[CouponIssue](), list[dict[str, Any]]()

    def take(output: Output) -> None:
        if output.topic == topics.ISSUES.name:
            issues.append(decode(output.value))

    pipeline = LocalPipeline(Settings(), world.catalogue(), on_output=take)
    for _ in range(hours):
        for topic, message in world.advance(world.now + 3600.0):
            recorded.append(envelope(message, topic))
            pipeline.publish(message)
        recorded.append({"tick": world.now})
        pipeline.tick(world.now)
        for issue in issues:
            world.receive(issue)
        issues.clear()
    return recorded, world.catalogue()


HOURS = 80
"""So that windows of two days and their grace close."""
RECORDED, COUPONS = record(HOURS, shoppers=25)
EVENTS = [line for line in RECORDED if "tick" not in line]


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "catalog.jsonl", *COUPONS)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "log.jsonl", *RECORDED)


def replay(run: Run, log: Path, catalog: Path, *options: object, exit_code: int = 0) -> dict[str, Any]:
    result = run("replay", log, "--catalog", catalog, "--json", *options)
    assert result.exit_code == exit_code, result.stderr
    summary: dict[str, Any] = json.loads(result.stdout)
    return summary


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("--all",)], ids=["issues", "all"])
def test_twice_is_byte_identical(run: Run, log: Path, catalog: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    outs = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    first, second = (replay(run, log, catalog, "--out", out, *options) for out in outs)
    assert first == second
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert first["decisions_sha256"] == hashlib.sha256(outs[0].read_bytes()).hexdigest()
    assert first["issues"] > 0
    assert list(first["state_blake2b"]) == ["users", "budgets", "neighbours"]


def test_the_summary_adds_up(run: Run, log: Path, catalog: Path, tmp_path: Path) -> None:
    out = tmp_path / "issues.jsonl"
    summary = replay(run, log, catalog, "--out", out)
    issues = [msgspec.json.decode(line, type=CouponIssue) for line in out.read_bytes().splitlines()]
    assert summary["issues"] == len(issues)
    assert summary["lines"] == len(RECORDED)
    assert (summary["events"], summary["ticks"]) == (len(EVENTS), HOURS)
    assert summary["events"] == summary["applied"] + summary["duplicates"] + sum(summary["dead_letters"].values())
    triggers = sum(line["topic"] in ("browse-events", "cart-events") for line in EVENTS)
    assert sum(summary["decisions"].values()) >= triggers
    assert summary["decisions"]["given"] == summary["issues"]
    assert summary["feedback"]["impression"] > 0
    assert summary["examples"] > 0
    assert summary["refused"] == {}


def test_coupons_of_a_campaign_are_given_where_it_is_known(run: Run, log: Path, tmp_path: Path) -> None:
    shared = [msgspec.structs.replace(one, campaign_id="spring") for one in COUPONS]
    catalog = write_lines(tmp_path / "shared.jsonl", *shared)
    spring = {"campaign_id": "spring", "budget_minor": 100_000}
    out = tmp_path / "out.jsonl"
    assert replay(run, log, catalog)["issues"] == 0
    for number, lines in enumerate([[spring], [[spring]]]):
        campaigns = write_lines(tmp_path / f"campaigns{number}.json", *lines)
        assert replay(run, log, catalog, "--campaigns", campaigns, "--out", out)["issues"] > 0
        issues = [msgspec.json.decode(line, type=CouponIssue) for line in out.read_bytes().splitlines()]
        assert {issue.campaign_id for issue in issues} == {"spring"}
    bad = write_lines(tmp_path / "bad.jsonl", spring, {"budget_minor": 1})
    result = run("replay", log, "--catalog", catalog, "--campaigns", bad)
    assert result.exit_code == 2
    assert "1 entries are refused" in result.stderr


def test_without_a_file_the_digest_is_the_same(run: Run, log: Path, catalog: Path, tmp_path: Path) -> None:
    assert replay(run, log, catalog) == replay(run, log, catalog, "--out", tmp_path / "out.jsonl")


@pytest.mark.long
def test_all_outputs_have_topic_key_and_value(run: Run, log: Path, catalog: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.jsonl"
    replay(run, log, catalog, "--all", "--out", out)
    outputs = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert {"coupon-issues", "lease-reports", "user-vectors", "training-examples"} <= {o["topic"] for o in outputs}
    assert not {o["topic"] for o in outputs} & {"browse-events", "ticks"}
    assert all(o["key"] == o["value"]["user_id"] for o in outputs if o["topic"] == "coupon-issues")


def test_duplicates_and_bad_messages_are_counted(run: Run, catalog: Path, tmp_path: Path) -> None:
    log = write_lines(
        tmp_path / "log.jsonl",
        envelope(browse("u", 1)),
        envelope(browse("u", 1)),
        envelope({"event_id": "e"}),
        envelope({"event_id": "e", "user_id": 7, "occurred_at": 1}),
        envelope("text"),
        envelope({**browse("u"), "schema_version": 9}),
    )
    out = tmp_path / "all.jsonl"
    summary = replay(run, log, catalog, "--all", "--out", out)
    assert (summary["events"], summary["applied"], summary["duplicates"]) == (6, 1, 1)
    assert summary["dead_letters"] == {"invalid": 3, "unknown_version": 1}
    letters = [o for o in map(json.loads, out.read_bytes().splitlines()) if o["topic"] == "dead-letters"]
    assert [o["value"] for o in letters][:1] == [{"event_id": "e"}]
    assert letters[0]["headers"]["reason"] == "invalid"


def test_lines_that_are_no_envelope_are_refused_with_their_number(
    run: Run, log: Path, catalog: Path, tmp_path: Path
) -> None:
    clean = replay(run, log, catalog)
    spoilt = write_lines(tmp_path / "spoilt.jsonl", b"nonsense", b"", *RECORDED, envelope({}, "coupon-issues"))
    result = run("replay", spoilt, "--catalog", catalog, "--json")
    assert result.exit_code == 1
    assert "line 1: not_json" in result.stderr
    assert f"line {len(RECORDED) + 3}: not_an_input" in result.stderr
    summary = json.loads(result.stdout)
    assert summary["refused"] == {"not_an_input": 1, "not_json": 1}
    assert summary["state_blake2b"] == clean["state_blake2b"]


@pytest.mark.parametrize(
    "lines",
    [[], [{"tick": 1_767_348_000}], [envelope({"event_id": "e"})]],
    ids=["empty", "only ticks", "only dead letters"],
)
def test_a_replay_that_applies_nothing_says_so(run: Run, catalog: Path, tmp_path: Path, lines: list[object]) -> None:
    log = write_lines(tmp_path / "log.jsonl", *lines)
    result = run("replay", log, "--catalog", catalog, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["applied"] == 0
    assert "nothing was applied" in result.stderr


@pytest.mark.long
def test_ticks_come_from_event_time_if_there_are_none(run: Run, catalog: Path, tmp_path: Path) -> None:
    log = write_lines(tmp_path / "log.jsonl", *EVENTS)
    hourly, daily = replay(run, log, catalog), replay(run, log, catalog, "--tick-every", 86400)
    assert HOURS / 2 < hourly["ticks"] <= HOURS
    assert daily["ticks"] == 4
    assert replay(run, log, catalog) == hourly


@pytest.mark.long
def test_another_secret_decides_otherwise_and_the_summary_names_the_key(
    run: Run, log: Path, catalog: Path, tmp_path: Path
) -> None:
    config, key = tmp_path / "settings.toml", secret.make(tmp_path / "secret.key")
    config.write_text(f'secret_file = "{tmp_path / "secret.key"}"\n')
    public, own = replay(run, log, catalog), replay(run, log, catalog, "--config", config)
    assert public["decisions_sha256"] != own["decisions_sha256"]
    assert own == replay(run, log, catalog, "--config", config)
    assert (public["key"], own["key"]) == (PUBLIC_KEY.fingerprint, key.fingerprint)
    assert f"{PUBLIC_KEY.fingerprint} (public)" in run("replay", log, "--catalog", catalog).stdout


def test_the_summary_is_printed_for_people(run: Run, log: Path, catalog: Path) -> None:
    result = run("replay", log, "--catalog", catalog)
    assert result.exit_code == 0
    assert "state blake2b" in result.stdout


def test_a_bad_catalogue_is_an_error(run: Run, log: Path, tmp_path: Path) -> None:
    catalog = write_lines(tmp_path / "c.jsonl", {"coupon_id": "a"})
    result = run("replay", log, "--catalog", catalog)
    assert result.exit_code == 2
    assert "line 1: coupon 'a': max_discount_minor: is missing" in result.stderr


def test_inputs_are_not_overwritten(run: Run, log: Path, catalog: Path) -> None:
    before = log.read_bytes(), catalog.read_bytes()
    assert run("replay", log, "--catalog", catalog, "--out", log).exit_code == 2
    assert run("replay", log, "--catalog", catalog, "--out", catalog).exit_code == 2
    assert (log.read_bytes(), catalog.read_bytes()) == before


def test_a_log_that_is_missing_is_an_error(run: Run, catalog: Path, tmp_path: Path) -> None:
    assert run("replay", tmp_path / "none.jsonl", "--catalog", catalog).exit_code == 2


def test_one_event_from_the_future_does_not_move_the_clock() -> None:
    clock = EventClock(10.0)
    times = [1.0, 2.0, 11.0, 4e9, 12.0, 5.0, 35.0, 36.0, 35.5]
    assert [clock.advance(at) for at in times] == [None, 0.0, None, 10.0, None, None, 30.0, None, None]
