"""Purse of one partition: its part of an account, and its reports to the owner (`leases`).

Leases fill a purse, decisions draw on it, and redemptions spend from it. It holds totals that only grow:

    available = granted - returned - drawn + freed - reserved + unreserved

An open coupon holds money: its maximum cost, or a share of a quantile of the cost of all open coupons, which falls to 0
until its expiry (`holds.hold_of`). A redemption frees the hold and draws its discount. So spending may exceed a lease
where holds are quantiles. The excess has a bound that is chosen with the budget. A purse reserves what coupons do not
hold, but the bound requires, until they are over:

    spent + the most that open coupons may still take <= (1 + max_overspend_ratio) * (granted - returned)

The sum over partitions is the bound of the budget: leases together never exceed it.

New shoppers draw a bounded part. An id costs an attacker nothing, and time does: ids that cost nothing must not empty a
stock within the hour. So a shopper is new for `policy.new_for_s` after the first event, however many events follow. In
every hour of the clock, the new shoppers of a partition draw a share of the limit, and at least one coupon. Other
shoppers draw on the account as before.
"""

import math
from collections.abc import Container

import numpy as np
from msgspec import Struct, field

from stream_coupons.core.effects import Booking
from stream_coupons.core.messages.leases import CodeRange, Lease, LeaseReport
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.code_ranges import count, joined, split, without
from stream_coupons.core.money.holds import Falling
from stream_coupons.core.money.price import PRICES
from stream_coupons.core.money.traffic import Floats

ASK_AGAIN_S = 5.0
"""Seconds between requests for more, if the answer grants nothing or is lost."""
REPORT_EVERY_S = 5.0
"""Seconds for which a report without a request may wait."""
MAX_TOTAL = 2**53
"""Bound of the totals drawn and wanted of one account: the maximum of the message fields."""
NOTICED_FALL = 64
"""Inverse of the relative fall of falling holds that is reported on its own."""
MAX_DEMAND = 1e15
"""Bound of a total demand: the maximum of the message field, minor units."""
HOUR_S = 3600.0
PEAK_HOUR = 3.0
"""Bound of an account's busiest hour over its mean hour, where shoppers are no attackers."""


