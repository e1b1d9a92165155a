"""`settings show`: what is in effect, and where it was set."""

import json
import tomllib
from pathlib import Path

import msgspec
import pytest

from stream_coupons.settings import Settings, load

from .conftest import Run

SET = """
secret_file = 'a "quoted" \\ name'
[kafka]
bootstrap = "kafka-1:9092"
[kafka.formats]
browse-events = "debezium"
[policy]
triggers = ["cart", "order"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "settings.toml").write_text(SET, encoding="utf-8")
    return tmp_path / "settings.toml"


def test_what_is_shown_is_a_file_that_gives_the_same_settings(run: Run, config: Path, tmp_path: Path) -> None:
    shown = tmp_path / "shown.toml"
    shown.write_text(run("settings", "show", "--config", config).stdout, encoding="utf-8")
    assert load(shown, {}) == load(config, {}) != Settings()


def test_every_value_names_its_source(run: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_COUPONS_KAFKA__PARTITIONS", "8")
    monkeypatch.setenv("STREAM_COUPONS_SECRET_FILE", "other.key")
    lines = run("settings", "show", "--config", config, "--bootstrap", "kafka-2:9092").stdout.splitlines()
    assert 'secret_file = "other.key"  # environment STREAM_COUPONS_SECRET_FILE' in lines
    assert 'bootstrap = "kafka-2:9092"  # option --bootstrap' in lines
    assert "partitions = 8  # environment STREAM_COUPONS_KAFKA__PARTITIONS" in lines
    assert f'triggers = ["cart", "order"]  # file {config}' in lines
    assert f'formats = {{"browse-events" = "debezium"}}  # file {config}' in lines
    assert "replication = 1  # default" in lines


def test_json_has_every_value_and_source(run: Run, config: Path) -> None:
    shown = json.loads(run("settings", "show", "--json", "--config", config).stdout)
    assert msgspec.convert(shown["settings"], Settings) == load(config, {})
    assert {name: shown["sources"][name] for name in ("secret_file", "policy.triggers", "worker.store")} == {
        "secret_file": f"file {config}",
        "policy.triggers": f"file {config}",
        "worker.store": "default",
    }


def test_defaults_are_the_commented_file_whatever_is_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_COUPONS_KAFKA__PARTITIONS", "8")
    shown = run("settings", "show", "--default").stdout
    assert shown == (Path(__file__).parents[2] / "deploy" / "settings.toml").read_text(encoding="utf-8")
    assert msgspec.convert(tomllib.loads(shown), Settings) == Settings()


def test_settings_that_cannot_work_are_refused_as_by_every_verb(run: Run, config: Path) -> None:
    config.write_text("[kafka]\npartitions = 0\n", encoding="utf-8")
    refused = run("settings", "show", "--config", config)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "kafka.partitions" in refused.stderr
