"""Messages of the results of coupons."""

from typing import Annotated

from msgspec import Meta, Struct

from stream_coupons.core.messages.fields import Amount, Count, Domain, EpochSeconds, Id


class ResultTotals(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Results of the coupons of one kind that shoppers of one partition were given on one day.

    The latest record of a key counts: the one with the greatest version. Feedback counts on the day of the issue,
    however late it comes. Cancelled orders do not count.
    """

    coupon_id: Id
    """The coupon."""
    day: Annotated[int, Meta(ge=0, le=100_000)]
    """Day of the issues in `shop.time_zone`, in days since 1970-01-01."""
    partition: Count
    """The partition of the shoppers' topics."""
    at: EpochSeconds
    """Time of the tick that led to it."""
    version: Count
    """Number of changes so far."""
    domain: Domain
    """Domain of the coupon."""
    campaign_id: Id | None = None
    """The coupon's campaign at the first issue of the day."""
    given: Count
    """Coupons given."""
    seen: Count = 0
    """Coupons with an impression, a click or a use."""
    clicked: Count = 0
    """Coupons with a click."""
    used: Count = 0
    """Coupons that were used in an order."""
    uses: Count = 0
    """Orders that they were used in."""
    discount_minor: Amount = 0
    """Discounts that the coupons took off."""
    recent_minor: Amount = 0
    """Part of the discounts that was first reported on the shop's day of `at`, less refunds."""
    revenue_minor: Amount = 0
    """Value of the orders that they were used in, where feedback states it."""

    @property
    def subject(self) -> tuple[str, int]:
        """Coupon and day."""
        return self.coupon_id, self.day

    @property
    def rank(self) -> int:
        """Version: the report with the greatest one counts."""
        return self.version

    @property
    def series(self) -> str:
        """Key of the topic: coupon, day and partition."""
        return f"{self.coupon_id}|{self.day}|{self.partition}"
