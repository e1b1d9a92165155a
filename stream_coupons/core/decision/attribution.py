"""What came of a coupon: feedback joins the issue it is about, closed windows become negatives.

The features, their schema, the prediction and the model version of an example are those stored when the decision was
made: a release may have changed the features since, and no model may take those of before for its own.
Feedback marks the issue when it comes; its labels go to the learner when the window, plus a grace for stragglers,
has closed, positives and negatives alike. The grace is for what is on its way: a purchase in it is booked, but is no
more a positive than an order in it of a shopper who was given nothing.

Learning each as soon as it is known would see positives early and negatives late, and believe the early ones: on the
simulated shoppers (600 of them, 21 days, random policy, P(redeem) in the second half, before a scope's share was a
feature) that gave ROC AUC .576 and predictions 1.95 times the observed rate, against .694 and 1.03 for waiting. On
Complete Journey, whose windows are months, weighing provisional negatives (Ktena et al. 2019) gives .62 in the late
campaigns and waiting .84. What has come by now is told all the same (`OpenDecision`), for the base rate alone.

Where the channel reports impressions, a coupon that was never seen is no negative: its examples say so and are not
learnt. P(click) and P(redeem) are then of a coupon that is seen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.catalogue.coupon_terms import is_in_scope
from stream_coupons.core.decision.scoring import HEADS
from stream_coupons.core.effects import Booking, Effects, Stake
from stream_coupons.core.features.rows import SCHEMA, FeatureRows
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.messages.inputs import FeedbackEvent, OrderEvent
from stream_coupons.core.messages.learning import OpenDecision, TrainingExample
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import AttributionRules
from stream_coupons.core.shopper.profile import forget_event
from stream_coupons.core.shopper.state import (
    MAX_CLOSED,
    MAX_EARLY,
    EarlyFeedback,
    History,
    OpenControl,
    OpenIssue,
    Predicted,
    Shopper,
    Tally,
    tally,
)
from stream_coupons.core.vectors.sparse import stable_hash

PLACE_BYTES = 4
FEEDBACK = "feedback"
"""The kind of event that feedback is, beside those of the shop."""
MONEY_KINDS = frozenset({"purchase", "refund", "cancel"})
"""Kinds of feedback that say what a coupon has taken off."""
Fault = tuple[Rejection, str]
"""Why feedback is refused."""
NEVER_ISSUED: Fault = (Rejection.UNKNOWN_ISSUE, "never issued to this shopper")
LATE: Fault = (Rejection.LATE, "its window has closed")
MAX_VALUE_MINOR = 2**53
"""Of all that is ordered in the scope of one coupon: the most that a message can say."""
CLOCKS_DIFFER_S = 86400.0
"""By how much a sender's clock may be behind: feedback may say that it came before its issue, but not long before."""
Head = Literal["click", "redeem", "order"]


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows of features as they are stored, in 32 bits."""

    numeric: NDArray[np.float32]
    hashed: NDArray[np.uint32]

    def row(self, row: int) -> tuple[bytes, bytes]:
        """One of them as little-endian bytes, for the shopper's state; places that only others need are left out."""
        hashed = self.hashed[row].tobytes()
        used = len(hashed.rstrip(b"\0"))
        return self.numeric[row].tobytes(), hashed[: used + -used % PLACE_BYTES]


def pack(rows: FeatureRows) -> PackedRows:
    """Rows as they are stored."""
    return PackedRows(rows.numeric.astype("<f4"), rows.hashed.astype("<u4"))


def stored(predicted: Sequence[float]) -> Predicted:
    """P(click), P(redeem) and P(order) as they are kept."""
    click, redeem, order = predicted
    return round(click, 6), round(redeem, 6), round(order, 6)


def unpack(numeric: bytes, hashed: bytes) -> FeatureRows:
    """The one row that `PackedRows` made bytes of."""
    numbers = np.round(np.frombuffer(numeric, "<f4").astype(float), 4)
    return FeatureRows(numbers[None, :], np.frombuffer(hashed, "<u4").astype(np.uint32)[None, :])


