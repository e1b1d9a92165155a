"""What upstream services send, and the passing of time."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from stream_coupons.core.messages.fields import (
    MAX_ARMS,
    MAX_WINDOW_S,
    SCHEMA_VERSION,
    Amount,
    Context,
    Domain,
    EpochSeconds,
    Id,
    Label,
    Ratio,
)


class Item(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing looked at, put in a cart or ordered."""

    item_id: Id
    """Identifies the item in the shop."""
    category: Label | None = None
    """Category of the item, by the names that coupons use."""
    brand: Label | None = None
    """Brand of the item, by the names that coupons use."""
    price_minor: Amount | None = None
    """Price of one unit."""
    quantity: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    """How many, or how much: fractions are allowed."""


class Envelope(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every input event carries; `event_id` makes it idempotent."""

    event_id: Id
    """Identifies the event: send the same id when you send it again."""
    user_id: Id
    """Identifies the shopper, and is the record's key. Send a pseudonym."""
    occurred_at: EpochSeconds
    """When it happened."""
    schema_version: int = SCHEMA_VERSION
    """Version of the message; another one is refused."""
    domain: Domain = "ecommerce"
    """Selects the coupons and the model: the `domain` of coupons in the catalogue."""


class BrowseEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper looked at an item."""

    item: Item | None = None
    """What was looked at; absent for a look at the shop as a whole."""
    context: Context = {}
    """Anything else known at that moment: channel, device, weather."""


class CartEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper put an item into the cart, or took it out."""

    item: Item
    """What was put in or taken out."""
    action: Literal["add", "remove"] = "add"
    """`add` or `remove`."""
    context: Context = {}
    """Anything else known at that moment."""


class OrderEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper ordered; `discount_minor` is what coupons, whoever gave them, took off.

    Only `event_id` is remembered: an order that is sent again with another one counts twice, whatever its `order_id`.
    """

    order_id: Id
    """Identifies the order in the shop."""
    items: Annotated[list[Item], Meta(max_length=1000)] = []
    """What was ordered."""
    total_minor: Amount | None = None
    """Value of the order. Decisions use the prices of its items."""
    discount_minor: Amount | None = None
    """What coupons took off, whoever gave them."""
    context: Context = {}
    """Anything else known at that moment."""


ShopEvent = BrowseEvent | CartEvent | OrderEvent
"""An event of the shop, which may be a trigger."""


class FeedbackEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """What a shopper did with a coupon that was issued to them.

    A purchase that is reported again with another amount corrects the earlier one. A coupon whose order was cancelled
    can be used again. `expiry` says that a coupon of another system can no longer be used; those of ours end by
    themselves.
    """

    issue_id: Id
    """The issue that it is about."""
    kind: Literal["impression", "click", "purchase", "refund", "cancel", "expiry"]
    """Event: coupon seen, clicked, used in an order; that order returned, in part or whole, or cancelled; coupon no
    longer usable."""
    coupon_id: Id | None = None
    """The coupon of the issue; refused if it is another one."""
    discount_minor: Amount | None = None
    """Discount that the coupon has taken off in all. Absent in a purchase: the issue's `max_discount_minor`; in a
    refund: nothing. The report with the latest `occurred_at` counts."""
    order_value_minor: Amount | None = None
    """Value of the order that the coupon was used in."""


class ObservedIssue(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A coupon that another system gave: scored and learnt from, never issued again.

    The coupon_id `none` says that it gave nothing, and that a purchase by `expires_at` was made without a coupon.
    `arms` are the coupons that it chose among: if all are for the same, so is that purchase. An issue ends at most 366
    days after it was given.
    """

    issue_id: Id
    """Identifies the issue in the other system; feedback names it."""
    coupon_id: Id
    """A coupon of the catalogue, or `none`."""
    expires_at: EpochSeconds
    """Until when the coupon can be used."""
    propensity: Ratio | None = None
    """Probability with which the other system chose it."""
    arms: Annotated[list[Id], Meta(max_length=MAX_ARMS)] = []
    """The coupons that it chose among."""
    context: Context = {}
    """Anything else known at that moment."""


class ErasureRequest(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper is to be forgotten, in all domains: events up to `occurred_at` say nothing of them any more.

    Coupons that are open stay good, and their money held, until their time is over.
    """


def window_fault(occurred_at: float, expires_at: float) -> str | None:
    """Return the fault of an issue that is open for longer than a coupon of ours can be; no schema can express it.

    Parameters
    ----------
    occurred_at, expires_at : float
        UTC epoch seconds.
    """
    if expires_at <= occurred_at + MAX_WINDOW_S:
        return None
    days, most = (expires_at - occurred_at) / 86400, MAX_WINDOW_S / 86400
    return f"expires_at is {days:.1f} days after occurred_at, expected at most {most:.0f}"


class Tick(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The passing of time in one partition: closes windows, and has reports on leases sent."""

    at: EpochSeconds
    """The time that the partition has reached."""
