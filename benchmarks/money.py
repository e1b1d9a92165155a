"""What coupons earn: the product beside other policies on simulated shoppers, by expected incremental margin.

    python -m benchmarks.money
    python -m benchmarks.money --seeds 1 2 3 --runs money.jsonl
    python -m benchmarks.money --seeds 1 2 3 --runs money.jsonl --again learned
    python -m benchmarks.money --scale 1 3 10 --policies learned best_on_average true_value
    python -m benchmarks.money --world few_coupons deadweight --json
    python -m benchmarks.money --drift 10 --policies learned daily week true_value
    python -m benchmarks.money --html money.html

The expected incremental margin of a coupon is known, since shoppers are simulated: at the moment it is handed over, the
margin of an order that it brings about, less its discount, less the discount on an order that would have been placed
anyway. Figures are sums over all coupons given, in whole currency units: means over seeds with 95 % intervals by
Student's t. All policies play the same worlds under the same caps, stocks, budgets and holdout, and shoppers do the
same of their own accord under every policy.

The settings are the product's defaults, or those of --config and of the environment, with one partition. Coupons reach
their shoppers and time passes every simulated hour; what is learnt is used at once.

--runs FILE keeps every finished run. A run is made again when what it depends on has changed: of the product's own
policies all settings and all source code, of the others caps, costs and the simulation. Ctrl-C shows what is finished.
"""

import argparse
import math
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy import stats

from stream_coupons.cli.terminal import INTERRUPTED, fraction_progress, stderr, stdout
from stream_coupons.core.errors import BadConfig
from stream_coupons.evaluation.report import Axis, Report
from stream_coupons.settings import Settings, load

from .money_runs import (
    ABOUT,
    AFTER_TRUE_VALUE,
    DAYS_KEPT,
    NONE,
    POLICIES,
    ROOT,
    TRUE_VALUE,
    WORLDS,
    Configuration,
    Kept,
    Run,
    Task,
    commit,
    in_order_of_length,
    key_of,
    runs_of,
    settings_of,
)

SEEDS = tuple(range(1, 11))
OURS = "learned"
BOUND = "learnable_bound"
RANDOM = "random"
COMPARED = tuple(policy for policy in POLICIES if policy not in DAYS_KEPT)
"""Policies that are played unless others are named."""
CONFIDENCE = 0.95
THIRDS = ("first third", "second", "last")
SPAN_DAYS = 3
"""Of the table of days since all tastes changed."""
PAGE = ROOT / "docs" / "explanation" / "what-it-earns.md"
BEGIN, END = "<!-- figures: python -m benchmarks.money --write -->", "<!-- end of figures -->"


HOW = (
    "Shoppers are simulated, so it is known what each coupon is worth when it is handed over: the margin of an order "
    "that it brings about, less its discount, less the discount on an order that would have been placed anyway. All "
    "policies play the same worlds under the same caps, stocks, budgets and holdout."
)


class Estimate(msgspec.Struct, frozen=True):
    """A mean over seeds, with the ends of its interval: none for a single seed."""

    mean: float
    low: float | None = None
    high: float | None = None


