"""Money that a coupon has taken off: purchases, refunds and cancellations, and what they change in its budgets."""

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.effects import Booking, Effects, Stake
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.shopper.state import History, OpenIssue, Shopper, Tally, tally


def settle(
    shopper: Shopper, issue: OpenIssue, event: FeedbackEvent, catalogue: Catalogue, latest: float, effects: Effects
) -> None:
    """Take in a purchase, refund or cancellation: the one that happened last says what the coupon has taken off.

    A shopper may use a coupon whose order was cancelled again, so that its hold comes back. Reports may come in any
    order: a sale is late if no purchase is known that was made in time, or was returned in time.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    issue : OpenIssue
        Changed in place; not yet kept.
    latest : float
        The latest that it can be now, UTC epoch seconds: a sender's clock may be ahead.
    effects : Effects
        Of the step so far; extended.
    """
    _mark_late(issue, event)
    if event.occurred_at < issue.reported_at:
        effects.count("feedback", "outdated")
        return
    before, was_redeemed = issue.stake, issue.redeemed
    issue.reported_at = event.occurred_at
    issue.redeemed = event.kind != "cancel"
    if issue.is_given and issue.redeemed != was_redeemed:
        change = 1 if issue.redeemed else -1
        for each in counts_of(shopper.history, issue.coupon_id, catalogue):
            each.redeemed = max(each.redeemed + change, 0)
    issue.spent_minor = _taken(issue, event, effects) if issue.redeemed else 0
    is_again = event.kind == "purchase" and was_redeemed
    is_same = is_again and issue.spent_minor == before.spent_minor
    effects.count("feedback", "repeated" if is_same else "corrected" if is_again else event.kind)
    if not issue.observed:
        if issue.stake != before:
            effects.book(booking(issue, before, issue.stake, min(event.occurred_at, latest)))
        if issue.redeemed and not was_redeemed:
            effects.count("end", "redeemed")


def _mark_late(issue: OpenIssue, event: FeedbackEvent) -> None:
    if event.kind != "cancel" and event.occurred_at <= issue.until:
        issue.is_late = False
    elif not issue.reported_at and not issue.redeemed:
        issue.is_late = True


def _taken(issue: OpenIssue, event: FeedbackEvent, effects: Effects) -> int:
    """Return what a coupon has taken off by a purchase or a refund; of ours, no more than it may."""
    if issue.observed:
        return event.discount_minor or 0 if issue.is_given else 0
    if event.discount_minor is None:
        return issue.most_minor if event.kind == "purchase" else 0
    if event.discount_minor > issue.most_minor:
        effects.count("overrun", issue.domain)
    return min(event.discount_minor, issue.most_minor)


def opening(issue: OpenIssue) -> Booking:
    """Return the booking of an issue that is given."""
    return booking(issue, Stake(), issue.stake, issue.at)


def booking(issue: OpenIssue, before: Stake, after: Stake, at: float, final: float | None = None) -> Booking:
    """Return a change of what an issue takes of its budgets.

    Parameters
    ----------
    at : float
        UTC epoch seconds, no later than now.
    final : float or None
        See `Booking.final_expected_minor`.
    """
    span = at, issue.at, issue.expires_at
    return Booking(issue.coupon_id, issue.campaign_id, before, after, *span, issue.is_falling, final)


def counts_of(history: History, coupon_id: str, catalogue: Catalogue) -> list[History | Tally]:
    """Return all that a coupon is counted in: the history, and its tallies of coupons, kinds and categories."""
    counts: list[History | Tally] = [history, tally(history.by_coupon, coupon_id)]
    coupon = catalogue.by_id.get(coupon_id)
    if coupon is not None and coupon.kind:
        counts.append(tally(history.by_kind, coupon.kind))
    if coupon is not None and coupon.categories:
        counts.append(tally(history.by_category, coupon.categories[0]))
    return counts
