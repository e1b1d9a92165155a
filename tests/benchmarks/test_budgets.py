"""`benchmarks.budgets`: recordings, replays under budgets, and the bound, in a small world."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.budgets import BEGIN, CASES, figures_of, page_with
from benchmarks.budgets_replay import (
    POLICIES,
    Case,
    Problem,
    Replay,
    Replayed,
    bound_of,
    greedy,
    problem_of,
    with_budgets,
)
from benchmarks.moments import record
from benchmarks.money_runs import Configuration, settings_of
from benchmarks.pages import END
from stream_coupons.settings import Settings
from stream_coupons_lab.simulation.shoppers import World

SMALL = Configuration(shoppers=60, days=6)
SEED = 1


@pytest.fixture(scope="module")
def unlimited(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    settings, folder = settings_of(Settings()), tmp_path_factory.mktemp("recordings")
    moments = record(SMALL, SEED, settings, folder)
    again = record(SMALL, SEED, settings, folder)
    assert [path.suffix for path in folder.iterdir()] == [".npz"]
    assert np.array_equal(moments.margin_minor, again.margin_minor)
    assert np.array_equal(moments.starts, again.starts)
    return problem_of(moments, World(SMALL.settings(SEED)).catalogue(), settings.policy, SMALL.days, SEED)


def test_moments_are_in_order_of_time_and_none_is_missed_for_a_cap(unlimited: Problem) -> None:
    assert (np.diff(unlimited.day) >= 0.0).all()
    assert unlimited.day[-1] <= SMALL.days
    assert max(np.bincount(unlimited.shopper)) > unlimited.rules.max_issues_per_window
    assert ((unlimited.redeems >= 0.0) & (unlimited.redeems <= 1.0)).all()
    assert (unlimited.costs <= unlimited.redeems * unlimited.most_minor * (1 + 1e-9)).all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_holds_the_most_never_overspends(unlimited: Problem, case: Case) -> None:
    problem = with_budgets(unlimited, case, greedy(unlimited)[1])
    for policy in ("today", "maximum"):
        found = Replay(problem, POLICIES[policy]).run()
        assert found.overspent == pytest.approx(0.0, abs=1e-12)
        assert 0.0 <= found.used <= 1.0
        assert found.issues > 0


@pytest.mark.parametrize("policy", ["quantile", "falling"])
def test_a_budget_of_one_redemption_is_hardly_overspent_by_a_quantile(unlimited: Problem, policy: str) -> None:
    coupons = len(unlimited.most_minor)
    problem = replace(unlimited, account=np.arange(coupons), amounts=unlimited.most_minor)
    found = Replay(problem, POLICIES[policy]).run()
    assert found.overspent < 0.02
    assert found.issues > 0


def test_a_replay_is_the_same_every_time_and_draws_differ(unlimited: Problem) -> None:
    problem = with_budgets(unlimited, Case(is_shared=True, ratio=0.5), greedy(unlimited)[1])
    first = Replay(problem, POLICIES["falling"]).run()
    assert Replay(problem, POLICIES["falling"]).run() == first
    assert Replay(problem, POLICIES["falling"], draw=1).run() != first


def test_a_price_earns_more_than_first_come_of_the_same_budget(unlimited: Problem) -> None:
    problem = with_budgets(unlimited, Case(is_shared=True, ratio=0.2), greedy(unlimited)[1])
    first_come, priced = (
        np.mean([Replay(problem, POLICIES[name], draw).run().value for draw in range(3)])
        for name in ("first_come", "quantile")
    )
    assert priced > first_come


def test_a_bound_is_above_greedy_and_tighter_with_all_caps(unlimited: Problem) -> None:
    value, costs = greedy(unlimited)
    ample = replace(unlimited, amounts=np.array([2.0 * costs.sum()]))
    assert value <= bound_of(ample, 200) <= 1.02 * bound_of(ample, 200, caps_coupons=False)
    scarce = with_budgets(unlimited, Case(is_shared=True, ratio=0.2), costs)
    assert bound_of(scarce, 200) < bound_of(ample, 200)


def test_figures_are_means_over_seeds_and_go_between_the_marks_of_the_page() -> None:
    def found(value: float) -> Replayed:
        return Replayed(value=value, issues=5, used=0.9, overspent=0.001, curve_error=0.05, large_used=0.95)

    figures = figures_of(
        CASES[0], "falling", {1: (100.0, 200.0), 2: (100.0, 200.0)}, {1: [found(70.0), found(80.0)], 2: [found(85.0)]}
    )
    assert figures.of_bound.mean == 80.0
    assert figures.of_bound_by_seed == {1: 75.0, 2: 85.0}
    assert figures.of_looser_bound.mean == 40.0
    page = page_with(f"before {BEGIN} old {END} after", [figures], [1, 2], BEGIN)
    assert page.startswith(f"before {BEGIN}")
    assert page.endswith(f"{END} after")
    assert (
        "| `falling` | 80 % (16 to 144) | 40 % (8 to 72) | 90 % (90 to 90) | 95 % (95 to 95) | .050 | 0.10 % |" in page
    )
    assert "old" not in page
