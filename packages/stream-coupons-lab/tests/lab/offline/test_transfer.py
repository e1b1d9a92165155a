"""A new domain of a log starts from another one: better than from the prior where both are related, the same again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from lab.foreign_logs import AT, Record, issue, read
from lab.related_domains import DONOR, NEW, drawn
from stream_coupons.cli.main import app
from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka.codec import encode
from stream_coupons.settings import LearningSettings, Settings
from stream_coupons_lab.offline.metrics import log_loss
from stream_coupons_lab.offline.progressive_run import ProgressiveRun, run
from stream_coupons_lab.offline.scored import Scored

FIRST = 100
TRANSFER = Settings(learning=LearningSettings(transfer={NEW: DONOR}))


def first_of_new(records: list[Record], settings: Settings) -> list[Scored]:
    """The first issues of the new domain that have a label."""
    coupons = {record["coupon"]["coupon_id"] for record in records if record.get("coupon", {}).get("domain") == NEW}
    found = [one for one in run(read(records), settings) if one.coupon_id in coupons and one.redeemed is not None]
    return found[:FIRST]


def loss(issues: list[Scored]) -> float:
    return log_loss([one.p_redeem for one in issues], [bool(one.redeemed) for one in issues])


@pytest.mark.slow
def test_the_first_examples_of_a_related_domain_are_told_better_than_by_the_prior() -> None:
    ratios = []
    for seed in (1, 2, 3):
        records = drawn(seed, donor_issues=800, new_issues=150)
        ratios.append(loss(first_of_new(records, TRANSFER)) / loss(first_of_new(records, Settings())))
    assert max(ratios) < 0.95, ratios
    assert np.mean(ratios) < 0.9, ratios


@pytest.mark.long
def test_two_runs_are_alike_to_the_last_bit_and_the_donor_is_as_without() -> None:
    records = drawn(4, donor_issues=60, new_issues=40)
    one, other = run(read(records), TRANSFER), run(read(records), TRANSFER)
    assert encode(one) == encode(other)
    plain = {issue.issue_id: issue for issue in run(read(records), Settings())}
    differ = {issue.coupon_id for issue in one if issue != plain[issue.issue_id]}
    coupons = {record["coupon"]["coupon_id"]: record["coupon"]["domain"] for record in records if "coupon" in record}
    assert {coupons[coupon_id] for coupon_id in differ} == {NEW}


@pytest.mark.long
def test_before_anything_of_it_is_learnt_a_domain_is_served_by_its_donor() -> None:
    records = drawn(5, donor_issues=60, new_issues=0)
    at = max(record["occurred_at"] for record in records) + 86400.0
    same: dict[str, Any] = {"categories": ["tea"], "discount_percent": 5}
    records.append(issue("there", at, user_id="x", coupon={"coupon_id": "c", "domain": DONOR, **same}))
    records.append(issue("here", at, user_id="y", coupon={"coupon_id": "c2", "domain": NEW, **same}))
    there, here = run(read(records), TRANSFER)[-2:]
    _, alone = run(read(records), Settings())[-2:]
    assert (there.model_version, here.model_version, alone.model_version) == (there.model_version,) * 2 + (0,)
    assert here.p_redeem == there.p_redeem
    assert abs(alone.p_redeem - there.p_redeem) > 0.005


def test_a_name_that_is_no_domain_of_the_log_is_refused() -> None:
    log = read([issue("i1", coupon=None, domain="travel"), issue("i2", AT + 1, coupon={"coupon_id": "c"})])
    for transfer in ({"travel": "retial"}, {"retial": "travel"}):
        settings = Settings(learning=LearningSettings(transfer=transfer))
        with pytest.raises(BadConfig, match=r"learning.transfer: 'retial' is no domain of the log.*'ecommerce', 'trav"):
            ProgressiveRun(log, settings)


@pytest.mark.long
def test_the_command_takes_it_from_the_settings_file(tmp_path: Path) -> None:
    log, config = tmp_path / "log.jsonl", tmp_path / "settings.toml"
    log.write_text("".join(json.dumps(record) + "\n" for record in drawn(6, donor_issues=60, new_issues=20)))
    said = []
    for transfer in ('{ travel = "retail" }', "{}", '{ travel = "travel" }', '{ travel = "retial" }'):
        config.write_text(f"[learning]\ntransfer = {transfer}\n")
        result = CliRunner().invoke(app, ["evaluate", str(log), "--json", "--config", str(config)])
        said.append((result.exit_code, result.output))
    assert [code for code, _ in said] == [0, 0, 2, 2]
    losses = [
        next(h["log_loss"]["value"] for h in json.loads(text)["heads"] if h["head"] == "redeem") for _, text in said[:2]
    ]
    assert losses[0] < losses[1]
    assert "expected no domain that leads back to itself" in said[2][1]
    assert "'retial' is no domain of the log" in said[3][1]
