"""What came of a coupon: feedback joins the issue it is about, closed windows become negatives.

The features, the prediction and the model version of an example are those stored when the decision was made.
A click or a purchase is known when it comes; that nothing came is known only when the window, plus a grace for
stragglers, has closed. Learning only what is known would see early positives and late negatives and believe the early
ones. So every decision is sent to the learner at once as a provisional negative, a positive follows if it comes, and
the learner weighs the two so that its estimate is unbiased (`models.delay`). A window that closes confirms the negative.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from stream_coupons.core.coupons import Catalogue, is_in_scope
from stream_coupons.core.effects import Effects
from stream_coupons.core.events import FeedbackEvent, OrderEvent, Settlement, TrainingExample
from stream_coupons.core.features import SCHEMA, FeatureRows
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import AttributionRules
from stream_coupons.core.shopper import (
    MAX_CLOSED,
    MAX_EARLY,
    EarlyFeedback,
    OpenControl,
    OpenIssue,
    Predicted,
    Shopper,
    tally,
)
from stream_coupons.core.similarity import stable_hash

Head = Literal["click", "redeem", "order"]
Stage = Literal["provisional", "positive", "negative"]


def pack(rows: FeatureRows, row: int) -> tuple[bytes, bytes]:
    """One row of features as little-endian bytes, for the shopper's state."""
    return rows.numeric[row].astype("<f4").tobytes(), rows.hashed[row].astype("<u4").tobytes()


def unpack(numeric: bytes, hashed: bytes) -> FeatureRows:
    """The one row that `pack` made bytes of."""
    numbers = np.round(np.frombuffer(numeric, "<f4").astype(float), 4)
    return FeatureRows(numbers[None, :], np.frombuffer(hashed, "<u4").astype(np.uint32)[None, :])


@dataclass(frozen=True, slots=True)
class Stored:
    """What was stored with a decision: the part that issues and controls have in common."""

    issue_id: str
    coupon_id: str
    domain: str
    at: float
    numeric: bytes
    hashed: bytes
    predicted: Predicted
    propensity: float | None
    model_version: int
    observed: bool


def example(user_id: str, stored: Stored, head: Head, stage: Stage, at: float) -> TrainingExample:
    """A stored decision and what is known of one outcome."""
    numeric: list[float] = []
    hashed: list[int] = []
    if stage != "negative":
        rows = unpack(stored.numeric, stored.hashed)
        numeric, hashed = rows.numeric[0].tolist(), rows.hashed[0].tolist()
    return TrainingExample(
        example_id=f"{stored.issue_id}:{head}:{stage}",
        domain=stored.domain,
        head=head,
        stage=stage,
        decided_at=stored.at,
        at=at,
        feature_schema=SCHEMA,
        numeric=numeric,
        hashed=hashed,
        predicted=stored.predicted[("click", "redeem", "order").index(head)],
        propensity=stored.propensity,
        model_version=stored.model_version,
        coupon_id=stored.coupon_id,
        user_id=user_id,
        issue_id=stored.issue_id,
        observed=stored.observed,
    )


def _of_issue(issue: OpenIssue) -> Stored:
    return Stored(
        issue.issue_id,
        issue.coupon_id,
        issue.domain,
        issue.at,
        issue.numeric,
        issue.hashed,
        issue.predicted,
        issue.propensity,
        issue.model_version,
        issue.observed,
    )


def _of_control(control: OpenControl) -> Stored:
    return Stored(
        control.control_id,
        control.coupon_id,
        control.domain,
        control.at,
        control.numeric,
        control.hashed,
        control.predicted,
        None,
        control.model_version,
        False,
    )


def remember_closed(shopper: Shopper, identity: str) -> None:
    """Remember that an issue or proposal is over; the last `MAX_CLOSED` are."""
    shopper.closed.append(stable_hash(identity))
    del shopper.closed[:-MAX_CLOSED]


