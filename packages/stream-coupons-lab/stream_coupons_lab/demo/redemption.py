"""Redeem rates over the days of a run, beside what moves them: fresh shoppers, and caps."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stream_coupons.core.reasons import NoCoupon
from stream_coupons_lab.demo.outcomes import Outcomes
from stream_coupons_lab.demo.watch import Watch
from stream_coupons_lab.simulation.behaviour import DAY_S


class ClosedCoupon(NamedTuple):
    """A coupon whose window has closed.

    Attributes
    ----------
    day : int
        Day of the issue, from 0.
    is_first : bool
        True if the shopper had no coupon before.
    is_used : bool
        True if it was redeemed.
    chance : float
        P(redeem) by the ground truth when it was handed over.
    """

    day: int
    is_first: bool
    is_used: bool
    chance: float


def closed(outcomes: Outcomes, ends_at: float) -> list[ClosedCoupon]:
    """Return the coupons whose windows closed until `ends_at`, UTC epoch seconds, in order of issue.

    Those still open are left out: they would lower the rates of the last days.
    """
    had: Counter[str] = Counter()
    found = []
    for issue in sorted(outcomes.issues, key=lambda issue: issue.issued_at):
        if issue.expires_at <= ends_at:
            day = int((issue.issued_at - outcomes.starts_at) // DAY_S)
            is_used, chance = issue.issue_id in outcomes.redeemed, outcomes.chances[issue.issue_id]
            found.append(ClosedCoupon(day, not had[issue.user_id], is_used, chance))
        had[issue.user_id] += 1
    return found


def thirds(
    given: Sequence[ClosedCoupon], days: int, watch: Watch, starts_at: float
) -> list[tuple[str, list[ClosedCoupon], float]]:
    """Return each third of the days: its name, its coupons, and the share of looks and carts of shoppers at the cap.

    Those shoppers had as many coupons as the caps allow. The share is NaN where nothing was sampled.
    """
    found = []
    for part in np.array_split(np.arange(days), min(days, 3)):
        first, last = int(part[0]), int(part[-1])
        before, until = (watch.decisions(starts_at + day * DAY_S) for day in (first, last + 1))
        total = sum(until.values()) - sum(before.values())
        at_cap = until.get(NoCoupon.FREQUENCY_CAP, 0.0) - before.get(NoCoupon.FREQUENCY_CAP, 0.0)
        some = [one for one in given if first <= one.day <= last]
        found.append((f"{first + 1} to {last + 1}", some, at_cap / total if total else math.nan))
    return found


def share(given: Sequence[ClosedCoupon], name: str) -> float:
    """Return the mean of a field of `ClosedCoupon`; NaN of no coupons."""
    return sum(getattr(one, name) for one in given) / len(given) if given else math.nan
