"""Events and outcomes of decisions in the words of a shop."""

from collections.abc import Mapping
from typing import get_args

from msgspec import Struct

from stream_coupons.core.currencies import money
from stream_coupons.core.messages.decisions import DecisionResult
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, FeedbackEvent, OrderEvent
from stream_coupons.core.reasons import NoCoupon

CURRENCY = "EUR"
"""Currency of the simulated shop."""
GIVEN = "given"
REASONS: Mapping[str, str] = {
    NoCoupon.COOLDOWN: "was considered in the last six hours",
    NoCoupon.REPEATED: "was considered in the last six hours",
    NoCoupon.FREQUENCY_CAP: "has had three coupons within a week",
    NoCoupon.QUIET_HOURS: "is not to be disturbed at this hour",
    NoCoupon.NO_CANDIDATE: "may get none of the coupons",
    NoCoupon.NOT_FINITE: "a figure was no number",
    NoCoupon.POLICY_FAILED: "the policy failed",
    NoCoupon.HOLDOUT: "is in the control group, which never gets a coupon",
    NoCoupon.LIFT_BELOW_ZERO: "gets none while coupons lose money",
    NoCoupon.CONTROL: "got nothing by chance, to see what shoppers do without a coupon",
    NoCoupon.NOT_WORTH_IT: "no coupon is worth what it costs",
    NoCoupon.SOLD_OUT: "everything suitable was sold out",
    NoCoupon.NEW_SHOPPERS: "new shoppers had drawn their share of the hour",
    NoCoupon.TIMED_OUT: "what the shopper did was decided on too late",
}
"""Reason in words why a shopper got no coupon, by outcome of the decision."""

CONSIDERED = frozenset(get_args(DecisionResult))
"""Outcomes of decisions for which coupons were valued; all others end before that."""


def considered(decisions: Mapping[str, float]) -> dict[str, float]:
    """Return the outcomes of the decisions for which coupons were valued.

    >>> considered({"given": 5, "cooldown": 2, "not_worth_it": 3})
    {'given': 5, 'not_worth_it': 3}
    """
    return {outcome: count for outcome, count in decisions.items() if outcome in CONSIDERED}


def reasons(decisions: Mapping[str, float]) -> dict[str, int]:
    """Return how often shoppers got no coupon for what they did, by reason in words, most frequent first.

    >>> reasons({"given": 5, "cooldown": 2, "repeated": 3, "sold_out": 1, "holdout": 0})
    {'was considered in the last six hours': 5, 'everything suitable was sold out': 1}
    """
    found: dict[str, int] = {}
    for outcome, count in decisions.items():
        if outcome != GIVEN and count:
            text = REASONS.get(outcome, outcome)
            found[text] = found.get(text, 0) + int(count)
    return dict(sorted(found.items(), key=lambda entry: -entry[1]))


def euros(minor: float, *, sign: str = "") -> str:
    """Return an amount of the simulated shop.

    >>> euros(123456), euros(31.4, sign="+")
    ('1,234.56 EUR', '+0.31 EUR')
    """
    return money(minor, CURRENCY, sign=sign)


def did(event: Struct) -> str:
    """Return what a shopper did.

    >>> from stream_coupons.testing import browse, item
    >>> did(browse("u", item(category="coffee")))
    'looked at coffee'
    """
    match event:
        case BrowseEvent():
            return f"looked at {_about(event)}"
        case CartEvent():
            return (
                f"put {_about(event)} into the cart"
                if event.action == "add"
                else f"took {_about(event)} out of the cart"
            )
        case OrderEvent():
            return f"ordered for {euros(event.total_minor)}" if event.total_minor else "ordered"
        case FeedbackEvent(kind="purchase"):
            off, value = euros(event.discount_minor or 0), euros(event.order_value_minor or 0)
            return f"used the coupon in an order of {value}: {off} off"
        case FeedbackEvent():
            return {"impression": "saw the coupon", "click": "clicked on the coupon"}[event.kind]
    raise TypeError(f"{event} is no event of a shopper")


def _about(event: BrowseEvent | CartEvent) -> str:
    return (event.item and event.item.category) or "something"