def open_issue(user_id: str, shopper: Shopper, issue: OpenIssue, catalogue: Catalogue) -> Effects:
    """Remember a coupon given, count it in the shopper's history, and tell the learner."""
    effects = Effects()
    stored = _of_issue(issue)
    effects.emit(example(user_id, stored, "click", "provisional", issue.at))
    effects.emit(example(user_id, stored, "redeem", "provisional", issue.at))
    history = shopper.history
    shopper.issues[issue.issue_id] = issue
    history.issued += 1
    history.last_issued_at = max(issue.at, history.last_issued_at or 0.0)
    tally(history.by_coupon, issue.coupon_id).issued += 1
    coupon = catalogue.by_id.get(issue.coupon_id)
    if coupon is not None and coupon.categories:
        tally(history.by_category, coupon.categories[0]).issued += 1
    if coupon is not None and coupon.max_per_user is not None and not issue.observed:
        history.capped[issue.coupon_id] = history.capped.get(issue.coupon_id, 0) + 1
    return effects


def open_control(user_id: str, shopper: Shopper, control: OpenControl, rules: AttributionRules) -> Effects:
    """Remember a coupon that was not given, and tell the learner; the oldest makes room."""
    effects = Effects()
    shopper.controls[control.control_id] = control
    while len(shopper.controls) > rules.max_open_controls:
        del shopper.controls[next(iter(shopper.controls))]
    effects.emit(example(user_id, _of_control(control), "order", "provisional", control.at))
    return effects


def join_early(user_id: str, shopper: Shopper, issue_id: str, catalogue: Catalogue) -> Effects:
    """Join the feedback that was waiting for this issue."""
    effects = Effects()
    waiting = [early for early in shopper.early if early.event.issue_id == issue_id]
    if waiting:
        shopper.early = [early for early in shopper.early if early.event.issue_id != issue_id]
        for early in waiting:
            issue = shopper.issues[issue_id]
            if (detail := _wrong_coupon(issue, early.event)) is not None:
                effects.refuse(Rejection.WRONG_COUPON, detail, early.event)
            else:
                _apply(user_id, shopper, issue, early.event, catalogue, effects)
    return effects


def join(
    user_id: str, shopper: Shopper, event: FeedbackEvent, catalogue: Catalogue, rules: AttributionRules
) -> Effects:
    """Join feedback to the issue it is about.

    Only an issue in this shopper's own state is believed. Feedback on an unknown one waits for it (topics are not
    ordered among each other) and is refused when it does not come.
    """
    effects = Effects()
    issue = shopper.issues.get(event.issue_id)
    if issue is not None and (detail := _wrong_coupon(issue, event)) is not None:
        effects.refuse(Rejection.WRONG_COUPON, detail)
    elif issue is not None:
        _apply(user_id, shopper, issue, event, catalogue, effects)
    elif stable_hash(event.issue_id) in shopper.closed:
        effects.refuse(Rejection.LATE, f"issue {event.issue_id}: its window has closed")
    elif len(shopper.early) >= MAX_EARLY or rules.early_feedback_s == 0:
        effects.refuse(Rejection.UNKNOWN_ISSUE, f"issue {event.issue_id}: never issued to this shopper")
    else:
        shopper.early.append(EarlyFeedback(event.occurred_at + rules.early_feedback_s, event))
        effects.count("feedback", "early")
    return effects


def _wrong_coupon(issue: OpenIssue, event: FeedbackEvent) -> str | None:
    if event.coupon_id is None or event.coupon_id == issue.coupon_id:
        return None
    return f"issue {issue.issue_id} is of coupon {issue.coupon_id}, not of {event.coupon_id}"


def _apply(
    user_id: str,
    shopper: Shopper,
    issue: OpenIssue,
    event: FeedbackEvent,
    catalogue: Catalogue,
    effects: Effects,
) -> None:
    issue.seen = True
    if event.kind == "impression":
        effects.count("feedback", "impression")
    elif event.kind == "click":
        _apply_click(user_id, shopper, issue, event, effects)
    else:
        _apply_purchase(user_id, shopper, issue, event, catalogue, effects)


