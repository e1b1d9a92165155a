"""Fields that eligibility rules may read: of the shopper, of the trigger and of the coupon.

The methods of three classes declare them: name, type and meaning. Their values depend on the shopper's state, the event
and the time of the decision alone, so a replay reads the same ones. All numbers are whole numbers, since CEL does not
compare a decimal number with a literal such as 30.
"""

from collections.abc import Callable, Mapping
from functools import reduce
from inspect import isfunction
from operator import or_
from typing import Any, NamedTuple

from stream_coupons.core.local_time import local_time
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.fields import Context
from stream_coupons.core.messages.inputs import Item, OrderEvent, ShopEvent
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.profile import DAY_S, events_of
from stream_coupons.core.shopper.state import Shopper

NEVER_DAYS = 36500
"""Days since an event that never happened: a hundred years."""
MAX_SEGMENTS = 64
"""The most segments of a trigger that are read."""
CEL_TYPES = {int: "int", bool: "bool", str: "string", list[str]: "list(string)", Context: "map(string, dyn)"}


class Occasion(NamedTuple):
    """The shopper and the trigger of one decision."""

    shopper: Shopper
    at: float
    """Time of the trigger, UTC epoch seconds."""
    trigger: ShopEvent | None = None
    """None: only the time is known."""
    zone: str = "UTC"
    """Time zone of the shopper: the trigger's, or else the shop's."""


