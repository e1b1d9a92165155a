"""Off-policy evaluation of the engine's own decisions, from the command line."""

import json
from pathlib import Path

import pytest

from lab.own_logs import Shop, recording
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.settings import KafkaSettings

from .conftest import Run, RunBroker


@pytest.fixture(scope="module")
def shop() -> Shop:
    shop = Shop(seed=1, stock=100)
    shop.see(500, holdout_ratio=0.2)
    return shop


@pytest.fixture(scope="module")
def log(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "own.jsonl"
    path.write_bytes(recording(shop))
    return path


def test_policies_are_valued_on_a_recording_of_the_topics(run: Run, log: Path) -> None:
    result = run("ope", log, "--policy", "greedy", "--policy", "always:b", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert [each["policy"] for each in found["valued"]] == ["greedy", "always:b"]
    assert (found["domain"], found["coupons"], found["window_s"]) == ("ecommerce", 3, 2 * 86400.0)
    assert 300 < found["decisions"] < 500  # without the holdout
    assert found["sold_out"] > 0.1
    for each in found["valued"]:
        for interval in each["valuation"]["values"].values():
            assert interval["low"] < interval["value"] < interval["high"]


def test_the_tables_say_the_same(run: Run, log: Path) -> None:
    shown, found = run("ope", log), json.loads(run("ope", log, "--json").stdout)
    assert shown.exit_code == 0
    assert "margin within 2 days of" in shown.stdout
    assert [each["policy"] for each in found["valued"]] == [
        "logged",
        "greedy",
        "epsilon",
        "average",
        "random",
        "always:none",
    ]
    for each in found["valued"]:
        assert f"{each['valuation']['values']['dr']['value']:.3g}" in shown.stdout
    assert shown.stdout.rstrip().endswith(found["conclusion"])
    assert "margin in minor units for each decision" in shown.stdout
    assert "always:none: " in shown.stderr


def test_money_is_in_the_currency_of_the_domain_in_all_tables_and_charts(run: Run, log: Path, tmp_path: Path) -> None:
    settings, page = tmp_path / "settings.toml", tmp_path / "page.html"
    settings.write_text("[shop.currencies]\necommerce = 'EUR'\n")
    shown = run("ope", log, "--config", settings, "--report", page).stdout
    found = json.loads(run("ope", log, "--config", settings, "--json").stdout)
    assert found["currency"] == "EUR"
    text = page.read_text(encoding="utf-8")
    assert "minor" not in shown
    for each in found["valued"]:
        value = f"{each['valuation']['values']['dr']['value'] / 100:.3g}"
        assert value in shown
        assert value in text
    for title in ("margin in EUR for each decision", "additional margin in EUR for each decision"):
        assert title in text


def test_its_page_shows_the_values(run: Run, log: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = run("ope", log, "--report", page, "--json")
    assert result.exit_code == 0
    text = page.read_text(encoding="utf-8")
    for title in ("By doubly robust", "Above the logging policy", "How far to believe it"):
        assert title in text


def test_a_replay_is_read_as_it_is_written_and_lines_that_are_no_records_are_counted(
    run: Run, shop: Shop, tmp_path: Path
) -> None:
    lines = [json.dumps({"topic": name, "key": "k", "value": json.loads(value)}) for name, value in shop.records]
    path = tmp_path / "replay.jsonl"
    path.write_text("\n".join([*lines, '{"tick": 5}', "no JSON", '{"topic": "order-events", "value": {}}', ""]))
    result = run("ope", path, "--policy", "random")
    assert result.exit_code == 1
    assert "left out 1 line: not a record of a topic" in result.stderr
    assert "left out 1 record: not a valid message" in result.stdout


def test_options_for_other_logs_are_refused(run: Run, log: Path, tmp_path: Path) -> None:
    result = run("ope", log, "--skip", "0.5", "--mapping", "m.toml")
    assert result.exit_code == 2
    assert "--mapping, --skip" in result.stderr
    foreign = tmp_path / "log.jsonl"
    foreign.write_text('{"type": "issue", "issue_id": "i"}\n')
    assert "--domain" in run("ope", foreign, "--domain", "x").stderr


def test_a_recording_without_decisions_says_how_to_write_them(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_text('{"topic": "order-events", "message": {"event_id": "e"}}\n')
    result = run("ope", path)
    assert result.exit_code == 2
    assert "no record of the topic decisions" in result.stderr


@pytest.mark.kafka
def test_policies_are_valued_on_the_topics_of_a_broker(run: Run, shop: Shop, run_broker: RunBroker) -> None:
    """On a broker of its own, for `ope` reads topics whole: other tests' records would count as this shop's."""
    with run_broker() as broker:
        connection = Connection(broker.bootstrap)
        with admin.admin_client(connection) as client:
            admin.apply(client, KafkaSettings())
        with Publisher(connection, 4) as publisher:
            for name, value in shop.records:
                key = json.loads(value)["coupon_id" if name == topics.CATALOG.name else "user_id"]
                publisher.send_bytes(topics.BY_NAME[name], key.encode(), value)
        result = run("ope", "-b", broker.bootstrap, "--policy", "greedy", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert 300 < found["decisions"] < 500  # without the holdout
    assert found["valued"][0]["valuation"]["diagnostics"]["effective"] > 100
