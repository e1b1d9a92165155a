"""How near the learned policy comes to one that knows the truth, on simulated shoppers.

    python -m tests.benchmarks.simulated
    python -m tests.benchmarks.simulated --aim redemptions --seeds 1 2 3 4 5
    python -m tests.benchmarks.simulated --shoppers 2000 --days 42 --drift 21 --json

The oracle is the same policy, asked the same questions, with the simulation's true probabilities in place of those of
the model; random gives any coupon that is allowed. All play the same worlds: shoppers do the same of their own accord
under every policy. Two aims: `value`, the settings of the demonstration, where a redemption is worth 3.00 beyond its
margin; and `redemptions`, where it is worth so much that nothing else counts. The redeem rate is what the second one
maximises; under the first a policy rightly passes over who would order anyway. Reported are redeem rates by third of
the run, the ratio of the learned policy's to the oracle's, and incremental margin, all by seed, with the mean over
seeds and its 95 % interval by Student's t.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from rich.table import Table
from scipy import stats

from stream_coupons.cli.terminal import fraction_progress, stdout
from stream_coupons.demo.play import Played, Policy, play_locally
from stream_coupons.demo.reports import Thirds
from stream_coupons.demo.shoppers import settings_for_shoppers
from stream_coupons.settings import Settings
from stream_coupons.simulation.shoppers import WorldSettings

POLICIES: tuple[Policy, ...] = ("learned", "oracle", "random")
WORTH_MINOR = {"value": 300.0, "redemptions": 100_000.0}


@dataclass(frozen=True, slots=True)
class Run:
    """One policy on one world."""

    seed: int
    policy: Policy
    issues: int
    redeem_by_third: tuple[float, float, float]
    margin: float
    """What coupons brought beyond what would have been ordered anyway, less discounts, in whole units."""


def play(policy: Policy, world: WorldSettings, settings: Settings) -> Run:
    """Play a world to its end."""
    played: Played = play_locally(policy, world, settings, lambda _: None)
    thirds = Thirds.of(played, world.days)
    return Run(world.seed, policy, thirds.issues, thirds.redeems, played.incremental_margin_minor / 100)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % interval by Student's t; no ends for a single value."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def ratios(runs: Sequence[Run], third: int) -> list[float]:
    """The learned policy's redeem rate over the oracle's in a third, by seed."""
    rate = {(run.seed, run.policy): run.redeem_by_third[third] for run in runs}
    seeds = sorted({run.seed for run in runs})
    return [rate[seed, "learned"] / rate[seed, "oracle"] for seed in seeds]


def show(runs: Sequence[Run]) -> None:
    """Print the runs and the ratios."""
    table = Table("seed", "policy", "issues", "first third", "second", "last", "margin")
    for run in runs:
        rates = (f"{rate:.4f}" for rate in run.redeem_by_third)
        table.add_row(str(run.seed), run.policy, f"{run.issues:,}", *rates, f"{run.margin:,.0f}")
    stdout().print(table)
    for third, name in enumerate(("first", "second", "last")):
        mean, low, high = interval(ratios(runs, third))
        stdout().print(f"redeem rate, learned over oracle, {name} third: {mean:.2f} ({low:.2f} to {high:.2f})")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aim", choices=sorted(WORTH_MINOR), default="value")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--shoppers", type=int, default=600)
    parser.add_argument("--days", type=int, default=21)
    parser.add_argument("--drift", type=float, default=None, help="all tastes change after this many days")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Play every policy on every world."""
    options = parse(arguments)
    settings = settings_for_shoppers(Settings())
    policy = msgspec.structs.replace(settings.policy, redemption_worth_minor=WORTH_MINOR[options.aim])
    settings = msgspec.structs.replace(settings, policy=policy)
    runs: list[Run] = []
    with fraction_progress("worlds", len(options.seeds) * len(POLICIES)) as progress:
        for seed in options.seeds:
            size = {"shoppers": options.shoppers, "days": options.days, "taste_drift_day": options.drift}
            for name in POLICIES:
                runs.append(play(name, WorldSettings(seed=seed, **size), settings))
                progress.update(progress.task_ids[0], advance=1)
    if options.json:
        print(json.dumps([msgspec.to_builtins(run) for run in runs], indent=2))
    else:
        show(runs)


if __name__ == "__main__":
    main()
