"""Off-policy evaluation from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from lab.randomised_log import RandomisedLog
from stream_coupons_lab.reports.axes import format_value

from .conftest import Run


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return RandomisedLog(400).write(tmp_path_factory.mktemp("ope") / "log.jsonl")


@pytest.mark.long
def test_every_policy_is_valued_by_every_estimator(run: Run, log: Path) -> None:
    result = run("ope", log, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["reward"], found["decisions"], found["arms"]) == ("click", 400, 3)
    assert [each["policy"] for each in found["valued"][:4]] == ["logged", "greedy", "epsilon", "random"]
    for each in found["valued"]:
        assert set(each["valuation"]["values"]) == set(each["valuation"]["gains"]) == {"ips", "snips", "dr"}
        for interval in each["valuation"]["values"].values():
            assert interval["low"] is None or interval["low"] <= interval["value"] <= interval["high"]
    assert len(found["effects"]) == 4
    curve = found["effects"][0]["uplift"]["curve"]
    assert len(curve["share"]) == len(curve["uplift"]) == len(curve["qini"])
    assert (curve["share"][0], curve["share"][-1]) == (0.0, 1.0)


@pytest.mark.long
def test_the_table_says_the_same_as_the_json(run: Run, log: Path) -> None:
    chosen = ("--policy", "logged", "--policy", "always:tea", "--reward", "purchase")
    shown, found = run("ope", log, *chosen), json.loads(run("ope", log, *chosen, "--json").stdout)
    assert shown.exit_code == 0
    assert "purchase of 400 decisions" in shown.stdout
    for each in found["valued"]:
        assert format_value(each["valuation"]["values"]["dr"]["value"], "percent") in shown.stdout
    tea = found["valued"][1]["valuation"]
    assert format_value(tea["gains"]["ips"]["value"], "percent") in shown.stdout
    assert shown.stdout.rstrip().endswith(found["conclusion"])
    assert all(each["arm"] in shown.stdout for each in found["effects"])


@pytest.mark.long
def test_policies_of_other_decisions_have_a_table_and_a_chart_of_their_own(run: Run, tmp_path: Path) -> None:
    def change(issue: dict[str, Any]) -> None:
        if int(issue["issue_id"][1:]) % 4 == 0:
            issue["arms"] = [arm for arm in ("tea", "toys") if arm != "tea" or issue["coupon"]["coupon_id"] == "tea"]

    source, page = RandomisedLog(400), tmp_path / "page.html"
    source.arm[::4] = 2
    log = source.write(tmp_path / "log.jsonl", change)
    policies = ("--policy", "logged", "--policy", "greedy", "--policy", "always:tea")
    shown = run("ope", log, *policies, "--report", page)
    assert shown.exit_code == 0, shown.stderr
    of_all, _, of_others = shown.stdout.partition("are valued on the decisions that could have their arm, 300 of 400")
    assert "greedy" in of_all
    assert "always:tea" not in of_all
    assert "clicks above the logging policy" in of_others
    charts = page.read_text(encoding="utf-8").split("By doubly robust</h3>")[1:]
    assert ["always:tea" in chart.partition("</figure>")[0] for chart in charts] == [False, True]
    assert "300 of 400" in charts[1]


@pytest.mark.long
def test_a_log_without_propensities_is_refused(run: Run, tmp_path: Path) -> None:
    def change(issue: dict[str, Any]) -> None:
        del issue["propensity"]

    result = run("ope", RandomisedLog(60).write(tmp_path / "log.jsonl", change))
    assert result.exit_code == 2
    assert "no decision of the log has a propensity" in result.stderr


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


def test_without_arms_it_says_what_to_add(run: Run, tmp_path: Path) -> None:
    def change(issue: dict[str, Any]) -> None:
        del issue["arms"]

    result = run("ope", RandomisedLog(30).write(tmp_path / "log.jsonl", change))
    assert result.exit_code == 2
    assert 'Give each issue its "arms"' in result.stderr


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