class Earned(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy earned on the worlds of one configuration; margins in whole currency units.

    Attributes
    ----------
    margin : float
        Mean over seeds, of the whole run.
    thirds : list of float
        The same of each third of the run.
    margin_interval, third_intervals
        With their intervals.
    by_seed, thirds_by_seed : dict
        By seed.
    worst_seed : int
        The seed with the lowest margin.
    issues : float
        Coupons given, mean over seeds.
    cpu_s : float
        Processor time a run, mean over seeds.
    ahead : Estimate or None
        By how much the product earned more, paired by seed; None of the product itself, or if it was not played.
    ahead_by_third : list of Estimate
        The same of each third.
    of_true_value, of_bound : float or None
        Ratio of the means.
    of_true_value_by_third, of_bound_by_third : list of float
        The same of each third.
    of_true_value_by_seed : dict
        Ratio by seed.
    thirds_below_random : int or None
        In how many thirds of all seeds it earned less than random coupons; None if these were not played.
    redeem_rate : float or None
        Expected redemptions a coupon, of all seeds together; None if no coupon was given.
    margin_by_day : list of Estimate
        Margin of all coupons given until the end of each day.
    """

    margin: float
    thirds: list[float]
    margin_interval: Estimate
    third_intervals: list[Estimate]
    by_seed: dict[int, float]
    thirds_by_seed: dict[int, list[float]]
    worst_seed: int
    issues: float
    cpu_s: float
    ahead: Estimate | None = None
    ahead_by_third: list[Estimate] = []
    of_true_value: float | None = None
    of_bound: float | None = None
    of_true_value_by_third: list[float] = []
    of_bound_by_third: list[float] = []
    of_true_value_by_seed: dict[int, float] = {}
    thirds_below_random: int | None = None
    redeem_rate: float | None = None
    margin_by_day: list[Estimate] = []


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Some days before or after all tastes changed.

    Attributes
    ----------
    first, last : int
        Days since the change, both included; negative before it.
    of_true_value : dict
        By policy, its margin of these days over that of true value, of all seeds together.
    strange_interests : float or None
        Share of shoppers who turned to what was strange to them; None if no shopper was known.
    """

    first: int
    last: int
    of_true_value: dict[str, float]
    strange_interests: float | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All policies on the worlds of one configuration."""

    configuration: Configuration
    seeds: list[int]
    policies: dict[str, Earned]
    since_drift: list[Span] = []


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of values with its interval by Student's t.

    >>> estimate([1.0]), estimate([1.0, 2.0, 3.0])
    (Estimate(mean=1.0, low=None, high=None), Estimate(mean=2.0, low=-0.48, high=4.48))
    """
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Estimate(round(mean, 2))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Estimate(round(mean, 2), round(mean - half, 2), round(mean + half, 2))


def compare(configuration: Configuration, runs: Sequence[Run]) -> Comparison:
    """Return what each policy earned, on the seeds that all of them have played."""
    mine = [run for run in runs if run.configuration == configuration]
    played: defaultdict[str, dict[int, Run]] = defaultdict(dict)
    for run in mine:
        played[run.policy][run.seed] = run
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in played.values()))) if played else []
    if not seeds:
        return Comparison(configuration=configuration, seeds=[], policies={})
    parts = {
        policy: {seed: [by_seed[seed].margin, *by_seed[seed].thirds()] for seed in seeds}
        for policy, by_seed in played.items()
    }
    parts[NONE] = {seed: [0.0] * (1 + len(THIRDS)) for seed in seeds}
    policies = {}
    for policy in [policy for policy in POLICIES if policy in parts]:
        columns = np.array(list(parts[policy].values())).T
        estimates = [estimate(column.tolist()) for column in columns]
        ahead = []
        if OURS in parts and policy != OURS:
            ahead = [estimate(column.tolist()) for column in np.array(list(parts[OURS].values())).T - columns]
        of_true, of_bound = (_ratios(columns, parts.get(other)) for other in (TRUE_VALUE, BOUND))
        by_seed = {seed: round(values[0], 2) for seed, values in parts[policy].items()}
        of_policy = [played[policy][seed] for seed in seeds] if policy != NONE else []
        policies[policy] = Earned(
            margin=estimates[0].mean,
            thirds=[each.mean for each in estimates[1:]],
            margin_interval=estimates[0],
            third_intervals=estimates[1:],
            by_seed=by_seed,
            thirds_by_seed={seed: [round(value, 2) for value in values[1:]] for seed, values in parts[policy].items()},
            worst_seed=min(by_seed, key=lambda seed: by_seed[seed]),
            issues=round(float(np.mean([run.issues for run in of_policy] or [0])), 1),
            cpu_s=round(float(np.mean([run.cpu_s for run in of_policy] or [0.0])), 2),
            ahead=ahead[0] if ahead else None,
            ahead_by_third=ahead[1:],
            of_true_value=of_true[0] if of_true else None,
            of_bound=of_bound[0] if of_bound else None,
            of_true_value_by_third=of_true[1:],
            of_bound_by_third=of_bound[1:],
            of_true_value_by_seed={
                seed: round(parts[policy][seed][0] / values[0], 3)
                for seed, values in parts.get(TRUE_VALUE, {}).items()
                if values[0]
            },
            thirds_below_random=_thirds_below(columns, parts.get(RANDOM)),
            redeem_rate=_redeem_rate(of_policy),
            margin_by_day=[
                estimate(list(margins)) for margins in zip(*(run.margin_by_day for run in of_policy), strict=True)
            ],
        )
    spans = _since_drift(configuration, {policy: [by_seed[n] for n in seeds] for policy, by_seed in played.items()})
    return Comparison(configuration=configuration, seeds=seeds, policies=policies, since_drift=spans)


