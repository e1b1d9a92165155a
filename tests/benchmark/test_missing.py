"""The benchmark of stand-ins: it takes out what it says, and measures what was taken out."""

import argparse

import pytest

from benchmarks.missing import HEADS, Stand, ablation, lacking
from tests.core.builders import AT, browse, item, order


def test_only_the_share_and_the_field_are_taken_out() -> None:
    full = item("A", category="tea", brand="x", price_minor=100)
    events = [order(f"o{n}", AT + n, full, full) for n in range(200)]
    lines = [each for event in events for each in lacking(event, "price", 0.3, None).items]
    without = [line for line in lines if line.price_minor is None]
    assert len(without) / len(lines) == pytest.approx(0.3, abs=0.06)
    assert all((line.category, line.brand) == ("tea", "x") for line in without)
    assert lacking(events[0], "brand", 0.0, None) == events[0]
    assert lacking(browse(what=full), "category", 1.0, None).item == item("A", brand="x", price_minor=100)
    assert lacking(browse(what=None), "category", 1.0, None).item is None


def test_a_stand_in_is_measured_in_octaves_from_what_was_taken_out() -> None:
    stand = Stand("last", 15)
    stand.see("u", AT, 400, is_taken=True)  # nothing is known yet
    stand.see("u", AT, 200, is_taken=False)
    stand.see("u", AT + 1, 800, is_taken=True)
    stand.see("u", AT + 2, 200, is_taken=True)
    assert stand.mean_octaves == 1.0
    assert stand.filled == pytest.approx(2 / 3)
    stand.forget_shoppers()
    stand.see("u", AT + 3, 100, is_taken=True)
    assert stand.filled == pytest.approx(2 / 4)


@pytest.mark.long
@pytest.mark.slow
def test_all_policies_are_compared_on_the_same_issues() -> None:
    options = argparse.Namespace(field=["category"], lacking=0.5, shoppers=40, days=12, seeds=1)
    found = ablation(options)
    assert [row["policy"] for row in found] == ["drop", "same_item", "last"]
    for head in HEADS:
        assert len({row[f"{head} examples"] for row in found}) == len({row[f"{head} positives"] for row in found}) == 1
        assert found[0][f"{head} gain"] == [0.0, 0.0, 0.0]
    assert len({row["click log loss"] for row in found}) > 1
