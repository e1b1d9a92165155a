"""Attribution: feedback is joined to its issue, and closed windows become training examples.

Features, schema, prediction and model version of an example are those stored at decision time: a release may have
changed the features since. Feedback marks the issue on arrival. Positive and negative labels go to the learner when the
window, plus a grace for late feedback, has closed. A purchase in the grace is booked, but is no positive, as an order
in it without a coupon is none.

Labels wait for the end of their window because positives arrive early and negatives late: a model that learnt each at
once would predict too much.

Where the channel reports impressions, a coupon that was never seen is no negative: its examples are marked and not
learnt. P(click) and P(redeem) are then conditional on an impression.
"""

import math

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.catalogue.coupon_terms import is_in_scope
from stream_coupons.core.decision.examples import awaits_impression, example
from stream_coupons.core.decision.identities import is_closed, remember_closed
from stream_coupons.core.decision.settlement import booking, counts_of, settle
from stream_coupons.core.effects import Effects, Stake
from stream_coupons.core.messages.inputs import FeedbackEvent, OrderEvent
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import AttributionRules
from stream_coupons.core.shopper.profile import forget_event
from stream_coupons.core.shopper.state import MAX_EARLY, EarlyFeedback, OpenControl, OpenIssue, Shopper

FEEDBACK = "feedback"
"""Kind of feedback events, beside the kinds of shop events."""
MONEY_KINDS = frozenset({"purchase", "refund", "cancel"})
"""Kinds of feedback that change the discount of a coupon."""
Fault = tuple[Rejection, str]
"""Reason code and detail of refused feedback."""
NEVER_ISSUED: Fault = (Rejection.UNKNOWN_ISSUE, "never issued to this shopper")
LATE: Fault = (Rejection.LATE, "its window has closed")
MAX_VALUE_MINOR = 2**53
"""Bound of the value of orders in the scope of one coupon: the maximum of the message field."""
CLOCKS_DIFFER_S = 86400.0
"""Tolerated lag of a producer's clock: feedback may be dated this much before its issue, or `early_feedback_s`."""


def open_issue(shopper: Shopper, issue: OpenIssue, catalogue: Catalogue) -> None:
    """Remember an issue and, if a coupon was given, count it in the shopper's history.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    issue : OpenIssue
        An issue of this system or of another one.
    """
    history = shopper.history
    shopper.keep_issue(issue)
    if not issue.is_given:
        return
    of_days, of_weeks = history.exposures_at(issue.at)
    history.exposure, history.weekly_exposure = of_days + 1.0, of_weeks + 1.0
    history.last_issued_at = max(issue.at, history.last_issued_at or 0.0)
    for each in counts_of(history, issue.coupon_id, catalogue):
        each.issued += 1
    if not issue.observed:  # capped or not: the catalogue may set a cap later
        history.given[issue.coupon_id] = history.given.get(issue.coupon_id, 0) + 1


def open_control(shopper: Shopper, control: OpenControl, rules: AttributionRules) -> None:
    """Remember a coupon that was not given, and drop the oldest one beyond the limit.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    control : OpenControl
        The control to add; at most `rules.max_open_controls` are kept.
    """
    shopper.controls[control.issue_id] = control
    while len(shopper.controls) > rules.max_open_controls:
        del shopper.controls[next(iter(shopper.controls))]


def join_early(
    shopper: Shopper, issue_id: str, catalogue: Catalogue, rules: AttributionRules, latest: float = math.inf
) -> Effects:
    """Join the feedback that waits for this issue.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    issue_id : str
        Id of an issue that was just opened.
    latest : float
        Upper bound of the current time, UTC epoch seconds: a producer's clock may be ahead.
    """
    effects = Effects()
    waiting = [early.event for early in shopper.early if early.event.issue_id == issue_id]
    if waiting:
        shopper.early = [early for early in shopper.early if early.event.issue_id != issue_id]
    for event in waiting:
        # An expiry before it may have ended the issue.
        is_open = issue_id in shopper.issues
        fault = _apply(shopper, event, catalogue, rules, latest, effects) if is_open else LATE
        if fault is not None:
            _refuse(shopper, event, fault, effects, event)
    return effects