def _since_drift(configuration: Configuration, played: Mapping[str, Sequence[Run]]) -> list[Span]:
    """Return how near policies came to true value before and after all tastes changed."""
    if configuration.drift is None or TRUE_VALUE not in played:
        return []
    changed, days = math.ceil(configuration.drift), configuration.days
    firsts = [max(changed - SPAN_DAYS, 0), *range(changed, days, SPAN_DAYS)]
    spans = []
    for first in firsts:
        last = min(first + SPAN_DAYS, changed if first < changed else days)
        earned = {
            policy: sum(run.margin_by_day[last - 1] - (run.margin_by_day[first - 1] if first else 0.0) for run in runs)
            for policy, runs in played.items()
        }
        interests = [pair for run in played[TRUE_VALUE] for pair in run.interests[first:last]]
        strange, known = (sum(pair[n] for pair in interests) for n in range(2))
        spans.append(
            Span(
                first=first - changed,
                last=last - 1 - changed,
                of_true_value={
                    policy: round(margin / earned[TRUE_VALUE], 3) if earned[TRUE_VALUE] else 0.0
                    for policy, margin in earned.items()
                    if policy != TRUE_VALUE
                },
                strange_interests=round(strange / known, 4) if known else None,
            )
        )
    return spans


def _redeem_rate(runs: Sequence[Run]) -> float | None:
    rows = [row for run in runs for row in run.redeem_by_day]
    issues = sum(issues for _, issues, _ in rows)
    return round(sum(expected for _, _, expected in rows) / issues, 4) if issues else None


def _ratios(columns: Any, other: dict[int, list[float]] | None) -> list[float]:
    if other is None:
        return []
    totals = np.array(list(other.values())).sum(axis=0)
    return [round(float(ratio), 3) for ratio in columns.sum(axis=1) / np.where(totals == 0, np.nan, totals)]


def _thirds_below(columns: Any, other: dict[int, list[float]] | None) -> int | None:
    return None if other is None else int((columns < np.array(list(other.values())).T)[1:].sum())


