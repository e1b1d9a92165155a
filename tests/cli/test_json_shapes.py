"""What scripts read is what the help says of it."""

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from stream_coupons.cli import dlq
from stream_coupons.cli.json_shapes import SHAPES, text_of
from stream_coupons.ops import measured_lift
from stream_coupons.ops.campaign_states import CampaignState
from stream_coupons.ops.digest import Digest
from stream_coupons.ops.explain import explanation
from stream_coupons.ops.publishing import PublishReport
from stream_coupons_lab.cli import simulate
from stream_coupons_lab.offline.replay import ReplaySummary
from stream_coupons_lab.ope import valuation
from stream_coupons_lab.tuning.objective import Tuned

from .conftest import Run

SAMPLE = Path(__file__).parents[2] / "examples" / "travel"
EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples"


@pytest.mark.parametrize(
    ("verb", "types"),
    [
        ("campaigns list", [CampaignState]),
        ("publish", [PublishReport]),
        ("dlq show", [dlq.Shown]),
        ("state digest", [Digest]),
        ("explain", [explanation.IssueExplanation, explanation.ShopperExplanation]),
        ("replay", [ReplaySummary]),
        ("ope", [valuation.ValuationReport]),
        (
            "lift",
            [measured_lift.LiftReport, measured_lift.LiftRow, measured_lift.LiftEffect, measured_lift.HoldoutShare],
        ),
        ("simulate", [simulate.SimulationReport]),
        ("tune", [Tuned]),
    ],
)
def test_the_keys_are_those_of_what_is_printed(verb: str, types: list[Any]) -> None:
    names = [
        tuple(field.name for field in fields(one)) if is_dataclass(one) else one.__struct_fields__ for one in types
    ]
    assert names == keys_said_of(verb)


def keys_said_of(verb: str) -> list[tuple[str, ...]]:
    return [tuple(form.partition(": ")[2].split(", ")) for form in SHAPES[verb].split("; ")]


def keys_of(found: Any) -> list[tuple[str, ...]]:
    return [tuple(found[0] if isinstance(found, list) else found)]


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    [
        ("topics list",),
        ("secret make", "KEY"),
        ("catalog push", SAMPLE / "catalog.json", "--dry-run"),
        ("publish", SAMPLE / "events.jsonl", "--dry-run"),
        ("schemas write", "FOLDER"),
        ("schemas check", SAMPLE.parents[1] / "schemas"),
        ("evaluate", SAMPLE / "log.jsonl"),
    ],
    ids=lambda command: command[0],
)
def test_standard_output_is_that_json_and_nothing_else(run: Run, tmp_path: Path, command: tuple[Any, ...]) -> None:
    verb, *arguments = command
    arguments = [tmp_path / str(one) if one in ("KEY", "FOLDER") else one for one in arguments]
    result = run(*verb.split(), *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    assert keys_of(json.loads(result.stdout)) == keys_said_of(verb)


@pytest.mark.kafka
def test_what_is_read_from_a_broker_is_that_json(run: Run, bootstrap: str, unique: str) -> None:
    for verb, *arguments in [
        ("topics apply",),
        ("secret show",),
        ("catalog push", SAMPLE / "catalog.json"),
        ("catalog remove", "no-such-coupon"),
        ("catalog pause", "no-such-coupon"),
        ("catalog resume", "no-such-coupon"),
        ("campaigns push", EXAMPLES / "coupon-campaigns.v1.json"),
        ("campaigns list",),
        ("campaigns pause", "always"),
        ("campaigns resume", "always"),
        ("campaigns remove", "always", "spring-tea"),
        ("margins push", EXAMPLES / "category-margins.v1.json"),
        ("margins remove", "ecommerce/tea", "groceries/gift cards"),
        ("dlq list",),
        ("dlq redrive", "--reason", "unknown_version", "--topic", "user-vectors", "--dry-run"),
        ("erase", unique),
    ]:
        result = run(*verb.split(), *arguments, "--json", "-b", bootstrap)
        assert result.stdout, f"{verb}: {result.stderr}"
        assert keys_of(json.loads(result.stdout)) == keys_said_of(verb), verb


def test_the_help_says_it(run: Run) -> None:
    shown = " ".join(run("schemas", "check", "--help").stdout.split())
    assert shown.endswith("With --json: an object: stale, breaking.")
    assert text_of("worker") is None
