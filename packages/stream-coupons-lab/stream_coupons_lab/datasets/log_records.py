"""Types of the lines of a foreign log, the log of another system, and of the records that they are read into.

The log is JSON lines; `type` is the type of a line. Its JSON Schema, `schemas/foreign-log.v1.schema.json`, is made from
the types here. A time is UTC epoch seconds or ISO 8601 with a zone.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from stream_coupons.core.messages.fields import SCHEMA_VERSION, Amount, Context, Domain, EpochSeconds, Id
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, FeedbackEvent, Item, OrderEvent

Time = Annotated[datetime, Meta(tz=True)] | EpochSeconds
DEFAULT_DOMAIN = "ecommerce"
Propensity = Annotated[float, Meta(gt=0, le=1)]
FeedbackKind = Literal["impression", "click", "purchase", "expiry"]


class ForeignLine(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Fields of every line."""

    occurred_at: Time
    """Time of occurrence; a text is ISO 8601 with a zone."""
    schema_version: int = SCHEMA_VERSION
    """Version of the line."""


class Behaviour(ForeignLine, frozen=True, kw_only=True, omit_defaults=True):
    """Fields of every event of the shop; a missing `event_id` is made from the line's number."""

    user_id: Id
    """Identifies the shopper."""
    event_id: Id | None = None
    """Identifies the event; absent, the number of the line does."""
    domain: Domain = DEFAULT_DOMAIN
    """Domain of the event."""
    context: Context | None = None
    """Anything else known at that moment."""


class BrowseLine(Behaviour, frozen=True, kw_only=True, omit_defaults=True, tag="browse"):
    """A shopper looked at an item."""

    item: Item | None = None
    """Item that was viewed."""


class CartLine(Behaviour, frozen=True, kw_only=True, omit_defaults=True, tag="cart"):
    """A shopper put an item into the cart, or took it out."""

    item: Item
    """Item that was put in or taken out."""
    action: Literal["add", "remove"] = "add"
    """`add` or `remove`."""


class OrderLine(Behaviour, frozen=True, kw_only=True, omit_defaults=True, tag="order"):
    """A shopper ordered; a missing `order_id` is the event's. `discount_minor` is the discount of coupons."""

    order_id: Id | None = None
    """Identifies the order; absent, the event's id does."""
    items: Annotated[list[Item], Meta(max_length=1000)] = []
    """Items that were ordered."""
    total_minor: Amount | None = None
    """Value of the order."""
    discount_minor: Amount | None = None
    """Discount of coupons."""


class IssueLine(ForeignLine, frozen=True, kw_only=True, omit_defaults=True, tag="issue"):
    """A coupon was given; without `coupon`, none was: the arm `none`.

    `coupon` has the fields of a coupon of the catalogue, of which only `coupon_id` must be there, and any other flat
    keys. `arms` are all that could have been chosen, `propensity` the probability with which `arm` was.
    """

    issue_id: Id
    """Identifies the issue; feedback names it."""
    user_id: Id
    """Identifies the shopper."""
    coupon: dict[str, Any] | None = None
    """The coupon given; absent or null where none was."""
    arm: Id | None = None
    """Name of the choice; absent, the coupon's id, or `none`."""
    arms: Annotated[list[Id], Meta(max_length=10_000)] | None = None
    """All possible choices."""
    propensity: Propensity | None = None
    """Probability with which `arm` was chosen."""
    expires_at: Time | None = None
    """End of the coupon's validity; absent, the window that the command states."""
    domain: Domain | None = None
    """Domain; absent, the coupon's."""
    context: Context | None = None
    """Anything else known at that moment."""


class FeedbackLine(ForeignLine, frozen=True, kw_only=True, omit_defaults=True, tag="feedback"):
    """Reaction of the shopper to an issue, with or without a coupon; `expiry`: it can no longer be used.

    Its outcome is learnt when its window closes.
    """

    issue_id: Id
    """The issue that it is about."""
    kind: FeedbackKind
    """Kind of reaction."""
    user_id: Id | None = None
    """The shopper; absent, that of the issue."""
    event_id: Id | None = None
    """Identifies the feedback; absent, the number of the line does."""
    order_value_minor: Amount | None = None
    """Value of the order that was made."""
    discount_minor: Amount | None = None
    """Discount of the coupon."""


LogLine = BrowseLine | CartLine | OrderLine | IssueLine | FeedbackLine
TYPES = ("browse", "cart", "order", "issue", "feedback")


class LoggedIssue(Struct, frozen=True, kw_only=True):
    """A coupon that another system gave, or the `none` that it chose instead.

    `arms` is empty if the log does not state them; `domain` is None if nothing was given and the log states none.
    """

    line: int
    issue_id: str
    user_id: str
    occurred_at: float
    expires_at: float
    domain: str | None
    coupon_id: str
    arm: str
    arms: tuple[str, ...] = ()
    propensity: float | None = None
    context: Context = {}


LogRecord = LoggedIssue | FeedbackEvent | BrowseEvent | CartEvent | OrderEvent
