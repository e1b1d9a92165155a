"""Margins of categories: checked before they are published, listed and taken out."""

import json
from pathlib import Path
from typing import Any

import pytest

from stream_coupons.ops.catalogue_files import MARGINS, read_entries

from .conftest import Run, write_lines

TEA = {"category": "tea", "margin_ratio": 0.4}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"margin_ratio": 1.2}, ["$.margin_ratio", "<= 1"]),
        ({"margin_ratio": -0.1}, ["$.margin_ratio", ">= 0"]),
        ({"margin_ratio": "40 %"}, ["$.margin_ratio"]),
        ({"category": ""}, ["$.category"]),
        ({"margin": 0.4}, ["margin 'ecommerce/tea': margin: no such field, expected margin_ratio?"]),
    ],
)
def test_a_bad_margin_is_refused_with_field_and_expectation(fields: dict[str, Any], expected: list[str]) -> None:
    reading = read_entries(MARGINS, json.dumps([{**TEA, "category": "oil"}, TEA | fields]).encode(), "m.json", 0.0)
    (refusal,) = reading.refusals.first
    assert (reading.place, refusal.line) == ("margin", 2)
    assert [text for text in expected if text not in refusal.detail] == []
    assert [good.category for good in reading.entries] == ["oil"]


def test_a_category_has_one_margin_in_each_domain() -> None:
    travel = TEA | {"domain": "travel"}
    reading = read_entries(MARGINS, json.dumps([TEA, travel, TEA]).encode(), "m.json", 0.0)
    assert [(one.line, one.detail) for one in reading.refusals.first] == [
        (3, "margin 'ecommerce/tea': key: 'ecommerce/tea' is that of margin 1, expected another one")
    ]


@pytest.mark.kafka
def test_a_margin_from_push_to_removal(run: Run, bootstrap: str, unique: str, tmp_path: Path) -> None:
    mine, other = ({"category": unique, "margin_ratio": ratio} for ratio in (0.4, 0.25))

    def listed() -> list[dict[str, Any]]:
        found = json.loads(run("margins", "list", "-b", bootstrap, "--json").stdout)
        return [one for one in found if one["category"] == unique]

    for one in (mine, other):
        assert run("margins", "push", write_lines(tmp_path / "m.jsonl", one), "-b", bootstrap).exit_code == 0
        assert listed() == [one]
    lines = run("margins", "list", "-b", bootstrap).stdout.splitlines()
    assert any(unique in line and "25.0%" in line for line in lines)
    assert run("margins", "remove", f"ecommerce/{unique}", "-b", bootstrap).exit_code == 0
    assert listed() == []
