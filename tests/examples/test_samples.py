"""The sample logs: as the generator writes them, small, and good enough for every command that reads such files."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from examples.domains import DOMAINS, Domain
from examples.generate import files, ground_truth
from examples.world import NONE, play
from stream_coupons.cli.main import app

SAMPLES = Path(__file__).parents[2] / "examples"
each_domain = pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)


def run(*args: object) -> Any:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1), result.stderr
    return json.loads(result.stdout)


@each_domain
def test_the_committed_files_are_what_the_generator_writes(domain: Domain) -> None:
    for name, text in files(domain).items():
        committed = (SAMPLES / domain.name / name).read_text(encoding="utf-8")
        assert committed == text, f"examples/{domain.name}/{name} is outdated: run python -m examples.generate"


def test_they_are_less_than_a_megabyte_together() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.suffix in (".json", ".jsonl", ".md")) < 10**6


@each_domain
def test_coupons_are_given_with_the_propensities_that_the_log_states(domain: Domain) -> None:
    decisions = play(domain).decisions
    for decision in decisions:
        assert sum(decision.propensity.values()) == pytest.approx(1)
    expected = sum(decision.propensity[NONE] for decision in decisions)
    spread = math.sqrt(sum(d.propensity[NONE] * (1 - d.propensity[NONE]) for d in decisions))
    assert abs(sum(decision.arm == NONE for decision in decisions) - expected) < 3 * spread


@each_domain
def test_who_gets_which_coupon_matters(domain: Domain) -> None:
    margin = {name: margin for name, (_, margin) in ground_truth(domain, play(domain)).items()}
    assert margin["best"] > 1.1 * max(margin["logged"], margin["random"], margin["none"])


@each_domain
def test_the_catalogue_is_one_that_can_be_pushed(domain: Domain) -> None:
    result = CliRunner().invoke(app, ["catalog", "push", str(SAMPLES / domain.name / "catalog.json"), "--dry-run"])
    assert result.exit_code == 0
    assert "warning" not in result.stderr


@each_domain
def test_the_recording_is_one_that_can_be_published(domain: Domain) -> None:
    result = CliRunner().invoke(app, ["publish", str(SAMPLES / domain.name / "events.jsonl"), "--dry-run"])
    assert result.exit_code == 0, result.stderr


@pytest.mark.process  # none, but seconds of work
@each_domain
def test_replay_decides_and_learns(domain: Domain) -> None:
    folder = SAMPLES / domain.name
    found = run("replay", folder / "events.jsonl", "--catalog", folder / "catalog.json", "--json")
    assert (found["refused"], found["dead_letters"], found["duplicates"]) == ({}, {}, 0)
    assert found["decisions"]
    assert found["examples"] > 0


@pytest.mark.process  # none, but seconds of work
@each_domain
@pytest.mark.slow
def test_evaluate_foretells_redemptions_better_than_the_base_rate(domain: Domain) -> None:
    found = run("evaluate", SAMPLES / domain.name / "log.jsonl", "--json")
    assert found["refused_lines"] == found["refused_feedback"] == {}
    assert found["unknown_keys"] == {}
    redeem = next(head for head in found["heads"] if head["head"] == "redeem")
    assert redeem["log_loss"]["value"] < redeem["base_log_loss"]
    assert redeem["roc_auc"]["low"] > 0.5


@pytest.mark.process  # none, but seconds of work
@each_domain
@pytest.mark.slow
def test_ope_holds_the_ground_truth_within_its_intervals(domain: Domain) -> None:
    policies = ("logged", "random", "greedy")
    args = [text for policy in policies for text in ("--policy", policy)]
    found = run("ope", SAMPLES / domain.name / "log.jsonl", "--reward", "margin", *args, "--json")
    truth = ground_truth(domain, play(domain))
    values = {each["policy"]: each["valuation"]["values"]["dr"] for each in found["valued"]}
    assert values.keys() == set(policies)
    for policy in ("logged", "random"):
        assert values[policy]["low"] < truth[policy][1] < values[policy]["high"]


@pytest.mark.process
@pytest.mark.slow
def test_tune_finds_settings_or_says_that_none_is_better(tmp_path: Path) -> None:
    log, study = SAMPLES / "travel" / "log.jsonl", tmp_path / "study"
    only = ("--only", "learning.prior_variance")
    found = run("tune", log, "--trials", 2, "--method", "random", *only, "--study", study, "--json")
    assert found["trials"] == 2
    assert {"searched", "held_out", "is_better"} <= found.keys()
