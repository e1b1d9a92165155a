"""Compare policies over worlds: shares of true value, the second half, paired differences, and how right values are."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import reduce

import msgspec
import numpy as np
from scipy import stats

from ..money_compared import CONFIDENCE, Estimate, estimate
from ..runs import TRUE_VALUE
from .play import SIXTHS, Given
from .registry import world_class
from .runs import ENGINE, NONE, POLICIES, RANKING_TRUE, WorldRun

RESAMPLES = 2000
THIRDS = 3
FEW_ISSUES = 50
"""Issues of a coupon below which its mean values are not compared."""
MANY_ISSUES = 500
"""Issues of a coupon from which the sign of its predicted value should be right."""
DECILES = 10
AGAINST = ("ranking_learnt", "pooled")
Cell = dict[str, WorldRun]
"""Runs of one world and seed, by policy."""


class Coupons(msgspec.Struct, frozen=True, kw_only=True):
    """Predicted and true mean values by coupon in the second half of the time, each coupon weighed by its issues.

    Attributes
    ----------
    level : float or None
        Sum of predicted over sum of true values of all coupons given; None, as are shares, if that is not above zero.
    slope : float or None
        Slope of true on predicted mean values within runs, by weighted least squares.
    rank_correlation : float or None
        Spearman's correlation within runs, mean over runs.
    lost : float or None
        What coupons whose sum is below zero lost, as a share of what was earned.
    below_zero : float or None
        Sum of single true values below zero, as a share of what was earned.
    many, wrong, very_wrong : int
        Coupons with `MANY_ISSUES` issues; those whose predicted and true mean differ in sign, the true one by more than
        two and by more than four standard errors.
    """

    level: float | None
    slope: float | None
    rank_correlation: float | None
    lost: float | None
    below_zero: float | None
    many: int
    wrong: int
    very_wrong: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a policy over some runs. Shares are ratios of sums, over those of `true_value`.

    Attributes
    ----------
    margin : float
        Sum of the true values of all coupons given, whole currency units.
    share, second_half : Estimate or None
        Of the margin of `true_value`, and of that of the second half of the time; None if that is 0.
    thirds : list of float
        The same of each third of the time.
    issues : float
        Number of coupons given.
    repeats : float or None
        Share of coupons given to shoppers who held the same coupon.
    whole_shop : float or None
        Share of coupons without a scope.
    none_share : float or None
        Mean share of decisions in which no coupon was worth giving.
    coupons : Coupons
        Values by coupon.
    refused_minor : float or None
        Mean true value of the best coupon where none was worth giving, minor units.
    withheld, explored : float or None
        Number of coupons withheld, and drawn by chance, as shares of those given and withheld.
    orders : list of (float, float, float)
        Of coupons withheld by chance, by decile of P(order without the coupon): its mean, the share that ordered, and
        the standard error of that.
    cpu_s : float
        Mean processor time of a run.
    """

    margin: float
    share: Estimate | None
    second_half: Estimate | None
    thirds: list[float]
    issues: float
    repeats: float | None
    whole_shop: float | None
    none_share: float | None
    coupons: Coupons
    refused_minor: float | None
    withheld: float | None
    explored: float | None
    orders: list[tuple[float, float, float]]
    cpu_s: float