def _apply_click(user_id: str, shopper: Shopper, issue: OpenIssue, event: FeedbackEvent, effects: Effects) -> None:
    if issue.clicked:
        effects.count("feedback", "repeated")
        return
    issue.clicked = True
    shopper.history.clicked += 1
    effects.emit(example(user_id, _of_issue(issue), "click", "positive", event.occurred_at))
    effects.count("feedback", "click")


def _apply_purchase(
    user_id: str,
    shopper: Shopper,
    issue: OpenIssue,
    event: FeedbackEvent,
    catalogue: Catalogue,
    effects: Effects,
) -> None:
    if issue.redeemed:
        effects.count("feedback", "repeated")
        return
    issue.redeemed = True
    history = shopper.history
    history.redeemed += 1
    tally(history.by_coupon, issue.coupon_id).redeemed += 1
    coupon = catalogue.by_id.get(issue.coupon_id)
    if coupon is not None and coupon.categories:
        tally(history.by_category, coupon.categories[0]).redeemed += 1
    effects.emit(example(user_id, _of_issue(issue), "redeem", "positive", event.occurred_at))
    effects.count("feedback", "purchase")
    if not issue.observed:
        effects.count("settlement", "redeemed")
        given = event.discount_minor if event.discount_minor is not None else issue.held_minor
        effects.emit(
            Settlement(
                proposal_id=issue.issue_id,
                coupon_id=issue.coupon_id,
                at=event.occurred_at,
                outcome="redeemed",
                held_minor=issue.held_minor,
                spent_minor=min(given, issue.held_minor),
            )
        )


def observe_order(user_id: str, shopper: Shopper, event: OrderEvent, catalogue: Catalogue) -> Effects:
    """An order in the scope of a coupon that was not given: the shopper ordered all the same."""
    effects = Effects()
    for control in list(shopper.controls.values()):
        coupon = catalogue.by_id.get(control.coupon_id)
        inside = control.at <= event.occurred_at <= control.until
        if coupon is not None and inside and any(is_in_scope(coupon, item) for item in event.items):
            del shopper.controls[control.control_id]
            effects.emit(example(user_id, _of_control(control), "order", "positive", event.occurred_at))
    return effects


def close_windows(user_id: str, shopper: Shopper, at: float) -> Effects:
    """Close what time has decided: issues, controls, and feedback whose issue never came."""
    effects = Effects()
    for issue in [issue for issue in shopper.issues.values() if issue.expires_at <= at]:
        del shopper.issues[issue.issue_id]
        remember_closed(shopper, issue.issue_id)
        _close_issue(user_id, issue, at, effects)
    for control in [control for control in shopper.controls.values() if control.until <= at]:
        del shopper.controls[control.control_id]
        effects.emit(example(user_id, _of_control(control), "order", "negative", at))
    for early in [early for early in shopper.early if early.waits_until <= at]:
        shopper.early.remove(early)
        detail = f"issue {early.event.issue_id}: never issued to this shopper"
        effects.refuse(Rejection.UNKNOWN_ISSUE, detail, early.event)
    return effects


def _close_issue(user_id: str, issue: OpenIssue, at: float, effects: Effects) -> None:
    stored = _of_issue(issue)
    if not issue.clicked and not issue.redeemed:
        effects.emit(example(user_id, stored, "click", "negative", at))
    if issue.redeemed:
        return
    effects.emit(example(user_id, stored, "redeem", "negative", at))
    if not issue.observed:
        effects.count("settlement", "expired")
        effects.emit(
            Settlement(
                proposal_id=issue.issue_id,
                coupon_id=issue.coupon_id,
                at=at,
                outcome="expired",
                held_minor=issue.held_minor,
            )
        )
