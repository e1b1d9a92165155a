"""Money that a shopper brought: in all, and since the shopper is followed for the lift of a domain or a campaign."""

from msgspec import Struct, field

from stream_coupons.core.draws import stable_hash
from stream_coupons.core.measurement.lift_sums import Row

MAX_CAMPAIGNS = 8
"""Campaigns that a shopper is followed for at a time."""
MAX_PASSED = 64
"""Campaigns that are remembered as not followed any more, or never."""


class Followed(Struct, array_like=True):
    """The outcome of a shopper in one series. Money is in hundredths of a minor unit, so that sums are exact.

    Attributes
    ----------
    domain, campaign_id : str
        Series of the measurement: the domain of the first decision; the campaign, or empty for the whole domain.
    period : int
        Period of measurement of that decision.
    at : float
        Time of that decision, UTC epoch seconds.
    cell : int
        Fold and arm, as in `LiftChange`.
    known : tuple of int
        Enrolment, best value, and margin and orders a day before it, in the units of `lift_sums`.
    margin, orders : int
        Outcome since: margin of orders less discounts and the sending of coupons, and number of orders.
    """

    domain: str
    campaign_id: str = ""
    period: int = 0
    at: float = 0.0
    cell: int = 0
    known: tuple[int, int, int, int] = (0, 0, 0, 0)
    margin: int = 0
    orders: int = 0

    @property
    def row(self) -> Row:
        """Numbers whose products the shopper adds to the sums."""
        start, best, margin_rate, order_rate = self.known
        crossed = start * margin_rate, start * order_rate
        return (1, start, best, margin_rate, order_rate, *crossed, self.margin, self.orders)


class FollowedOutcomes(Struct, array_like=True):
    """Orders of a shopper, and the series that the shopper is followed in.

    Attributes
    ----------
    all_margin, all_orders : int
        Margin and number of all orders known, before and since.
    whole : Followed or None
        Outcome in the domain of the first decision; None before it.
    campaigns : list of Followed
        Outcomes in campaigns with a holdout, in the order of enrolment.
    passed : list of int
        Hashes of campaigns that the shopper is not followed for any more, or never was: no later decision is the first.
    """

    first_order_at: float | None = None
    all_margin: int = 0
    all_orders: int = 0
    whole: Followed | None = None
    campaigns: list[Followed] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)

    @property
    def followed(self) -> list[Followed]:
        """All outcomes that are followed."""
        return [*self.campaigns] if self.whole is None else [self.whole, *self.campaigns]

    def knows(self, campaign_id: str) -> bool:
        """Return True if the shopper was enrolled for a campaign, or passed over, before."""
        return any(one.campaign_id == campaign_id for one in self.campaigns) or stable_hash(campaign_id) in self.passed

    def pass_over(self, campaign_id: str) -> None:
        """Follow the shopper for a campaign no longer, or never."""
        self.campaigns = [one for one in self.campaigns if one.campaign_id != campaign_id]
        self.passed = [*self.passed, stable_hash(campaign_id)][-MAX_PASSED:]