class Lead(msgspec.Struct, frozen=True, kw_only=True):
    """A difference of the engine and another policy, paired by world and seed.

    Attributes
    ----------
    margin : Estimate
        Mean difference of a run, whole currency units, by Student's t.
    share, second_half : Estimate or None
        Difference of the shares of true value, and of those of the second half, by the bootstrap.
    ahead, of : int
        In how many runs the engine earned more, of all.
    """

    margin: Estimate
    share: Estimate | None
    second_half: Estimate | None
    ahead: int
    of: int


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Policies over the runs of one world, or of all worlds in which coupons pay.

    Attributes
    ----------
    shoppers : int
        Number of shoppers of each world.
    margin_without : float
        Sum of the shop's margin without coupons, whole currency units.
    """

    name: str
    shoppers: int
    pays: bool
    runs: int
    margin_without: float
    policies: dict[str, Standing]
    leads: dict[str, Lead]


def compare(runs: Iterable[WorldRun]) -> list[Group]:
    """Return a group for each world and size, and one for each size over all worlds in which coupons pay.

    Groups have the runs that all policies have played. True value, and the ranking by it, are those of worlds of a
    bounded size, per shopper.
    """
    cells: defaultdict[tuple[int, str, int], Cell] = defaultdict(dict)
    kept = [*runs]
    for run in kept:
        cells[run.configuration.shoppers, run.configuration.world, run.seed][run.policy] = run
    for (shoppers, world, seed), cell in cells.items():
        for run in kept:
            if (run.configuration.world, run.seed) == (world, seed) and run.policy not in cell:
                cell |= {run.policy: run.scaled(shoppers)} if run.policy in (TRUE_VALUE, RANKING_TRUE) else {}
    policies = {policy for cell in cells.values() for policy in cell}
    whole = {name: cell for name, cell in sorted(cells.items()) if set(cell) == policies and TRUE_VALUE in cell}
    groups: list[Group] = []
    for size in sorted({shoppers for shoppers, _, _ in whole}):
        by_world: defaultdict[str, list[Cell]] = defaultdict(list)
        for (shoppers, world, _), cell in whole.items():
            if shoppers == size:
                by_world[world].append(cell)
        pays = {world: world_class(world).pays for world in by_world}
        groups += [_group(world, size, pays[world], each) for world, each in by_world.items()]
        if sum(pays.values()) > 1:
            paying = [cell for world, each in by_world.items() if pays[world] for cell in each]
            groups.append(_group("all worlds", size, True, paying))
    return groups


def _group(name: str, shoppers: int, pays: bool, cells: Sequence[Cell]) -> Group:
    played = [policy for policy in POLICIES if policy in cells[0]]
    return Group(
        name=name,
        shoppers=shoppers,
        pays=pays,
        runs=len(cells),
        margin_without=round(sum(cell[TRUE_VALUE].margin_without_minor or 0.0 for cell in cells) / 100, 2),
        policies={policy: _standing(policy, cells) for policy in played},
        leads={other: _lead(other, cells) for other in played if ENGINE in played and other not in (ENGINE, NONE)},
    )


def _margin(policy: str) -> Callable[[Cell], float]:
    return lambda cell: cell[policy].outcome.margin_minor


def _second(policy: str) -> Callable[[Cell], float]:
    return lambda cell: cell[policy].outcome.second_half_minor


def _standing(policy: str, cells: Sequence[Cell]) -> Standing:
    runs = [cell[policy] for cell in cells]
    outcomes = [run.outcome for run in runs]
    issues = sum(outcome.issues for outcome in outcomes)
    none_shares = [share for outcome in outcomes if (share := outcome.none_share) is not None]
    refused = reduce(Given.plus, (outcome.refused for outcome in outcomes))
    withheld, explored = (sum(getattr(each, name).issues for each in outcomes) for name in ("withheld", "explored"))
    return Standing(
        margin=round(sum(outcome.margin_minor for outcome in outcomes) / 100, 2),
        share=share_of(cells, _margin(policy), _margin(TRUE_VALUE)),
        second_half=share_of(cells, _second(policy), _second(TRUE_VALUE)),
        thirds=[_third(third, policy, cells) for third in range(THIRDS)],
        issues=round(issues),
        repeats=_share(sum(outcome.repeats.issues for outcome in outcomes), issues),
        whole_shop=_share(sum(outcome.whole_shop.issues for outcome in outcomes), issues),
        none_share=round(float(np.mean(none_shares)), 3) if none_shares else None,
        coupons=coupons_of([outcome.by_coupon for outcome in outcomes]),
        refused_minor=round(refused.true_minor / refused.issues, 1) if refused.issues else None,
        withheld=_share(withheld, withheld + issues),
        explored=_share(explored, withheld + issues),
        orders=order_deciles([pair for outcome in outcomes for pair in outcome.orders]),
        cpu_s=round(float(np.mean([run.cpu_s for run in runs])), 1),
    )


def _third(third: int, policy: str, cells: Sequence[Cell]) -> float:
    some = slice(third * SIXTHS // THIRDS, (third + 1) * SIXTHS // THIRDS)
    own, true = (
        sum(given.true_minor for cell in cells for given in cell[each].outcome.sixths[some])
        for each in (policy, TRUE_VALUE)
    )
    return round(own / true, 3) if true > 0 else 0.0


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 3) if whole else None


def coupons_of(runs: Sequence[dict[str, list[Given]]]) -> Coupons:
    """Return how right the values of coupons are; `runs` has the halves of each coupon by id, for each run."""
    late = [[halves[1] for _, halves in sorted(run.items()) if halves[1].issues >= FEW_ISSUES] for run in runs]
    last = [halves[1] for run in runs for halves in run.values()]
    whole = [first.plus(second) for run in runs for first, second in run.values()]
    many = [given for given in whole if given.issues >= MANY_ISSUES and given.valued > 1]
    differs = [given for given in many if given.predicted_minor * given.true_minor < 0]
    wrong = [abs(given.true_minor) / given.issues / max(given.error_minor, 1e-9) for given in differs]
    earned = sum(given.true_minor for given in last)
    sums = [sum(given.predicted_minor for given in last), 0.0, 0.0]
    sums[1] -= sum(min(given.true_minor, 0.0) for given in last)
    sums[2] -= sum(given.lost_minor for given in last)
    level, lost, below_zero = (round(each / earned, 3) if earned > 0.0 else None for each in sums)
    ranks = [rank for run in late if (rank := _rank_correlation(run)) is not None]
    return Coupons(
        level=level,
        slope=_slope(late),
        rank_correlation=round(float(np.mean(ranks)), 2) if ranks else None,
        lost=lost,
        below_zero=below_zero,
        many=len(many),
        wrong=sum(errors > 2.0 for errors in wrong),
        very_wrong=sum(errors > 4.0 for errors in wrong),
    )


def _means(run: Sequence[Given]) -> tuple[list[float], list[float], list[float]]:
    """Return predicted and true mean value and number of issues of each coupon."""
    return (
        [given.predicted_minor / given.issues for given in run],
        [given.true_minor / given.issues for given in run],
        [given.issues for given in run],
    )


def _slope(runs: Sequence[Sequence[Given]]) -> float | None:
    """Return the weighted slope of true on predicted values within runs; None where predictions do not differ."""
    product = square = 0.0
    for run in runs:
        if len(run) > 1:
            predicted, true, weight = map(np.array, _means(run))
            apart = predicted - np.average(predicted, weights=weight)
            product += float((weight * apart * true).sum())
            square += float((weight * apart * predicted).sum())
    return round(product / square, 2) if square else None


def _rank_correlation(run: Sequence[Given]) -> float | None:
    """Return Spearman's correlation over coupons; None for fewer than three, or if one side is constant."""
    predicted, true, _ = _means(run)
    if len(run) < 3 or len(set(predicted)) < 2 or len(set(true)) < 2:
        return None
    return float(stats.spearmanr(predicted, true).statistic)


