"""Lift from the command line: on a recording, and on the topics of a broker."""

import csv
import json
from pathlib import Path

import pytest

from lab.own_logs import AT, Shop, recording
from stream_coupons.core.times import utc
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.settings import KafkaSettings

from .conftest import Run, RunBroker

SHOPPERS, HOLDOUT = 500, 0.2


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(seed=1).see(SHOPPERS, holdout_ratio=HOLDOUT)


@pytest.fixture(scope="module")
def log(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lift") / "own.jsonl"
    path.write_bytes(recording(shop))
    return path


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lift") / "settings.toml"
    path.write_text(f"[policy]\nholdout_ratio = {HOLDOUT}\n")
    return path


def test_lift_is_measured_on_a_recording_of_the_topics(run: Run, log: Path, settings: Path) -> None:
    result = run("lift", log, "--config", settings, "--json")
    assert result.exit_code == 0, result.stderr
    (row,) = json.loads(result.stdout)["rows"]
    assert (row["domain"], row["campaign"], row["treated"] + row["holdout"]) == ("ecommerce", "", SHOPPERS)
    assert list(row["effects"]) == ["margin", "orders", "money"]
    for effect in row["effects"].values():
        for name in ("lift", "unadjusted", "total"):
            assert effect[name]["low"] < effect[name]["value"] < effect[name]["high"]
    assert not row["sample_ratio"]["is_mismatch"]


def test_the_tables_say_the_same(run: Run, log: Path, settings: Path) -> None:
    shown = run("lift", log, "--config", settings)
    (row,) = json.loads(run("lift", log, "--config", settings, "--json").stdout)["rows"]
    assert shown.exit_code == 0
    assert "no sign of a mismatch" in shown.stdout.splitlines()[0]
    assert f"{row['effects']['margin']['lift']['value']:+,.1f}" in shown.stdout
    assert f"{row['predicted_minor']:+,.0f}" in shown.stdout


def test_a_sample_ratio_mismatch_comes_first_and_is_the_exit_code(run: Run, log: Path) -> None:
    result = run("lift", log)
    assert result.exit_code == 1
    assert "sample ratio mismatch in ecommerce" in result.stderr
    assert "MISMATCH" in result.stdout.splitlines()[0]


def test_each_day_of_the_shop_has_the_lift_so_far(run: Run, log: Path, settings: Path) -> None:
    arguments = ("lift", log, "--config", settings)
    days = json.loads(run(*arguments, "--by-day", "--json").stdout)
    (row,) = json.loads(run(*arguments, "--json").stdout)["rows"]
    assert [day["day"] for day in days] == [f"2026-01-0{n}" for n in range(2, 7)]
    lift = row["effects"]["margin"]["lift"]
    assert [days[-1][f"{name}_minor"] for name in ("lift", "low", "high")] == [lift["value"], lift["low"], lift["high"]]
    table = run(*arguments, "--by-day", "--csv").stdout
    assert [*csv.DictReader(table.splitlines())] == [
        {name: "" if value is None else str(value) for name, value in day.items()} for day in days
    ]
    shown = run(*arguments, "--by-day")
    assert "no sign of a mismatch" in shown.stdout.splitlines()[0]
    assert f"{lift['value']:+,.1f} ({lift['low']:+,.1f} to {lift['high']:+,.1f})" in shown.stdout


def test_days_of_wrong_arms_begin_with_the_warning(run: Run, log: Path) -> None:
    for form in ((), ("--json",), ("--csv",)):
        result = run("lift", log, "--by-day", *form)
        assert result.exit_code == 1
        assert result.stderr.startswith("warning: sample ratio mismatch in ecommerce")
    assert "MISMATCH" in run("lift", log, "--by-day").stdout.splitlines()[0]


@pytest.mark.parametrize("options", [("--csv",), ("--by-day", "--csv", "--json"), ("--campaign", "c", "--by-day")])
def test_options_that_exclude_each_other_are_refused(run: Run, options: tuple[str, ...]) -> None:
    result = run("lift", *options)
    assert result.exit_code == 2
    assert "expected" in result.stderr


def test_too_few_shoppers_have_no_interval(run: Run, tmp_path: Path, settings: Path) -> None:
    path = tmp_path / "few.jsonl"
    path.write_bytes(recording(Shop(seed=1).see(50, holdout_ratio=HOLDOUT)))
    result = run("lift", path, "--config", settings)
    assert result.exit_code == 0
    assert "too early" in result.stdout
    assert "no interval yet" in result.stdout


def test_since_counts_later_orders_only(run: Run, log: Path, settings: Path) -> None:
    at = AT + 4 * 3600
    arguments = ("lift", log, "--config", settings, "--json", "--since", utc(at))
    since, whole = (json.loads(run(*each).stdout)["rows"][0] for each in (arguments, arguments[:-2]))
    assert since["since"] == at
    assert 0 < since["orders"] < whole["orders"]
    assert run("lift", log, "--since", "yesterday").exit_code == 2


def test_lines_that_are_no_records_are_counted(run: Run, log: Path, settings: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_bytes(log.read_bytes() + b"no JSON\n")
    result = run("lift", path, "--config", settings)
    assert result.exit_code == 1
    assert "left out 1 line: not a record of a topic" in result.stderr


def test_a_recording_without_decisions_says_how_to_write_them(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_text('{"topic": "order-events", "message": {"event_id": "e"}}\n')
    result = run("lift", path)
    assert result.exit_code == 2
    assert "no record of the topic decisions" in result.stderr


@pytest.mark.kafka
def test_lift_is_measured_on_the_topics_of_a_broker(
    run: Run, shop: Shop, log: Path, settings: Path, run_broker: RunBroker
) -> None:
    """On a broker of its own, for `lift` reads topics whole: other tests' records would count as this shop's."""
    with run_broker() as broker:
        connection = Connection(broker.bootstrap)
        with admin.admin_client(connection) as client:
            admin.apply(client, KafkaSettings())
        with Publisher(connection, 4) as publisher:
            for name, value in shop.records:
                key = json.loads(value)["coupon_id" if name == topics.CATALOG.name else "user_id"]
                publisher.send_bytes(topics.BY_NAME[name], key.encode(), value)
        result = run("lift", "-b", broker.bootstrap, "--config", settings, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == json.loads(run("lift", log, "--config", settings, "--json").stdout)