def show(comparison: Comparison) -> None:
    """Print a table of the policies, and a table of the product against each of the others."""
    if not comparison.seeds:
        stdout().print(f"{comparison.configuration.name}: no seed was played by all policies.")
        return
    seeds = ", ".join(map(str, comparison.seeds))
    title = f"Expected incremental margin: {comparison.configuration.name}, seeds {seeds}"
    tables = {
        title: rows_of(comparison),
        "Ratios of the means": rows_of_ratios(comparison),
        "By how much the product earns more, paired by seed": rows_ahead(comparison),
    }
    if comparison.since_drift:
        tables["Margin over that of true value, by days since all tastes changed"] = rows_since_drift(comparison)
    for heading, (headers, rows) in tables.items():
        if rows:
            table = Table(title=heading, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
            for number, header in enumerate(headers):
                table.add_column(header, justify="right" if number else "left", no_wrap=True)
            for row in rows:
                table.add_row(*row, style="bold" if row[0] == OURS else "")
            stdout().print(table)


Rows = tuple[tuple[str, ...], list[list[str]]]


def rows_of(comparison: Comparison) -> Rows:
    """Return headers and cells: a row for each policy."""
    headers = ("policy", "margin (95 %)", *THIRDS, "worst seed", "coupons", "redeemed", "CPU s")
    rows = []
    for policy, earned in comparison.policies.items():
        cells = [policy, written(earned.margin_interval), *map(_whole, earned.thirds)]
        cells.append(f"{_whole(earned.by_seed[earned.worst_seed])} ({earned.worst_seed})" if policy != NONE else "0")
        redeemed = "" if earned.redeem_rate is None else f"{earned.redeem_rate:.1%}"
        rows.append([*cells, _whole(earned.issues), redeemed, _whole(earned.cpu_s)])
    return headers, rows


def rows_of_ratios(comparison: Comparison) -> Rows:
    """Return headers and cells: a row for each policy that can be compared with true value, the bound or chance."""
    headers = ("policy", "of true value: thirds", "worst seed", "of the bound: thirds", "thirds below random")
    rows = []
    for policy, earned in comparison.policies.items():
        least = min(earned.of_true_value_by_seed.items(), key=lambda pair: pair[1], default=None)
        below = earned.thirds_below_random
        cells = [
            _by_third(earned.of_true_value, earned.of_true_value_by_third),
            "" if least is None else f"{least[1]:.0%} ({least[0]})",
            _by_third(earned.of_bound, earned.of_bound_by_third),
            "" if below is None else f"{below} of {len(THIRDS) * len(comparison.seeds)}",
        ]
        if policy != NONE and any(cells):
            rows.append([policy, *cells])
    return headers, rows


def _by_third(whole: float | None, thirds: Sequence[float]) -> str:
    return "" if whole is None else f"{whole:.0%}: {', '.join(f'{third:.0%}' for third in thirds)}"


def rows_ahead(comparison: Comparison) -> Rows:
    """Return headers and cells: a row for each policy that the product is compared with."""
    rows = [
        [policy, written(earned.ahead), *map(written, earned.ahead_by_third)]
        for policy, earned in comparison.policies.items()
        if earned.ahead is not None
    ]
    return ("than", "whole run", *THIRDS), rows


def rows_since_drift(comparison: Comparison) -> Rows:
    """Return headers and cells: a row for some days each."""
    others = list(comparison.since_drift[0].of_true_value)
    rows = []
    for span in comparison.since_drift:
        strange = "" if span.strange_interests is None else f"{span.strange_interests:.1%}"
        cells = [f"{span.of_true_value[policy]:.0%}" for policy in others]
        rows.append([f"{span.first} to {span.last}", *cells, strange])
    return ("days", *others, "strange interests"), rows


def written(value: Estimate) -> str:
    """Return an estimate as a person writes it.

    >>> written(Estimate(1234.4, -20.0, 2500.0)), written(Estimate(3.0))
    ('1,234 (-20 to 2,500)', '3')
    """
    mean = _whole(value.mean)
    return mean if value.low is None or value.high is None else f"{mean} ({_whole(value.low)} to {_whole(value.high)})"


def _whole(value: float) -> str:
    return f"{round(value):,}"


def report_of(comparisons: Sequence[Comparison]) -> Report:
    """Return a page with charts of every comparison that has seeds."""
    page = Report("What coupons earn", "Expected incremental margin on simulated shoppers")
    for comparison in comparisons:
        if comparison.seeds:
            _add(page, comparison)
    return page


def _add(page: Report, comparison: Comparison) -> None:
    policies = comparison.policies
    count = len(comparison.seeds)
    note = f"Mean of {count} seed{'s' if count > 1 else ''}, with 95 % intervals over seeds by Student's t."
    page.section(comparison.configuration.name.capitalize(), HOW)
    ends = {name: _minor(earned.margin_interval) for name, earned in policies.items()}
    money = Axis("", "money", from_zero=True)
    page.point_chart("Expected incremental margin", [(n, *end) for n, end in ends.items()], money, note, OURS)
    by_day = {name: [_minor(day) for day in earned.margin_by_day] for name, earned in policies.items() if name != NONE}
    page.line_chart(
        "Expected incremental margin so far",
        {name: [(0.0, 0.0), *((n, day[0]) for n, day in enumerate(days, 1))] for name, days in by_day.items()},
        Axis("simulated day", from_zero=True),
        money,
        {name: [(n, *day[1:]) for n, day in enumerate(days, 1)] for name, days in by_day.items() if count > 1},
        note,
    )
    for number, third in enumerate(THIRDS):
        of_third = {name: _minor(earned.third_intervals[number]) for name, earned in policies.items() if name != NONE}
        title = f"Margin of the {third if number == 0 else f'{third} third'}"
        bars, intervals = ({n: end[0] for n, end in of_third.items()}, {n: end[1:] for n, end in of_third.items()})
        page.bar_chart(title, bars, money, intervals, OURS, note)
    for headers, rows in (rows_of(comparison), rows_of_ratios(comparison), rows_ahead(comparison)):
        if rows:
            page.table(headers, rows)
    if comparison.since_drift:
        page.table(*rows_since_drift(comparison))
    page.table(("policy", "gives"), [[name, ABOUT[name]] for name in policies])


def _minor(value: Estimate) -> tuple[float, float, float]:
    """Return mean, low and high in minor units; NaN for ends that are not known."""
    ends = (math.nan if end is None else end * 100 for end in (value.low, value.high))
    low, high = ends
    return value.mean * 100, low, high


def page_with(page: str, comparisons: Sequence[Comparison]) -> str:
    """Return the page in Markdown with the tables of these comparisons between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = []
    for comparison in comparisons:
        seeds = ", ".join(map(str, comparison.seeds))
        parts.append(f"### {comparison.configuration.name.capitalize()}\n\nSeeds {seeds}.")
        parts.append(_markdown(*rows_of(comparison)))
        if (ratios := rows_of_ratios(comparison))[1]:
            parts += ["Ratios of the means, of the run and by thirds:", _markdown(*ratios)]
        if (ahead := rows_ahead(comparison))[1]:
            parts += ["By how much the product earns more, paired by seed:", _markdown(*ahead)]
        if comparison.since_drift:
            told = "Margin over that of true value, by days since all tastes changed:"
            parts += [told, _markdown(*rows_since_drift(comparison))]
    tables = "\n\n".join(parts)
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def _markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---", *["--:"] * (len(headers) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    policies = "\n".join(f"  {name:<24}{about}" for name, about in ABOUT.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.money",
        description=__doc__,
        epilog=f"policies:\n{policies}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    positive = _number(int, 1)
    parser.add_argument("--seeds", type=_number(int, 0), nargs="+", default=list(SEEDS), help="of the worlds: 1 to 10")
    parser.add_argument("--policies", choices=POLICIES, nargs="+", default=list(COMPARED), metavar="POLICY")
    parser.add_argument("--shoppers", type=positive, default=600, help="at scale 1: 600")
    parser.add_argument("--days", type=_number(int, 3), default=21, help="of simulated time: 21")
    parser.add_argument("--scale", type=positive, nargs="+", default=[1], help="multiples of --shoppers")
    parser.add_argument("--world", choices=WORLDS, nargs="+", default=["standard"], help=", ".join(WORLDS))
    parser.add_argument("--drift", type=_number(float, 0), help="all tastes change after this many days")
    parser.add_argument("--config", type=Path, help="settings, as of `stream-coupons worker`; default: the product's")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="processes: as many as cores")
    parser.add_argument("--runs", type=Path, metavar="FILE", help="keeps finished runs, a JSON object a line")
    parser.add_argument(
        "--again", choices=POLICIES, nargs="+", default=[], metavar="POLICY", help="play kept ones anew"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    if AFTER_TRUE_VALUE & set(options.policies) and TRUE_VALUE not in options.policies:
        options.policies.append(TRUE_VALUE)
    return options


def _number(kind: type[int] | type[float], least: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not (value >= least and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text}: expected {least:g} or more")
        return value

    read.__name__ = "whole number" if kind is int else "number"
    return read


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
        Configuration(world=world, shoppers=options.shoppers * scale, days=options.days, drift=options.drift)
        for world in options.world
        for scale in options.scale
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, and print what was earned. Return the exit code: 130 after Ctrl-C, 1 if a process failed."""
    options = parse(arguments)
    try:
        kept, settings = Kept(options.runs), load(options.config)
    except BadConfig as error:
        stderr().print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        return 2
    tasks = tasks_of(options, settings)
    runs: list[Run] = []
    is_whole, exit_code = False, INTERRUPTED
    try:
        played = runs_of(tasks, kept, options.jobs, frozenset(options.again))
        is_whole = _collect(played, len(tasks), runs)
    except BrokenProcessPool:
        stderr().print("[red]error:[/] a process ended before its time, for lack of memory perhaps: try fewer --jobs")
        exit_code = 1
    comparisons = [compare(configuration, runs) for configuration in configurations_of(options)]
    if options.json:
        print(as_json(comparisons))
    else:
        for comparison in comparisons:
            show(comparison)
    if options.html is not None:
        report_of(comparisons).write(options.html)
    if options.write and is_whole:
        PAGE.write_text(page_with(PAGE.read_text(), comparisons))
    if not is_whole:
        stderr().print(f"{len(runs)} of {len(tasks)} runs are finished")
    return 0 if is_whole else exit_code


def _collect(played: Iterable[Run], total: int, runs: list[Run]) -> bool:
    """Add what is played to `runs` until it is over or Ctrl-C comes; return whether it is over."""
    with suppress(KeyboardInterrupt), fraction_progress("runs", total) as progress:
        for run in played:
            runs.append(run)
            progress.update(progress.task_ids[0], advance=1, note=f"{run.policy}, seed {run.seed}: {run.margin:,.0f}")
        return True
    return False


def as_json(comparisons: Sequence[Comparison]) -> str:
    """Return the first comparison's fields, and `worlds`: all of them."""
    first: dict[str, Any] = msgspec.to_builtins(comparisons[0], str_keys=True)
    document = {**first, "worlds": [msgspec.to_builtins(each, str_keys=True) for each in comparisons]}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


if __name__ == "__main__":
    sys.exit(main())
