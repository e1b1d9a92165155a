"""Caps: how many coupons one shopper gets in a calendar period."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

CapPeriod = Literal["day", "week", "month", "life"]
"""Calendar periods of caps: they begin at midnight in the time zone of the shop, weeks on Monday."""


class Cap(Struct, frozen=True, kw_only=True):
    """The most coupons of one shopper in each period."""

    per: CapPeriod
    """Period in which coupons are counted; it begins at midnight in the shop's time zone, and a week on Monday."""
    n: Annotated[int, Meta(ge=0, le=2**53)]
    """The most coupons in one period."""

    def __str__(self) -> str:
        return f"{self.n} for life" if self.per == "life" else f"{self.n} a {self.per}"
