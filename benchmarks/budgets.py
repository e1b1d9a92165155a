"""Compare ways of spending budgets on recorded decision moments, with the bound on what any can earn.

    python -m benchmarks.budgets
    python -m benchmarks.budgets --seeds 1 2 3 --folder recordings --jobs 1
    python -m benchmarks.budgets --policies falling first_come --draws 5
    python -m benchmarks.budgets --live --seeds 1 2
    python -m benchmarks.budgets --json > budgets.json
    python -m benchmarks.budgets --write

Shoppers are simulated, so every decision moment of a world is recorded with the true expected margin, cost and
P(redeem) of every coupon. Each policy is replayed on the same moments, under the caps of a shopper, with budgets of 20
and 50 % of what greedy decisions spend: of each coupon, and one that all share. A coupon can be used for two days, with
an hour of grace. A policy reads what calibrated predictions would give. With `--live` the product itself plays the
worlds under the same budgets, with its own predictions, leases and prices, some 40 s a run. The bound is the dual of a
linear programme that knows all moments and obeys the caps; the looser bound leaves out how often one shopper may get
one coupon.

Used and overspent are shares of all money. Large budgets pay at least five redemptions. The curve error is the mean
distance, after the first fifth, between the share spent and the share of time passed. Figures are means over seeds with
95 % intervals by Student's t.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from stream_coupons.cli.terminal import fraction_progress, stdout
from stream_coupons.settings import Settings
from stream_coupons_lab.simulation.shoppers import World

from .budgets_live import LIVE, run_live
from .budgets_replay import CASES, POLICIES, Case, Problem, Replay, Replayed, bound_of, greedy, problem_of, with_budgets
from .command import as_json, number
from .moments import record
from .money_compared import Estimate, estimate
from .money_runs import ROOT, Configuration, settings_of
from .pages import begin_of, markdown_table, with_figures

PAGE = ROOT / "docs" / "explanation" / "budgets.md"
BEGIN = begin_of("python -m benchmarks.budgets --write")
BEGIN_LIVE = begin_of("python -m benchmarks.budgets --live --write")
HEADERS = ("Policy", "Of the bound", "Of the looser bound", "Used", "Of large budgets", "Curve error", "Overspent")
BOUND = "bound"
LOOSER_STEPS = 300


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Means over seeds of one policy and case, in percent but for `issues`; see `Replayed`."""

    case: Case
    policy: str
    of_bound: Estimate
    of_looser_bound: Estimate
    used: Estimate
    large_used: Estimate
    curve_error: Estimate
    overspent: Estimate
    issues: Estimate
    of_bound_by_seed: dict[int, float]
    worst_overspent: float
    """Of any seed and draw."""


class Task(msgspec.Struct, frozen=True):
    """A replay of a policy, or the computation of a bound, of one seed and case."""

    folder: str
    seed: int
    case: Case
    what: str
    draws: int


@lru_cache(maxsize=2)
def _unlimited(folder: str, seed: int) -> Problem:
    settings, configuration = settings_of(Settings()), Configuration()
    moments = record(configuration, seed, settings, Path(folder))
    catalogue = World(configuration.settings(seed)).catalogue()
    return problem_of(moments, catalogue, settings.policy, configuration.days, seed)


def record_seed(folder: str, seed: int) -> None:
    """Record a world, unless it is in the folder."""
    _unlimited(folder, seed)


def solve(task: Task) -> list[Replayed] | tuple[float, float]:
    """Return a policy's result for each draw of redemptions, or the bound and the looser bound."""
    unlimited = _unlimited(task.folder, task.seed)
    problem = with_budgets(unlimited, task.case, greedy(unlimited)[1])
    if task.what == BOUND:
        return bound_of(problem), bound_of(problem, LOOSER_STEPS, caps_coupons=False)
    if task.what in LIVE:
        return [run_live(problem, Configuration().settings(task.seed), settings_of(Settings()), LIVE[task.what])]
    return [Replay(problem, POLICIES[task.what], draw).run() for draw in range(task.draws)]


def figures_of(
    case: Case, policy: str, bounds: dict[int, tuple[float, float]], by_seed: dict[int, list[Replayed]]
) -> Figures:
    """Return the means of a policy's results over seeds; draws of a seed count as one."""
    seeds = sorted(by_seed)

    def percent(name: str, seed: int) -> float:
        return 100 * float(np.mean([getattr(each, name) for each in by_seed[seed]]))

    of_bound = {seed: percent("value", seed) / bounds[seed][0] for seed in seeds}
    return Figures(
        case=case,
        policy=policy,
        of_bound=estimate(list(of_bound.values())),
        of_looser_bound=estimate([percent("value", seed) / bounds[seed][1] for seed in seeds]),
        **{
            name: estimate([percent(name, seed) for seed in seeds])
            for name in ("used", "large_used", "curve_error", "overspent")
        },
        issues=estimate([percent("issues", seed) / 100 for seed in seeds]),
        of_bound_by_seed={seed: round(ratio, 2) for seed, ratio in of_bound.items()},
        worst_overspent=100 * max(each.overspent for results in by_seed.values() for each in results),
    )


