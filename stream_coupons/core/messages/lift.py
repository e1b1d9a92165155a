"""Messages of the live measurement of lift."""

from typing import Annotated

from msgspec import Meta, Struct

from stream_coupons.core.messages.fields import Count, Domain, EpochSeconds, Period

Sum = Annotated[float, Meta(ge=-1e60, le=1e60)]


class LiftTotals(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Totals of the shoppers of one domain in one partition, who may get coupons and who get none.

    The latest record of a key counts: the one with the greatest period, and within it the greatest version.
    """

    domain: Domain
    """Domain of the shoppers' first decisions."""
    partition: Count
    """The partition of the shoppers' topics."""
    at: EpochSeconds
    """Time of the tick that led to it."""
    period: Period = 0
    """Number of times that the domain was braked or released so far: shoppers are followed anew from each."""
    version: Count
    """Number of changes of the totals in this period."""
    products: list[Sum]
    """Sums of the products of 1, six covariates, margin and orders, by fold and arm, in the order and the units of
    `core/measurement/lift_sums.py`."""
    buyers: Count = 0
    """Shoppers with an order since their first decision."""
    predicted_minor: Sum = 0.0
    """Sum of the predicted values of all coupons given to them, before the correction of values."""
    closed_minor: Sum = 0.0
    """Part of it whose windows have closed."""

    @property
    def subject(self) -> str:
        """The domain."""
        return self.domain

    @property
    def rank(self) -> tuple[int, int]:
        """Period and version: the report with the greatest ones counts."""
        return self.period, self.version

    @property
    def series(self) -> str:
        """Key of the topic: domain and partition."""
        return f"{self.domain}|{self.partition}"
