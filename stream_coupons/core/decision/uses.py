"""Uses of a coupon: purchases, refunds and cancellations, each of an order, and the money that they have taken off.

Of each order, the report with the latest `occurred_at` states the discount. The latest one that is no full refund
states whether the order was cancelled: shops refund cancelled orders, too. An issue's discount is the sum over its
orders. A second order, or a report after the window has closed, takes money that nothing holds. It is booked in
full and counted.
"""

from copy import copy

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.codes import canonical
from stream_coupons.core.decision import lift_steps
from stream_coupons.core.effects import Effects
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import ShopRules
from stream_coupons.core.shopper.state import OpenIssue, Shopper
from stream_coupons.core.shopper.uses import MAX_ORDER_MINOR, Use, keep_use, use_in

Fault = tuple[Rejection, str]
"""Reason code and detail of refused feedback."""


def settle(  # noqa: PLR0913 - a report, and all that it changes
    shopper: Shopper,
    issue: OpenIssue,
    event: FeedbackEvent,
    catalogue: Catalogue,
    shop: ShopRules,
    latest: float,
    effects: Effects,
) -> Fault | None:
    """Apply a purchase, refund or cancellation to the order that it names, or return the reason to refuse it.

    Reports may come in any order, except a refund that leaves a discount: it comes after its purchase. A shopper may
    use a coupon whose order was cancelled again.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    issue : OpenIssue
        Open or closed; changed in place, unless the report is refused.
    event : FeedbackEvent
        The report.
    catalogue : Catalogue
        Kind and category of the coupon, by which redemptions are counted.
    shop : ShopRules
        Currencies.
    latest : float
        Upper bound of the current time, UTC epoch seconds: a producer's clock may be ahead.
    effects : Effects
        Effects of the step so far; extended.
    """
    if event.kind == "purchase" and issue.code is not None and canonical(issue.code) in catalogue.pools.revoked:
        effects.facts.append(("feedback", "revoked"))
    before, was_redeemed, use = issue.stake, issue.redeemed, use_in(issue.uses, event.order_id or "")
    is_outdated = event.occurred_at < use.reported_at
    minor = use.minor if is_outdated else _taken(issue, event, effects)
    if event.kind == "refund" and minor > use.minor:
        effects.facts.append(("feedback", "refund_raises"))
        detail = f"it leaves a discount of {minor} on order {event.order_id}, expected at most the {use.minor} reported"
        return Rejection.INVALID, detail
    was = copy(use)
    use.reported_at, use.minor = max(event.occurred_at, use.reported_at), minor
    _place(use, event)
    use.is_in_time |= event.occurred_at <= issue.until and event.kind != "cancel"
    use.value_minor = _value(event, use, is_outdated=is_outdated)
    keep_use(issue.uses, use)
    _count(shopper, issue, catalogue, was_redeemed=was_redeemed)
    change = minor - was.minor
    lift_steps.note_discount(shopper, issue.domain, event.occurred_at, change, catalogue, shop, effects)
    effects.facts.append(("feedback", "outdated" if is_outdated else _change(issue, event, was, use)))
    if not issue.observed:
        if issue.stake != before:
            effects.bookings.append(issue.booking(before, issue.stake, min(event.occurred_at, latest)))
        if issue.redeemed and not was_redeemed and not issue.is_closed:
            effects.facts.append(("end", "redeemed"))
    return None


def _place(use: Use, event: FeedbackEvent) -> None:
    """Mark an order as placed or cancelled; a full refund tells neither, since cancelled orders are refunded, too."""
    if event.kind == "refund" and not use.minor:
        use.is_used |= not use.placed_at
    elif event.occurred_at >= use.placed_at:
        use.is_used, use.placed_at = event.kind != "cancel", event.occurred_at


def _value(event: FeedbackEvent, use: Use, *, is_outdated: bool) -> int:
    """Return the value of an order after a report; one that states none leaves it."""
    stated = None if is_outdated else event.order_value_minor
    if not use.is_used:
        return 0
    return use.value_minor if stated is None else min(stated, MAX_ORDER_MINOR)


def _count(shopper: Shopper, issue: OpenIssue, catalogue: Catalogue, *, was_redeemed: bool) -> None:
    """Count an issue as redeemed, or not any more."""
    if issue.is_given and issue.redeemed != was_redeemed:
        change = 1 if issue.redeemed else -1
        for each in shopper.history.counts_of(issue.coupon_id, catalogue.by_id):
            each.redeemed = max(each.redeemed + change, 0)


def _change(issue: OpenIssue, event: FeedbackEvent, was: Use, use: Use) -> str:
    """Return the kind of change that a report is counted as."""
    if not issue.observed and use.minor > was.minor and issue.is_closed:
        return "used_late"
    if not issue.observed and use.is_used and not was.is_used and sum(one.is_used for one in issue.uses) > 1:
        return "used_again"
    if event.kind == "purchase" and was.is_used:
        return "repeated" if use.minor == was.minor else "corrected"
    return event.kind


def _taken(issue: OpenIssue, event: FeedbackEvent, effects: Effects) -> int:
    """Return what a coupon has taken off one order by a report; of ours, no more than it may."""
    if event.kind == "cancel":
        return 0
    if issue.observed:
        return event.discount_minor or 0 if issue.is_given else 0
    if event.discount_minor is None:
        return issue.most_minor if event.kind == "purchase" else 0
    if event.discount_minor > issue.most_minor:
        effects.facts.append(("overrun", issue.domain))
    return min(event.discount_minor, issue.most_minor)
