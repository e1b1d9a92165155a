"""Play campaigns with a guardrail on lift: how soon is one held that loses money, and how often is one that does not?

    python -m benchmarks.guardrails
    python -m benchmarks.guardrails --runs 20 --shoppers 4000 --jobs 1 --json
    python -m benchmarks.guardrails --campaigns "breaks even"
    python -m benchmarks.guardrails --write

A shop plays four weeks. Its shoppers come twice on average, and their orders have a margin of 30 %. Half of the
shoppers are in the campaign's holdout. The whole system decides, measures and reports, without a broker. The guardrail
is evaluated after every hour. The campaigns differ in their discount, and in P(order) of a visit with a coupon. Without
a coupon it is 30 %.

The campaign that loses takes a discount from those who would have ordered anyway: all that it spends is lost. The one
that breaks even brings as much margin as it takes off: it is the hardest one to leave alone.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
from msgspec import Struct, to_builtins
from rich.table import Table

from stream_coupons.agents.guardrails import FollowedCampaign, Guard
from stream_coupons.cli.terminal import stdout
from stream_coupons.core.messages.catalogue import Guardrail
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.lift import LiftTotals
from stream_coupons.core.messages.results import ResultTotals
from stream_coupons.models.linear import prior
from stream_coupons.testing import (
    START,
    LocalPipeline,
    browse,
    campaign,
    coupon,
    feedback,
    item,
    order,
    plain_settings,
)

from .command import number
from .money_runs import ROOT
from .pages import begin_of, markdown_table, with_figures

PAGE = ROOT / "docs" / "how-to" / "live-a-campaign.md"
BEGIN = begin_of("python -m benchmarks.guardrails --write")
HOUR_S = 3600.0
HOURS = 28 * 24
VISITS = 2.0
"""Mean visits of a shopper."""
P_ORDER = 0.3
"""P(order) of a visit without a coupon."""
MARGIN_RATIO = 0.3
MEAN_ORDER, SIGMA = 5000.0, 0.5
"""Mean value of an order in minor units, and the standard deviation of its logarithm."""
BUDGET_MINOR = 1_000_000
CAMPAIGNS = {"loses": (1000, 0.3), "earns": (500, 0.6), "breaks even": (500, 0.45)}
"""Discount in minor units, and P(order) of a visit with the coupon."""


class Run(Struct, frozen=True):
    """One campaign that was played.

    Attributes
    ----------
    is_held : bool
        True if its guardrail has stopped it.
    hours : int
        Hours that it was given for.
    given, spent_minor : int
        Coupons, and their discounts.
    visits : int
        Visits of shoppers who may get its coupons.
    """

    name: str
    seed: int
    is_held: bool
    hours: int
    given: int
    spent_minor: int
    visits: int

    @property
    def lost_minor(self) -> float:
        """Expected margin lost by all visits with a coupon, by the true probabilities."""
        discount, p_order = CAMPAIGNS[self.name]
        margin = MEAN_ORDER * MARGIN_RATIO
        return self.given * (P_ORDER * margin - p_order * (margin - discount))


def play(seed: int, name: str, shoppers: int) -> Run:
    """Play a campaign until its guardrail stops it, or the four weeks are over."""
    rng = np.random.default_rng([seed, shoppers])
    (discount, p_order), guard = CAMPAIGNS[name], Guard(plain_settings().shop)
    spring = campaign("spring", holdout_ratio=0.5, budget_minor=BUDGET_MINOR, guardrails=[Guardrail(metric="lift")])
    guard.knows_all = lambda: True
    guard.take_campaign(FollowedCampaign("spring", spring, b"{}"))
    deep = coupon(
        "deep", campaign_id="spring", discount_minor=discount, max_discount_minor=discount, not_while_held="none"
    )
    shop = LocalPipeline(
        plain_settings(totals_every_s=0.0), [deep], campaigns=[spring], scorer=prior(), on_output=lambda _: None
    )
    issues: list[CouponIssue] = []
    for kind, take in ((CouponIssue, issues.append), (LiftTotals, guard.take_lift), (ResultTotals, guard.take_results)):
        shop.listen(kind, take)  # type: ignore[arg-type]
    shop.tick(START)
    visits, given, spent_minor, counts = 0, 0, 0, rng.poisson(shoppers * VISITS / HOURS, HOURS)
    for hour in range(HOURS):
        for at in np.sort(rng.uniform(hour, hour + 1, counts[hour])) * HOUR_S + START:
            user = f"{seed}-{rng.integers(shoppers)}"
            draw, price = rng.random(), int(MEAN_ORDER * np.exp(SIGMA * rng.standard_normal() - SIGMA**2 / 2))
            shop.publish(browse(user, item(margin_ratio=MARGIN_RATIO), at=float(at)))
            visits, given = visits + 1, given + len(issues)
            if draw < (p_order if issues else P_ORDER):
                bought = item(price_minor=price, margin_ratio=MARGIN_RATIO)
                shop.publish(order(user, bought, at=float(at) + 1))
                used = [feedback(one, "purchase", at=float(at) + 1, discount_minor=discount) for one in issues]
                shop.publish(*used)
                spent_minor += discount * len(used)
            issues.clear()
        shop.tick(START + (hour + 1) * HOUR_S)
        if guard.due():
            return Run(name, seed, True, hour + 1, given, spent_minor, visits)
    return Run(name, seed, False, HOURS, given, spent_minor, visits)


def row_of(name: str, runs: Sequence[Run]) -> list[str]:
    """Return the row of a campaign: how many were held, how soon, and what they had lost by then."""
    some = [run for run in runs if run.name == name]
    held = [run for run in some if run.is_held]
    within = sum(run.lost_minor < BUDGET_MINOR / 10 for run in held)
    lost = [run.lost_minor / BUDGET_MINOR for run in held] or [0.0]
    days = [run.hours / 24 for run in held] or [0.0]
    texts = (f"{np.median(days):.1f} days", f"{np.median(lost):.1%}", f"{max(lost):.1%}", str(within))
    return [name, f"{len(held)} of {len(some)}", *(texts if held else ("", "", "", ""))]


HEADERS = ["campaign", "held", "median time", "lost by then, median", "at most", "held below 10 % of the budget"]


def main(arguments: list[str]) -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=number(int, 1), default=100, help="of each campaign (default: 100)")
    parser.add_argument("--shoppers", type=number(int, 1), default=1000, help="(default: 1000)")
    parser.add_argument(
        "--campaigns", choices=CAMPAIGNS, nargs="+", default=["loses", "earns"], help="(default: loses earns)"
    )
    parser.add_argument("--jobs", type=number(int, 1), default=os.cpu_count() or 1, help="processes: as many as cores")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    runs: list[Run] = []
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as processes:
        for name in options.campaigns:
            task = partial(play, name=name, shoppers=options.shoppers)
            for run in processes.map(task, range(options.runs)):
                runs.append(run)
                print(f"{len(runs)} of {options.runs * len(options.campaigns)} runs", file=sys.stderr)
    if options.json:
        print(json.dumps([to_builtins(run) | {"lost_minor": run.lost_minor} for run in runs]))
        return
    rows = [row_of(name, runs) for name in options.campaigns]
    about = f"{options.shoppers:,} shoppers, {VISITS:g} visits each in 28 days, budget {BUDGET_MINOR / 100:,.0f}.00"
    if options.write:
        parts = [f"{about}; seeds 0 to {options.runs - 1}.", markdown_table(HEADERS, rows)]
        PAGE.write_text(with_figures(PAGE.read_text(), BEGIN, parts))
        return
    table = Table(*HEADERS, title=about)
    for row in rows:
        table.add_row(*row)
    stdout().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