def order_deciles(pairs: Sequence[tuple[float, bool]]) -> list[tuple[float, float, float]]:
    """Return mean prediction, share of orders and its standard error, by decile of the prediction.

    >>> order_deciles([(0.1, False), (0.3, True)])[:2]
    [(0.1, 0.0, 0.0), (0.3, 1.0, 0.0)]
    """
    parts = [part for part in np.array_split(np.array(sorted(pairs)).reshape(-1, 2), DECILES) if len(part)]
    means = [(*part.mean(axis=0).tolist(), len(part)) for part in parts]
    return [(round(p, 4), round(seen, 4), round((seen * (1.0 - seen) / n) ** 0.5, 4)) for p, seen, n in means]


def share_of(cells: Sequence[Cell], margin: Callable[[Cell], float], whole: Callable[[Cell], float]) -> Estimate | None:
    """Return a sum over cells as a share of another one, with its bootstrap interval over cells.

    Parameters
    ----------
    cells : sequence of dict
        Runs by policy, one for each world and seed.
    margin, whole : callable
        Return the summand of a cell, and that of what it is a share of, minor units.
    """
    sums = np.array([(margin(cell), whole(cell)) for cell in cells])
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
    late, their_late = _second(ENGINE), _second(other)
    leads = [(ours(cell) - theirs(cell)) / 100 for cell in cells]
    return Lead(
        margin=estimate(leads),
        share=share_of(cells, lambda cell: ours(cell) - theirs(cell), _margin(TRUE_VALUE)),
        second_half=share_of(cells, lambda cell: late(cell) - their_late(cell), _second(TRUE_VALUE)),
        ahead=sum(lead > 0 for lead in leads),
        of=len(leads),
    )
