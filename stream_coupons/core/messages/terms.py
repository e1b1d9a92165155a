"""The terms of a coupon that a till applies: a coupon states them, and each of its issues repeats them."""

from typing import Annotated

from msgspec import Meta, Struct

from stream_coupons.core.messages.fields import Amount, Id, Label


class Terms(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The scope and the discount of a coupon. A coupon without categories, brands and items is for its whole domain.

    One kind of discount is needed. If several are set, an amount counts before a percentage, and any other kind before
    both.
    """

    categories: list[Label] = []
    """Categories that it may be used on; empty for any."""
    brands: list[Label] = []
    """Brands that it may be used on; empty for any."""
    items: list[Id] = []
    """Items that it may be used on; empty for any."""
    discount_percent: Annotated[float, Meta(gt=0, le=100)] | None = None
    """Percentage off the items in the scope."""
    discount_minor: Amount | None = None
    """Amount off the items in the scope."""
    free_delivery_minor: Amount | None = None
    """Delivery is free: its usual cost to the shop. Feedback reports the actual one as `discount_minor`."""
    gift_item: Id | None = None
    """An item that is given with the order."""
    gift_cost_minor: Amount = 0
    """Cost of `gift_item` to the shop."""
    buy_pieces: Annotated[int, Meta(gt=0, le=100)] | None = None
    """Pieces to buy for `get_pieces` further ones, of the cheapest, at `get_percent` off."""
    get_pieces: Annotated[int, Meta(gt=0, le=100)] = 1
    """Pieces that are cheaper once `buy_pieces` are bought."""
    get_percent: Annotated[float, Meta(gt=0, le=100)] = 100.0
    """Percentage off `get_pieces`: 100 for free."""
    max_discount_minor: Annotated[int, Meta(gt=0, le=2**53, description="what one redemption can cost at most")]
    """The most that one redemption can cost."""
    min_spend_minor: Annotated[int, Meta(gt=0, le=2**53)] | None = None
    """Value of the order's items in the scope from which on the coupon may be used; absent for any."""
    min_pieces: Annotated[int, Meta(gt=1, le=1000)] | None = None
    """Pieces in the scope from which on the coupon may be used; absent for any."""
