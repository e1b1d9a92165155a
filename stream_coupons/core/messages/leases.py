"""Messages between the owners of limits and the partitions."""

from typing import Annotated

from msgspec import Meta, Struct

from stream_coupons.core.messages.fields import Count, EpochSeconds, LongId

Price = Annotated[float, Meta(ge=0, le=1000)]

Risk = Annotated[float, Meta(ge=0, le=1e6)]

CostRatio = Annotated[float, Meta(ge=0, le=1000)]

Demand = Annotated[float, Meta(ge=0, le=1e15)]

Term = Annotated[float, Meta(ge=-1e60, le=1e60)]

Line = tuple[Term, Term]

CodeRange = tuple[Count, Count]
"""Numbers of codes in a pool: the first one, and the one behind the last."""


class Lease(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The amount that a partition may draw on an account: a total that only grows. `keep` calls part of it back.

    An account is a limit: `units:` and a coupon's id is its stock, `money:` and a coupon's id its budget, `campaign:`
    and a campaign's id the budget of the campaign, `codes:` and a coupon's id its pool of codes.
    """

    account_id: LongId
    """The account."""
    partition: Count
    """The partition of the shoppers' topics that gets the lease: the record's key, and its own partition."""
    at: EpochSeconds
    """Time of the report that it answers."""
    version: Count
    """Number that grows with every lease of this account and partition; the greatest counts."""
    granted: Count
    """Total granted to the partition so far, in units or in minor units of money."""
    keep: Count | None = None
    """The most that the partition may keep of the undrawn amount; it returns the rest. Absent: all of it."""
    price: Price = 0.0
    """Price of the account: value that a minor unit of expected cost must bring. A unit of stock counts as the most
    that one redemption can cost."""
    risk: Risk | None = None
    """Standard deviations held for all open coupons of the account, over their standard deviation in minor units.
    Absent: unknown, and each coupon holds its maximum cost."""
    cost_ratio: CostRatio = 1.0
    """Observed over expected cost of the account's coupons that are over, near 1 while these are few."""
    is_spent: bool = False
    """True if less of the budget is not spent than the cheapest coupon can cost: none is issued until it is raised, or
    money comes back."""
    codes: list[CodeRange] = []
    """Numbers of a pool of codes that were granted to the partition, and that it has not reported as given or returned,
    in the order of their grants."""


class LeaseReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A partition's use of its leases of an account, in totals that only grow; it may ask for more.

    The available amount is `granted - returned - drawn + freed - reserved + unreserved`.
    """

    account_id: LongId
    """The account: the record's key."""
    partition: Count
    """The partition of the shoppers' topics."""
    at: EpochSeconds
    """Time of the event, tick or lease that led to it."""
    version: Count
    """Version of the last lease that the partition applied."""
    granted: Count
    """Total granted by the last lease, or by the first lease, which needs no message."""
    returned: Count = 0
    """Total given back."""
    drawn: Count = 0
    """Total given (units), or held for coupons given (money)."""
    freed: Count = 0
    """Total drawn, and neither held nor spent any more."""
    spent: Count = 0
    """Total drawn, and spent on redemptions."""
    refunded: Count = 0
    """Total spent, and taken back by later feedback."""
    wanted: Count = 0
    """Total that decisions would have drawn, had it been available."""
    reserved: Count = 0
    """Total reserved beyond what coupons hold, so that spending stays within the worst case of the budget."""
    unreserved: Count = 0
    """Total reserved, and not any more."""
    closed: Count = 0
    """Number of coupons that are over."""
    asks: bool = False
    """True if the partition asks for more."""
    expected: Line = (0.0, 0.0)
    """Expected cost of all open coupons, in minor units, as level and slope over time: level - slope * t."""
    variance: Line = (0.0, 0.0)
    """Variance of the cost of all open coupons, likewise."""
    over_expected: Demand = 0.0
    """Total expected cost, at decision time, of all coupons that are over."""
    over_spent: Count = 0
    """Total discount by these coupons."""
    demand: Annotated[list[Demand], Meta(max_length=64)] = []
    """Expected cost that decisions would have drawn at each of a few fixed prices, in minor units as prices count them:
    totals that only grow."""
