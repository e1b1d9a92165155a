"""Steps of the live measurement of lift: who is followed, what they bring, and when a partition reports it.

A shopper is followed from the first decision on, which comes before any coupon: holdout and others alike. The outcome
is the margin of all orders since, less the discounts and the sending of coupons. Covariates are fixed at that decision.
A campaign with a holdout is a series of its own: its shoppers are followed from its first coupon that may be given,
until the last window of its coupons has closed.
"""

from collections.abc import Mapping

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision.policy import Arm
from stream_coupons.core.decision.table import CandidateTable, Trigger
from stream_coupons.core.draws import stable_hash
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.affinity import Moment
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
    LiftChange,
    LiftSums,
    Row,
)
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.core.messages.inputs import Item, OrderEvent
from stream_coupons.core.messages.lift import LiftTotals
from stream_coupons.core.rules import Rules, ShopRules
from stream_coupons.core.shopper.outcomes import MAX_CAMPAIGNS, Followed, FollowedOutcomes
from stream_coupons.core.shopper.state import OpenIssue, Shopper
from stream_coupons.core.shopper.uses import MAX_ORDER_MINOR

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


def note_order(shopper: Shopper, event: OrderEvent, catalogue: Catalogue, rules: Rules, effects: Effects) -> None:
    """Count an order: as known before the first decision, or as outcome since.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    event : OrderEvent
        The order. Without items it is one item that is in no category.
    catalogue : Catalogue
        Terms of the coupons whose scope an item is in.
    rules : Rules
        Margin ratio and typical price of other items, and currencies. A price and a margin that the order states count
        first.
    effects : Effects
        Effects of the step so far; extended.
    """
    brought, policy, margin_minor = _known(shopper), rules.policy, 0.0
    for item in event.items or [Item(item_id="-", price_minor=event.total_minor or 0)]:
        ratio, typical = catalogue.terms_of(event.domain, item) or (
            policy.domain_margin_ratios.get(event.domain, policy.margin_ratio),
            policy.typical_price_minor,
        )
        ratio = ratio if item.margin_ratio is None else item.margin_ratio
        price = typical if item.price_minor is None else item.price_minor
        margin_minor += price * (item.quantity or 1.0) * ratio
    margin = round(min(margin_minor, MAX_ORDER_MINOR) / UNITS[MARGIN])
    brought.all_margin += margin
    brought.all_orders += 1
    brought.first_order_at = min(event.occurred_at, brought.first_order_at or event.occurred_at)
    for one in _followed(shopper, event.occurred_at, event.domain, catalogue, rules.shop):
        if event.occurred_at > one.at:
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
    brought = _known(moment.shopper)
    before = brought.whole
    if (before is not None and (before.domain != domain or period <= before.period)) or is_without is None:
        return
    best_minor = round(float(table.value_minor.max()), 2)  # as the record of the decision states it
    brought.whole = _enrolled(
        Followed(domain, period=period), moment, best_minor, trigger.effects, is_without=is_without
    )


def enrol_for_campaign(
    moment: Moment, domain: str, campaign_id: str, catalogue: Catalogue, effects: Effects, *, is_without: bool
) -> None:
    """Follow a shopper for a campaign from this decision on, if it is the first one.

    A shopper is followed for `MAX_CAMPAIGNS` at a time. One more replaces the oldest that is over; if none is, the
    shopper is never followed for it. Neither depends on the arm in it.

    Parameters
    ----------
    moment : Moment
        The shopper and the time of the decision.
    domain, campaign_id : str
        Series of the measurement.
    catalogue : Catalogue
        Ends of the campaigns.
    effects : Effects
        Effects of the event so far; extended.
    is_without : bool
        True if the campaign's holdout has the shopper.
    """
    brought = _known(moment.shopper)
    if brought.knows(campaign_id):
        return
    if len(brought.campaigns) >= MAX_CAMPAIGNS:
        over = (one.campaign_id for one in brought.campaigns if _is_over(one, moment.at, catalogue))
        gone = next(over, campaign_id)
        brought.pass_over(gone)
        if gone == campaign_id:
            return
    # The value of the best coupon is none of the covariates: the holdout leaves out those of the campaign.
    one = _enrolled(Followed(domain, campaign_id), moment, 0.0, effects, is_without=is_without)
    brought.campaigns = [*brought.campaigns, one]


def _enrolled(one: Followed, moment: Moment, best_minor: float, effects: Effects, *, is_without: bool) -> Followed:
    """Begin an outcome, with what is known now as covariates."""
    brought = _known(moment.shopper)
    days = rate_days(moment.at, brought.first_order_at)
    one.at, one.cell = moment.at, 2 * fold_of(moment.user_id) + is_without
    one.known = (
        round(moment.at / DAY_S / UNITS[START]),
        round(max(min(best_minor, MAX_KNOWN_MINOR), -MAX_KNOWN_MINOR) / UNITS[BEST]),
        round(min(brought.all_margin * UNITS[MARGIN] / days, MAX_KNOWN_MINOR) / UNITS[MARGIN_RATE]),
        round(brought.all_orders / days / UNITS[ORDER_RATE]),
    )
    effects.totals.append(_change(one, None))
    return one


