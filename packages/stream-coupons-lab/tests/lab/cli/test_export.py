"""Decisions on record as a table, from the command line."""

import json
from pathlib import Path

import pandas as pd
import pytest

from lab.own_logs import AT, Shop, recording
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.settings import KafkaSettings
from tests.docs.pages import block

from .conftest import Run, RunBroker


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(seed=1).see(120, holdout_ratio=0.2)


@pytest.fixture(scope="module")
def log(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "own.jsonl"
    path.write_bytes(recording(shop))
    return path


def test_a_recording_becomes_a_table(run: Run, log: Path, tmp_path: Path) -> None:
    for name in ("all.parquet", "all.csv", "all.jsonl"):
        result = run("export", tmp_path / name, log)
        assert (result.exit_code, result.stdout) == (0, "120 decisions, 480 rows\n")
    table = pd.read_parquet(tmp_path / "all.parquet")
    assert len(table) == 480
    assert table["is_given"].sum() == 120
    assert table["redeemed"].sum() > 5
    assert pd.read_csv(tmp_path / "all.csv")["margin_minor"].sum() == table["margin_minor"].sum()
    lines = pd.read_json(tmp_path / "all.jsonl", lines=True)
    assert lines["propensity"].tolist() == pytest.approx(table["propensity"].tolist(), nan_ok=True)


def test_the_example_in_python_values_the_policy_as_ope_does(
    run: Run, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("settings.toml").write_text("[policy]\ncost_minor = 0.0\nmin_value_minor = 0.0\n")
    assert run("export", "decisions.parquet", log).exit_code == 0
    exec(block("decisions"), {})  # as it is on the page
    best, as_it_was = map(float, capsys.readouterr().out.split())
    found = json.loads(
        run("ope", log, "--policy", "greedy", "--policy", "logged", "--json", "-c", "settings.toml").stdout
    )
    greedy, logged = (each["valuation"]["values"] for each in found["valued"])
    assert best == pytest.approx(greedy["snips"]["value"])
    assert as_it_was == pytest.approx(logged["ips"]["value"])
    assert best != pytest.approx(as_it_was, rel=0.01)


def test_since_leaves_out_earlier_decisions(run: Run, log: Path, tmp_path: Path) -> None:
    path = tmp_path / "late.parquet"
    assert run("export", path, log, "--since", AT + 60 * 100, "--window", "1h").exit_code == 0
    table = pd.read_parquet(path)
    assert table["user_id"].nunique() == 20
    assert set((table["window_ends_at"] - table["decided_at"]).dropna()) == {pd.Timedelta(hours=1)}


def test_records_that_cannot_be_read_are_counted(run: Run, log: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(log.read_bytes() + b'{"topic": "decisions", "message": {"decision_id": 3}}\nno line\n')
    result = run("export", tmp_path / "all.jsonl", bad, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"decisions": 120, "rows": 480, "unusable": 2}
    assert "2 records cannot be read" in result.stderr
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == 480


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ("rows.xlsx", [], "expected a name that ends in .parquet, .csv or .jsonl"),
        ("rows.csv", ["/dev/stdin"], "is no file"),
        ("rows.csv", ["orders.jsonl"], "the log has no coupons"),
        ("rows.csv", ["orders.jsonl", "--since", "7 days"], "use 2026-01-02T18:00"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_leaves_no_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("orders.jsonl").write_text(json.dumps({"topic": "order-events", "message": {"event_id": "e"}}) + "\n")
    result = run("export", file, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["orders.jsonl"]


@pytest.mark.kafka
def test_the_topics_of_a_broker_become_a_table(run: Run, shop: Shop, tmp_path: Path, run_broker: RunBroker) -> None:
    """On a broker of its own, for `export` reads topics whole: other tests' records would count as this shop's."""
    path = tmp_path / "all.parquet"
    with run_broker() as broker:
        connection = Connection(broker.bootstrap)
        with admin.admin_client(connection) as client:
            admin.apply(client, KafkaSettings())
        with Publisher(connection, 4) as publisher:
            for name, value in shop.records:
                key = json.loads(value)["coupon_id" if name == topics.CATALOG.name else "user_id"]
                publisher.send_bytes(topics.BY_NAME[name], key.encode(), value)
        found = {}
        for since in ("2026-01-01", str(AT + 60 * 100), "2090-01-01"):
            result = run("export", path, "-b", broker.bootstrap, "--since", since)
            assert result.exit_code == 0, result.stderr
            found[since] = pd.read_parquet(path)
    whole, late, none = found.values()
    assert (len(whole), len(late), len(none)) == (480, 80, 0)
    assert whole["redeemed"].sum() > 5
    assert sorted(late["decision_id"].unique()) == sorted(f"i-u{n}" for n in range(100, 120))
