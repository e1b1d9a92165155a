"""Steps of the live measurement of lift: who is followed, what they bring, and when a partition reports it.

A shopper is followed from the first decision on, which comes before any coupon: holdout and others alike. The outcome
is the margin of all orders since, less the discounts and the sending of coupons. Covariates are fixed at that decision.
"""

from collections.abc import Iterable, Mapping

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision.policy import Arm
from stream_coupons.core.decision.table import CandidateTable, Trigger
from stream_coupons.core.draws import stable_hash
from stream_coupons.core.effects import Effects
from stream_coupons.core.local_time import DAY_S
from stream_coupons.core.measurement.lift import FOLDS
from stream_coupons.core.measurement.lift_sums import (
    BEST,
    MARGIN,
    MARGIN_RATE,
    ORDER_RATE,
    START,
    THOUSANDTHS,
    UNITS,
    Followed,
    LiftChange,
    LiftSums,
)
from stream_coupons.core.messages.inputs import Item, OrderEvent
from stream_coupons.core.messages.lift import LiftTotals
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.state import OpenIssue, Shopper

MAX_ORDER_MINOR = 1e9
"""Bound of the margin of one order that is counted: a forged price must not decide for all shoppers."""
MAX_KNOWN_MINOR = 1e6
"""Bound of the covariates in money: products of larger ones would outgrow the exact sums."""


SHRUNKEN_BY_DAYS = 7.0
"""Days without an order that are added to the time before enrolment, for rates of shoppers who were hardly seen."""


def rate_days(at: float, first_order_at: float | None) -> float:
    """Return the days over which orders before enrolment count, for their rate a day.

    Parameters
    ----------
    at : float
        Time of the enrolment, UTC epoch seconds.
    first_order_at : float or None
        Time of the shopper's first order, if there was one.

    Examples
    --------
    >>> rate_days(3 * 86400.0, 86400.0), rate_days(0.0, None)
    (9.0, 7.0)
    """
    return max(at - (at if first_order_at is None else first_order_at), 0.0) / DAY_S + SHRUNKEN_BY_DAYS


def fold_of(user_id: str) -> int:
    """Return the fold of a shopper in the cross-fitted adjustment."""
    return stable_hash("lift fold", user_id) % FOLDS


def note_order(shopper: Shopper, event: OrderEvent, catalogue: Catalogue, rules: PolicyRules, effects: Effects) -> None:
    """Count an order: as known before the first decision, or as outcome since.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    event : OrderEvent
        The order. Without items it is one item that is in no category.
    catalogue : Catalogue
        Terms of the coupons whose scope an item is in.
    rules : PolicyRules
        Margin ratio and typical price of other items. A price and a margin that the order states count first.
    effects : Effects
        Effects of the step so far; extended.
    """
    one, margin_minor = _known(shopper), 0.0
    for item in event.items or [Item(item_id="-", price_minor=event.total_minor or 0)]:
        ratio, typical = catalogue.terms_of(event.domain, item) or (
            rules.domain_margin_ratios.get(event.domain, rules.margin_ratio),
            rules.typical_price_minor,
        )
        ratio = ratio if item.margin_ratio is None else item.margin_ratio
        price = typical if item.price_minor is None else item.price_minor
        margin_minor += price * (item.quantity or 1.0) * ratio
    margin = round(min(margin_minor, MAX_ORDER_MINOR) / UNITS[MARGIN])
    one.all_margin += margin
    one.all_orders += 1
    one.first_order_at = min(event.occurred_at, one.first_order_at or event.occurred_at)
    if one.domain and event.occurred_at > one.at:
        _bring(one, effects, margin, orders=1)