def first_lease(limit: Limit, partitions: int, number: int) -> int:
    """Return the lease of a partition that has not reported yet: its part of half the limit; all, if it is alone.

    Units of half the limit go to the partitions in turn, whatever one coupon takes: what the owner reserved for purses
    that are opened later (`Holdings.left`) must do for them when a coupon that costs more, or less, has come. If the
    limit rises before, they get no more, together, than the rise.

    Parameters
    ----------
    limit : Limit
        Terms of the account.
    partitions : int
        Number of partitions of the shoppers' topics.
    number : int
        Number of the partition.

    Examples
    --------
    >>> [[first_lease(Limit(most, 1), 4, number) for number in range(4)] for most in (100, 7, 3)]
    [[12, 12, 13, 13], [0, 1, 1, 1], [0, 0, 0, 1]]
    >>> first_lease(Limit(100, 1), 1, 0), first_lease(Limit(500, 100), 4, 3)
    (100, 63)
    """
    most = limit.most or 0
    if limit.revoked is not None:
        return 0  # codes have numbers, which a lease names
    if partitions == 1:
        return most
    return (most // 2 + number) // partitions


class PurseTotals(Struct, array_like=True):
    """The totals of one partition's part of an account; none of them ever shrinks."""

    version: int = 0
    """Version of the last lease."""
    granted: int = 0
    returned: int = 0
    drawn: int = 0
    """Total given, or held for coupons given."""
    freed: int = 0
    """Total drawn, and neither held nor spent any more."""
    spent: int = 0
    refunded: int = 0
    """Total spent, and taken back."""
    wanted: int = 0
    """Total that decisions wanted, but that was not available."""
    reserved: int = 0
    """Total reserved beyond the holds of coupons, for the bound of spending."""
    unreserved: int = 0
    """Total reserved, and not any more."""
    closed: int = 0
    """Number of coupons that are over."""

    @property
    def available(self) -> int:
        """Amount that may be drawn; below 0 if more was drawn while there was no limit."""
        return self.granted - self.returned - self.committed

    @property
    def committed(self) -> int:
        """Amount held, reserved or spent."""
        return self.drawn - self.freed + self.reserved - self.unreserved


class Purse(PurseTotals, array_like=True, tag="purse"):
    """One partition's part of an account. Mutable."""

    size: int = 0
    """Amount of the last lease: when half of it is drawn, the purse asks for the next one."""
    asked_at: float | None = None
    """Time of the last request for more; None if it was granted."""
    told: float = 0.0
    """Sum of all totals at the last report."""
    told_at: float = 0.0
    price: float = 0.0
    risk: float | None = None
    cost_ratio: float = 1.0
    is_spent: bool = False
    """Price, risk, cost ratio and whether the budget is spent, as in `Lease`."""
    worst: int = 0
    """Spending if each open coupon took the most that it can, minor units."""
    max_overspend_ratio: float = 0.0
    """As in `Limit`, by the last draw."""
    over_expected: float = 0.0
    over_spent: int = 0
    """Totals of coupons that are over, as in `LeaseReport`."""
    expected: Falling = field(default_factory=Falling)
    """Expected cost of all open coupons."""
    variance: Falling = field(default_factory=Falling)
    falling: Falling = field(default_factory=Falling)
    """Part of the open coupons' holds that falls with time."""
    falling_held: int = 0
    """Amount drawn for the falling part."""
    demand: tuple[float, ...] = ()
    """Expected cost that decisions would have drawn at each of `price.PRICES`."""
    fallen_at: float = 0.0
    """Time of the last tick at which the fall of holds was booked."""
    new_hour: int = 0
    """Hour since the epoch of the last draw of a new shopper."""
    new_drawn: int = 0
    """Amount that new shoppers drew in this hour."""
    codes: list[CodeRange] = field(default_factory=list)
    """Numbers of a pool of codes that may be given, the next one first."""


def sum_of_totals(said: Purse | LeaseReport) -> float:
    """Return the sum of all totals, which grows whenever one of them does."""
    grown = sum(getattr(said, name) for name in PurseTotals.__struct_fields__[2:])
    return float(grown + said.over_spent) + round(sum(said.demand) + said.over_expected, 2)


def open_purse(limit: Limit, partitions: int, number: int) -> Purse:
    """Return a new purse, with the first lease of a partition; parameters as of `first_lease`.

    Examples
    --------
    >>> open_purse(Limit(100, 1), 4, 0).available
    12
    """
    first = first_lease(limit, partitions, number)
    return Purse(granted=first, size=first)


def want(purse: Purse, amount: int) -> None:
    """Add an amount that a decision would have drawn, had it been available.

    Parameters
    ----------
    purse : Purse
        Changed in place.
    amount : int
        Units of stock, or minor units of money.
    """
    purse.wanted = min(purse.wanted + amount, MAX_TOTAL)


def needed(purse: Purse, limit: Limit, held_minor: int, most_minor: int) -> int:
    """Return the amount that one more coupon takes of what is available: its hold, or more where the bound asks for it.

    Parameters
    ----------
    purse : Purse
        The purse, which stays as it is.
    limit : Limit
        Terms of the account.
    held_minor, most_minor : int
        Hold of the coupon, and the most that it can cost.

    Examples
    --------
    >>> limit = Limit(500, 100, max_overspend_ratio=0.25)
    >>> [needed(Purse(worst=worst), limit, 40, 100) for worst in (0, 400)]
    [80, 400]
    """
    held = purse.drawn - purse.freed + held_minor
    return max(held, _least_committed(purse.worst + most_minor, limit.max_overspend_ratio)) - purse.committed


def _least_committed(worst_minor: int, max_overspend_ratio: float) -> int:
    """Return the lease by which spending in the worst case is within its bound."""
    return math.ceil(worst_minor / (1.0 + max_overspend_ratio))


def _reserve(purse: Purse) -> None:
    """Reserve what coupons do not hold and the bound requires, no more and no less."""
    lacking = _least_committed(purse.worst, purse.max_overspend_ratio) - purse.drawn + purse.freed
    grown = max(lacking, 0) - purse.reserved + purse.unreserved
    purse.reserved += max(grown, 0)
    purse.unreserved += max(-grown, 0)


def book(purse: Purse, booking: Booking) -> None:
    """Book a change of the money that one coupon holds and has spent.

    Parameters
    ----------
    purse : Purse
        Changed in place.
    booking : Booking
        Of a coupon that draws on the purse.
    """
    before, after = booking.before, booking.after
    held, spent = after.held_minor - before.held_minor, after.spent_minor - before.spent_minor
    purse.drawn += max(held, 0) + max(spent, 0)
    purse.spent += max(spent, 0)
    purse.refunded += max(-spent, 0)
    purse.freed += max(-spent, 0)
    span = booking.issued_at, booking.ends_at
    if booking.is_falling:
        _book_falling(purse, held, booking)
    else:
        purse.freed += max(-held, 0)
    purse.expected = purse.expected.added(after.expected_minor - before.expected_minor, *span)
    purse.variance = purse.variance.added(after.variance - before.variance, *span)
    if booking.final_expected_minor is not None:
        purse.over_expected += booking.final_expected_minor
        purse.over_spent += after.spent_minor
        purse.closed += 1
    purse.worst += spent + after.rest_minor - before.rest_minor
    _reserve(purse)


def _book_falling(purse: Purse, held: int, booking: Booking) -> None:
    """Add a falling hold, or free the rest of it as of the last tick.

    The sum falls at ticks only: a coupon that is over counts below 0 until the next tick.
    """
    issued_at, ends_at = booking.issued_at, booking.ends_at
    purse.falling = purse.falling.added(held, issued_at, ends_at)
    at = max(booking.at, purse.fallen_at) if held > 0 else purse.fallen_at
    passed = max(at - issued_at, 0.0) / max(ends_at - issued_at, 1.0)
    left = abs(held) * max(1.0 - passed, 0.0)
    if held > 0:
        purse.falling_held += math.ceil(left)
        purse.freed += held - math.ceil(left)
    else:
        freed = min(math.floor(left), purse.falling_held)
        purse.falling_held -= freed
        purse.freed += freed


def fallen(purse: Purse, at: float) -> int:
    """Return the fall of the holds that is not booked yet, minor units.

    Parameters
    ----------
    purse : Purse
        The purse, which stays as it is.
    at : float
        UTC epoch seconds.
    """
    return max(purse.falling_held - math.ceil(purse.falling.at(at) - 1e-6), 0)


def fall(purse: Purse, at: float) -> None:
    """Free the fall of the holds up to a tick, after the tick has ended expired coupons.

    Parameters
    ----------
    purse : Purse
        Changed in place.
    at : float
        Time of the tick, UTC epoch seconds.
    """
    freed = fallen(purse, at)
    purse.fallen_at = max(purse.fallen_at, at)
    purse.falling_held -= freed
    purse.freed += freed
    _reserve(purse)


def hourly_bound(limit: Limit, ratio: float, partitions: int, number: int) -> int | None:
    """Return the most that new shoppers draw in an hour in a partition; None for no bound.

    The share of all partitions is `ratio`, or `PEAK_HOUR` mean hours between start and end of the account if that is
    more: a sale of two hours is meant to be over in two hours.

    Parameters
    ----------
    limit : Limit
        Terms of the account.
    ratio : float
        `policy.new_shopper_ratio`.
    partitions, number : int
        Number of partitions of the shoppers' topics, and the number of this one.

    Examples
    --------
    >>> [hourly_bound(Limit(60, 1), 0.1, 4, number) for number in range(4)]
    [1, 1, 2, 2]
    >>> hourly_bound(Limit(60, 1, starts_at=0.0, ends_at=24 * HOUR_S), 0.1, 1, 0)
    7
    """
    share = max(ratio, PEAK_HOUR * HOUR_S / max(limit.ends_at - limit.starts_at, HOUR_S))
    if limit.most is None or ratio >= 1.0 or share >= 1.0:
        return None
    quanta = int(share * limit.most) // limit.quantum
    return max((quanta + number) // partitions, 1) * limit.quantum


def drawn_by_new(purse: Purse, at: float) -> int:
    """Return the amount that new shoppers drew in the hour of a time; that of the latest hour for an earlier time.

    Parameters
    ----------
    purse : Purse
        One partition's part of an account.
    at : float
        UTC epoch seconds.
    """
    return purse.new_drawn if int(at // HOUR_S) <= purse.new_hour else 0


def draw_for_new(purse: Purse, at: float, amount: int) -> None:
    """Count the draw of a new shopper.

    Parameters
    ----------
    purse : Purse
        Changed in place.
    at : float
        UTC epoch seconds.
    amount : int
        Units of stock, or minor units that the coupon holds.
    """
    hour = int(at // HOUR_S)
    if hour > purse.new_hour:
        purse.new_hour, purse.new_drawn = hour, 0
    purse.new_drawn += amount


def skip_revoked(purse: Purse, revoked: Container[int]) -> None:
    """Count codes as drawn that are revoked and would be next.

    Parameters
    ----------
    purse : Purse
        Changed in place.
    revoked : container of int
        Numbers that must not be given.
    """
    left = without(purse.codes, revoked)
    purse.drawn += count(purse.codes) - count(left)
    purse.codes = left


def add_demand(purse: Purse, demand: Floats) -> None:
    """Add the amounts that a decision would have drawn at each price.

    Parameters
    ----------
    purse : Purse
        Changed in place.
    demand : array, shape (`len(PRICES)`,)
        Demand by price, minor units.
    """
    known = purse.demand or (0.0,) * len(PRICES)
    purse.demand = tuple(min(total, MAX_DEMAND) for total in (np.array(known) + demand).tolist())


def is_low(purse: Purse, limit: Limit) -> bool:
    """Return True if it is time to ask for more: half of the last lease is drawn, or less than is useful is left.

    Parameters
    ----------
    purse : Purse
        Part of an account.
    limit : Limit
        Terms of the account; its quantum is the least that is useful.
    """
    return limit.most is not None and purse.available < max(purse.size // 2, limit.quantum)


def may_ask(purse: Purse, at: float) -> bool:
    """Return True if no request is open, or the last one is `ASK_AGAIN_S` ago.

    Parameters
    ----------
    purse : Purse
        The purse.
    at : float
        UTC epoch seconds.
    """
    return purse.asked_at is None or at >= purse.asked_at + ASK_AGAIN_S or at < purse.asked_at - ASK_AGAIN_S


def is_news(purse: Purse, at: float) -> bool:
    """Return True if a purse is to be reported: it has changed, and the last report is `REPORT_EVERY_S` ago.

    Parameters
    ----------
    purse : Purse
        The purse.
    at : float
        UTC epoch seconds.
    """
    if purse.told_at == at:
        return True
    has_fallen = fallen(purse, at) > purse.falling_held // NOTICED_FALL
    return (has_fallen or sum_of_totals(purse) != purse.told) and abs(at - purse.told_at) >= REPORT_EVERY_S


def report(account_id: str, partition: int, purse: Purse, at: float, *, asks: bool = False) -> LeaseReport:
    """Return a report of the totals of a purse for the owner of the account.

    Parameters
    ----------
    account_id, partition : str, int
        The account, and the number of the purse's partition.
    purse : Purse
        Marked as reported, in place.
    at : float
        UTC epoch seconds.
    asks : bool
        True to ask for more.
    """
    if asks:
        purse.asked_at = at
    purse.told, purse.told_at = sum_of_totals(purse), at
    return LeaseReport(
        account_id=account_id,
        partition=partition,
        at=at,
        asks=asks,
        expected=(purse.expected.level, purse.expected.slope),
        variance=(purse.variance.level, purse.variance.slope),
        over_expected=round(purse.over_expected, 3),
        over_spent=purse.over_spent,
        demand=np.round(purse.demand, 3).tolist(),
        **{name: min(getattr(purse, name), MAX_TOTAL) for name in PurseTotals.__struct_fields__},
    )


def receive(purse: Purse, lease: Lease) -> bool:
    """Apply a lease; return whether it calls a part back, so that the owner must get a report.

    Parameters
    ----------
    purse : Purse
        Changed in place.
    lease : Lease
        The lease; one of a version that is not newer changes nothing.
    """
    if lease.version <= purse.version:
        return False
    purse.version = lease.version
    purse.price, purse.risk, purse.cost_ratio = lease.price, lease.risk, lease.cost_ratio
    purse.is_spent = lease.is_spent
    grown = lease.granted - purse.granted
    if grown > 0:
        purse.granted, purse.size, purse.asked_at = lease.granted, grown, None
        _, news = split(lease.codes, count(lease.codes) - grown)
        purse.codes = joined([*purse.codes, *news])
    if lease.keep is None or purse.available <= lease.keep:
        return lease.keep is not None
    purse.returned += purse.available - lease.keep
    purse.codes, _ = split(purse.codes, lease.keep)
    return True
