"""How near the learned policy comes to one that knows the truth, on simulated shoppers.

    python -m benchmarks.simulated
    python -m benchmarks.simulated --aim redemptions --seeds 1 2 3 4 5
    python -m benchmarks.simulated --aim redemptions --drift 10 --policies learned daily week oracle

The oracle is the same policy, asked the same questions, with the simulation's true probabilities in place of those of
the model; random gives any coupon that is allowed; daily and week are served by a model that is fitted in a batch every
night, on all labels or on those of the last seven days. All play the same worlds: shoppers do the same of their own
accord under every policy.

Two aims: `value`, the settings of the demonstration, where a redemption is worth 3.00 beyond its margin; and
`redemptions`, where it is worth so much that nothing else counts. The redeem rate is what the second one maximises;
under the first a policy rightly passes over who would order anyway.

Reported are redeem rates by third of the run, the ratio of each policy's to the oracle's, and incremental margin, all
by seed, with the mean over seeds and its 95 % interval by Student's t; and, if tastes drift, that ratio by days since,
of all seeds' coupons together. A redeem rate is the mean of the true probabilities that the coupons given would be
redeemed: what was drawn from them varies too much to tell policies apart.
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
from stream_coupons.demo.play import Played, play_locally
from stream_coupons.demo.shoppers import settings_for_shoppers
from stream_coupons.settings import Settings
from stream_coupons.simulation.shoppers import WorldSettings

from .retrained import RetrainedDaily

POLICIES = ("learned", "oracle", "random")
DAYS_KEPT = {"daily": None, "week": 7}
"""Of what is fitted in a batch."""
SPAN_DAYS = 3
WORTH_MINOR = {"value": 300.0, "redemptions": 100_000.0}


@dataclass(frozen=True, slots=True)
class Run:
    """One policy on one world."""

    seed: int
    policy: str
    issues: int
    by_day: list[tuple[int, int, float]]
    """Day, coupons issued, and how many of them were to be expected to be redeemed."""
    interests: list[tuple[int, int]]
    """By day, how many shoppers turned to what was strange to them, and how many were known well enough to say so."""
    margin: float
    """What coupons brought beyond what would have been ordered anyway, less discounts, in whole units."""


def play(policy: str, world: WorldSettings, settings: Settings) -> Run:
    """Play a world to its end."""
    played: Played
    if policy in DAYS_KEPT:
        retrained = RetrainedDaily(DAYS_KEPT[policy])
        played = play_locally("learned", world, settings, retrained.retrain, scorer=retrained, on_output=retrained.take)
    else:
        played = play_locally(policy, world, settings, lambda _: None)  # type: ignore[arg-type]
    by_day = [(day, issues, expected) for day, issues, _, _, expected in played.outcomes.daily()]
    margin = played.incremental_margin_minor / 100
    return Run(world.seed, policy, len(played.outcomes.issued_at), by_day, list(played.interests), margin)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % interval by Student's t; no ends for a single value."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def thirds(days: int) -> list[range]:
    """The days of each third of a run."""
    return [range(third * days // 3, (third + 1) * days // 3) for third in range(3)]


def rate(runs: Sequence[Run], policy: str, days: range) -> float:
    """A policy's redeem rate in some days, of all these runs' coupons together; NaN if there are none."""
    rows = [row for run in runs if run.policy == policy for row in run.by_day if row[0] in days]
    issues = sum(issues for _, issues, _ in rows)
    return sum(redeemed for _, _, redeemed in rows) / issues if issues else float("nan")


def ratio(runs: Sequence[Run], policy: str, days: range) -> float:
    """A policy's redeem rate over the oracle's in some days."""
    return rate(runs, policy, days) / rate(runs, "oracle", days)


def ratios(runs: Sequence[Run], policy: str, days: range) -> list[float]:
    """The same by seed."""
    seeds = sorted({run.seed for run in runs})
    return [ratio([run for run in runs if run.seed == seed], policy, days) for seed in seeds]


def strange(runs: Sequence[Run], days: range) -> float:
    """Share of shoppers who turned to what was strange to them in some days; NaN if none was known."""
    rows = [run.interests[day] for run in runs for day in days if day < len(run.interests)]
    known = sum(known for _, known in rows)
    return sum(strange for strange, _ in rows) / known if known else float("nan")


def show(runs: Sequence[Run], drift: float | None, days: int) -> None:
    """Print the runs and the ratios."""
    table = Table("seed", "policy", "issues", "first third", "second", "last", "margin")
    for run in runs:
        rates = (f"{rate([run], run.policy, third):.4f}" for third in thirds(days))
        table.add_row(str(run.seed), run.policy, f"{run.issues:,}", *rates, f"{run.margin:,.0f}")
    stdout().print(table)
    others = [name for name in dict.fromkeys(run.policy for run in runs) if name != "oracle"]
    for policy in others:
        for third, name in zip(thirds(days), ("first", "second", "last"), strict=True):
            mean, low, high = interval(ratios(runs, policy, third))
            stdout().print(f"redeem rate, {policy} over oracle, {name} third: {mean:.2f} ({low:.2f} to {high:.2f})")
    if drift is not None:
        changed = int(np.ceil(drift))
        spans = [
            range(changed - SPAN_DAYS, changed),
            *(range(n, n + SPAN_DAYS) for n in range(changed, days, SPAN_DAYS)),
        ]
        table = Table("days since the drift", *others, "strange interests")
        for span in spans:
            cells = (f"{ratio(runs, policy, span):.2f}" for policy in others)
            table.add_row(f"{span.start - changed} to {span.stop - changed}", *cells, f"{strange(runs, span):.1%}")
        stdout().print(table)
        week = range(max(changed - 7, 0), changed)
        for run in runs:
            jump = strange([run], range(changed, changed + 1)) / strange([run], week)
            of_run = f"{run.policy}, seed {run.seed}"
            stdout().print(f"strange interests on the day of the drift, {of_run}: {jump:.2f} x usual")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aim", choices=sorted(WORTH_MINOR), default="value")
    parser.add_argument("--policies", choices=[*POLICIES, *DAYS_KEPT], nargs="+", default=list(POLICIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--shoppers", type=int, default=600)
    parser.add_argument("--days", type=int, default=21)
    parser.add_argument("--drift", type=float, default=None, help="all tastes change after this many days")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    options = parser.parse_args(arguments)
    if "oracle" not in options.policies:
        parser.error("--policies: oracle is missing, which the others are compared with")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Play every policy on every world."""
    options = parse(arguments)
    settings = settings_for_shoppers(Settings())
    policy = msgspec.structs.replace(settings.policy, redemption_worth_minor=WORTH_MINOR[options.aim])
    settings = msgspec.structs.replace(settings, policy=policy)
    runs: list[Run] = []
    with fraction_progress("worlds", len(options.seeds) * len(options.policies)) as progress:
        for seed in options.seeds:
            size = {"shoppers": options.shoppers, "days": options.days, "taste_drift_day": options.drift}
            for name in options.policies:
                runs.append(play(name, WorldSettings(seed=seed, **size), settings))
                progress.update(progress.task_ids[0], advance=1)
    if options.json:
        print(json.dumps([msgspec.to_builtins(run) for run in runs], indent=2))
    else:
        show(runs, options.drift, options.days)


if __name__ == "__main__":
    main()
