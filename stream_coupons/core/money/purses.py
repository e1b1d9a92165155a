"""Purse of one partition: its part of an account, and its reports to the owner (`leases`).

A purse is filled by leases, drawn on by decisions, and emptied by what is spent. It holds totals that only grow:

    available = granted - returned - drawn + freed

An open coupon holds money: the most that it can cost, or a share of a quantile of all that is open, which falls to
nothing until its end (`price.hold_of`). A redemption frees the hold and draws what it took off, so that spending may
pass a lease where holds are quantiles; the owner then sees that more is spent than there was.
"""

import math

import numpy as np
from msgspec import Struct, field

from stream_coupons.core.effects import Booking
from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.price import PRICES, Falling, Floats

ASK_AGAIN_S = 5.0
"""After an answer that granted nothing, or none at all."""
REPORT_EVERY_S = 5.0
"""How long totals that only the owner's books need may wait."""
MAX_TOTAL = 2**53
"""Of what is drawn, or wanted, of one account: the most that a message can say."""
NOTICED_FALL = 64
"""A hold that falls by time alone is booked when it has fallen by one part of so many."""
MAX_DEMAND = 1e15
"""The most demand that a message can hold, minor units."""


def first_lease(limit: Limit, partitions: int, number: int) -> int:
    """Return the lease of a partition that its owner has not heard of: its part of half the limit; all, if it is alone.

    Of each more that half the limit allows, one partition after the other has its part: so a limit that rises while
    some have not opened their purses gives them no more, together, than it has risen by, or its owner keeps
    (`leases.left`).

    Parameters
    ----------
    partitions : int
        Number of partitions of the shoppers' topics.
    number : int
        Of the partition.

    >>> [[first_lease(Limit(most, 1), 4, number) for number in range(4)] for most in (100, 7, 3)]
    [[12, 12, 13, 13], [0, 1, 1, 1], [0, 0, 0, 1]]
    >>> first_lease(Limit(100, 1), 1, 0), first_lease(Limit(500, 100), 4, 3)
    (100, 100)
    """
    most = limit.most or 0
    if partitions == 1:
        return most
    return (most // limit.quantum // 2 + number) // partitions * limit.quantum


class Totals(Struct, array_like=True):
    """The totals of one partition's part of an account; none of them ever shrinks."""

    version: int = 0
    """Of the last lease."""
    granted: int = 0
    returned: int = 0
    drawn: int = 0
    """Given, or held for what was given."""
    freed: int = 0
    """Drawn before, and neither held nor spent any more."""
    spent: int = 0
    refunded: int = 0
    """Spent before, and not any more."""
    wanted: int = 0
    """Asked for by a decision, but not available."""

    @property
    def available(self) -> int:
        """Return the amount that may be drawn; below 0 where more was drawn while there was no limit."""
        return self.granted - self.returned - self.drawn + self.freed

    @property
    def committed(self) -> int:
        """Held or spent."""
        return self.drawn - self.freed


class Purse(Totals, array_like=True):
    """One partition's part of an account. Mutable."""

    size: int = 0
    """Of the last lease: when half of it is drawn, the next one is asked for."""
    asked_at: float | None = None
    """Time at which more was asked for, unless it came."""
    told: float = 0.0
    """All totals added, as of the last report."""
    told_at: float = 0.0
    price: float = 0.0
    risk: float | None = None
    cost_ratio: float = 1.0
    """See `Lease`."""
    over_expected: float = 0.0
    over_spent: int = 0
    """See `LeaseReport`."""
    expected: Falling = field(default_factory=Falling)
    """Expected cost of all open coupons."""
    variance: Falling = field(default_factory=Falling)
    falling: Falling = field(default_factory=Falling)
    """Of what open coupons hold, the part that falls with time."""
    falling_held: int = 0
    """The same part, as it is drawn."""
    demand: tuple[float, ...] = ()
    """Expected cost that decisions would have drawn at each of `price.PRICES`."""
    fallen_at: float = 0.0
    """Time of the tick until which holds have fallen."""


def sum_of_totals(said: Purse | LeaseReport) -> float:
    """Return all totals added: a greater number whenever one of them has grown."""
    grown = said.returned + said.drawn + said.freed + said.spent + said.refunded + said.wanted
    return float(grown + said.over_spent) + round(sum(said.demand) + said.over_expected, 2)


def open_purse(limit: Limit, partitions: int, number: int) -> Purse:
    """Return the purse of an account that a partition had nothing to do with until now.

    Parameters
    ----------
    partitions : int
        Number of partitions of the shoppers' topics.
    number : int
        Of the partition.
    """
    first = first_lease(limit, partitions, number)
    return Purse(granted=first, size=first)


def want(purse: Purse, amount: int) -> None:
    """Note that a decision would have drawn on it, had there been enough."""
    purse.wanted = min(purse.wanted + amount, MAX_TOTAL)


def book(purse: Purse, booking: Booking) -> None:
    """Book a change of the money that one coupon holds and has spent."""
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


def _book_falling(purse: Purse, held: int, booking: Booking) -> None:
    """Add a hold that falls, or free what is left of it, as of the last tick.

    The sum falls by ticks alone: a coupon that is over counts below nothing until a tick has removed it.
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
    """Return the amount by which holds have fallen since the last fall was booked, minor units.

    Parameters
    ----------
    at : float
        UTC epoch seconds.
    """
    return max(purse.falling_held - math.ceil(purse.falling.at(at) - 1e-6), 0)


def fall(purse: Purse, at: float) -> None:
    """Free what holds have fallen by until a tick, which has ended all coupons that are over.

    Parameters
    ----------
    at : float
        Time of the tick, UTC epoch seconds.
    """
    freed = fallen(purse, at)
    purse.fallen_at = max(purse.fallen_at, at)
    purse.falling_held -= freed
    purse.freed += freed


def add_demand(purse: Purse, demand: Floats) -> None:
    """Add what a decision would have drawn at each price.

    Parameters
    ----------
    demand : array, shape (`len(PRICES)`,)
        By price, minor units.
    """
    known = purse.demand or (0.0,) * len(PRICES)
    purse.demand = tuple(min(total, MAX_DEMAND) for total in (np.array(known) + demand).tolist())


def is_low(purse: Purse, limit: Limit) -> bool:
    """Return whether to ask for more: half of the last lease is drawn, or the least that is of use is not there."""
    return limit.most is not None and purse.available < max(purse.size // 2, limit.quantum)


def may_ask(purse: Purse, at: float) -> bool:
    """Return whether nothing was asked for, or so long ago that the answer must be lost or there may be more.

    Parameters
    ----------
    at : float
        UTC epoch seconds.
    """
    return purse.asked_at is None or at >= purse.asked_at + ASK_AGAIN_S or at < purse.asked_at - ASK_AGAIN_S


def is_news(purse: Purse, at: float) -> bool:
    """Return whether a purse is to be reported: something has changed, and the last report is a while ago.

    Parameters
    ----------
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
        **{name: min(getattr(purse, name), MAX_TOTAL) for name in Totals.__struct_fields__},
    )


def receive(purse: Purse, lease: Lease) -> bool:
    """Take in a lease; return whether something is given back, of which the owner must hear.

    Parameters
    ----------
    purse : Purse
        Changed in place.
    """
    if lease.version <= purse.version:
        return False
    purse.version = lease.version
    purse.price, purse.risk, purse.cost_ratio = lease.price, lease.risk, lease.cost_ratio
    grown = lease.granted - purse.granted
    if grown > 0:
        purse.granted, purse.size, purse.asked_at = lease.granted, grown, None
    if lease.keep is None or purse.available <= lease.keep:
        return lease.keep is not None
    purse.returned += purse.available - lease.keep
    return True
