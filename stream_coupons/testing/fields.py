"""Types of the keyword arguments of the builders: the fields of the messages, all optional."""

from typing import Literal, TypedDict

from stream_coupons.core.messages.catalogue import BudgetCurve, BudgetHold, WhileHeld
from stream_coupons.core.messages.decisions import Reason
from stream_coupons.core.messages.fields import Context


class ItemFields(TypedDict, total=False):
    """Fields of `Item` beside its id."""

    category: str | None
    brand: str | None
    price_minor: int | None
    quantity: float | None
    margin_ratio: float | None


class EnvelopeFields(TypedDict, total=False):
    """Fields of every event beside its shopper and its time."""

    event_id: str
    domain: str
    schema_version: int


class EventFields(EnvelopeFields, total=False):
    """Fields of `BrowseEvent` and others with a context."""

    context: Context


class CartFields(EventFields, total=False):
    """Fields of `CartEvent` beside its item."""

    action: Literal["add", "remove"]


class OrderFields(EventFields, total=False):
    """Fields of `OrderEvent` beside its items."""

    order_id: str
    total_minor: int | None
    discount_minor: int | None


class FeedbackFields(EnvelopeFields, total=False):
    """Fields of `FeedbackEvent` beside its issue and its kind."""

    coupon_id: str | None
    discount_minor: int | None
    order_value_minor: int | None


class ObservedFields(EventFields, total=False):
    """Fields of `ObservedIssue` beside its coupon."""

    issue_id: str
    expires_at: float
    propensity: float | None
    arms: list[str]


class CouponFields(TypedDict, total=False):
    """Fields of `Coupon` beside its id."""

    domain: str
    campaign_id: str | None
    title: str
    kind: str
    categories: list[str]
    brands: list[str]
    items: list[str]
    discount_percent: float | None
    discount_minor: int | None
    max_discount_minor: int
    typical_price_minor: int | None
    margin_ratio: float
    valid_from: float
    valid_until: float
    redeem_within_s: float
    stock: int | None
    budget_minor: int | None
    budget_curve: BudgetCurve
    budget_hold: BudgetHold
    max_per_user: int | None
    not_while_held: WhileHeld
    paused: bool
    attributes: Context
    description: str
    vector: list[float] | None


class CampaignFields(TypedDict, total=False):
    """Fields of `Campaign` beside its id."""

    title: str
    starts_at: float
    ends_at: float
    budget_minor: int | None
    budget_curve: BudgetCurve
    budget_hold: BudgetHold
    paused: bool


class IssueFields(TypedDict, total=False):
    """Fields of `CouponIssue` beside its shopper, its coupon and its time."""

    issue_id: str
    domain: str
    expires_at: float
    trigger_id: str
    schema_version: int
    title: str
    discount_percent: float | None
    discount_minor: int | None
    max_discount_minor: int
    p_click: float
    p_redeem: float
    p_order: float
    value_minor: float
    price_minor: float
    campaign_id: str | None
    held_minor: int
    propensity: float
    is_explored: bool
    model_version: int
    reasons: list[Reason]
