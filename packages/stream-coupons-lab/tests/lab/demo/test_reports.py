"""The summary and the page say what was played, and what was not."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stream_coupons.core.reasons import NoCoupon
from stream_coupons.ops.audit.findings import Check, Violation
from stream_coupons.ops.results import ResultRow
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.money import earned
from stream_coupons_lab.demo.play import Policy, play_locally
from stream_coupons_lab.demo.reports import ShopperResult, print_summary, write
from stream_coupons_lab.demo.run import POLICIES
from stream_coupons_lab.demo.shoppers import settings_for_shoppers
from stream_coupons_lab.demo.watch import Watch
from stream_coupons_lab.demo.words import REASONS
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

WORLD = WorldSettings(seed=2, shoppers=12, days=1, coupons=6)
NO_SYSTEM: Any = None
LATEST = {("stream_coupons_decisions_total", (("outcome", NoCoupon.HOLDOUT.value),)): 12.0}


@pytest.fixture(scope="module")
def whole() -> ShopperResult:
    """A small run of every policy, in this process."""
    found = {"true_value": play_locally("true_value", WORLD, settings_for_shoppers(Settings()))}
    others: tuple[Policy, ...] = ("best_on_average", "random", "highest_p_redeem", "learned")
    for policy in others:
        average = found["true_value"].average_minor
        found[policy] = play_locally(policy, WORLD, settings_for_shoppers(Settings()), average)
    played = [found[policy] for policy in POLICIES]
    rows = earned(played, World(WORLD).user_ids)
    return ShopperResult(WORLD, found["learned"], Watch(NO_SYSTEM, latest=LATEST), played, rows)


def page_of(result: ShopperResult, folder: Path) -> str:
    write(result, folder / "of" / "page.html")
    return " ".join((folder / "of" / "page.html").read_text(encoding="utf-8").split())


def test_every_policy_is_shown_with_what_it_earned(whole: ShopperResult, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=80)
    print_summary(console, whole)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    page = page_of(whole, tmp_path)
    starts = ["no coupons", "random", "highest P(redeem)", "best on average", "ours (live)", "true value"]
    rows = [line.strip() for line in said.splitlines()]
    assert [start for start in starts if not any(row.startswith(f"{start} ") for row in rows)] == []
    given = {issue.user_id for issue in whole.live.outcomes.issues}
    for text in (" ".join(said.split()), page):
        assert "nan" not in text.replace("finance", "").lower().split()
        assert f"{12 - len(given)} of 12 shoppers got no coupon" in text
        assert "is in the control group" in text
    assert "audit of what was issued: clean" in said
    assert max(len(line) for line in said.splitlines()) <= 80


def test_every_reason_for_no_coupon_has_its_words() -> None:
    assert REASONS.keys() == set(NoCoupon)


def test_true_value_is_expected_to_earn_more_than_any_other(whole: ShopperResult) -> None:
    best = {row.policy: row.expected.value for row in whole.rows}
    assert max(best, key=lambda policy: best[policy]) == "true_value"


def test_what_was_cut_short_compares_nothing_and_says_so(whole: ShopperResult, tmp_path: Path) -> None:
    page = page_of(ShopperResult(WORLD, whole.live, whole.watch), tmp_path)
    assert "ended before its time" in page
    assert "true value" not in page
    assert "not made" in page


def test_the_page_has_the_results_of_each_coupon_that_the_workers_report(whole: ShopperResult, tmp_path: Path) -> None:
    row = ResultRow("", "coupon-7", "", "ecommerce", None, 41, 23, 19, 11, 11, 1234, 99000)
    page = page_of(replace(whole, coupons=[row]), tmp_path)
    assert all(text in page for text in ("coupon-7", "given away", "41", "12.34"))
    assert "coupon-7" not in page_of(whole, tmp_path)


def test_a_violation_is_shown(whole: ShopperResult) -> None:
    found = Violation(next(iter(Check)), "coupon-issues:0:7", "twice")
    said = ShopperResult(WORLD, whole.live, whole.watch, whole.played, whole.rows, [found]).audit()
    assert said == f"1 violations, the first: {found}"
