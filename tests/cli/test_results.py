"""Results from the command line."""

import csv
import io
import json
from pathlib import Path

import pytest

from stream_coupons.core.decision import lift_steps
from stream_coupons.core.measurement.lift_sums import LiftChange, LiftSums
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.core.messages.lift import LiftTotals
from stream_coupons.core.messages.results import ResultTotals
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.connection import Connection

from .conftest import Run

DAY = 20454
HOLDOUT = 0.25


def lift_report(partition: int, campaign_id: str, effect: int = 50, holdout_ratio: float = HOLDOUT) -> LiftTotals:
    """200 shoppers who order once, with a margin of 3 or, of the treated, `effect` more."""
    sums = LiftSums(domain="results-shop", campaign_id=campaign_id)
    for n in range(200):
        is_without, start = n % 4 == 0, 1_700_000_000 + 3600 * n
        margin = 300 + 40 * (n // 4 % 5) + (0 if is_without else effect)
        sums.add(LiftChange("results-shop", 0, 2 * (n // 4 % 4) + is_without, None, (1, start, *[0] * 5, margin, 1)))
    campaigns = {campaign_id: Campaign(campaign_id=campaign_id, holdout_ratio=holdout_ratio)}
    return lift_steps.report(sums, partition, 9.0, campaigns)


def report(coupon_id: str, version: int = 1, partition: int = 0, **about: object) -> ResultTotals:
    known = {"given": 10, "domain": "results-shop", "day": DAY, "campaign_id": "results-spring"}
    return ResultTotals(coupon_id=coupon_id, partition=partition, at=0.0, version=version, **(known | about))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--by", "week"), "--by is 'week', expected one of day, coupon, campaign"),
        (("--json", "--csv"), "expected one of them"),
        (("--since", "2026-02-01", "--until", "2026-01-01"), "--since 2026-02-01 is later than --until 2026-01-01"),
        (("--since", "yesterday"), "'yesterday' is not a time"),
    ],
)
def test_what_cannot_be_shown_is_one_clear_line(run: Run, arguments: tuple[str, ...], says: str) -> None:
    result = run("results", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.kafka
def test_results_are_the_latest_reports_of_all_partitions(run: Run, bootstrap: str, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('[shop]\ncurrencies = { results-shop = "EUR" }\n')
    reports = [
        report("results-tea", 2, given=12, used=3, uses=3, discount_minor=150, revenue_minor=4000),
        report("results-tea", 1, given=1),
        report("results-tea", 1, partition=1, given=1),
        report("results-salt", 9, day=DAY + 1, given=1),
        report("results-tea", 99, partition=400, given=1000),
    ]
    with Publisher(Connection(bootstrap), 4) as publisher:
        for one in reports:
            publisher.send(topics.RESULT_TOTALS, one)
        forged = report("results-tea", 99, given=1000)
        publisher.send_bytes(topics.RESULT_TOTALS, b"results-other", encode(forged))
    verb = ("results", "-b", bootstrap, "--config", settings, "--campaign", "results-spring")
    shown = run(*verb)
    assert shown.exit_code == 0, shown.stderr
    assert "2 records of result-totals left out" in shown.stderr
    [tea] = [line for line in shown.stdout.splitlines() if "results-tea" in line]
    assert [each in tea for each in ("13", "3 (23.1%)", "1.50 EUR", "40.00 EUR")] == [True] * 4
    assert "14 coupons given" in shown.stdout
    rows = json.loads(run(*verb, "--by", "day", "--json").stdout)
    assert [(row["day"], row["given"]) for row in rows] == [("2026-01-01", 13), ("2026-01-02", 1)]
    [row] = csv.DictReader(io.StringIO(run(*verb, "--by", "campaign", "--until", "2026-01-01", "--csv").stdout))
    assert (row["campaign_id"], row["given"], row["discount_minor"]) == ("results-spring", "13", "150")
    assert row["over_control_value"] == ""
    one = run(*verb, "--coupon", "results-salt")
    assert "1 coupon given" in one.stdout
    assert "no coupon was given in this time" in run(*verb, "--until", "2025-01-01").stdout


@pytest.mark.kafka
def test_the_margin_of_a_campaign_over_its_own_holdout_is_shown_by_both_verbs(run: Run, bootstrap: str) -> None:
    names = ("lift-earns", "lift-loses", "lift-shared-wrongly")
    with Publisher(Connection(bootstrap), 4) as publisher:
        for name, effect, ratio in zip(names, (50, -50, 0), (HOLDOUT, HOLDOUT, 0.05), strict=True):
            publisher.send(topics.RESULT_TOTALS, report(f"{name}-coupon", campaign_id=name))
            for partition in (0, 1):
                publisher.send(topics.LIFT_TOTALS, lift_report(partition, name, effect, ratio))
    earns, loses, wrong = (run("lift", "-b", bootstrap, "--campaign", name) for name in names)
    assert (earns.exit_code, loses.exit_code, wrong.exit_code) == (0, 0, 1)
    assert "it earns" in earns.stdout
    assert "it loses" in loses.stdout
    assert "sample ratio mismatch in campaign lift-shared-wrongly: 100 of 400 shoppers" in wrong.stderr
    [found] = json.loads(run("lift", "-b", bootstrap, "--campaign", "lift-earns", "--json").stdout)
    assert (found["treated"], found["holdout"]) == (300, 100)
    assert found["lift"]["low"] < 0.5 < found["lift"]["high"]
    assert found["total"]["value"] == pytest.approx(300 * found["lift"]["value"])
    rows = json.loads(run("results", "-b", bootstrap, "--by", "campaign", "--json").stdout)
    by_campaign = {row["campaign_id"]: row["over_control_value"] for row in rows}
    assert by_campaign["lift-earns"] == pytest.approx(found["total"]["value"])
    assert by_campaign["lift-shared-wrongly"] is None
    shown = run("results", "-b", bootstrap, "--by", "campaign").stdout
    assert "wrong share" in shown
    missing = run("lift", "-b", bootstrap, "--campaign", "lift-earn")
    assert (missing.exit_code, "expected lift-earns?" in missing.stderr) == (2, True)


def test_the_lift_of_a_campaign_takes_no_recording(run: Run, tmp_path: Path) -> None:
    result = run("lift", tmp_path / "own.jsonl", "--campaign", "spring")
    assert result.exit_code == 2
    assert "expected no RECORDING, --since or --by-day" in result.stderr
