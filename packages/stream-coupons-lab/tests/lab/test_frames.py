"""Evaluation in Python: data frames in, data frames and a page out, and the same figures as the commands."""

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from stream_coupons.cli.main import app
from stream_coupons.core.errors import BadConfig
from stream_coupons.settings import Settings
from stream_coupons_lab import frames
from stream_coupons_lab.offline.arm_effects import ANY, OURS
from stream_coupons_lab.offline.evaluated import Evaluated
from stream_coupons_lab.ope.valuation import ValuationReport

EXAMPLE = Path(__file__).parents[4] / "examples" / "travel"
MAPPING = {
    "arm": "offer", "shopper": "customer", "time": "sent_at", "arms": "offers", "propensity": "probability",
    "click": "clicked", "purchase": "ordered", "order_value": "order_value", "window_s": 432000,
    "context": ["party", "device"], "issue": "decision",
}  # fmt: skip

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(EXAMPLE / "decisions.csv")


@pytest.fixture(scope="module")
def found(table: pd.DataFrame) -> Evaluated:
    return frames.evaluate(table, MAPPING)


@pytest.fixture(scope="module")
def valued(table: pd.DataFrame) -> ValuationReport:
    return frames.ope(table, MAPPING, reward="purchase", policies=["logged", "greedy", "always:none"])


def test_it_returns_every_arm_of_every_decision(found: Evaluated, table: pd.DataFrame) -> None:
    decisions = frames.decisions(found.scored)
    arms = table.set_index("decision")["offers"].str.split("|")
    assert decisions.groupby("issue_id", sort=False)["arm"].apply(sorted).to_dict() == arms.apply(sorted).to_dict()
    chosen = decisions[decisions["is_chosen"]].set_index("issue_id")
    assert chosen["arm"].to_dict() == table.set_index("decision")["offer"].to_dict()
    assert chosen["propensity"].to_dict() == table.set_index("decision")["probability"].to_dict()
    known = chosen[chosen["redeemed"].notna()]
    ordered = table.set_index("decision")["ordered"].astype(bool)
    assert known["redeemed"].to_dict() == ordered[known.index].to_dict()
    assert decisions.loc[~decisions["is_chosen"], "redeemed"].isna().all()
    assert decisions.loc[decisions["arm"] == "none", "p_redeem"].isna().all()
    assert str(decisions["occurred_at"].dt.tz) == "UTC"


def test_its_frames_have_a_row_for_each_thing(found: Evaluated) -> None:
    metrics = frames.frame(found.qualities)
    assert metrics["head"].tolist() == ["click", "redeem", "order"]
    assert (metrics["log_loss_low"] < metrics["log_loss"]).all()
    assert set(frames.frame(found.slices)["by"]) >= {"coupon", "party", "device"}
    effects = frames.frame(found.effects)
    assert effects["arm"].tolist() == [ANY, OURS]
    assert (effects["uplift_mean_low"] < effects["uplift_mean"]).all()
    assert len(frames.frame(found.baselines)) == 0


def test_a_policys_value_has_columns_for_each_estimator(valued: ValuationReport) -> None:
    values = frames.frame(valued.valued).set_index("policy")
    assert list(values.index) == ["logged", "greedy", "always:none"]
    assert values.loc["logged", "valuation_gains_dr"] == 0
    assert values.loc["greedy", "valuation_values_ips_low"] < values.loc["greedy", "valuation_values_ips"]


def test_the_commands_have_the_same_figures(
    found: Evaluated, valued: ValuationReport, table: pd.DataFrame, tmp_path: Path
) -> None:
    path, mapping = tmp_path / "sent.parquet", tmp_path / "sent.toml"
    table.to_parquet(path)
    mapping.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in MAPPING.items()), encoding="utf-8")
    run = CliRunner().invoke(app, ["evaluate", str(path), "--mapping", str(mapping), "--json"])
    assert run.exit_code == 0, run.stderr
    heads = json.loads(run.stdout)["heads"]
    assert [head["log_loss"]["value"] for head in heads] == frames.frame(found.qualities)["log_loss"].tolist()
    policies = [part for policy in ("logged", "greedy", "always:none") for part in ("--policy", policy)]
    run = CliRunner().invoke(
        app, ["ope", str(path), "--mapping", str(mapping), "--reward", "purchase", "--json", *policies]
    )
    assert run.exit_code == 0, run.stderr
    [greedy] = [one for one in json.loads(run.stdout)["valued"] if one["policy"] == "greedy"]
    values = frames.frame(valued.valued).set_index("policy")
    assert greedy["valuation"]["values"]["dr"]["value"] == values.loc["greedy", "valuation_values_dr"]


def test_the_text_of_a_result_is_a_summary(found: Evaluated, valued: ValuationReport, table: pd.DataFrame) -> None:
    everything = frames.ope(table, MAPPING, reward="margin")
    for result in (found, valued, everything):
        assert str(result) == repr(result)
        assert len(str(result).splitlines()) <= 30
        assert len(str(result)) < 3000
    assert str(found).startswith("evaluation of 408 issues, 394 with a label: ")
    assert str(found).splitlines()[-3:] == found.conclusions()
    assert str(valued).splitlines()[-1] == valued.conclusion
    assert "  always:none: " in str(valued)
    assert "margin in minor units of 394 decisions" in str(everything)


def test_a_row_that_is_refused_is_warned_of(table: pd.DataFrame) -> None:
    few = table.head(8).astype({"ordered": object})
    few.loc[2, "ordered"] = "perhaps"
    with pytest.warns(UserWarning, match="data frame: 1 rows are refused, the first is row 3: column 'ordered'"):
        log = frames.read(few, MAPPING)
    assert log.counts["issue"] == 7


def test_what_cannot_be_answered_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(BadConfig, match="data frame: a table needs a mapping"):
        frames.evaluate(table)
    with pytest.raises(BadConfig, match="reward is 'joy', expected one of click, purchase, margin"):
        frames.ope(table, MAPPING, reward="joy")
    with pytest.raises(BadConfig, match="there is no policy 'best'"):
        frames.ope(table, MAPPING, Settings(), policies=["best"])


def test_json_lines_need_no_mapping() -> None:
    assert frames.read(EXAMPLE / "log.jsonl").counts["browse"] > 0
