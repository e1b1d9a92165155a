"""Off-policy evaluation from the command line."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.randomised_log import RandomisedLog
from stream_coupons.settings import Settings
from stream_coupons_lab.cli.foreign_logs import feed_all, read_log
from stream_coupons_lab.datasets.foreign import WINDOW_S, ForeignLog
from stream_coupons_lab.datasets.log_records import LogRecord
from stream_coupons_lab.offline.logged_decisions import decisions_of
from stream_coupons_lab.offline.progressive_run import ProgressiveRun

from .conftest import Run


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return RandomisedLog(400).write(tmp_path_factory.mktemp("ope") / "log.jsonl")


@pytest.mark.long
def test_every_policy_is_valued_by_every_estimator(run: Run, log: Path) -> None:
    result = run("ope", log, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["reward"], found["decisions"], found["arms"], found["propensities"]) == ("click", 400, 3, "logged")
    assert [each["policy"] for each in found["valued"][:4]] == ["logged", "greedy", "epsilon", "random"]
    for each in found["valued"]:
        assert set(each["valuation"]["values"]) == set(each["valuation"]["gains"]) == {"ips", "snips", "dr"}
        for interval in each["valuation"]["values"].values():
            assert interval["low"] is None or interval["low"] <= interval["value"] <= interval["high"]
    assert len(found["targeting"]) == 2
    curve = found["targeting"][0]["uplift"]["curve"]
    assert len(curve["share"]) == len(curve["uplift"]) == len(curve["qini"])
    assert (curve["share"][0], curve["share"][-1]) == (0.0, 1.0)


@pytest.mark.long
def test_the_table_says_the_same_as_the_json(run: Run, log: Path) -> None:
    chosen = ("--policy", "logged", "--policy", "always:tea", "--reward", "purchase", "--clip", "2")
    shown, found = run("ope", log, *chosen), json.loads(run("ope", log, *chosen, "--json").stdout)
    assert shown.exit_code == 0
    assert "purchase of 400 decisions" in shown.stdout
    assert "weights are clipped at 2" in shown.stdout
    for each in found["valued"]:
        assert f"{each['valuation']['values']['dr']['value']:.4f}" in shown.stdout
    tea = found["valued"][1]["valuation"]
    assert f"{tea['gains']['ips']['value']:+.4f}" in shown.stdout
    assert tea["diagnostics"]["clip_bias"]["ips"] < 0
    assert found["targeting"]


@pytest.mark.long
def test_a_log_without_propensities_is_valued_with_a_warning(run: Run, tmp_path: Path) -> None:
    def change(issue: dict[str, Any]) -> None:
        del issue["propensity"]

    result = run("ope", RandomisedLog(60).write(tmp_path / "log.jsonl", change))
    assert result.exit_code == 0
    assert "propensities estimated" in result.stdout
    assert "PROPENSITIES ARE ESTIMATED" in result.stderr
    assert "too few" in result.stderr


@pytest.mark.long
def test_a_line_that_is_refused_is_named_and_the_rest_is_valued(run: Run, tmp_path: Path) -> None:
    def change(issue: dict[str, Any]) -> None:
        if issue["issue_id"] == "i7":
            issue["propensity"] = 0

    result = run("ope", RandomisedLog(60).write(tmp_path / "log.jsonl", change), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["decisions"] == 59
    assert "propensity" in result.stderr


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("--policy", "always:coffee"), "the log has no arm 'coffee', expected one of none, tea, toys"),
        (("--policy", "best"), "there is no policy 'best'"),
        (("--clip", "0"), "expected a number above 0"),
        (("--skip", "1"), "0.99"),
        (("--reward", "joy"), "click"),
    ],
)
def test_what_cannot_be_valued_is_refused_before_anything_is_scored(
    run: Run, log: Path, args: tuple[str, ...], named: str
) -> None:
    result = run("ope", log, *args)
    assert result.exit_code == 2
    assert named in result.stderr


def test_without_arms_and_propensities_it_says_what_to_add(run: Run, tmp_path: Path) -> None:
    def change(issue: dict[str, Any]) -> None:
        del issue["propensity"], issue["arms"]

    result = run("ope", RandomisedLog(30).write(tmp_path / "log.jsonl", change))
    assert result.exit_code == 2
    assert 'Give each issue its "arms"' in result.stderr


class InterruptedLog(ForeignLog):
    """A log in whose middle the user presses Ctrl-C."""

    def records(self) -> Iterator[LogRecord]:
        for number, record in enumerate(super().records()):
            if number == 300:
                os.kill(os.getpid(), signal.SIGINT)
            yield record


@pytest.mark.long
def test_what_was_scored_until_an_interruption_is_kept(log: Path) -> None:
    read = read_log(log, WINDOW_S)
    read.__class__ = InterruptedLog
    running = ProgressiveRun(read, Settings(), score_arms=True)
    assert feed_all(running, read, "scoring")
    scored = running.finish()
    assert 50 < len(scored) < 200
    decisions = decisions_of(scored, read, 1000.0)
    assert 0 < len(decisions) < len(scored)


def test_a_deterministic_log_says_nothing_of_other_policies(run: Run, tmp_path: Path) -> None:
    def change(issue: dict[str, Any]) -> None:
        issue["propensity"] = 1.0

    source = RandomisedLog(60)
    source.arm[:] = 1
    source.clicked[:] = False
    result = run("ope", source.write(tmp_path / "log.jsonl", change))
    assert result.exit_code == 0
    assert "random: 66.7% of its choices are arms that the log never chose" in result.stderr
    assert "always:toys" not in result.stdout
    assert "2 arms were never chosen" in result.stdout
