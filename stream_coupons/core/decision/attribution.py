"""Attribution: feedback is joined to its issue, and closed windows become training examples.

Features, schema, prediction and model version of an example are those stored at decision time: a release may have
changed the features since. Feedback marks the issue on arrival. Positive and negative labels go to the learner when the
window, plus a grace for late feedback, has closed. A purchase in the grace, or later, is booked, but is no positive.

Labels wait for the end of their window, whatever is reported before: a model that learnt each sign when it is settled
would predict too much where purchases come first, and too little where refusals do. So the time at which a label is
learnt depends on the decision alone, never on the outcome. After an `expiry` of an observed issue nothing more counts:
its label is settled, but learnt as late as any other.

Where the channel reports impressions, a coupon that was never seen is no negative: its examples are marked and not
learnt. P(click) and P(redeem) are then conditional on an impression.
"""

import math

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.codes import canonical
from stream_coupons.core.decision import lift_steps, result_steps, uses, watching
from stream_coupons.core.decision.open_issues import (
    awaits_impression,
    example,
    is_still_watched,
)
from stream_coupons.core.decision.uses import Fault
from stream_coupons.core.effects import Effects, Stake
from stream_coupons.core.messages.inputs import MONEY_KINDS, FeedbackEvent
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import AttributionRules, Rules
from stream_coupons.core.shopper.profile import forget_event
from stream_coupons.core.shopper.state import MAX_EARLY, EarlyFeedback, OpenIssue, Shopper

FEEDBACK = "feedback"
"""Kind of feedback events, beside the kinds of shop events."""
NEVER_ISSUED: Fault = (Rejection.UNKNOWN_ISSUE, "never issued to this shopper")
LATE: Fault = (Rejection.LATE, "its window has closed")
NOT_BOOKED: Fault = (Rejection.LATE, "its window closed too long ago, so its discount is not booked")
CLOCKS_DIFFER_S = 86400.0
"""Tolerated lag of a producer's clock: feedback may be dated this much before its issue, or `early_feedback_s`."""


def join_early(
    shopper: Shopper,
    issue_id: str,
    catalogue: Catalogue,
    rules: Rules,
    effects: Effects,
    latest: float = math.inf,
) -> None:
    """Join the feedback that waits for this issue.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    issue_id : str
        Id of an issue that was just opened.
    effects : Effects
        Effects of the step so far; extended.
    latest : float
        Upper bound of the current time, UTC epoch seconds: a producer's clock may be ahead.
    """
    waiting = [early.event for early in shopper.early if early.event.issue_id == issue_id]
    if waiting:
        shopper.early = [early for early in shopper.early if early.event.issue_id != issue_id]
    for event in waiting:
        fault = _apply(shopper, event, catalogue, rules, latest, effects)
        if fault is not None:
            _refuse(shopper, event, fault, effects, event)


def join(
    shopper: Shopper, event: FeedbackEvent, catalogue: Catalogue, rules: Rules, latest: float = math.inf
) -> Effects:
    """Join feedback to its issue.

    Only an issue in this shopper's own state counts. Feedback on an unknown issue waits for it, as topics are not
    ordered among each other, and is refused if it does not arrive.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    event : FeedbackEvent
        Feedback on an issue of this shopper.
    latest : float
        Upper bound of the current time, UTC epoch seconds: a producer's clock may be ahead.

    Returns
    -------
    Effects
        With a refusal if the feedback is late, contradicts its issue, or has none that can still arrive.
    """
    effects, fault = Effects(), None
    if event.issue_id in shopper.issues:
        fault = _apply(shopper, event, catalogue, rules, latest, effects)
    elif shopper.has_closed(event.issue_id):
        fault = _join_late(shopper, event, catalogue, rules, latest, effects)
    elif len(shopper.early) >= MAX_EARLY or rules.attribution.early_feedback_s == 0:
        fault = NEVER_ISSUED
    else:
        shopper.early.append(EarlyFeedback(event.occurred_at + rules.attribution.early_feedback_s, event))
        effects.facts.append(("feedback", "early"))
    if fault is not None:
        _refuse(shopper, event, fault, effects)
    return effects


def _apply(
    shopper: Shopper,
    event: FeedbackEvent,
    catalogue: Catalogue,
    rules: Rules,
    latest: float,
    effects: Effects,
) -> Fault | None:
    """Mark the issue with one feedback event, or return the reason to refuse it."""
    issue = shopper.issue(event.issue_id)
    fault, before = _fault_of(event, issue, rules), result_steps.numbers_of(issue)
    if fault is not None:
        return fault
    if event.kind in MONEY_KINDS:
        fault = uses.settle(shopper, issue, event, catalogue, rules.shop, latest, effects)
        if fault is not None:
            return fault
    elif {"impression": issue.seen, "click": issue.clicked, "expiry": issue.is_closed}[event.kind]:
        effects.facts.append(("feedback", "repeated"))
    elif event.kind == "expiry":
        issue.is_closed = True
        effects.facts.append(("feedback", "expiry"))
    elif event.kind == "impression":
        issue.seen = True
        effects.facts.append(("feedback", "impression"))
    else:
        issue.clicked = True
        if issue.is_given:
            for each in shopper.history.counts_of(issue.coupon_id, catalogue.by_id):
                each.clicked += 1
        effects.facts.append(("feedback", "click"))
    result_steps.note_feedback(issue, before, effects)
    shopper.keep_issue(issue)
    return None