def measure(folder: str, seeds: Sequence[int], policies: Sequence[str], draws: int, jobs: int) -> list[Figures]:
    """Record what is not recorded, replay all policies in processes, and return their figures by case."""
    tasks = [Task(folder, seed, case, what, draws) for seed in seeds for case in CASES for what in (BOUND, *policies)]
    done: dict[tuple[Case, str, int], list[Replayed] | tuple[float, float]] = {}
    with (
        ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool,
        fraction_progress("recordings and replays", len(seeds) + len(tasks)) as progress,
    ):
        bar = progress.task_ids[0]
        for recorded in as_completed([pool.submit(record_seed, folder, seed) for seed in seeds]):
            recorded.result()
            progress.update(bar, advance=1, note="recorded")
        open_tasks: dict[Future[list[Replayed] | tuple[float, float]], Task] = {
            pool.submit(solve, task): task for task in tasks
        }
        for future in as_completed(open_tasks):
            task = open_tasks[future]
            done[task.case, task.what, task.seed] = future.result()
            progress.update(bar, advance=1, note=f"{task.what}, {task.case.name}, seed {task.seed}")
    return [
        figures_of(
            case,
            policy,
            {seed: done[case, BOUND, seed] for seed in seeds},  # type: ignore[misc]
            {seed: done[case, policy, seed] for seed in seeds},  # type: ignore[misc]
        )
        for case in CASES
        for policy in policies
    ]


def cells(figures: Figures) -> list[str]:
    """Return the cells of one policy, in order of `HEADERS`."""
    return [
        f"`{figures.policy}`",
        _percent(figures.of_bound),
        _percent(figures.of_looser_bound),
        _percent(figures.used),
        _percent(figures.large_used),
        f"{figures.curve_error.mean / 100:.3f}".lstrip("0"),
        f"{figures.overspent.mean:.2f} %",
    ]


def _percent(value: Estimate) -> str:
    mean = f"{value.mean:.0f} %"
    return mean if value.low is None or value.high is None else f"{mean} ({value.low:.0f} to {value.high:.0f})"


def page_with(page: str, all_figures: Sequence[Figures], seeds: Sequence[int], begin: str) -> str:
    """Return the page in Markdown with the tables of these figures between a mark and the next end."""
    parts = [f"Seeds {', '.join(map(str, seeds))}."]
    for case in CASES:
        parts.append(f"### {case.name.capitalize()} of what greedy decisions spend")
        parts.append(markdown_table(HEADERS, _rows(all_figures, case)))
    return with_figures(page, begin, parts)


def _rows(all_figures: Sequence[Figures], case: Case) -> list[list[str]]:
    return [cells(figures) for figures in all_figures if figures.case == case]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    policies = "\n".join(f"  {name:<26}{policy.about}" for name, policy in (*POLICIES.items(), *LIVE.items()))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.budgets",
        description=__doc__,
        epilog=f"policies:\n{policies}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=number(int, 0), nargs="+", default=[1, 2, 3], help="of the worlds: 1 2 3")
    parser.add_argument("--live", action="store_true", help="the product plays the worlds, in place of replays")
    parser.add_argument("--policies", choices=[*POLICIES, *LIVE], nargs="+", metavar="POLICY")
    parser.add_argument("--draws", type=number(int, 1), default=2, help="draws of redemptions a seed: 2")
    parser.add_argument("--folder", type=Path, help="keeps the recordings; default: one of the system's, for this run")
    parser.add_argument("--jobs", type=number(int, 1), default=os.cpu_count() or 1, help="processes: as many as cores")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    options.policies = options.policies or list(LIVE if options.live else POLICIES)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print tables or JSON. Return the exit code."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = temporary if options.folder is None else str(options.folder)
        all_figures = measure(folder, options.seeds, options.policies, options.draws, options.jobs)
    if options.json:
        print(as_json(all_figures))
    else:
        for case in CASES:
            table = Table(*HEADERS, title=case.name.capitalize(), title_justify="left", box=SIMPLE_HEAD)
            for row in _rows(all_figures, case):
                table.add_row(*row)
            stdout().print(table)
    if options.write:
        begin = BEGIN_LIVE if options.live else BEGIN
        PAGE.write_text(page_with(PAGE.read_text(), all_figures, options.seeds, begin))
    return 0


if __name__ == "__main__":
    sys.exit(main())