class ShopperFields(Occasion):
    """Fields of the shopper. Days since what never happened are 36500."""

    __slots__ = ()

    def days_since_order(self) -> int:
        """Return full days since the latest order."""
        return _days_since(self.shopper.profile.last_order_at, self.at)

    def days_since_first_order(self) -> int:
        """Return full days since the first order."""
        return _days_since(self.shopper.outcomes.first_order_at if self.shopper.outcomes else None, self.at)

    def days_since_coupon(self) -> int:
        """Return full days since the latest coupon."""
        return _days_since(self.shopper.history.last_issued_at, self.at)

    def days_since_seen(self) -> int:
        """Return calendar days (UTC) since the last active day before today; see `active_days`."""
        ahead = self.shopper.profile.days_until - int(self.at // DAY_S)
        before = _days(self.shopper) >> max(ahead + 1, 0)
        return (before & -before).bit_length() - 1 + max(ahead + 1, 0) - ahead if before else NEVER_DAYS

    def active_days(self) -> int:
        """Return active days among the last 64: those with an item of some category browsed, carted or ordered."""
        return _days(self.shopper).bit_count()

    def events(self) -> int:
        """Return events up to the trigger, each counted for half after `profile.half_life_s`, rounded."""
        half_life_s = self.shopper.profile.half_life_s
        known = half_life_s and events_of(self.shopper.profile, self.at, ProfileRules(half_life_s=half_life_s))
        return round(known)

    def orders(self) -> int:
        """Return the number of all orders."""
        return self.shopper.outcomes.all_orders if self.shopper.outcomes else 0

    def is_new(self) -> bool:
        """Return true until the first order."""
        return self.shopper.profile.last_order_at is None

    def coupons_received(self) -> int:
        """Return the number of coupons received."""
        return self.shopper.history.issued

    def coupons_clicked(self) -> int:
        """Return the number of coupons clicked."""
        return self.shopper.history.clicked

    def coupons_redeemed(self) -> int:
        """Return the number of coupons redeemed."""
        return self.shopper.history.redeemed

    def categories(self) -> list[str]:
        """Return categories that the shopper turned to most, 24 at most."""
        return [*self.shopper.profile.categories]

    def ordered_items(self) -> list[str]:
        """Return ids of the items ordered last, 64 at most."""
        return [*self.shopper.profile.ordered_at]

    def segments(self) -> list[str]:
        """Return the segments: the first 64 names of the key `segments` of the trigger's context, between commas."""
        named = _text(self.trigger, "segments").split(",", MAX_SEGMENTS)[:MAX_SEGMENTS]
        return [name for one in named if (name := one.strip())]


class TriggerFields(Occasion):
    """Fields of the trigger. Its item is the first one of an order; what is not known is empty, or 0."""

    __slots__ = ()

    def kind(self) -> str:
        """Return `browse`, `cart` or `order`."""
        return "" if self.trigger is None else type(self.trigger).__name__.removesuffix("Event").lower()

    def item(self) -> str:
        """Return the id of its item."""
        return _item(self.trigger).item_id

    def category(self) -> str:
        """Return the category of its item."""
        return _item(self.trigger).category or ""

    def brand(self) -> str:
        """Return the brand of its item."""
        return _item(self.trigger).brand or ""

    def price_minor(self) -> int:
        """Return the price of one unit of its item, minor units."""
        return _item(self.trigger).price_minor or 0

    def hour(self) -> int:
        """Return the hour on the shopper's clock, 0 to 23."""
        return int(local_time(self.at, self.zone).hour)

    def weekday(self) -> int:
        """Return the day of the week on the shopper's calendar, 1 (Monday) to 7."""
        return local_time(self.at, self.zone).weekday + 1

    def channel(self) -> str:
        """Return the key `channel` of its context."""
        return _text(self.trigger, "channel")

    def context(self) -> Context:
        """Return its context. Numbers are decimal; a key that is absent makes a comparison raise."""
        return {} if self.trigger is None else self.trigger.context


class CouponFields(NamedTuple):
    """Fields of the coupon. What is absent is empty, or 0."""

    coupon: Coupon

    def id(self) -> str:
        """Return its `coupon_id`."""
        return self.coupon.coupon_id

    def kind(self) -> str:
        """Return its `kind`."""
        return self.coupon.kind

    def campaign(self) -> str:
        """Return its `campaign_id`."""
        return self.coupon.campaign_id or ""

    def categories(self) -> list[str]:
        """Return its `categories`."""
        return self.coupon.categories

    def brands(self) -> list[str]:
        """Return its `brands`."""
        return self.coupon.brands

    def items(self) -> list[str]:
        """Return its `items`."""
        return self.coupon.items

    def max_discount_minor(self) -> int:
        """Return its `max_discount_minor`."""
        return self.coupon.max_discount_minor

    def attributes(self) -> Context:
        """Return its `attributes`. Numbers are decimal; a name that is absent makes a comparison raise."""
        return self.coupon.attributes


class RuleField(NamedTuple):
    """A field that rules may read: its type in CEL, its meaning, and the function from an occasion, or a coupon."""

    kind: str
    doc: str
    read: Callable[[Any], Any]


def _declared(root: str, fields: type) -> dict[str, RuleField]:
    return {
        f"{root}.{name}": RuleField(
            CEL_TYPES[one.__annotations__["return"]], (one.__doc__ or "").removeprefix("Return "), one
        )
        for name, one in vars(fields).items()
        if isfunction(one) and not name.startswith("_")
    }


OCCASION_FIELDS: Mapping[str, RuleField] = _declared("shopper", ShopperFields) | _declared("trigger", TriggerFields)
"""Fields of the shopper and of the trigger, by name."""
COUPON_FIELDS: Mapping[str, RuleField] = _declared("coupon", CouponFields)
"""Fields of the coupon, by name."""
NEEDS_TRIGGER = {"shopper.segments", *_declared("trigger", TriggerFields)} - {"trigger.hour", "trigger.weekday"}
"""Fields that are not known without a trigger."""


def _days_since(then: float | None, at: float) -> int:
    return NEVER_DAYS if then is None else max(int((at - then) // DAY_S), 0)


def _days(shopper: Shopper) -> int:
    """Return the active days as bits; bit 0 is the day `days_until` of the profile."""
    return reduce(or_, shopper.profile.category_days.values(), 0)


def _item(event: ShopEvent | None) -> Item:
    items = event.items if isinstance(event, OrderEvent) else [event.item] if event is not None else []
    return items[0] if items and items[0] is not None else Item(item_id="")


def _text(event: ShopEvent | None, key: str) -> str:
    value = None if event is None else event.context.get(key)
    return value if isinstance(value, str) else ""
