"""Earnings of each policy by the ground truth, with intervals, and a verdict in sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.currencies import units
from stream_coupons.models.metrics import Interval
from stream_coupons_lab.demo.outcomes import Played
from stream_coupons_lab.demo.words import CURRENCY, euros

NAMES: Mapping[str, str] = {
    "random": "random",
    "highest_p_redeem": "highest P(redeem)",
    "best_on_average": "best on average",
    "learned": "ours (live)",
    "true_value": "by perfect knowledge",
}
ABOUT: Mapping[str, str] = {
    "random": "each draws among the coupons that the shopper may get",
    "highest_p_redeem": "the coupon most likely to be redeemed, as it learns: what most shops do",
    "best_on_average": "one ranking for all shoppers, by perfect knowledge in hindsight: no shop can know it",
    "learned": "knew nothing at the start and learnt from what its own coupons led to",
    "true_value": "the coupon worth most for this shopper now, or none: the simulator alone knows it",
}
NOTHING = "no coupons"
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Earned:
    """The result of one policy; money in minor units.

    Attributes
    ----------
    expected : Interval
        Incremental margin to be expected of the coupons that it gave, less their discounts.
    behind : Interval
        Difference of our earnings to this policy's, compared shopper by shopper.
    booked_minor : float
        Incremental margin as it happened.
    orders_won : int
        Orders that would not have been placed without the coupon.
    """

    policy: str
    issues: int
    redemptions: int
    expected: Interval
    behind: Interval
    booked_minor: float
    discount_minor: int
    orders_won: int

    @property
    def name(self) -> str:
        """Name in tables and charts."""
        return NAMES[self.policy]


def earned(played: Sequence[Played], user_ids: Sequence[str]) -> list[Earned]:
    """Return what each policy earned on the same shoppers.

    The intervals are percentiles of a bootstrap over shoppers [1]_: what another draw of shoppers of the same kind
    would have brought, with the same coupons. What one shopper takes from another, as the last unit of a coupon, is
    not in them.

    Parameters
    ----------
    played : sequence of Played
        The policy `learned` among them.
    user_ids : sequence of str
        All shoppers, with and without a coupon.

    References
    ----------
    .. [1] Efron, B. and Tibshirani, R. (1993). An Introduction to the Bootstrap, chapter 13.
    """
    place = {user_id: number for number, user_id in enumerate(user_ids)}
    sums = np.zeros((len(played), len(user_ids)))
    for row, one in enumerate(played):
        for issue in one.outcomes.issues:
            sums[row, place[issue.user_id]] += one.outcomes.margins[issue.issue_id]
    ours = sums[next(row for row, one in enumerate(played) if one.policy == "learned")]
    rng = np.random.default_rng(0)
    times = rng.multinomial(len(user_ids), np.full(len(user_ids), 1 / len(user_ids)), size=RESAMPLES).astype(np.float64)
    return [
        Earned(
            policy=one.policy,
            issues=len(one.outcomes.issues),
            redemptions=len(one.outcomes.redeemed),
            expected=_interval(of_shopper, times),
            behind=_interval(ours - of_shopper, times),
            booked_minor=one.statistics.incremental_margin_minor,
            discount_minor=one.statistics.discount_minor,
            orders_won=one.statistics.persuaded,
        )
        for one, of_shopper in zip(played, sums, strict=True)
    ]


def _interval(of_shopper: NDArray[np.float64], times: NDArray[np.float64]) -> Interval:
    totals = times @ of_shopper
    low, high = np.quantile(totals, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    return Interval(float(of_shopper.sum()), low, high)


def whole(minor: float) -> str:
    """Return an amount in whole units, without cents.

    >>> whole(123456), whole(-38), whole(-250)
    ('1,235', '0', '-2')
    """
    return f"{round(minor / 100):,}"


def span(interval: Interval) -> str:
    """Return the ends of an interval in whole units.

    >>> span(Interval(0.0, -1250.0, 40000.0))
    '-12.50 to 400.00 EUR'
    """
    return f"{units(interval.low, CURRENCY)} to {euros(interval.high)}"


def verdict(rows: Sequence[Earned]) -> str:
    """Return what the figures say, in plain sentences.

    Parameters
    ----------
    rows : sequence of Earned
        The policies `learned`, `average` and `random` among them.
    """
    by_policy = {row.policy: row for row in rows}
    ours = by_policy["learned"]
    value = ours.expected.value
    more = f"{euros(abs(value))} {'more' if value >= 0 else 'less'}"
    made = f"Ours is expected to earn {more} than giving no coupons ({span(ours.expected)})"
    if ours.expected.low > 0:
        sentences = [f"{made}."]
    elif ours.expected.high < 0:
        sentences = [f"{made}: it loses money."]
    else:
        sentences = [f"{made}: this run does not show that it earns anything."]
    sentences += [
        _compared(by_policy[policy])
        for policy in ("random", "highest_p_redeem", "best_on_average")
        if policy in by_policy
    ]
    if "true_value" in by_policy and by_policy["true_value"].expected.value > 0:
        share = ours.expected.value / by_policy["true_value"].expected.value
        best = euros(by_policy["true_value"].expected.value)
        sentences.append(f"By perfect knowledge of each moment it would earn {best}: ours reaches {share:.0%}.")
    return " ".join(sentences)


def _compared(other: Earned) -> str:
    by = other.behind
    how = f"{euros(abs(by.value))} {'more' if by.value >= 0 else 'less'} than {other.name} ({span(by)})"
    if by.low > 0 or by.high < 0:
        return f"It earns {how}."
    return f"It earns {how}: shoppers differ too much for this run to tell which is better."
