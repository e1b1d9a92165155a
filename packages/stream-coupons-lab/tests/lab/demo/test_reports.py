"""The summary and the page say what was played, and what was not."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stream_coupons import __version__
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.kafka import topics
from stream_coupons.ops.audit.findings import Check, Violation
from stream_coupons.settings import Settings
from stream_coupons.testing import browse
from stream_coupons_lab.demo.money import ABOUT, earned
from stream_coupons_lab.demo.play import Policy, play_locally
from stream_coupons_lab.demo.reports import ShopperResult, print_summary, write
from stream_coupons_lab.demo.run import POLICIES
from stream_coupons_lab.demo.shoppers import settings_for_shoppers
from stream_coupons_lab.demo.watch import Watch
from stream_coupons_lab.demo.words import REASONS
from stream_coupons_lab.reports.axes import with_minus
from stream_coupons_lab.simulation.catalogue import offer_of
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

WORLD = WorldSettings(seed=2, shoppers=12, days=4, coupons=20, has_campaign=True)
COMMAND = "stream-coupons demo --seed 2 --shoppers 12 --days 4"
RULES = Settings().policy
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
    played, world = [found[policy] for policy in POLICIES], World(WORLD)
    watch = Watch(NO_SYSTEM, latest=LATEST)
    return ShopperResult(
        WORLD,
        found["learned"],
        watch,
        RULES,
        world.catalogue(),
        events=[(topics.BROWSE.name, browse("u"))] * 500,
        live_s=10.0,
        played=played,
        rows=earned(played, world.user_ids),
    )


def page_of(result: ShopperResult, folder: Path) -> str:
    write(result, folder / "of" / "page.html")
    return " ".join((folder / "of" / "page.html").read_text(encoding="utf-8").split())


def test_every_policy_is_shown_with_what_it_earned(whole: ShopperResult, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=80)
    print_summary(console, whole)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    page = page_of(whole, tmp_path)
    starts = ["no coupons", "random", "highest P(redeem)", "best on average", "ours (live)", "by perfect knowledge"]
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
    page = page_of(ShopperResult(WORLD, whole.live, whole.watch, RULES), tmp_path)
    assert "ended before its time" in page
    assert ABOUT["true_value"] not in page
    assert "Wall clock" not in page
    assert "not made" in page


def test_cards_and_plot_come_before_prose(whole: ShopperResult, tmp_path: Path) -> None:
    page = page_of(whole, tmp_path)
    order = [page.index(text) for text in ('<dl class="stats"', "<figure", "<p>Ours is expected to earn")]
    assert order == sorted(order)
    margin = sum(whole.live.outcomes.margins.values())
    assert f"<b>{with_minus(f'{margin / 100:,.0f}')} EUR</b>" in page


def test_ours_alone_is_in_colour(whole: ShopperResult, tmp_path: Path) -> None:
    write(whole, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    specs = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    colours = {(one["name"] == "ours (live)", one["colour"]) for spec in specs for one in spec["series"]}
    assert colours == {(True, "c0"), (False, "quiet")}


def test_the_footer_says_how_to_get_the_page_again_and_how_long_it_took(whole: ShopperResult, tmp_path: Path) -> None:
    footer = page_of(whole, tmp_path).partition("<footer>")[2]
    for text in (__version__, "seed 2", COMMAND, "10 s for 500 events, 50 events per second"):
        assert text in footer


def test_every_coupon_is_counted_under_one_kind(whole: ShopperResult, tmp_path: Path) -> None:
    page = page_of(whole, tmp_path)
    rows = re.findall(r'<th scope="row">([^<]*)</th> *<td class="n">(\d+)</td> *<td class="n">(\d+)</td>', page)
    kinds = {offer_of(coupon) for coupon in whole.catalogue}
    counts = {kind: (int(coupons), int(given)) for kind, coupons, given in rows if kind in kinds}
    assert counts.keys() == kinds
    assert sum(coupons for coupons, _ in counts.values()) == WORLD.coupons
    assert sum(given for _, given in counts.values()) == len(whole.live.outcomes.issues)


def test_a_violation_is_shown(whole: ShopperResult) -> None:
    found = Violation(next(iter(Check)), "coupon-issues:0:7", "twice")
    said = replace(whole, violations=[found]).audit()
    assert said == f"1 violations, the first: {found}"