def example(  # noqa: PLR0913 - what is known of one outcome
    user_id: str,
    stored: OpenIssue | OpenControl,
    head: Head,
    label: bool,
    at: float,
    *,
    seen: bool | None = None,
    knows_orders: bool = True,
) -> TrainingExample:
    """A stored decision and one of its labels, as they are at time `at`; `seen` is None where that is not known.

    `knows_orders` is whether orders in the coupon's scope were noted all the time.
    """
    rows = unpack(stored.numeric, stored.hashed)
    return TrainingExample(
        example_id=f"{stored.issue_id}:{head}",
        domain=stored.domain,
        head=head,
        label=label,
        decided_at=stored.at,
        at=at,
        feature_schema=stored.feature_schema,
        numeric=rows.numeric[0].tolist(),
        hashed=rows.hashed[0].tolist(),
        predicted=stored.predicted[HEADS.index(head)],
        propensity=stored.propensity,
        model_version=stored.model_version,
        coupon_id=stored.coupon_id,
        user_id=user_id,
        issue_id=stored.issue_id,
        observed=stored.observed,
        withheld=stored.withheld,
        seen=seen,
        ordered=stored.ordered if knows_orders else None,
        order_value_minor=stored.order_value_minor if knows_orders else None,
        discount_minor=stored.spent_minor,
    )


def remember_closed(shopper: Shopper, identity: str, *, observed: bool = False) -> None:
    """Remember that an issue is over; the last `MAX_CLOSED` of ours are, and as many observed ones.

    What was observed is remembered apart: another system may have given it an id that we shall come to, and those of
    any number must not make us forget our own, or a trigger that comes again would lead to a second coupon.
    """
    closed = shopper.closed_observed if observed else shopper.closed
    closed.append(_mark_of(identity, observed=observed))
    del closed[:-MAX_CLOSED]


def _mark_of(identity: str, *, observed: bool) -> int:
    return stable_hash("observed", identity) if observed else stable_hash(identity)


def is_closed(shopper: Shopper, identity: str) -> bool:
    """Return whether an issue of this id is over, ours or observed."""
    observed = _mark_of(identity, observed=True)
    is_ours = _mark_of(identity, observed=False) in shopper.closed
    # States of before have both in one list.
    return is_ours or observed in shopper.closed_observed or observed in shopper.closed


def is_decided(shopper: Shopper, identity: str) -> bool:
    """Return whether this id led to an issue of ours.

    Another system may have given the id to an issue of its own: that says nothing.
    """
    is_open = identity in shopper.issues and not shopper.issue(identity).observed
    return is_open or _mark_of(identity, observed=False) in shopper.closed


def open_issue(
    shopper: Shopper, issue: OpenIssue, catalogue: Catalogue, rules: AttributionRules, latest: float = math.inf
) -> Effects:
    """Remember an issue, tell of it and, if a coupon was given, count it in the shopper's history.

    `latest`, here and below, is the latest that it can be now: a sender's clock may be ahead.
    """
    effects = Effects()
    history = shopper.history
    shopper.keep_issue(issue)
    if _known_of(issue, rules)[0]:
        tell(issue, min(issue.at, latest), effects, is_first=True)
    if not issue.is_given:
        return effects
    of_days, of_weeks = history.exposures_at(issue.at)
    history.exposure, history.weekly_exposure = of_days + 1.0, of_weeks + 1.0
    history.last_issued_at = max(issue.at, history.last_issued_at or 0.0)
    for each in _counts(history, issue.coupon_id, catalogue):
        each.issued += 1
    if not issue.observed:  # capped or not: the catalogue may set a cap later
        history.given[issue.coupon_id] = history.given.get(issue.coupon_id, 0) + 1
    return effects


def _is_told(issue: OpenIssue, rules: AttributionRules) -> bool:
    """Return whether it would be reported that the shopper saw it.

    Silence on one that was given before its channel was said to report says nothing of whether it was seen.
    """
    return issue.awaits_impressions and issue.domain in rules.impression_domains


def _known_of(issue: OpenIssue, rules: AttributionRules) -> tuple[bool, bool, bool]:
    """Return whether silence says something (not so if unseen), whether it led to a click, and whether to a sale."""
    says_something = issue.was_seen or not issue.is_given or not _is_told(issue, rules)
    return says_something, issue.clicked and issue.is_given, issue.has_sold


