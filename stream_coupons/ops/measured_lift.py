"""Lift over the holdout, measured on a log: in margin, orders and money, with intervals that are valid at every look.

A shopper counts from the first decision on. It comes before any coupon, so it says nothing of the arm. The outcome is
all that the shopper orders from then on, whatever was given, less the discounts and the sending of coupons.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from msgspec import Struct

from stream_coupons.core.decision.live_lift import intervals, smaller_share
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.local_time import EPOCH
from stream_coupons.core.measurement import sample_ratio
from stream_coupons.core.measurement.lift import FIRST_LOOK
from stream_coupons.core.measurement.lift_sums import COVARIATES
from stream_coupons.core.plurals import counted
from stream_coupons.core.rules import PolicyRules, ShopRules
from stream_coupons.kafka import topics
from stream_coupons.models.metrics import Interval
from stream_coupons.ops.followed_shoppers import OUTCOMES, FollowedShoppers, LiftLooks, follow
from stream_coupons.ops.lift_log import GivenCoupon, LiftLog, LiftScope, MoneyEntry

Paid = TypeVar("Paid", GivenCoupon, MoneyEntry)
"""Money of a shopper in a domain."""
ANY_SHOP = ShopRules()
"""UTC, and money in minor units."""


@dataclass(frozen=True, slots=True)
class LiftEffect:
    """Lift in one outcome; the ends of intervals are NaN before the first look.

    Attributes
    ----------
    treated_mean, holdout_mean : float
        Outcome per shopper of each arm.
    lift : Interval
        Difference of the means, adjusted for what was known at the first decision.
    unadjusted : Interval
        The same without adjustment.
    total : Interval
        Lift of all treated shoppers together.
    """

    treated_mean: float
    holdout_mean: float
    lift: Interval
    unadjusted: Interval
    total: Interval


@dataclass(frozen=True, slots=True)
class HoldoutShare:
    """Share of the holdout among the shoppers, and the evidence that it is not the expected one.

    Attributes
    ----------
    evidence : float
        Factor by which the counts speak against the expected share; a mismatch from 100 on.
    """

    expected: float
    found: float
    evidence: float
    is_mismatch: bool


@dataclass(frozen=True, slots=True)
class LiftRow:
    """Lift of all shoppers, of those of a domain, or in what a campaign sells; money in minor units.

    Attributes
    ----------
    since, until : float
        Time in which orders count.
    expected_buyers : float
        Shoppers with an order that the smaller arm is expected to have; intervals begin at `FIRST_LOOK`.
    assumed_ratio : float
        Share of the margin that neither the items nor the catalogue state: it is by `policy.margin_ratio`.
    discounts_minor : float
        Discounts of the treated shoppers.
    given : int
        Coupons given to them.
    predicted_minor : float
        Sum of the values that these were given for, as `value_minor` of the issues states them.
    open_minor : float
        The part of it whose coupons can still be used.
    agrees : bool or None
        False if the predicted sum is outside of the interval of the measured one, open coupons counted or not.
    """

    domain: str
    campaign: str
    since: float
    until: float
    treated: int
    holdout: int
    orders: int
    expected_buyers: float
    effects: dict[str, LiftEffect]
    assumed_ratio: float
    discounts_minor: float
    given: int
    predicted_minor: float
    open_minor: float
    agrees: bool | None
    sample_ratio: HoldoutShare | None


class LiftDay(Struct, frozen=True):
    """Lift in margin of all that counts in a row of the report up to the end of a day; money in minor units.

    Attributes
    ----------
    day : str
        Day of the shop's time zone, as 2026-01-31; the last one is as far as the log goes.
    currency : str or None
        Currency of its money; None for minor units.
    orders : int
        Orders of these shoppers.
    lift_minor : float
        Mean margin of the treated less that of the holdout, by shopper, adjusted; None while an arm has nobody.
    low_minor, high_minor : float or None
        Ends of the confidence sequence, which holds the lift on all days together; None before the first look.
    sample_ratio_p : float or None
        p value of the share of the holdout, valid on all days together. None of a campaign: its shoppers are those of
        the domain.
    is_mismatch : bool
        True if the share is wrong, so that the arms cannot be compared.
    """

    day: str
    domain: str
    campaign: str
    currency: str | None
    treated: int
    holdout: int
    orders: int
    lift_minor: float | None
    low_minor: float | None
    high_minor: float | None
    sample_ratio_p: float | None
    is_mismatch: bool


@dataclass(frozen=True, slots=True)
class LiftReport:
    """All rows, and the days of each; `warnings` name what may make them wrong."""

    rows: list[LiftRow]
    days: list[LiftDay]
    warnings: list[str]
    notes: list[str]


def report(log: LiftLog, rules: PolicyRules, since: float = -math.inf, shop: ShopRules = ANY_SHOP) -> LiftReport:
    """Measure the lift on a log, at its end and at the end of each day before.

    A day counts what is known of it at the end of the log: a refund lowers the day of the purchase.

    Parameters
    ----------
    since : float
        Time from which orders count, epoch seconds. Shoppers count from their first decision on, if that is later.
    shop : ShopRules
        Time zone of the days, and currencies.

    Raises
    ------
    BadConfig
        If no decision is on record, or none of the holdout.
    """
    if not log.first:
        raise BadConfig(
            f"no decision is on record: expected records of the topic {topics.DECISIONS.name}; is "
            "policy.decisions_logged_ratio 0?"
        )
    if not any(one.is_holdout for one in log.first.values()):
        raise BadConfig(
            f"none of {len(log.first)} shoppers is in the holdout: lift needs one; is policy.holdout_ratio 0?"
        )
    if since > log.ends_at:
        raise BadConfig(f"the last event is of {log.ends_at:.0f} (epoch seconds), before the time asked for")
    entries = log.entries()
    since = max(since, log.orders_begin_at())  # retention may have dropped orders, but not the coupons of that time
    rows, days = list[LiftRow](), list[LiftDay]()
    for scope, begun in log.scopes(shop).items():
        start = max(begun, since)
        mine = _in_currency(scope, entries.get(scope if scope.campaign else None, []), shop)
        followed = follow(log.enrolments(scope), mine, start)
        looks = followed.looks(log.ends_at, shop.time_zone)
        given = [one for one in _in_currency(scope, log.given_in(scope), shop) if _is_counted(one, followed)]
        rows.append(_row(given, log.ends_at, rules, scope, start, followed, looks))
        days += _days(looks, scope, rules, shop)
    return LiftReport(rows, days, _warnings(log, rows), _notes(log, rules, rows))


def _in_currency(scope: LiftScope, some: Iterable[Paid], shop: ShopRules) -> list[Paid]:
    """Return what is in the currency of a row; all domains are a row only where they share one."""
    currency = shop.currency(scope.domain)
    return [one for one in some if not scope.domain or shop.currency(one.domain) == currency]


def _row(  # noqa: PLR0913 - what counts, and how it is counted
    given: Sequence[GivenCoupon],
    until: float,
    rules: PolicyRules,
    scope: LiftScope,
    since: float,
    followed: FollowedShoppers,
    looks: LiftLooks,
) -> LiftRow:
    last = looks.sums[-1]
    n, orders = last[..., 0, 0].sum(axis=0), last[..., 0, OUTCOMES["orders"]].sum()
    treated, holdout = (int(count) for count in n)
    effects = {name: _effect(looks, name) for name in OUTCOMES}
    predicted = sum(one.value_minor for one in given)
    still_open = sum(one.value_minor for one in given if one.expires_at > until)
    gross = sum(entry.margin_minor for _, entry in followed.counted if entry.orders)
    assumed = sum(entry.assumed_minor for _, entry in followed.counted)
    return LiftRow(
        *scope,
        since=since,
        until=until,
        treated=treated,
        holdout=holdout,
        orders=int(orders),
        expected_buyers=float(smaller_share(last) * looks.buyers[-1]),
        effects=effects,
        assumed_ratio=assumed / gross if gross > 0 else 0.0,
        discounts_minor=sum(entry.discount_minor for row, entry in followed.counted if not followed.is_holdout[row]),
        given=len(given),
        predicted_minor=predicted,
        open_minor=still_open,
        agrees=_agrees(effects["margin"].total, predicted - still_open, predicted),
        sample_ratio=None if scope.campaign else _share_of(holdout, treated, rules.holdout_ratio),
    )


def _days(looks: LiftLooks, scope: LiftScope, rules: PolicyRules, shop: ShopRules) -> Iterator[LiftDay]:
    """Yield the lift in margin at each look."""
    ends = intervals(looks.sums, looks.buyers, OUTCOMES["margin"]).T
    for day, sums, (mid, low, high) in zip(looks.days, looks.sums, ends, strict=True):
        treated, holdout = (int(count) for count in sums[..., 0, 0].sum(axis=0))
        share = None if scope.campaign else _share_of(holdout, treated, rules.holdout_ratio)
        yield LiftDay(
            date.fromordinal(EPOCH + day).isoformat(),
            *scope,
            shop.currency(scope.domain),
            treated,
            holdout,
            orders=int(sums[..., 0, OUTCOMES["orders"]].sum()),
            lift_minor=float(mid) if treated and holdout else None,
            low_minor=None if math.isnan(low) else float(low),
            high_minor=None if math.isnan(high) else float(high),
            sample_ratio_p=None if share is None else min(1.0, 1.0 / share.evidence),
            is_mismatch=share is not None and share.is_mismatch,
        )


def _is_counted(one: GivenCoupon, followed: FollowedShoppers) -> bool:
    row = followed.index.get(one.user_id)
    return row is not None and not followed.is_holdout[row] and one.at >= followed.start[row]


def _effect(looks: LiftLooks, outcome: str) -> LiftEffect:
    column, last = OUTCOMES[outcome], looks.sums[-1]
    counts, totals = last[..., 0, [0, column]].sum(axis=0).T
    means = [float(total / count) if count else math.nan for count, total in zip(counts, totals, strict=True)]
    adjusted, plain = (
        intervals(looks.sums, looks.buyers, column, covariates)[:, -1].tolist() for covariates in (COVARIATES, ())
    )
    treated = int(counts[0])
    return LiftEffect(
        treated_mean=means[0],
        holdout_mean=means[1],
        lift=Interval(*adjusted),
        unadjusted=Interval(*plain),
        total=Interval(*(treated * end for end in adjusted)),
    )


def _agrees(measured: Interval, closed: float, predicted: float) -> bool | None:
    if math.isnan(measured.low):
        return None
    return max(closed, predicted) >= measured.low and min(closed, predicted) <= measured.high


def _share_of(holdout: int, treated: int, expected: float) -> HoldoutShare:
    evidence = sample_ratio.log_evidence(holdout, treated, expected)
    return HoldoutShare(
        expected,
        holdout / (holdout + treated),
        math.exp(evidence) if evidence < 700.0 else math.inf,
        sample_ratio.is_mismatch(holdout, treated, expected),
    )


def name_of(row: LiftRow) -> str:
    """Return the name of a row for people."""
    if row.campaign:
        return f"campaign {row.campaign} ({row.domain})"
    return row.domain or "all domains"


def _warnings(log: LiftLog, rows: Iterable[LiftRow]) -> list[str]:
    found = [
        f"sample ratio mismatch in {name_of(row)}: {row.sample_ratio.found:.2%} of the shoppers are in the holdout, "
        f"expected {row.sample_ratio.expected:.2%} (policy.holdout_ratio). The arms cannot be compared: was the ratio "
        "or the secret changed, or is the beginning of the log missing?"
        for row in rows
        if row.sample_ratio is not None and row.sample_ratio.is_mismatch
    ]
    found += [
        f"{name_of(row)}: the predicted value {row.predicted_minor:,.0f} is not within the measured lift in margin"
        for row in rows
        if row.agrees is False and not row.campaign
    ]
    if log.changed:
        found.append(
            f"{counted(len(log.changed), 'shopper')} in the holdout at one decision and not at another one, counted in "
            "the arm of the first; was the ratio or the secret changed?"
        )
    if log.logged_ratio < 1.0:
        found.append(
            f"only {log.logged_ratio:.0%} of the decisions are on record: shoppers with coupons enrol later than the "
            "holdout does, expected policy.decisions_logged_ratio 1"
        )
    if log.unreadable:
        found.append(f"left out {counted(log.unreadable, 'record')}: not a valid message")
    return found


def _notes(log: LiftLog, rules: PolicyRules, rows: Sequence[LiftRow]) -> list[str]:
    found = [
        f"{name_of(row)}: no interval yet, the smaller arm is expected to have {row.expected_buyers:.1f} shoppers with "
        f"an order, of {FIRST_LOOK:.0f} at the first look"
        for row in rows
        if row.expected_buyers < FIRST_LOOK
    ]
    if any(row.campaign for row in rows):
        found.append(
            "the row of a campaign is the lift of all coupons together, in the items within the scope of its coupons, "
            "since it was first offered; `lift --campaign` measures one with a holdout_ratio by its own holdout"
        )
    if not rows[0].domain:
        found.append("a shopper is of the domain of the first decision; all that they order in any domain counts")
    elif len({row.domain for row in rows}) > 1:
        found.append("the domains have several currencies: in each row counts what shoppers order in its own")
    if not log.coupons:
        found.append(f"no coupon is in the log (topic {topics.CATALOG.name}): margins are not those of coupons")
    if rules.redemption_worth_minor:
        found.append("predicted values count policy.redemption_worth_minor, which the measured lift does not")
    return found
