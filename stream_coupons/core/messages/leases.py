"""What owners of limits and partitions tell each other."""

from typing import Annotated

from msgspec import Meta, Struct

from stream_coupons.core.messages.fields import Count, EpochSeconds, LongId

Price = Annotated[float, Meta(ge=0, le=1000)]

Risk = Annotated[float, Meta(ge=0, le=1e6)]

CostRatio = Annotated[float, Meta(ge=0, le=1000)]

Demand = Annotated[float, Meta(ge=0, le=1e15)]

Term = Annotated[float, Meta(ge=-1e60, le=1e60)]

Line = tuple[Term, Term]


class Lease(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a partition may draw of an account: a total that only grows. What of it is to be given back is said beside.

    An account is a limit: `units:` and a coupon's id is its stock, `money:` and a coupon's id its budget, `campaign:`
    and a campaign's id that of the campaign.
    """

    account_id: LongId
    """The account."""
    partition: Count
    """The partition of the shoppers' topics that it is for: the record's key, and its own partition."""
    at: EpochSeconds
    """Time of the report that it follows from."""
    version: Count
    """Grows with every lease of this account and partition: of two, the one with the greater counts."""
    granted: Count
    """All that was ever granted to the partition, in units or in minor units of money."""
    keep: Count | None = None
    """The most that may stay of what was not drawn; the rest is given back. Absent: all of it."""
    price: Price = 0.0
    """Price of the account: value that a minor unit of expected cost must bring. A unit of stock counts as the most
    that one redemption can cost."""
    risk: Risk | None = None
    """Standard deviations held for all open coupons of the account, over their standard deviation in minor units.
    Absent: not known, and each holds the most that it can cost."""
    cost_ratio: CostRatio = 1.0
    """Observed over expected cost of the account's coupons that are over, near 1 while these are few."""


class LeaseReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a partition did with its leases of an account, in totals that only grow; it may ask for more.

    What is available there is `granted - returned - drawn + freed`.
    """

    account_id: LongId
    """The account: the record's key."""
    partition: Count
    """The partition of the shoppers' topics."""
    at: EpochSeconds
    """Time of what led to it."""
    version: Count
    """Of the last lease that it has taken in."""
    granted: Count
    """By the last lease, or the first lease that needs no message."""
    returned: Count = 0
    """Given back."""
    drawn: Count = 0
    """Given (units), or held for what was given (money)."""
    freed: Count = 0
    """Drawn, and neither held nor spent any more."""
    spent: Count = 0
    """Drawn, and taken off by redemptions."""
    refunded: Count = 0
    """Spent, and taken back by later reports."""
    wanted: Count = 0
    """What decisions would have drawn, had it been available."""
    asks: bool = False
    """Whether more is wanted."""
    expected: Line = (0.0, 0.0)
    """Expected cost of all open coupons, in minor units, as level and slope over time: level - slope * t."""
    variance: Line = (0.0, 0.0)
    """Variance of the cost of all open coupons, likewise."""
    over_expected: Demand = 0.0
    """Expected cost, when they were given, of all coupons that are over; a total."""
    over_spent: Count = 0
    """Discounts taken off by the same coupons; a total."""
    demand: Annotated[list[Demand], Meta(max_length=64)] = []
    """Expected cost that decisions would have drawn at each of a few fixed prices, in minor units as prices count them:
    totals that only grow."""