def join(
    shopper: Shopper, event: FeedbackEvent, catalogue: Catalogue, rules: AttributionRules, latest: float = math.inf
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
    elif is_closed(shopper, event.issue_id):
        fault = LATE
    elif len(shopper.early) >= MAX_EARLY or rules.early_feedback_s == 0:
        fault = NEVER_ISSUED
    else:
        shopper.early.append(EarlyFeedback(event.occurred_at + rules.early_feedback_s, event))
        effects.count("feedback", "early")
    if fault is not None:
        _refuse(shopper, event, fault, effects)
    return effects


def _apply(
    shopper: Shopper,
    event: FeedbackEvent,
    catalogue: Catalogue,
    rules: AttributionRules,
    latest: float,
    effects: Effects,
) -> Fault | None:
    """Mark the issue with one feedback event, or return the reason to refuse it."""
    issue = shopper.issue(event.issue_id)
    fault = _fault_of(event, issue, rules)
    if fault is not None:
        return fault
    if event.kind == "expiry":
        _end_observed(event, shopper, issue, catalogue, rules, min(event.occurred_at, latest), effects)
        return None
    if event.kind in MONEY_KINDS:
        settle(shopper, issue, event, catalogue, latest, effects)
    elif {"impression": issue.seen, "click": issue.clicked}[event.kind]:
        effects.count("feedback", "repeated")
    elif event.kind == "impression":
        issue.seen = True
        effects.count("feedback", "impression")
    else:
        issue.clicked = True
        if issue.is_given:
            for each in counts_of(shopper.history, issue.coupon_id, catalogue):
                each.clicked += 1
        effects.count("feedback", "click")
    shopper.keep_issue(issue)
    return None


def _end_observed(  # noqa: PLR0913 - what an end needs
    event: FeedbackEvent,
    shopper: Shopper,
    issue: OpenIssue,
    catalogue: Catalogue,
    rules: AttributionRules,
    at: float,
    effects: Effects,
) -> None:
    """End an issue of another system, which can no longer be used."""
    effects.count("feedback", "expiry")
    del shopper.issues[issue.issue_id]
    remember_closed(shopper, issue.issue_id, observed=True)
    _close_issue(event.user_id, issue, at, catalogue, rules, effects)


def _fault_of(event: FeedbackEvent, issue: OpenIssue, rules: AttributionRules) -> Fault | None:
    """Return the reason to refuse feedback on an open issue, or None.

    Only time ends an issue of this system. Feedback that ended one would free the money held for it while the shopper
    may still use the coupon.
    """
    if event.coupon_id is not None and event.coupon_id != issue.coupon_id:
        return Rejection.WRONG_COUPON, f"it is of coupon {issue.coupon_id}, not of {event.coupon_id}"
    if event.occurred_at < issue.at - max(rules.early_feedback_s, CLOCKS_DIFFER_S):
        return Rejection.INVALID, f"it was issued at {issue.at}, {issue.at - event.occurred_at:.0f} s after this"
    if event.kind == "expiry" and not issue.observed:
        return Rejection.INVALID, "we issued it, it ends when its time is over"
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


def observe_order(shopper: Shopper, event: OrderEvent, catalogue: Catalogue) -> None:
    """Mark the issues and controls whose coupon has the order in its scope, used or not.

    The same events mark both, so that shoppers with and without a coupon can be compared. A coupon without a scope
    covers all of its domain, so orders of other domains do not count. A control whose coupon has another scope now is
    dropped: its features describe the old scope.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    catalogue : Catalogue
        The current scopes of coupons.
    """
    for control in [*shopper.controls.values()]:
        if _has_other_scope(control, catalogue):
            del shopper.controls[control.issue_id]
        else:
            _note_order(control, event, catalogue)
    for issue_id in shopper.issues:
        issue = shopper.issue(issue_id)
        is_same = not _has_other_scope(issue, catalogue)
        if is_same and _note_order(issue, event, catalogue):
            shopper.keep_issue(issue)


def _note_order(opened: OpenIssue | OpenControl, event: OrderEvent, catalogue: Catalogue) -> bool:
    """Add an order to the orders in the coupon's scope; return whether any of its items is in scope."""
    coupon = catalogue.by_id.get(opened.coupon_id)
    if coupon is None or event.domain != opened.domain or not opened.at <= event.occurred_at <= opened.until:
        return False
    inside = [item for item in event.items if is_in_scope(coupon, item)]
    if inside:
        opened.ordered = True
        value = sum(catalogue.value_of(item, coupon) for item in inside)
        opened.order_value_minor = min(opened.order_value_minor + value, MAX_VALUE_MINOR)
    return bool(inside)


def _has_other_scope(opened: OpenIssue | OpenControl, catalogue: Catalogue) -> bool:
    return catalogue.scope_mark(opened.coupon_id) not in (0, opened.scope_mark)


def _knows_orders(opened: OpenIssue | OpenControl, catalogue: Catalogue) -> bool:
    """Return whether orders are complete: the coupon still has its scope of decision time."""
    return opened.scope_mark == catalogue.scope_mark(opened.coupon_id)


def close_windows(user_id: str, shopper: Shopper, at: float, catalogue: Catalogue, rules: AttributionRules) -> Effects:
    """Close expired issues and controls, and refuse feedback whose issue did not arrive in time.

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
        remember_closed(shopper, issue.issue_id, observed=issue.observed)
        _close_issue(user_id, issue, at, catalogue, rules, effects)
    for control in [control for control in shopper.controls.values() if control.until + rules.grace_s <= at]:
        del shopper.controls[control.issue_id]
        if control.coupon_id in catalogue.by_id and not _has_other_scope(control, catalogue):
            knows = _knows_orders(control, catalogue)
            effects.emit(example(user_id, control, "order", control.ordered, at, knows_orders=knows))
    for early in [early for early in shopper.early if early.waits_until <= at]:
        shopper.early.remove(early)
        effects.count("feedback", "unknown")
        _refuse(shopper, early.event, NEVER_ISSUED, effects, early.event)
    return effects


def _close_issue(
    user_id: str, issue: OpenIssue, at: float, catalogue: Catalogue, rules: AttributionRules, effects: Effects
) -> None:
    if issue.can_teach and not issue.is_given:
        effects.emit(example(user_id, issue, "order", issue.has_sold, at, knows_orders=False))
    elif issue.can_teach:
        knows, seen = _knows_orders(issue, catalogue), issue.was_seen if awaits_impression(issue, rules) else None
        if seen is False:
            effects.count("unseen", issue.domain)
        effects.emit(example(user_id, issue, "click", issue.clicked, at, seen=seen, knows_orders=knows))
        effects.emit(example(user_id, issue, "redeem", issue.has_sold, at, seen=seen, knows_orders=knows))
    if not issue.observed:
        effects.book(booking(issue, issue.stake, Stake(spent_minor=issue.spent_minor), at, issue.expected_minor))
        if not issue.redeemed:
            effects.count("end", "expired")
