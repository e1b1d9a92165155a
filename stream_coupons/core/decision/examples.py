"""Messages for the learner: the labels of a decision when its window has closed, and its outcome so far."""

from typing import Literal

from stream_coupons.core.decision.scoring import HEADS
from stream_coupons.core.decision.stored_rows import unpack
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.rows import SCHEMA
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.messages.learning import OpenDecision, TrainingExample
from stream_coupons.core.rules import AttributionRules
from stream_coupons.core.shopper.state import OpenControl, OpenIssue

Head = Literal["click", "redeem", "order"]


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
    """Return a stored decision with one of its labels.

    Parameters
    ----------
    at : float
        Time at which the label is final, UTC epoch seconds.
    seen : bool or None
        Whether an impression was reported; None where that is not known.
    knows_orders : bool
        Whether orders in the coupon's scope were noted all the time.
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


def awaits_impression(issue: OpenIssue, rules: AttributionRules) -> bool:
    """Return whether it would be reported that the shopper saw it.

    Silence on one that was given before its channel was said to report says nothing of whether it was seen.
    """
    return issue.awaits_impressions and issue.domain in rules.impression_domains


def known_outcome(issue: OpenIssue, rules: AttributionRules) -> tuple[bool, bool, bool]:
    """Return whether silence says something (not so if unseen), and whether there was a click, and a sale."""
    says_something = issue.was_seen or not issue.is_given or not awaits_impression(issue, rules)
    return says_something, issue.clicked and issue.is_given, issue.has_sold


def emit_outcome(
    issue: OpenIssue, at: float, effects: Effects, *, is_first: bool = False, is_over: bool = False
) -> None:
    """Send the outcome of an issue so far; nothing of one of another release, or whose end is not known.

    Parameters
    ----------
    at : float
        UTC epoch seconds, no later than now.
    is_first : bool
        True if nothing was sent of it before: its features are sent, too.
    is_over : bool
        True if nothing more can come of it, before its labels are due.
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