def enrol(trigger: Trigger, table: CandidateTable, arm: Arm) -> None:
    """Follow a shopper from this decision on, if it is the first one, or the first of a later period of the domain.

    Parameters
    ----------
    trigger : Trigger
        The trigger of the decision.
    table : CandidateTable
        The candidates that can be had; the greatest value among them is a covariate.
    arm : Arm
        Of the shopper.
    """
    moment, domain, is_without, period = trigger.moment, trigger.event.domain, arm.is_without, arm.period
    one = _known(moment.shopper)
    if (one.domain and (one.domain != domain or period <= one.period)) or is_without is None:
        return
    days = rate_days(moment.at, one.first_order_at)
    best_minor = round(float(table.value_minor.max()), 2)  # as the record of the decision states it
    one.domain, one.period, one.at = domain, period, moment.at
    one.cell = 2 * fold_of(moment.user_id) + is_without
    one.known = (
        round(moment.at / DAY_S / UNITS[START]),
        round(max(min(best_minor, MAX_KNOWN_MINOR), -MAX_KNOWN_MINOR) / UNITS[BEST]),
        round(min(one.all_margin * UNITS[MARGIN] / days, MAX_KNOWN_MINOR) / UNITS[MARGIN_RATE]),
        round(one.all_orders / days / UNITS[ORDER_RATE]),
    )
    one.margin = one.orders = 0
    trigger.effects.lift.append(LiftChange(domain, period, one.cell, None, one.row))


def note_issue(shopper: Shopper, issue: OpenIssue, rules: PolicyRules, effects: Effects) -> None:
    """Count the sending of a coupon and its predicted value.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    issue : OpenIssue
        The coupon that is given.
    rules : PolicyRules
        Cost of sending.
    effects : Effects
        Effects of the step so far; extended.
    """
    if shopper.followed is not None and shopper.followed.domain:
        cost = round(rules.cost_weight * rules.cost_minor / UNITS[MARGIN])
        _bring(shopper.followed, effects, -cost, predicted=round(issue.value_minor * THOUSANDTHS))


def note_discount(shopper: Shopper, at: float, minor: int, effects: Effects) -> None:
    """Count a change of the discount of a coupon.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    at : float
        Time of the report, UTC epoch seconds.
    minor : int
        Change of the discount, minor units.
    effects : Effects
        Effects of the step so far; extended.
    """
    one = shopper.followed
    if minor and one is not None and one.domain and at >= one.at:
        _bring(one, effects, -round(minor / UNITS[MARGIN]))


def note_end(shopper: Shopper, issue: OpenIssue, effects: Effects) -> None:
    """Count the predicted value of a coupon whose window has closed; parameters as of `note_issue`."""
    one = shopper.followed
    if one is not None and one.domain and not issue.observed and issue.at >= one.at:
        _bring(one, effects, 0, closed=round(issue.value_minor * THOUSANDTHS))


def _known(shopper: Shopper) -> Followed:
    if shopper.followed is None:
        shopper.followed = Followed()
    return shopper.followed


def _bring(
    one: Followed, effects: Effects, margin: int, *, orders: int = 0, predicted: int = 0, closed: int = 0
) -> None:
    before = one.row
    one.margin += margin
    one.orders += orders
    effects.lift.append(LiftChange(one.domain, one.period, one.cell, before, one.row, predicted, closed))


def reports(
    sums: Iterable[tuple[str, LiftSums]], partition: int, at: float, every_s: float
) -> Mapping[str, LiftTotals]:
    """Return the totals to report at a tick, by domain: those that changed, each no more often than `every_s`.

    A repeated tick repeats its reports, as they may be lost.

    Parameters
    ----------
    sums : iterable of (str, LiftSums)
        Domains and their sums.
    partition : int
        Number of the partition.
    at : float
        Time of the tick, UTC epoch seconds.
    every_s : float
        Shortest time between two reports of a domain.
    """
    return {
        domain: LiftTotals(
            domain=domain,
            partition=partition,
            at=at,
            period=one.period,
            version=one.version,
            products=one.products(),
            buyers=one.buyers,
            predicted_minor=one.predicted / THOUSANDTHS,
            closed_minor=one.closed / THOUSANDTHS,
        )
        for domain, one in sums
        if one.told_at == at or (one.version != one.told and abs(at - one.told_at) >= every_s)
    }