def _join_late(
    shopper: Shopper,
    event: FeedbackEvent,
    catalogue: Catalogue,
    rules: Rules,
    latest: float,
    effects: Effects,
) -> Fault | None:
    """Book a report of money on a closed issue of ours, or return the reason to refuse it.

    The window of a closed issue teaches nothing any more, but the money is gone.
    """
    if event.kind not in MONEY_KINDS or not shopper.has_closed_own(event.issue_id):
        return LATE
    issue = shopper.closed_issue(event.issue_id)
    if issue is None:
        if event.kind == "purchase":
            effects.facts.append(("feedback", "not_booked"))
        return NOT_BOOKED
    before = result_steps.numbers_of(issue)
    fault = _fault_of(event, issue, rules) or uses.settle(shopper, issue, event, catalogue, rules.shop, latest, effects)
    if fault is None:
        result_steps.note_feedback(issue, before, effects)
        shopper.keep_closed(issue)
    return fault


def _fault_of(event: FeedbackEvent, issue: OpenIssue, rules: Rules) -> Fault | None:
    """Return the reason to refuse feedback on an open issue, or None.

    Only time ends an issue of this system. Feedback that ended one would free the money held for it while the shopper
    may still use the coupon.
    """
    if event.coupon_id is not None and event.coupon_id != issue.coupon_id:
        return Rejection.WRONG_COUPON, f"it is of coupon {issue.coupon_id}, not of {event.coupon_id}"
    if event.code is not None and issue.code is not None and canonical(event.code) != canonical(issue.code):
        return Rejection.WRONG_CODE, f"{event.code} is not its code"
    refusal = rules.shop.refusal_of(event.currency, issue.domain)
    if refusal is not None:
        return Rejection.WRONG_CURRENCY, refusal
    if event.occurred_at < issue.at - max(rules.attribution.early_feedback_s, CLOCKS_DIFFER_S):
        return Rejection.INVALID, f"it was issued at {issue.at}, {issue.at - event.occurred_at:.0f} s after this"
    if event.kind == "expiry" and not issue.observed:
        return Rejection.INVALID, "we issued it, it ends when its time is over"
    if event.kind != "expiry" and issue.observed and issue.is_closed:
        return LATE
    return None


def _refuse(
    shopper: Shopper, event: FeedbackEvent, fault: Fault, effects: Effects, waited: FeedbackEvent | None = None
) -> None:
    """Refuse feedback and forget its event id: a corrected copy is no duplicate.

    `waited` is the event if it is not the message that the step processes.
    """
    forget_event(shopper.profile, FEEDBACK, event.event_id)
    reason, detail = fault
    effects.refuse(reason, f"issue {event.issue_id}: {detail}", waited)


def _knows_orders(opened: OpenIssue, catalogue: Catalogue) -> bool:
    """Return whether orders are complete: the coupon still has its scope of decision time."""
    return opened.scope_mark == catalogue.scope_mark(opened.coupon_id)


def close_windows(user_id: str, shopper: Shopper, at: float, catalogue: Catalogue, rules: Rules) -> Effects:
    """Close expired issues, controls and visits, and refuse feedback whose issue did not arrive in time.

    A control whose coupon was withdrawn, or has another scope now, gives no example: later orders could not be matched
    to its scope.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    at : float
        Current time, UTC epoch seconds.
    """
    effects = Effects()
    for issue in shopper.take_expired_issues(at):
        shopper.remember_closed(issue.issue_id, observed=issue.observed)
        _close_issue(user_id, issue, at, catalogue, rules.attribution, effects)
        lift_steps.note_end(shopper, issue, rules.shop, effects)
        if not issue.observed:
            shopper.keep_closed(issue)
    shopper.forget_closed(at - rules.attribution.late_s)
    for control in [
        control for control in shopper.controls.values() if control.until + rules.attribution.grace_s <= at
    ]:
        del shopper.controls[control.issue_id]
        if is_still_watched(control, catalogue):
            effects.messages.append(example(user_id, control, "order", control.ordered, at))
    if shopper.visit is not None and shopper.visit.closes_at <= at:
        effects.messages += watching.close_visit(user_id, shopper, at, catalogue)
    for early in [early for early in shopper.early if early.waits_until <= at]:
        shopper.early.remove(early)
        effects.facts.append(("feedback", "unknown"))
        _refuse(shopper, early.event, NEVER_ISSUED, effects, early.event)
    return effects


def _close_issue(
    user_id: str, issue: OpenIssue, at: float, catalogue: Catalogue, rules: AttributionRules, effects: Effects
) -> None:
    if issue.can_teach and not issue.is_given:
        effects.messages.append(example(user_id, issue, "order", issue.has_sold, at, knows_orders=False))
    elif issue.can_teach:
        knows, seen = _knows_orders(issue, catalogue), issue.was_seen if awaits_impression(issue, rules) else None
        if seen is False:
            effects.facts.append(("unseen", issue.domain))
        effects.messages.append(example(user_id, issue, "click", issue.clicked, at, seen=seen, knows_orders=knows))
        effects.messages.append(example(user_id, issue, "redeem", issue.has_sold, at, seen=seen, knows_orders=knows))
    if not issue.observed:
        effects.bookings.append(
            issue.booking(issue.stake, Stake(spent_minor=issue.spent_minor), at, issue.expected_minor)
        )
        if not issue.redeemed:
            effects.facts.append(("end", "expired"))
