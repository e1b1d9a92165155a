"""Compare the margins of policies: means over seeds with intervals, differences and ratios."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from scipy import stats

from .money_runs import NONE, POLICIES, Configuration, Run
from .runs import TRUE_VALUE

OURS = "learned"
BOUND = "learnable_bound"
RANDOM = "random"
CONFIDENCE = 0.95
THIRDS = ("first third", "second", "last")
SPAN_DAYS = 3
"""Days in each row of the figures since all tastes changed."""


class Estimate(msgspec.Struct, frozen=True):
    """A mean over seeds, with the ends of its interval: none for a single seed."""

    mean: float
    low: float | None = None
    high: float | None = None


class Earned(msgspec.Struct, frozen=True, kw_only=True):
    """Margins of a policy on the worlds of one configuration, in whole currency units.

    Attributes
    ----------
    margin : float
        Mean over seeds, of the whole run.
    thirds : list of float
        The same of each third of the run.
    margin_interval : Estimate
        The margin with its interval.
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
    """

    margin: float
    thirds: list[float]
    margin_interval: Estimate
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
