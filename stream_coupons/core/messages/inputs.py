"""Input messages: events of upstream services, and ticks."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from stream_coupons.core.currencies import Currency
from stream_coupons.core.messages.fields import (
    MAX_ARMS,
    MAX_WINDOW_S,
    SCHEMA_VERSION,
    Amount,
    Code,
    Context,
    Domain,
    EpochSeconds,
    Id,
    Label,
    Ratio,
)


class Item(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item that was browsed, put in a cart or ordered."""

    item_id: Id
    """Identifies the item in the shop."""
    category: Label | None = None
    """Category of the item, by the names that coupons use."""
    brand: Label | None = None
    """Brand of the item, by the names that coupons use."""
    price_minor: Amount | None = None
    """Price of one unit."""
    quantity: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    """Quantity; fractions are allowed."""
    margin_ratio: Ratio | None = None
    """Margin on the item before any discount, a share of its price. Reports on money use it; decisions do not."""


class Envelope(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Fields of every input event; `event_id` makes it idempotent."""

    event_id: Id
    """Identifies the event: send the same id when you send it again."""
    user_id: Id
    """Identifies the shopper, and is the record's key. Send a pseudonym."""
    occurred_at: EpochSeconds
    """Time of the event."""
    schema_version: int = SCHEMA_VERSION
    """Version of the message; another one is refused."""
    domain: Domain = "ecommerce"
    """Selects the coupons and the model: the `domain` of coupons in the catalogue."""


class BrowseEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper looked at an item."""

    item: Item | None = None
    """The item that was browsed; absent for the shop as a whole."""
    context: Context = {}
    """Anything else known at that moment: channel, device, weather."""


class CartEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper put an item into the cart, or took it out."""

    item: Item
    """The item that was put in or taken out."""
    action: Literal["add", "remove"] = "add"
    """`add` or `remove`."""
    context: Context = {}
    """Anything else known at that moment."""


class OrderEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper ordered; `discount_minor` is the discount by coupons of any system.

    Only `event_id` is remembered: an order that is sent again with another `event_id` counts twice, whatever its
    `order_id`.
    """

    order_id: Id
    """Identifies the order in the shop."""
    items: Annotated[list[Item], Meta(max_length=1000)] = []
    """The items that were ordered."""
    total_minor: Amount | None = None
    """Value of the order. Decisions use the prices of its items."""
    discount_minor: Amount | None = None
    """Discount by coupons of any system."""
    currency: Currency | None = None
    """Currency of its money. An event in another currency than that of its domain is refused."""
    context: Context = {}
    """Anything else known at that moment."""


ShopEvent = BrowseEvent | CartEvent | OrderEvent
"""An event of the shop, which may be a trigger."""


MONEY_KINDS = frozenset({"purchase", "refund", "cancel"})
"""Kinds of feedback that change the discount of a coupon; each names its order."""


class FeedbackEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """Feedback of a shopper on a coupon that was issued to them.

    A purchase that is reported again with another amount corrects the earlier one. A coupon whose order was cancelled
    can be used again. Another order is another use: its discount is booked in addition. `expiry` states that a coupon
    of another system can no longer be used, which is learnt when its window closes; those of this system expire by
    themselves.
    """

    issue_id: Id
    """The issue that the feedback refers to."""
    kind: Literal["impression", "click", "purchase", "refund", "cancel", "expiry"]
    """Event: coupon seen, clicked, used in an order; that order returned, in part or whole, or cancelled; coupon no
    longer usable."""
    coupon_id: Id | None = None
    """The coupon of the issue; refused if it is another one."""
    code: Code | None = None
    """The code that the shopper showed; refused if the issue has another one."""
    order_id: Id | None = None
    """The order that the coupon was used in. Required for `purchase`, `refund` and `cancel`."""
    discount_minor: Amount | None = None
    """Discount that the coupon has taken off this order in all. Absent in a purchase: the issue's
    `max_discount_minor`; in a refund: nothing. Of each order, the report with the latest `occurred_at` counts."""
    order_value_minor: Amount | None = None
    """Value of the order that the coupon was used in."""
    currency: Currency | None = None
    """Currency of its money. Feedback in another currency than that of its issue's domain is refused."""

    def __post_init__(self) -> None:
        if self.kind in MONEY_KINDS and self.order_id is None:
            raise ValueError(f"order_id is missing: a {self.kind} names its order, expected the order's id")


class ObservedIssue(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A coupon that another system gave: scored and learnt from, never issued again.

    The `coupon_id` `none` states that the other system gave no coupon. A purchase by `expires_at` was then made without
    one. It counts as a control observation of one of `arms`, the coupons that the other system chose among, drawn by
    chance; without `arms`, of the whole shop. An issue ends at most 366 days after it was given.
    """

    issue_id: Id
    """Identifies the issue in the other system; feedback names it."""
    coupon_id: Id
    """A coupon of the catalogue, or `none`."""
    expires_at: EpochSeconds
    """Time until which the coupon can be used."""
    propensity: Ratio | None = None
    """Probability with which the other system chose it."""
    arms: Annotated[list[Id], Meta(max_length=MAX_ARMS)] = []
    """The coupons that it chose among."""
    context: Context = {}
    """Anything else known at that moment."""


class ErasureRequest(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A request to forget a shopper in all domains: their events up to `occurred_at` have no effect any more.

    Open coupons stay valid, and their money held, until they expire.
    """


def window_fault(occurred_at: float, expires_at: float) -> str | None:
    """Return the fault of an issue that is open for longer than `MAX_WINDOW_S`, or None; no schema can express it.

    Parameters
    ----------
    occurred_at, expires_at : float
        UTC epoch seconds.

    Examples
    --------
    >>> window_fault(10.0, 20.0) is None
    True
    """
    if expires_at <= occurred_at + MAX_WINDOW_S:
        return None
    days, most = (expires_at - occurred_at) / 86400, MAX_WINDOW_S / 86400
    return f"expires_at is {days:.1f} days after occurred_at, expected at most {most:.0f}"


class Tick(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A clock record of one partition: it closes windows and triggers reports on leases."""

    at: EpochSeconds
    """The time that the partition has reached."""
