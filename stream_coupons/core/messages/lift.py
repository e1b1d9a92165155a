"""Messages of the live measurement of lift."""

from typing import Annotated

from msgspec import Meta, Struct

from stream_coupons.core.messages.fields import Count, Domain, EpochSeconds, Id, Period, Ratio

Sum = Annotated[float, Meta(ge=-1e60, le=1e60)]


class LiftTotals(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Totals of the shoppers of one domain, or of one campaign in it, in one partition, by arm.

    The arms of a domain are those who may get coupons, and those who get none. The arms of a campaign are those who may
    get its coupons, and those whom its `holdout_ratio` leaves out; shoppers whom the domain gives none are in neither.

    The latest record of a key counts: the one with the greatest period, and within it the greatest version.
    """

    domain: Domain
    """Domain of the shoppers' first decisions."""
    campaign_id: Id | None = None
    """The campaign; absent for the whole domain."""
    holdout_ratio: Ratio | None = None
    """The campaign's `holdout_ratio` at the tick; absent for the whole domain, and for a campaign that has none now."""
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
    def subject(self) -> tuple[str, str]:
        """The domain, and the campaign or an empty text."""
        return self.domain, self.campaign_id or ""

    @property
    def rank(self) -> tuple[int, int]:
        """Period and version: the report with the greatest ones counts."""
        return self.period, self.version

    @property
    def series(self) -> str:
        """Key of the topic: domain, campaign if there is one, and partition."""
        return "|".join(filter(None, (self.domain, self.campaign_id, str(self.partition))))