def tell(issue: OpenIssue, at: float, effects: Effects, *, is_first: bool = False, is_over: bool = False) -> None:
    """Tell what has come of an issue so far; nothing of one of another release, or whose end is not known.

    `is_over` says that nothing more can come of it, before its labels are due.
    """
    if issue.feature_schema != SCHEMA or not issue.at < issue.until < END_OF_TIME:
        return
    effects.emit(
        OpenDecision(
            issue_id=issue.issue_id,
            domain=issue.domain,
            coupon_id=issue.coupon_id,
            at=at,
            decided_at=issue.at,
            until=issue.until,
            label_at=min(issue.expires_at, END_OF_TIME),
            clicked=issue.clicked,
            redeemed=issue.has_sold,
            is_over=is_over,
            feature_schema=issue.feature_schema,
            numeric=issue.numeric if is_first else b"",
            hashed=issue.hashed if is_first else b"",
        )
    )


def open_control(shopper: Shopper, control: OpenControl, rules: AttributionRules) -> None:
    """Remember a coupon that was not given; the oldest makes room."""
    shopper.controls[control.issue_id] = control
    while len(shopper.controls) > rules.max_open_controls:
        del shopper.controls[next(iter(shopper.controls))]


def join_early(
    shopper: Shopper, issue_id: str, catalogue: Catalogue, rules: AttributionRules, latest: float = math.inf
) -> Effects:
    """Join the feedback that was waiting for this issue."""
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
    """Join feedback to the issue it is about.

    Only an issue in this shopper's own state is believed. Feedback on an unknown one waits for it (topics are not
    ordered among each other) and is refused when it does not come.
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
    """Mark the issue with one piece of feedback; or return why it is refused."""
    issue = shopper.issue(event.issue_id)
    fault = _fault_of(event, issue, rules)
    if fault is not None:
        return fault
    if event.kind == "expiry":
        at = min(event.occurred_at, latest)
        effects.count("feedback", "expiry")
        del shopper.issues[issue.issue_id]
        remember_closed(shopper, issue.issue_id, observed=True)
        if at < issue.expires_at:
            tell(issue, at, effects, is_over=True)
        _close_issue(event.user_id, issue, at, catalogue, rules, effects)
        return None
    before = _known_of(issue, rules)
    if event.kind in MONEY_KINDS:
        _settle(shopper, issue, event, catalogue, latest, effects)
    elif {"impression": issue.seen, "click": issue.clicked}[event.kind]:
        effects.count("feedback", "repeated")
    elif event.kind == "impression":
        issue.seen = True
        effects.count("feedback", "impression")
    else:
        issue.clicked = True
        if issue.is_given:
            for each in _counts(shopper.history, issue.coupon_id, catalogue):
                each.clicked += 1
        effects.count("feedback", "click")
    shopper.keep_issue(issue)
    after = _known_of(issue, rules)
    if after != before:
        tell(issue, min(event.occurred_at, latest), effects, is_first=not before[0])
    return None


def _fault_of(event: FeedbackEvent, issue: OpenIssue, rules: AttributionRules) -> Fault | None:
    """Return why feedback on an open issue is refused; None if it is not.

    Only time ends an issue of ours: whoever could end one at will would free the money that is held for it, while the
    shopper may still use the coupon.
    """
    if event.coupon_id is not None and event.coupon_id != issue.coupon_id:
        return Rejection.WRONG_COUPON, f"it is of coupon {issue.coupon_id}, not of {event.coupon_id}"
    if event.occurred_at < issue.at - max(rules.early_feedback_s, CLOCKS_DIFFER_S):
        return Rejection.INVALID, f"it was issued at {issue.at}, {issue.at - event.occurred_at:.0f} s after this"
    if event.kind == "expiry" and not issue.observed:
        return Rejection.INVALID, "we issued it, it ends when its time is over"
    return None


def _settle(
    shopper: Shopper, issue: OpenIssue, event: FeedbackEvent, catalogue: Catalogue, latest: float, effects: Effects
) -> None:
    """Take in a purchase, refund or cancellation: the one that happened last says what the coupon has taken off.

    A shopper may use a coupon whose order was cancelled again, so that its hold comes back. Reports may come in any
    order: a sale is late if no purchase is known that was made in time, or was returned in time.
    """
    is_purchase, is_first = event.kind == "purchase", not issue.reported_at
    if event.kind != "cancel" and event.occurred_at <= issue.until:
        issue.is_late = False
    elif is_first and not issue.redeemed:
        issue.is_late = True
    if event.occurred_at < issue.reported_at:
        effects.count("feedback", "outdated")
        return
    before, was_redeemed = issue.stake, issue.redeemed
    issue.reported_at = event.occurred_at
    issue.redeemed = event.kind != "cancel"
    if issue.is_given and issue.redeemed != was_redeemed:
        change = 1 if issue.redeemed else -1
        for each in _counts(shopper.history, issue.coupon_id, catalogue):
            each.redeemed = max(each.redeemed + change, 0)
    issue.spent_minor = _taken(issue, event, effects) if issue.redeemed else 0
    is_again = is_purchase and was_redeemed
    is_same = is_again and issue.spent_minor == before.spent_minor
    effects.count("feedback", "repeated" if is_same else "corrected" if is_again else event.kind)
    if not issue.observed:
        if issue.stake != before:
            effects.book(_booking(issue, before, issue.stake, min(event.occurred_at, latest)))
        if issue.redeemed and not was_redeemed:
            effects.count("end", "redeemed")


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
    return _booking(issue, Stake(), issue.stake, issue.at)


def _booking(issue: OpenIssue, before: Stake, after: Stake, at: float, final: float | None = None) -> Booking:
    """Return a change of what an issue takes of its budgets; `final` is `Booking.final_expected_minor`."""
    span = at, issue.at, issue.expires_at
    return Booking(issue.coupon_id, issue.campaign_id, before, after, *span, issue.is_falling, final)


def _refuse(
    shopper: Shopper, event: FeedbackEvent, fault: Fault, effects: Effects, waited: FeedbackEvent | None = None
) -> None:
    """Refuse feedback as if it had never come: sent again when its fault is mended, it is no duplicate.

    `waited` is the event again if it is not the one at hand.
    """
    forget_event(shopper.profile, FEEDBACK, event.event_id)
    reason, detail = fault
    effects.refuse(reason, f"issue {event.issue_id}: {detail}", waited)


def _counts(history: History, coupon_id: str, catalogue: Catalogue) -> list[History | Tally]:
    """Return all that a coupon is counted in: the history, and its tallies of coupons, kinds and categories."""
    counts: list[History | Tally] = [history, tally(history.by_coupon, coupon_id)]
    coupon = catalogue.by_id.get(coupon_id)
    if coupon is not None and coupon.kind:
        counts.append(tally(history.by_kind, coupon.kind))
    if coupon is not None and coupon.categories:
        counts.append(tally(history.by_category, coupon.categories[0]))
    return counts


def observe_order(shopper: Shopper, event: OrderEvent, catalogue: Catalogue) -> None:
    """Mark the issues and controls whose coupon an order was in the scope of: with the coupon, or all the same.

    Both are marked by the same events, so that those who were given a coupon can be compared with those who were not.
    A coupon without a scope is for all of its domain, so an order of another one says nothing of it. A control whose
    coupon is for something else by now is given up: the features are of what it was for.
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
    """Add an order to what was ordered in the coupon's scope; whether there was something."""
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
    return opened.scope_mark not in (0, catalogue.scope_mark(opened.coupon_id) or opened.scope_mark)


def _knows_orders(opened: OpenIssue | OpenControl, catalogue: Catalogue) -> bool:
    """Return whether orders were noted all the time: the coupon is for what it was for when the decision was made."""
    return opened.scope_mark != 0 and opened.scope_mark == catalogue.scope_mark(opened.coupon_id)


def close_windows(user_id: str, shopper: Shopper, at: float, catalogue: Catalogue, rules: AttributionRules) -> Effects:
    """Close what time has decided: issues, controls, and feedback whose issue never came.

    Of a control whose coupon was withdrawn, or is for something else now, nothing is learnt: no order since then could
    be told to be in its scope.
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
        knows, seen = _knows_orders(issue, catalogue), issue.was_seen if _is_told(issue, rules) else None
        if seen is False:
            effects.count("unseen", issue.domain)
        effects.emit(example(user_id, issue, "click", issue.clicked, at, seen=seen, knows_orders=knows))
        effects.emit(example(user_id, issue, "redeem", issue.has_sold, at, seen=seen, knows_orders=knows))
    if not issue.observed:
        effects.book(_booking(issue, issue.stake, Stake(spent_minor=issue.spent_minor), at, issue.expected_minor))
        if not issue.redeemed:
            effects.count("end", "expired")
