"""Compare policies over worlds: shares of true value, thirds, paired differences, and how well values are known."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np
from scipy import stats

from ..money_compared import CONFIDENCE, Estimate, estimate
from ..runs import TRUE_VALUE
from .play import THIRDS, Given
from .registry import world_class
from .runs import ENGINE, NONE, POLICIES, WorldRun

RESAMPLES = 2000
MIN_PAIRS = 10
"""Explored coupons of a run below which no rank correlation is computed."""
AGAINST = ("ranking_learnt", "pooled")
Cell = dict[str, WorldRun]
"""Runs of one world and seed, by policy."""


class Week(msgspec.Struct, frozen=True):
    """Mean value of a coupon given in one week, predicted and true, minor units; None if none was given."""

    predicted_minor: float | None
    true_minor: float | None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a policy over some runs. Shares are ratios of sums, over those of `true_value`.

    Attributes
    ----------
    margin : float
        Sum of the true values of all coupons given, whole currency units.
    share : Estimate or None
        Of the margin of `true_value`; None if that is 0.
    thirds : list of float
        The same of each third of the time.
    issues : int
        Number of coupons given.
    repeats : float or None
        Share of coupons given to shoppers who held the same coupon.
    whole_shop : float or None
        Share of coupons without a scope.
    none_share : float or None
        Mean share of decisions in which no coupon was worth giving.
    weeks : list of Week
        Values by week.
    rank_correlation : Estimate or None
        Mean over runs of Spearman's correlation of predicted and true value, over explored coupons.
    cpu_s : float
        Mean processor time of a run.
    """

    margin: float
    share: Estimate | None
    thirds: list[float]
    issues: int
    repeats: float | None
    whole_shop: float | None
    none_share: float | None
    weeks: list[Week]
    rank_correlation: Estimate | None
    cpu_s: float