def _is_over(one: Followed, at: float, catalogue: Catalogue) -> bool:
    """Return True if the outcome of a campaign takes no more orders."""
    return bool(one.campaign_id) and at >= catalogue.over_at.get(one.campaign_id, 0.0)


def note_issue(shopper: Shopper, issue: OpenIssue, catalogue: Catalogue, rules: Rules, effects: Effects) -> None:
    """Count the sending of a coupon and its predicted value.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    issue : OpenIssue
        The coupon that is given.
    catalogue : Catalogue
        Ends of the campaigns.
    rules : Rules
        Cost of sending, and currencies.
    effects : Effects
        Effects of the step so far; extended.
    """
    cost = round(rules.policy.cost_weight * rules.policy.cost_minor / UNITS[MARGIN])
    for one in _followed(shopper, issue.at, issue.domain, catalogue, rules.shop):
        _bring(one, effects, -cost, predicted=_value(issue, one))


def note_discount(  # noqa: PLR0913 - a change, and what decides whom it counts for
    shopper: Shopper, domain: str, at: float, minor: int, catalogue: Catalogue, shop: ShopRules, effects: Effects
) -> None:
    """Count a change of the discount of a coupon.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    domain : str
        Of the coupon.
    at : float
        Time of the report, UTC epoch seconds.
    minor : int
        Change of the discount, minor units.
    catalogue : Catalogue
        Ends of the campaigns.
    shop : ShopRules
        Currencies.
    effects : Effects
        Effects of the step so far; extended.
    """
    for one in _followed(shopper, at, domain, catalogue, shop) if minor else ():
        if at >= one.at:
            _bring(one, effects, -round(minor / UNITS[MARGIN]))


def note_end(shopper: Shopper, issue: OpenIssue, shop: ShopRules, effects: Effects) -> None:
    """Count the predicted value of a coupon whose window has closed.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    issue : OpenIssue
        The coupon.
    shop : ShopRules
        Currencies.
    effects : Effects
        Effects of the step so far; extended.
    """
    for one in () if issue.observed else _in_currency_of(shopper, issue.domain, shop):
        if issue.at >= one.at:
            _bring(one, effects, 0, closed=_value(issue, one))


def _value(issue: OpenIssue, one: Followed) -> int:
    """Return the predicted value of a coupon in a series; 0 if it is of another campaign."""
    return round(issue.value_minor * THOUSANDTHS) if one.campaign_id in ("", issue.campaign_id) else 0


def _known(shopper: Shopper) -> FollowedOutcomes:
    if shopper.outcomes is None:
        shopper.outcomes = FollowedOutcomes()
    return shopper.outcomes


def _followed(shopper: Shopper, at: float, domain: str, catalogue: Catalogue, shop: ShopRules) -> list[Followed]:
    """Return the outcomes that take what happens at a time in a domain: those in its currency."""
    return [one for one in _in_currency_of(shopper, domain, shop) if not _is_over(one, at, catalogue)]


def _in_currency_of(shopper: Shopper, domain: str, shop: ShopRules) -> list[Followed]:
    every = [] if shopper.outcomes is None else shopper.outcomes.followed
    return [one for one in every if shop.currency(one.domain) == shop.currency(domain)]


def _bring(
    one: Followed, effects: Effects, margin: int, *, orders: int = 0, predicted: int = 0, closed: int = 0
) -> None:
    before = one.row
    one.margin += margin
    one.orders += orders
    effects.totals.append(_change(one, before, predicted, closed))


def _change(one: Followed, before: Row | None, predicted: int = 0, closed: int = 0) -> LiftChange:
    return LiftChange(one.domain, one.period, one.cell, before, one.row, predicted, closed, one.campaign_id)


def report(sums: LiftSums, partition: int, at: float, campaigns: Mapping[str, Campaign]) -> LiftTotals:
    """Return the report of a tick on the sums of a series, noted as reported.

    Parameters
    ----------
    sums : LiftSums
        The sums in the partition; changed in place.
    partition : int
        Number of the partition.
    at : float
        Time of the tick, UTC epoch seconds.
    campaigns : mapping
        Campaigns by id.
    """
    sums.told_of(at)
    campaign = campaigns.get(sums.campaign_id)
    return LiftTotals(
        domain=sums.domain,
        campaign_id=sums.campaign_id or None,
        holdout_ratio=campaign.holdout_ratio if campaign is not None and campaign.holdout_ratio else None,
        partition=partition,
        at=at,
        period=sums.period,
        version=sums.version,
        products=sums.products(),
        buyers=sums.buyers,
        predicted_minor=sums.predicted / THOUSANDTHS,
        closed_minor=sums.closed / THOUSANDTHS,
    )
