"""Compare the product with other policies on simulated shoppers, by expected incremental margin.

    python -m benchmarks.money
    python -m benchmarks.money --seeds 1 2 3 --runs money.jsonl
    python -m benchmarks.money --seeds 1 2 3 --runs money.jsonl --again learned
    python -m benchmarks.money --scale 1 3 10 --policies learned best_on_average true_value
    python -m benchmarks.money --world few_coupons deadweight --json
    python -m benchmarks.money --history 14 --policies learned learned_untold best_on_average_learnt
    python -m benchmarks.money --drift 10 --policies learned daily week true_value

The expected incremental margin of a coupon is known, since shoppers are simulated: at the moment it is handed over, the
margin of an order that it brings about, less its discount, less the discount on an order that would have been placed
anyway. Figures are sums over all coupons given, in whole currency units: means over seeds with 95 % intervals by
Student's t. All policies play the same worlds under the same caps, stocks, budgets and holdout, and shoppers do the
same of their own accord under every policy.

The settings are the product's defaults, or those of --config and of the environment, with one partition. Coupons reach
their shoppers at once, what they do with them is known within the hour, and what is learnt is used at once.

--runs FILE keeps every finished run. A run is made again when what it depends on has changed: of the product's own
policies all settings and all source code, of the others caps, costs and the simulation. Ctrl-C shows what is finished.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from stream_coupons.settings import Settings

from .checkout import commit
from .command import add_true_value, as_json, new_parser, number, played
from .money_compared import Comparison, compare
from .money_runs import (
    ABOUT,
    AFTER_TRUE_VALUE,
    DAYS_KEPT,
    NONE,
    POLICIES,
    ROOT,
    UNTOLD,
    WORLDS,
    Configuration,
    Run,
    Task,
    in_order_of_length,
    key_of,
    settings_of,
)
from .money_tables import page_with, show

SEEDS = tuple(range(1, 11))
COMPARED = tuple(policy for policy in POLICIES if policy not in {*DAYS_KEPT, UNTOLD})
"""Policies that are played unless others are named."""
PAGE = ROOT / "docs" / "explanation" / "what-it-earns.md"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser, positive = new_parser("benchmarks.money", __doc__, ABOUT), number(int, 1)
    parser.set_defaults(seeds=list(SEEDS), policies=list(COMPARED))
    parser.add_argument("--shoppers", type=positive, default=600, help="at scale 1: 600")
    parser.add_argument("--days", type=number(int, 3), default=21, help="of simulated time: 21")
    parser.add_argument(
        "--history", type=number(int, 0), default=0, metavar="DAYS", help="before the first coupon, known to all: 0"
    )
    parser.add_argument("--scale", type=positive, nargs="+", default=[1], help="multiples of --shoppers")
    parser.add_argument("--world", choices=WORLDS, nargs="+", default=["standard"], help=", ".join(WORLDS))
    parser.add_argument("--drift", type=number(float, 0), help="all tastes change after this many days")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    if AFTER_TRUE_VALUE & set(options.policies):
        add_true_value(options)
    return options


def tasks_of(options: argparse.Namespace, settings: Settings) -> list[Task]:
    """Return all runs that are asked for, the longest first."""
    settings, checked_out = settings_of(settings), commit()
    policies = [policy for policy in in_order_of_length(options.policies) if policy != NONE]
    keys = {policy: key_of(policy, settings) for policy in policies}
    return [
        Task(policy, seed, configuration, settings, keys[policy], checked_out)
        for configuration in configurations_of(options)
        for policy in policies
        for seed in options.seeds
    ]


def configurations_of(options: argparse.Namespace) -> list[Configuration]:
    """Return the worlds that are asked for, but for their seeds."""
    return [
        Configuration(
            world=world,
            shoppers=options.shoppers * scale,
            days=options.days,
            drift=options.drift,
            history=options.history,
        )
        for world in options.world
        for scale in options.scale
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, and print what was earned. Return the exit code: 130 after Ctrl-C, 1 if a process failed."""
    options = parse(arguments)

    def show_all(runs: Sequence[Run], is_whole: bool) -> None:
        comparisons = [compare(configuration, runs) for configuration in configurations_of(options)]
        if options.json:
            print(as_json(document_of(comparisons)))
        else:
            for comparison in comparisons:
                show(comparison)
        if options.write and is_whole:
            PAGE.write_text(page_with(PAGE.read_text(), comparisons))

    def note(run: Run) -> str:
        return f"{run.policy}, seed {run.seed}: {run.margin:,.0f}"

    return played(options, Run, lambda settings: tasks_of(options, settings), note, show_all)


def document_of(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return the first comparison's fields, and `worlds`: all of them."""
    first: dict[str, Any] = msgspec.to_builtins(comparisons[0], str_keys=True)
    return {**first, "worlds": [msgspec.to_builtins(each, str_keys=True) for each in comparisons]}


if __name__ == "__main__":
    sys.exit(main())