class Lead(msgspec.Struct, frozen=True, kw_only=True):
    """A difference of the engine and another policy, paired by world and seed.

    Attributes
    ----------
    margin : Estimate
        Mean difference of a run, whole currency units, by Student's t.
    share : Estimate or None
        Difference of the shares of true value, by the bootstrap.
    ahead, of : int
        In how many runs the engine earned more, of all.
    """

    margin: Estimate
    share: Estimate | None
    ahead: int
    of: int


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Policies over the runs of one world, or of all worlds in which coupons pay.

    Attributes
    ----------
    margin_without : float
        Sum of the shop's margin without coupons, whole currency units.
    """

    name: str
    pays: bool
    runs: int
    margin_without: float
    policies: dict[str, Standing]
    leads: dict[str, Lead]


def compare(runs: Iterable[WorldRun]) -> list[Group]:
    """Return a group for each world, and one over all worlds in which coupons pay, on runs that all have played."""
    cells: defaultdict[tuple[str, int], Cell] = defaultdict(dict)
    for run in runs:
        cells[run.configuration.world, run.seed][run.policy] = run
    policies = {policy for cell in cells.values() for policy in cell}
    whole = {name: cell for name, cell in sorted(cells.items()) if set(cell) == policies and TRUE_VALUE in cell}
    by_world: defaultdict[str, list[Cell]] = defaultdict(list)
    for (world, _), cell in whole.items():
        by_world[world].append(cell)
    pays = {world: world_class(world).pays for world in by_world}
    groups = [_group(world, pays[world], cells) for world, cells in by_world.items()]
    paying = [cell for (world, _), cell in whole.items() if pays[world]]
    return [*groups, _group("all worlds", True, paying)] if sum(pays.values()) > 1 else groups


def _group(name: str, pays: bool, cells: Sequence[Cell]) -> Group:
    played = [policy for policy in POLICIES if policy in cells[0]]
    return Group(
        name=name,
        pays=pays,
        runs=len(cells),
        margin_without=round(sum(cell[TRUE_VALUE].margin_without_minor or 0.0 for cell in cells) / 100, 2),
        policies={policy: _standing(policy, cells) for policy in played},
        leads={other: _lead(other, cells) for other in played if ENGINE in played and other not in (ENGINE, NONE)},
    )


def _margin(policy: str) -> Callable[[Cell], float]:
    return lambda cell: cell[policy].outcome.margin_minor


def _standing(policy: str, cells: Sequence[Cell]) -> Standing:
    runs = [cell[policy] for cell in cells]
    outcomes = [run.outcome for run in runs]
    issues = sum(outcome.issues for outcome in outcomes)
    none_shares = [share for outcome in outcomes if (share := outcome.none_share) is not None]
    correlations = [rank for outcome in outcomes if (rank := rank_correlation(outcome.explored)) is not None]
    thirds = []
    for third in range(THIRDS):
        own, true = (
            sum(cell[each].outcome.thirds[third].true_minor for cell in cells) for each in (policy, TRUE_VALUE)
        )
        thirds.append(round(own / true, 3) if true > 0 else 0.0)
    return Standing(
        margin=round(sum(outcome.margin_minor for outcome in outcomes) / 100, 2),
        share=share_of(cells, _margin(policy)),
        thirds=thirds,
        issues=issues,
        repeats=_share(sum(outcome.repeats.issues for outcome in outcomes), issues),
        whole_shop=_share(sum(outcome.whole_shop.issues for outcome in outcomes), issues),
        none_share=round(float(np.mean(none_shares)), 3) if none_shares else None,
        weeks=_weeks([outcome.weeks for outcome in outcomes]),
        rank_correlation=estimate(correlations) if correlations else None,
        cpu_s=round(float(np.mean([run.cpu_s for run in runs])), 1),
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 3) if whole else None


def _weeks(by_run: Sequence[list[Given]]) -> list[Week]:
    weeks = []
    for number in range(max(map(len, by_run))):
        each = [weeks[number] for weeks in by_run if number < len(weeks)]
        issues = sum(given.issues for given in each)
        predicted, true = sum(given.predicted_minor for given in each), sum(given.true_minor for given in each)
        weeks.append(Week(round(predicted / issues, 1), round(true / issues, 1)) if issues else Week(None, None))
    return weeks


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return Spearman's correlation; None with few pairs, or if one side is constant.

    >>> rank_correlation([(float(n), float(n * n)) for n in range(10)])
    1.0
    """
    if len(pairs) < MIN_PAIRS or any(len(set(side)) < 2 for side in zip(*pairs, strict=True)):
        return None
    return round(float(stats.spearmanr(*zip(*pairs, strict=True)).statistic), 6)


def share_of(cells: Sequence[Cell], margin: Callable[[Cell], float]) -> Estimate | None:
    """Return a sum over cells as a share of the sum of true value, with its bootstrap interval over cells.

    Parameters
    ----------
    cells : sequence of dict
        Runs by policy, one for each world and seed.
    margin : callable
        Returns the summand of a cell, minor units.
    """
    sums = np.array([(margin(cell), cell[TRUE_VALUE].outcome.margin_minor) for cell in cells])
    if sums[:, 1].sum() <= 0:
        return None
    mean = round(float(sums[:, 0].sum() / sums[:, 1].sum()), 4)
    if len(cells) < 2:
        return Estimate(mean)
    drawn = np.random.default_rng(0).integers(len(cells), size=(RESAMPLES, len(cells)))
    own, true = sums[drawn].sum(axis=1).T
    low, high = np.quantile(own / true, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Estimate(mean, round(float(low), 4), round(float(high), 4))


def _lead(other: str, cells: Sequence[Cell]) -> Lead:
    ours, theirs = _margin(ENGINE), _margin(other)
    leads = [(ours(cell) - theirs(cell)) / 100 for cell in cells]
    return Lead(
        margin=estimate(leads),
        share=share_of(cells, lambda cell: ours(cell) - theirs(cell)),
        ahead=sum(lead > 0 for lead in leads),
        of=len(leads),
    )
