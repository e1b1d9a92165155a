"""The money benchmark compares policies on the same worlds, and keeps what it has played."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks import money_runs
from benchmarks.average_learnt import AverageLearnt
from benchmarks.money import main
from benchmarks.money_compared import Comparison, compare
from benchmarks.money_runs import NONE, Configuration, Run, Task, key_of, play, settings_of
from benchmarks.money_tables import begin, page_with
from benchmarks.pages import END
from benchmarks.prices import prices_of
from benchmarks.runs import Kept, digest_of
from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.features.rows import Subject
from stream_coupons.core.messages.inputs import OrderEvent
from stream_coupons.core.rules import PolicyRules
from stream_coupons.settings import Settings
from stream_coupons.testing import coupon, issue, item, order

SMALL = Configuration(shoppers=40, days=6)
ONE_OF_EACH = ("random", "best_on_average", "best_on_average_learnt", "learned", "true_value", "true_value_priced")


def measured(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["--shoppers", "30", "--days", "4", "--jobs", "1", "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.process
@pytest.mark.long
def test_policies_are_compared_and_finished_runs_are_not_played_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--seeds", "1", "2", "--policies", *ONE_OF_EACH, "--runs", str(tmp_path / "runs.jsonl"))
    whole = measured(capsys, *arguments)
    policies = whole["policies"]
    assert set(policies) == {NONE, *ONE_OF_EACH}
    assert policies[NONE]["margin"] == 0 < policies["true_value"]["margin"]
    assert policies["best_on_average"]["margin"] < policies["true_value"]["margin"]
    for earned in policies.values():
        assert sum(earned["thirds"]) == pytest.approx(earned["margin"], abs=0.05)
        assert set(earned["by_seed"]) == {"1", "2"}

    played = []
    monkeypatch.setattr(money_runs, "play", lambda task: played.append(task.policy) or play(task))
    assert measured(capsys, *arguments) == whole
    assert played == []
    assert measured(capsys, *arguments, "--again", "random")["policies"].keys() == policies.keys()
    assert played == ["random"] * 2


def test_the_same_seed_plays_the_same_run() -> None:
    settings = settings_of(Settings())
    runs = [play(Task("best_on_average_learnt", 3, SMALL, settings, "", "")) for _ in range(2)]
    assert runs[0].margin_by_day == runs[1].margin_by_day
    assert runs[0].issues == runs[1].issues > 20


def test_a_history_is_told_and_leads_to_no_coupon() -> None:
    settings, told = settings_of(Settings()), msgspec.structs.replace(SMALL, history=4)
    ours, untold = (play(Task(policy, 1, told, settings, "", "")) for policy in ("learned", "learned_untold"))
    without = play(Task("learned", 1, SMALL, settings, "", ""))
    for run in (ours, untold, without):
        assert len(run.margin_by_day) == SMALL.days
        assert run.redeem_by_day[0][0] == 0, "the first coupon is given on the first day that counts"
    margins = {tuple(run.margin_by_day) for run in (ours, untold, without)}
    assert len(margins) == 3, "two play the same days, and one of them knows the shoppers"
    assert told.settings(1).days == SMALL.days + 4
    assert "after 4 without coupons" in told.name


@pytest.mark.slow
def test_trees_that_know_the_value_for_other_shoppers_do_better_than_chance() -> None:
    bound, at_random = (
        play(Task(policy, 1, Configuration(shoppers=100, days=6), settings_of(Settings()), "", ""))
        for policy in ("learnable_bound", "random")
    )
    assert bound.margin > at_random.margin + 20


def run_of(policy: str, seed: int, *margins: float) -> Run:
    return Run(
        policy=policy,
        seed=seed,
        configuration=SMALL,
        key="",
        commit="",
        margin_by_day=np.cumsum(margins).tolist(),
        booked=0.0,
        issues=1,
        redemptions=0,
        redeem_by_day=[],
        interests=[],
        cpu_s=1.0,
    )


def compared() -> Comparison:
    return compare(
        SMALL,
        [
            run_of("learned", 1, 2.0, 4.0, 6.0),
            run_of("learned", 2, 4.0, 6.0, 8.0),
            run_of("true_value", 1, 4.0, 8.0, 8.0),
            run_of("true_value", 2, 8.0, 8.0, 8.0),
            run_of("true_value", 3, 1e6, 1e6, 1e6),
        ],
    )


def test_the_product_is_compared_seed_by_seed_on_the_seeds_that_all_have_played() -> None:
    found = compared()
    assert found.seeds == [1, 2]
    ours, best = found.policies["learned"], found.policies["true_value"]
    assert (ours.margin, ours.thirds, ours.worst_seed) == (15.0, [3.0, 5.0, 7.0], 1)
    assert ours.of_true_value == pytest.approx(30 / 44, abs=1e-3)
    assert ours.of_true_value_by_third == pytest.approx([6 / 12, 10 / 16, 14 / 16], abs=1e-3)
    assert best.ahead is not None
    assert best.ahead.mean == -7.0
    assert best.ahead.low == pytest.approx(-7 - 12.706, abs=0.01)


def test_the_tables_hold_what_was_earned() -> None:
    page = page_with(f"before {begin(0)}\nold\n{END} after", [compared()])
    assert page.startswith(f"before {begin(0)}\n")
    assert page.endswith(f"{END} after")
    assert "| learned | 15 (-23 to 53) | 3 | 5 | 7 | 12 (1) | 1 |" in page
    assert "| learned | 68%: 50%, 62%, 88% | 60% (1) |  |  |" in page
    assert "| true_value | -7 (-20 to 6) |" in page
    assert "old" not in page


def test_the_days_since_a_drift_are_told_apart() -> None:
    drifting = msgspec.structs.replace(SMALL, drift=3.5)
    runs = [
        msgspec.structs.replace(
            run_of(policy, 1, *margins),
            configuration=drifting,
            interests=[(0, 0), (1, 4), (0, 4), (1, 8), (3, 4), (3, 4)],
        )
        for policy, margins in {"learned": [1, 1, 1, 1, 0, 2], "true_value": [2, 2, 2, 2, 4, 4]}.items()
    ]
    before, after = compare(drifting, runs).since_drift
    assert (before.first, before.last, before.of_true_value) == (-3, -1, {"learned": 0.5})
    assert (after.first, after.last, after.of_true_value) == (0, 1, {"learned": 0.25})
    assert (before.strange_interests, after.strange_interests) == (0.125, 0.75)


def test_a_file_with_a_line_that_is_no_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    kept = Kept(path, Run)
    kept.add(run_of("random", 1, 1.0))
    assert Kept(path, Run).find(run_of("random", 1, 9.0)) == run_of("random", 1, 1.0)
    with path.open("a") as file:
        file.write("{}\n")
    with pytest.raises(BadConfig, match="line 2"):
        Kept(path, Run)


def test_what_the_product_learns_by_changes_its_own_runs_alone() -> None:
    base = Settings()
    changed = msgspec.structs.replace(base, policy=msgspec.structs.replace(base.policy, exploration_ratio=0.3))
    assert key_of("learned", base) != key_of("learned", changed)
    assert key_of("true_value", base) == key_of("true_value", changed)
    capped = msgspec.structs.replace(base, policy=msgspec.structs.replace(base.policy, max_issues_per_window=9))
    assert key_of("true_value", base) != key_of("true_value", capped)


def test_what_is_only_written_about_code_changes_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "benchmarks" / "prices.py"
    source.parent.mkdir()
    monkeypatch.setattr(money_runs, "ROOT", tmp_path)
    keys = []
    for text in (
        "def f(x):\n    return x\n",
        'def f( x ):\n    """Say."""\n    return x  # so\n',
        "def f(x):\n    return -x\n",
    ):
        source.write_text(text)
        digest_of.cache_clear()
        keys.append(key_of("true_value", Settings()))
    assert keys[0] == keys[1] != keys[2]


def test_a_price_is_what_one_more_would_bring() -> None:
    coupons = [coupon("a", stock=1), coupon("b")]
    both = np.array([0, 1])
    choices = [(both, np.array([10.0, 4.0]), np.ones(2)), (both, np.array([9.0, 2.0]), np.ones(2))]
    prices = prices_of(choices, coupons)
    assert 6.0 <= prices.issues_minor["a"] <= 7.0
    assert prices.discounts == {}


def test_the_learnt_ranking_tells_what_brings_orders_from_what_is_ordered_anyway() -> None:
    terms = {"discount_percent": 10.0, "max_discount_minor": 500, "typical_price_minor": 1000, "margin_ratio": 0.4}
    coupons = [
        coupon("brings", categories=["tea"], redeem_within_s=3600.0, **terms),
        coupon("anyway", categories=["soap"], redeem_within_s=3600.0, **terms),
    ]
    ranking = AverageLearnt(coupons, PolicyRules(), lambda user_id: user_id.startswith("holdout"), seed=0)

    def orders(user_id: str, category: str, at: float) -> OrderEvent:
        return order(user_id, item(category, category=category, price_minor=1000), at=at)

    for number in range(800):
        at, user_id, given = number * 10.0, f"shopper-{number}", coupons[number % 2]
        ranking.hear(issue(user_id, given, at=at))
        # One in four orders soap, coupon or not; of those who are given tea one in two orders it.
        if number % 8 < 2:
            ranking.hear(orders(user_id, "soap", at + 5.0))
        if given is coupons[0] and number % 4 == 0:
            ranking.hear(orders(user_id, "tea", at + 5.0))
    ranking.hear(orders("last", "tea", 1e6))
    ranking.learn()
    subject = Subject("shopper-0", CouponSet(coupons, 1000.0), np.array([0, 1]), 1e6)
    drawn = np.array([ranking.values_of(subject) for _ in range(200)])
    anyway, brings = drawn.mean(axis=0)  # by name
    assert brings == pytest.approx(200.0, abs=30.0)
    assert anyway < 25.0
