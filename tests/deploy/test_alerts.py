"""Alerts: valid, each seen to fire and to stay silent."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

TESTS = ("alerts_test.yml", "alerts_days_test.yml")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "deploy" / "prometheus"


@pytest.mark.process
def test_promtool_finds_the_configuration_valid(promtool: str, folder: Path) -> None:
    run(promtool, "check", "config", folder / "prometheus.yml")


@pytest.mark.process
def test_promtool_finds_the_rules_valid(promtool: str, folder: Path) -> None:
    run(promtool, "check", "rules", folder / "alerts.yml")


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("name", TESTS)
def test_promtool_sees_every_alert_fire_and_stay_silent(promtool: str, folder: Path, name: str) -> None:
    assert "SUCCESS" in run(promtool, "test", "rules", folder / name)


def test_every_alert_has_a_test_that_it_fires_and_one_that_it_is_silent(
    alerts: list[dict[str, Any]], folder: Path
) -> None:
    tests = [test for name in TESTS for test in yaml.safe_load((folder / name).read_text(encoding="utf-8"))["tests"]]
    firing, silent = set(), set()
    for test in tests:
        subject, _, claim = test["name"].partition(" ")
        asked_for = [asked for asked in test["promql_expr_test"] if "ALERTS" in asked["expr"]]
        samples = [sample for asked in asked_for for sample in asked["exp_samples"]]
        expressions = [asked["expr"] for asked in asked_for]
        if all(f'alertname="{subject}", alertstate="firing"' in expression for expression in expressions):
            if claim.startswith("fires") and samples:
                assert all(f'alertname="{subject}"' in sample["labels"] for sample in samples)
                firing.add(subject)
            if claim.startswith("is silent") and not samples:
                silent.add(subject)
    names = {alert["alert"] for alert in alerts}
    assert (firing, silent) == (names, names)


def test_alerts_have_names_of_their_own(alerts: list[dict[str, Any]]) -> None:
    names = [alert["alert"] for alert in alerts]
    assert len(names) == len(set(names))
    assert all(name.startswith("StreamCoupons") for name in names)


def test_every_alert_says_what_is_wrong_and_how_bad_it_is(alerts: list[dict[str, Any]]) -> None:
    for alert in alerts:
        assert alert["labels"].keys() == {"severity"}, alert["alert"]
        assert alert["labels"]["severity"] in {"critical", "warning"}, alert["alert"]
        assert alert["annotations"].keys() == {"condition", "summary", "runbook_url"}, alert["alert"]
        assert alert["annotations"]["condition"].endswith("."), alert["alert"]
        assert alert["annotations"]["summary"].endswith("."), alert["alert"]
