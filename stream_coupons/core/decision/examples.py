"""Messages for the learner: the labels of a decision when its window has closed."""

from typing import Literal

from stream_coupons.core.decision.scoring import HEADS
from stream_coupons.core.decision.stored_rows import unpack
from stream_coupons.core.messages.learning import TrainingExample
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
