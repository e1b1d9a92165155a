"""What a coupon is worth for a shopper now, and which one, if any, to propose."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stream_coupons.core.coupons import CouponSet, Floats, Positions
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.profile import DAY_S, HOUR_S
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper import Shopper


def is_holdout(user_id: str, rules: PolicyRules, key: DrawKey) -> bool:
    """Return whether the shopper is in the permanent control group, which never gets a coupon."""
    return key.uniform("holdout", user_id) < rules.holdout_ratio


def standing_objection(shopper: Shopper, at: float, rules: PolicyRules) -> NoCoupon | None:
    """Why this shopper gets no coupon at all at this moment, before any coupon is looked at."""
    if shopper.proposals:
        return NoCoupon.PENDING
    if shopper.considered_at is not None and at < shopper.considered_at + rules.cooldown_s:
        return NoCoupon.COOLDOWN
    if is_over_frequency_cap(shopper.history.recent_issues, at, rules):
        return NoCoupon.FREQUENCY_CAP
    if is_quiet(at, rules):
        return NoCoupon.QUIET_HOURS
    return None


def is_over_frequency_cap(recent: Sequence[float], at: float, rules: PolicyRules) -> bool:
    """Whether these are as many coupons within the window as the cap allows; `recent` are times of the last ones."""
    since = at - rules.issue_window_s
    return sum(issued > since for issued in recent) >= rules.max_issues_per_window


def note_issue(recent: list[float], at: float, rules: PolicyRules) -> None:
    """Add the time of one more; as many are kept as the cap looks at."""
    recent.append(at)
    del recent[: -rules.max_issues_per_window]


def is_quiet(at: float, rules: PolicyRules) -> bool:
    """Whether the hour (UTC) is one in which nobody is disturbed; equal bounds mean never.

    >>> night = PolicyRules(quiet_from_hour=22, quiet_until_hour=7)
    >>> is_quiet(23 * 3600.0, night), is_quiet(12 * 3600.0, night)
    (True, False)
    """
    hour = at % DAY_S / HOUR_S
    start, end = rules.quiet_from_hour, rules.quiet_until_hour
    return start <= hour < end if start <= end else hour >= start or hour < end


def watched(n: int, chosen: int, trigger: str, rules: PolicyRules, key: DrawKey) -> list[int]:
    """Rows, of n candidates, that are watched in the holdout beside the chosen one: evenly spaced from a random start.

    Who gets no coupon shows of every coupon at once whether they order without it. The best one alone would teach
    P(order) of none but the best ones.

    >>> from stream_coupons.core.draws import PUBLIC_KEY
    >>> watched(10, 0, "t", PolicyRules(holdout_controls=4), PUBLIC_KEY), watched(1, 0, "t", PolicyRules(), PUBLIC_KEY)
    ([9, 2, 5], [])
    """
    size = min(rules.holdout_controls - 1, n)
    start = int(key.uniform("watched", trigger) * n)
    rows = [(start + step * n // max(size, 1)) % n for step in range(size)]
    return [row for row in rows if row != chosen]


def values(coupons: CouponSet, chosen: Positions, predicted: Floats, rules: PolicyRules) -> Floats:
    """What giving each coupon is worth against giving none, minor units, shape (n,).

    value = (P(redeem) - P(order anyway)) * margin - P(redeem) * (discount - worth) - cost_weight * cost

    Who would have ordered anyway uses the coupon too, so P(redeem) stands for P(order | coupon) and the difference
    is the uplift. NO_COUPON is worth 0 by this definition.

    Parameters
    ----------
    predicted : array, shape (n, 3)
        P(click), P(redeem), P(order in scope without a coupon).
    """
    redeem, order = predicted[:, 1], predicted[:, 2]
    uplift = redeem - order
    worth: Floats = (
        uplift * coupons.margin_minor[chosen]
        - redeem * (coupons.discount_minor[chosen] - rules.redemption_worth_minor)
        - rules.cost_weight * rules.cost_minor
    )
    return worth


@dataclass(frozen=True, slots=True)
class Choice:
    """The policy's answer: rows of the candidates, best first, and how likely the first one was chosen.

    `order` is empty when NO_COUPON won; `best` is then the row that came nearest.
    """

    order: list[int]
    propensity: float
    best: int


def choose(worth: Floats, trigger: str, rules: PolicyRules, key: DrawKey) -> Choice:
    """Pick by value, but explore: with probability epsilon one of the best k candidates, whatever they are worth.

    Epsilon-greedy among those that might be the best: what is far behind costs most to try and teaches least. The
    propensity of what was chosen is exact: epsilon / k if it is among the best k, and 1 - epsilon more if it is the
    greedy choice. The draw depends on key and trigger, so a replay with the same key draws alike; `trigger` is the
    identity that the shopper is part of, for event ids may be counters, and all shoppers would explore at the same
    ones. Under the strategy "random" epsilon is 1 and k all of them: the baseline.

    >>> from stream_coupons.core.draws import PUBLIC_KEY
    >>> choose(np.array([-1.0, 5.0, 3.0]), "t", PolicyRules(exploration_ratio=0.0), PUBLIC_KEY).order
    [1, 2]
    """
    greedy, tried = worthwhile(worth, rules), explored(worth, rules)
    best = int(np.argmax(worth))
    if is_exploring(trigger, rules, key):
        place = int(key.uniform("arm", trigger) * len(tried))
        start = tried[place]
        order = (
            [start, *(row for row in greedy if row != start)]
            if rules.strategy == "value"
            else tried[place:] + tried[:place]
        )
        return Choice(order, propensity_of(start, greedy, tried, rules), best)
    if not greedy:
        return Choice([], 1 - exploration_ratio(rules), best)
    return Choice(greedy, propensity_of(greedy[0], greedy, tried, rules), best)


def ranking(worth: Floats) -> Positions:
    """All rows, those that are worth most first; equals as they come."""
    return np.argsort(-worth, kind="stable")


def worthwhile(worth: Floats, rules: PolicyRules) -> list[int]:
    """Rows that are worth more than NO_COUPON, best first."""
    ranked = ranking(worth)
    rows: list[int] = ranked[worth[ranked] > rules.min_value_minor].tolist()
    return rows


def explored(worth: Floats, rules: PolicyRules) -> list[int]:
    """Rows that exploring draws from, all alike, ascending.

    >>> explored(np.array([-1.0, 2.0, 5.0]), PolicyRules(explored_candidates=2))
    [1, 2]
    """
    if rules.strategy == "random":
        return list(range(len(worth)))
    return sorted(ranking(worth)[: rules.explored_candidates].tolist())


def exploration_ratio(rules: PolicyRules) -> float:
    """Epsilon; 1 under the strategy "random"."""
    return 1.0 if rules.strategy == "random" else rules.exploration_ratio


def is_exploring(trigger: str, rules: PolicyRules, key: DrawKey) -> bool:
    """Return whether the draw of this trigger explores, that is, may choose a coupon that is not the best."""
    return key.uniform("explore", trigger) < exploration_ratio(rules)


def propensity_of(row: int, greedy: list[int], tried: list[int], rules: PolicyRules) -> float:
    """How likely `choose` picks this row first, over all triggers, given those `worthwhile` and those `explored`."""
    explore = exploration_ratio(rules)
    return explore / len(tried) * (row in tried) + (1 - explore) * (greedy[:1] == [row])
