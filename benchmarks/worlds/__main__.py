"""Compare the engine with other policies in simulated shops of independent makes.

    python -m benchmarks.worlds
    python -m benchmarks.worlds --worlds development --seeds 1 2 3 --runs worlds.jsonl
    python -m benchmarks.worlds --worlds NAME --policies engine true_value --json
    python -m benchmarks.worlds --worlds final --runs worlds.jsonl --chart worlds.svg

The margin of a policy is the sum of the true values of all coupons that it gave. A true value is the expected change
of the margin of the whole shop, over the coupon's window and the week after. Figures are in whole currency units.
Shares are ratios of sums over those of `true_value`, with 95 % intervals by the bootstrap over worlds and seeds.
Worlds in which no coupon pays are apart: there, margins are shares of what the shop earns without coupons.
All policies have the same caps and the same holdout. None but the engine may give a coupon that the shopper still
holds.

--runs FILE keeps every finished run. A run is made again when its settings or its source code have changed.
Ctrl-C shows what is finished.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path

import msgspec

from stream_coupons.cli.terminal import INTERRUPTED, fraction_progress, stderr
from stream_coupons.core.errors import BadConfig
from stream_coupons.settings import Settings, load

from ..checkout import commit
from ..money import number
from ..runs import TRUE_VALUE, Kept, runs_of
from .chart import chart
from .compared import compare
from .registry import HALVES, all_names, names_of
from .runs import ABOUT, NONE, POLICIES, Shop, WorldRun, WorldTask, tasks_of
from .tables import show


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    policies = "\n".join(f"  {name:<16}{about}" for name, about in ABOUT.items())
    halves = "\n".join(f"  {name:<16}{', '.join(worlds) or '-'}" for name, worlds in HALVES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.worlds",
        description=__doc__,
        epilog=f"policies:\n{policies}\n\nworlds:\n{halves}\n  all             {', '.join(all_names()) or '-'}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    positive = number(int, 1)
    parser.add_argument(
        "--worlds", "--world", nargs="+", default=["development"], metavar="NAME", help="worlds, or a half: development"
    )
    parser.add_argument("--seeds", type=number(int, 0), nargs="+", default=[1, 2, 3], help="of the worlds: 1 2 3")
    parser.add_argument("--policies", choices=POLICIES, nargs="+", default=list(POLICIES), metavar="POLICY")
    parser.add_argument("--shoppers", type=positive, default=400, help="of each world: 400")
    parser.add_argument("--days", type=number(float, 1), default=21.0, help="of simulated time: 21")
    parser.add_argument("--config", type=Path, help="settings, as of `stream-coupons worker`; default: the product's")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="processes: as many as cores")
    parser.add_argument("--runs", type=Path, metavar="FILE", help="keeps finished runs, a JSON object a line")
    parser.add_argument(
        "--again", choices=POLICIES, nargs="+", default=[], metavar="POLICY", help="play kept ones anew"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    parser.add_argument("--chart", type=Path, metavar="FILE.svg", help="write a chart over worlds")
    options = parser.parse_args(arguments)
    try:
        options.worlds = names_of(options.worlds)
    except ValueError as error:
        parser.error(str(error))
    if TRUE_VALUE not in options.policies:
        options.policies.append(TRUE_VALUE)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, and print what was earned. Return the exit code: 130 after Ctrl-C, 1 if a process failed."""
    options = parse(arguments)
    try:
        kept, settings = Kept(options.runs, WorldRun), load(options.config)
    except BadConfig as error:
        stderr().print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        return 2
    tasks = _tasks(options, settings)
    runs: list[WorldRun] = []
    is_whole, exit_code = False, INTERRUPTED
    try:
        is_whole = _collect(runs_of(tasks, kept, options.jobs, frozenset(options.again)), len(tasks), runs)
    except BrokenProcessPool:
        stderr().print("[red]error:[/] a process ended early, for lack of memory perhaps: try fewer --jobs")
        exit_code = 1
    groups = compare(runs)
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(groups), indent=2).decode())
    else:
        show(groups)
    if options.chart is not None:
        options.chart.write_text(chart(groups))
    if not is_whole:
        stderr().print(f"{len(runs)} of {len(tasks)} runs are finished")
    return 0 if is_whole else exit_code


def _tasks(options: argparse.Namespace, settings: Settings) -> list[WorldTask]:
    shops = [Shop(world=world, shoppers=options.shoppers, days=options.days) for world in options.worlds]
    policies = [policy for policy in options.policies if policy != NONE]
    return tasks_of(shops, options.seeds, policies, settings, commit())


def _collect(played: Iterable[WorldRun], total: int, runs: list[WorldRun]) -> bool:
    """Add runs to `runs` until all are played or Ctrl-C comes; return whether all are played."""
    with suppress(KeyboardInterrupt), fraction_progress("runs", total) as progress:
        for run in played:
            runs.append(run)
            earned = run.outcome.margin_minor / 100
            note = f"{run.policy}, {run.configuration.world}, seed {run.seed}: {earned:,.0f}"
            progress.update(progress.task_ids[0], advance=1, note=note)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
