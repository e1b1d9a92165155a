"""Compare predicted with true probabilities of what chance gives: is the level right, and is it right by decile?

    python -m benchmarks.effects
    python -m benchmarks.effects --seeds 1 2 3 --jobs 1 --json
    python -m benchmarks.effects --world deadweight
    python -m benchmarks.effects --write

The product plays simulated shoppers by its defaults. Where exploration draws the coupon from all candidates alike, the
issue's probabilities are compared with the simulation's at that moment: of a redemption, of an order in scope without
the coupon, and of an order that the coupon brings about, its effect. No value chooses these coupons, so their level is
the level over all candidates.

The first table has predicted over true, by week. The second has deciles of the predicted effect from the second week
on. The mean true effect of a decile has a 95 % interval, by a bootstrap over shoppers. "Within" says whether the mean
prediction lies in it.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context

import numpy as np
from msgspec import Struct
from rich.table import Table

from stream_coupons.cli.terminal import stdout
from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.incremental import USES_RATIO
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.settings import Settings
from stream_coupons_lab.offline.metrics import bootstrap_interval
from stream_coupons_lab.simulation.shoppers import World

from .direct_play import play_scorer
from .money_runs import ROOT, WORLDS, Configuration, settings_of
from .pages import begin_of, markdown_table, with_figures

Row = tuple[str, float, tuple[float, ...], tuple[float, ...]]
"""Shopper, day, predicted probability of each of `PARTS`, true probability of each."""
PARTS = ("redemption", "order without a coupon", "effect")
Cells = tuple[list[str], list[list[str]]]
"""Headers and rows of a table."""
PAGE = ROOT / "docs" / "explanation" / "what-it-earns.md"
BEGIN = begin_of("python -m benchmarks.effects --write")
WEEK = 7
DECILES = 10
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Decile:
    """Some issues of about the same predicted effect.

    Attributes
    ----------
    predicted, true : float
        Means.
    low, high : float
        95 % interval of the true mean.
    """

    issues: int
    predicted: float
    true: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """True if the mean prediction lies in the interval."""
        return self.low <= self.predicted <= self.high


class Draws:
    """Hears the issues of a run, and keeps those that chance drew.

    Attributes
    ----------
    rows : list of Row
        Those that chance drew, in the order in which they were given.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.rows: list[Row] = []
        self._world, self._seed, self._starts_at = world, seed, world.now
        self._coupons = {coupon.coupon_id: coupon for coupon in world.catalogue()}

    def hear(self, message: Struct) -> None:
        """Keep an issue if exploration drew it."""
        if not isinstance(message, CouponIssue) or not message.is_explored:
            return
        worth = self._world.worth(message.user_id, [self._coupons[message.coupon_id]], message.issued_at)
        predicted = message.p_redeem, message.p_order, message.p_redeem - USES_RATIO * message.p_order
        true = float(worth.redeems[0]), float(worth.orders[0]), float(worth.persuades[0])
        day = (message.issued_at - self._starts_at) / DAY_S
        self.rows.append((f"{self._seed}-{message.user_id}", day, predicted, true))

    def learn(self) -> None:
        """Nothing: it only hears."""


def draws_of(seed: int, configuration: Configuration) -> list[Row]:
    """Play a world and return the issues that chance drew."""
    world = World(configuration.settings(seed))
    draws = Draws(world, seed)
    play_scorer("learned", world, settings_of(Settings()), None, listener=draws)
    return draws.rows


def levels(day: Floats, predicted: Floats, true: Floats) -> list[dict[str, float]]:
    """Return predicted over true of each of `PARTS`, a row for each week."""
    weeks = (day // WEEK).astype(int)
    return [
        dict(zip(PARTS, (predicted[weeks == week].sum(axis=0) / true[weeks == week].sum(axis=0)).tolist(), strict=True))
        for week in sorted(set(weeks.tolist()))
    ]


def deciles(shopper: Sequence[str], predicted: Floats, true: Floats) -> list[Decile]:
    """Return tenths of some issues by predicted effect, ascending.

    Parameters
    ----------
    shopper : sequence of str, length n
        Of each issue.
    predicted, true : array, shape (n,)
        Effects.
    """
    whose, found = np.array(shopper), []
    for rows in np.array_split(np.argsort(predicted, kind="stable"), DECILES):
        forecast = predicted[rows]
        mean = bootstrap_interval(
            lambda _, true: float(true.mean()), forecast, true[rows], whose[rows], repeats=RESAMPLES
        )
        found.append(Decile(len(rows), float(forecast.mean()), mean.value, mean.low, mean.high))
    return found


def main(arguments: list[str]) -> None:
    """Measure, and print tables or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1, 11)), help="worlds (default: 1 to 10)")
    parser.add_argument("--world", choices=sorted(WORLDS), default="standard", help="(default: standard)")
    parser.add_argument("--scale", type=int, default=1, help="times 600 shoppers (default: 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: as many as cores)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    configuration = Configuration(world=options.world, shoppers=600 * options.scale)
    rows: list[Row] = []
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as processes:
        for number, each in enumerate(processes.map(draws_of, options.seeds, [configuration] * len(options.seeds)), 1):
            rows += each
            print(f"{number} of {len(options.seeds)} worlds", file=sys.stderr)
    day, predicted, true = (np.array([row[column] for row in rows]) for column in (1, 2, 3))
    by_week = levels(day, predicted, true)
    late = day >= WEEK
    shopper = [row[0] for row, is_late in zip(rows, late.tolist(), strict=True) if is_late]
    by_decile = deciles(shopper, predicted[late, -1], true[late, -1])
    if options.json:
        print(json.dumps({"issues": len(rows), "levels": by_week, "deciles": [asdict(one) for one in by_decile]}))
        return
    holds = sum(one.holds for one in by_decile)
    titles = (
        f"Predicted over true, {len(rows):,} issues drawn",
        f"Deciles of the effect from the second week on: {holds} of {DECILES} within",
    )
    tables = dict(zip(titles, (rows_of_levels(by_week), rows_of_deciles(by_decile)), strict=True))
    if options.write:
        seeds = f"{configuration.name.capitalize()}; seeds {', '.join(map(str, options.seeds))}."
        parts = [part for title, each in tables.items() for part in (f"{title}:", markdown_table(*each))]
        PAGE.write_text(with_figures(PAGE.read_text(), BEGIN, [seeds, *parts]))
        return
    for title, (headers, cells) in tables.items():
        table = Table(*headers, title=title)
        for row in cells:
            table.add_row(*row)
        stdout().print(table)


def rows_of_levels(by_week: Sequence[dict[str, float]]) -> Cells:
    """Return the headers and rows of the first table."""
    rows = [[str(week), *(f"{level[part]:.2f}" for part in PARTS)] for week, level in enumerate(by_week, 1)]
    return ["week", *PARTS], rows


def rows_of_deciles(by_decile: Sequence[Decile]) -> Cells:
    """Return the headers and rows of the second table."""
    rows = [
        [
            str(one.issues),
            f"{one.predicted:.3f}",
            f"{one.true:.3f} ({one.low:.3f} to {one.high:.3f})",
            "yes" if one.holds else "no",
        ]
        for one in by_decile
    ]
    return ["issues", "predicted", "true (95 %)", "within"], rows


if __name__ == "__main__":
    main(sys.argv[1:])
