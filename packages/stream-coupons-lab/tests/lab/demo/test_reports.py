"""The summary and the chapter say what was played, and what was not."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stream_coupons.core.reasons import NoCoupon
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.money import earned
from stream_coupons_lab.demo.play import Policy, play_locally
from stream_coupons_lab.demo.reports import add_shoppers, print_shoppers
from stream_coupons_lab.demo.run import POLICIES, ShopperResult
from stream_coupons_lab.demo.shoppers import settings_for_shoppers
from stream_coupons_lab.demo.watch import Watch
from stream_coupons_lab.demo.words import REASONS
from stream_coupons_lab.reports.report import HtmlReport
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

WORLD = WorldSettings(seed=2, shoppers=12, days=1, coupons=6)
NO_SYSTEM: Any = None


@pytest.fixture(scope="module")
def whole() -> ShopperResult:
    """A small run of every policy, in this process."""
    average: dict[str, float] = {}
    found = {}
    order: tuple[Policy, ...] = ("true_value", "best_on_average", "random", "highest_p_redeem", "learned")
    for policy in order:
        found[policy] = play_locally(
            policy, WORLD, settings_for_shoppers(Settings()), lambda _day: None, average_minor=average
        )
        average = found["true_value"].average_minor
    played = [found[policy] for policy in POLICIES]
    live = found["learned"]
    rows = earned(played, World(WORLD).user_ids)
    return ShopperResult(WORLD, live, played, rows, Watch(NO_SYSTEM), dict(live.decisions), 3, [], is_whole=True)


def text_of(result: ShopperResult, folder: Path, width: int = 80) -> tuple[str, str]:
    console, page = Console(file=io.StringIO(), width=width), HtmlReport("r")
    print_shoppers(console, result)
    add_shoppers(page, result)
    page.write(folder / "page.html")
    return console.file.getvalue(), (folder / "page.html").read_text(encoding="utf-8")  # type: ignore[attr-defined]


def test_every_policy_is_shown_with_what_it_earned(whole: ShopperResult, tmp_path: Path) -> None:
    said, page = text_of(whole, tmp_path)
    starts = ["no coupons", "random", "highest P(redeem)", "best on average", "ours (live)", "true value"]
    rows = [line.strip() for line in said.splitlines()]
    assert [start for start in starts if not any(row.startswith(f"{start} ") for row in rows)] == []
    for text in (said, page):
        assert "nan" not in text.replace("finance", "").lower().split()
        assert "3 of 12 shoppers got no coupon" in " ".join(text.split())
    assert "audit of what was issued: clean" in said
    assert max(len(line) for line in said.splitlines()) <= 80


def test_every_reason_for_no_coupon_has_its_words() -> None:
    assert REASONS.keys() == set(NoCoupon)


def test_true_value_is_expected_to_earn_more_than_any_other(whole: ShopperResult) -> None:
    best = {row.policy: row.expected.value for row in whole.rows}
    assert max(best, key=lambda policy: best[policy]) == "true_value"


def test_what_was_cut_short_compares_nothing_and_says_so(whole: ShopperResult, tmp_path: Path) -> None:
    cut = ShopperResult(WORLD, whole.live, [whole.live], [], whole.watch, {}, 3, [], is_whole=False)
    said, page = text_of(cut, tmp_path)
    assert "ended before its time" in page
    assert "true value" not in said
    assert "audit" not in said
