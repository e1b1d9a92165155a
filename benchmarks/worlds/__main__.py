"""Compare the engine with other policies in simulated shops of independent makes.

    python -m benchmarks.worlds
    python -m benchmarks.worlds --worlds development --seeds 1 2 3 --runs worlds.jsonl
    python -m benchmarks.worlds --worlds NAME --policies engine true_value --json
    python -m benchmarks.worlds --shoppers 500 2000 8000 --policies engine ranking_learnt --runs worlds.jsonl
    python -m benchmarks.worlds --worlds final --runs worlds.jsonl --chart worlds.svg

The margin of a policy is the sum of the true values of all coupons that it gave. A true value is the expected change
of the margin of the whole shop, over the coupon's window and the week after. Figures are in whole currency units.
Shares are ratios of sums over those of `true_value`, with 95 % intervals by the bootstrap over worlds and seeds.
Worlds in which no coupon pays are apart: there, margins are shares of what the shop earns without coupons.
In worlds of more than 2,000 shoppers true value is that of 2,000 of them, per shopper.
All policies have the same caps and the same holdout. None but the engine may give a coupon that the shopper still
holds.

--runs FILE keeps every finished run. A run is made again when its settings or its source code have changed.
Ctrl-C shows what is finished.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from stream_coupons.settings import Settings

from ..checkout import commit
from ..command import add_true_value, as_json, new_parser, number, played
from .chart import chart
from .compared import compare
from .registry import HALVES, all_names, names_of
from .runs import ABOUT, NONE, Shop, WorldRun, WorldTask, tasks_of
from .tables import show


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    halves = "\n".join(f"  {name:<16}{', '.join(worlds) or '-'}" for name, worlds in HALVES.items())
    epilog = f"\n\nworlds:\n{halves}\n  all             {', '.join(all_names()) or '-'}"
    parser = new_parser("benchmarks.worlds", __doc__, ABOUT, epilog)
    parser.set_defaults(seeds=[1, 2, 3])
    parser.add_argument(
        "--worlds", "--world", nargs="+", default=["development"], metavar="NAME", help="worlds, or a half: development"
    )
    parser.add_argument("--shoppers", type=number(int, 1), nargs="+", default=[400], help="of each world: 400")
    parser.add_argument("--days", type=number(float, 1), default=21.0, help="of simulated time: 21")
    parser.add_argument(
        "--valued", type=number(float, 0.001), default=1.0, metavar="RATIO", help="share of issues to find true: 1"
    )
    parser.add_argument("--chart", type=Path, metavar="FILE.svg", help="write a chart over worlds")
    options = parser.parse_args(arguments)
    try:
        options.worlds = names_of(options.worlds)
    except ValueError as error:
        parser.error(str(error))
    add_true_value(options)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, and print what was earned. Return the exit code: 130 after Ctrl-C, 1 if a process failed."""
    options = parse(arguments)

    def show_all(runs: Sequence[WorldRun], _: bool) -> None:
        groups = compare(runs)
        if options.json:
            print(as_json(groups))
        else:
            show(groups)
        if options.chart is not None:
            options.chart.write_text(chart(groups))

    return played(options, WorldRun, lambda settings: _tasks(options, settings), _note, show_all)


def _note(run: WorldRun) -> str:
    earned = run.outcome.margin_minor / 100
    shop = run.configuration
    return f"{run.policy}, {shop.world}, {shop.shoppers} shoppers, seed {run.seed}: {earned:,.0f}"


def _tasks(options: argparse.Namespace, settings: Settings) -> list[WorldTask]:
    sizes = [(world, shoppers) for shoppers in options.shoppers for world in options.worlds]
    shops = [Shop(world=world, shoppers=shoppers, days=options.days) for world, shoppers in sizes]
    policies = [policy for policy in options.policies if policy != NONE]
    return tasks_of(shops, options.seeds, policies, settings, commit(), options.valued)


if __name__ == "__main__":
    sys.exit(main())
