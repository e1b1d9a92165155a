"""Steps of the results of coupons: what each issue has led to, by coupon and day, and when a partition reports it.

A result counts on the day of its issue, so that a day's coupons can be compared with what they led to: none is used
more often than it is given.
"""

from collections.abc import Iterator

from stream_coupons.core.effects import Effects
from stream_coupons.core.local_time import local_time
from stream_coupons.core.measurement.result_sums import CouponResults, GivenTerms, Numbers, ResultChange
from stream_coupons.core.messages.results import ResultTotals
from stream_coupons.core.rules import Rules
from stream_coupons.core.shopper.state import OpenIssue


def numbers_of(issue: OpenIssue) -> Numbers:
    """Return what an issue has led to so far."""
    return Numbers(
        given=1,
        seen=issue.was_seen,
        clicked=issue.clicked,
        used=issue.redeemed,
        uses=sum(use.used_orders for use in issue.uses),
        discount_minor=issue.spent_minor,
        revenue_minor=sum(use.value_minor for use in issue.uses),
    )


def day_of(at: float, rules: Rules) -> int:
    """Return the day of a time in the shop's zone, days since 1970-01-01.

    Parameters
    ----------
    at : float
        UTC epoch seconds.
    rules : Rules
        `shop.time_zone` decides.
    """
    return max(local_time(at, rules.shop.time_zone).day, 0)


def note_issue(issue: OpenIssue, rules: Rules, effects: Effects) -> None:
    """Count a coupon that is given.

    Parameters
    ----------
    issue : OpenIssue
        The coupon.
    rules : Rules
        Time for which late reports are booked.
    effects : Effects
        Effects of the step so far; extended.
    """
    terms = GivenTerms(issue.campaign_id, issue.domain, issue.expires_at + rules.attribution.late_s)
    effects.totals.append(ResultChange(issue.coupon_id, issue.day, numbers_of(issue), terms))


def note_feedback(issue: OpenIssue, before: Numbers, effects: Effects) -> None:
    """Count what feedback has changed of an issue of ours.

    Parameters
    ----------
    issue : OpenIssue
        The issue, after the feedback.
    before : Numbers
        What it had led to before.
    effects : Effects
        Effects of the step so far; extended.
    """
    after = numbers_of(issue)
    if after != before and not issue.observed:
        added = Numbers(*(new - old for new, old in zip(after, before, strict=True)))
        effects.totals.append(ResultChange(issue.coupon_id, issue.day, added))


def reports(coupon_id: str, results: CouponResults, partition: int, at: float, rules: Rules) -> Iterator[ResultTotals]:
    """Let time pass for the results of a coupon, and yield the reports of a tick.

    Parameters
    ----------
    coupon_id : str
        The coupon.
    results : CouponResults
        Its results in the partition; changed in place.
    partition : int
        Number of the partition.
    at : float
        Time of the tick, UTC epoch seconds.
    rules : Rules
        Shortest time between two reports of a day, and the shop's time zone.
    """
    for day in results.pass_time(at, rules.policy.totals_every_s, rules.shop.time_zone):
        yield ResultTotals(
            coupon_id=coupon_id,
            day=day.day,
            partition=partition,
            at=at,
            version=day.version,
            domain=day.domain,
            campaign_id=day.campaign_id,
            recent_minor=day.recent_minor,
            **day.numbers._asdict(),
        )
