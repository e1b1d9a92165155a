"""Stock and money as leases: the owner of a limit grants parts of it to partitions, which draw on theirs alone.

Every limit is an account (`accounts`), in units or in minor units of money. The owner knows what it granted to each
partition, a partition what it drew. Both sides send totals that only grow, and the reader takes the larger: copies,
lost messages and another order change nothing.

    available = granted - returned - drawn + freed
    granted - returned, summed over all partitions, is at most the limit: at every prefix of the log

A coupon is given where its unit and its money lie: the check and what follows from it are one act, in one partition.
This is escrow [1]_, with bounds that move to where they are wanted [2]_.

A partition that nobody heard of yet has a first lease, which both sides compute from the limit: half of an even share.
So there is something to draw on before the first message. Later leases halve what is left, down to the last unit, and
what lies idle is called back when it is wanted elsewhere and nothing else is left.

An open coupon holds money: the most that it can cost, or a share of a quantile of all that is open, which falls to
nothing until its end (`price.hold_of`). A redemption frees the hold and draws what it took off, so that spending may
pass a lease where holds are quantiles; the owner then sees that more is spent than there was. Leases carry the price of
an account and the risk that holds are computed by; reports carry expected costs and demand, which the price follows.

References
----------
.. [1] O'Neil, P. E. (1986). The escrow transactional method. ACM TODS.
.. [2] Balegas, V. et al. (2015). Extending eventually consistent cloud databases for enforcing numeric invariants.
       SRDS.
"""

import math

import numpy as np
from msgspec import Struct, field

from stream_coupons.core import price as pricing
from stream_coupons.core.accounts import Limit
from stream_coupons.core.effects import Booking
from stream_coupons.core.events import Lease, LeaseReport
from stream_coupons.core.price import PRICES, Budget, Falling, Floats, Price, Traffic

ASK_AGAIN_S = 5.0
"""After an answer that granted nothing, or none at all."""
RESTS_S = 4.0
"""A lease is not called back sooner: of two partitions that want the last unit, each would only see it pass by."""
REPORT_EVERY_S = 5.0
"""How long totals that only the owner's books need may wait."""
NOTHING_TOLD: tuple[float, float | None, float] = (0.0, None, 1.0)
"""Price, risk and cost ratio of a purse that is opened."""
MAX_TOTAL = 2**53
"""Of what is drawn, or wanted, of one account: the most that a message can say."""
NOTICED_FALL = 64
"""A hold that falls by time alone is booked when it has fallen by one part of so many."""
NOTICED_CHANGE = 0.02
"""Relative change of a price, or of a risk, of which partitions hear."""
CALIBRATED_AFTER = 10
"""Redemptions of the highest cost that the prior of the cost ratio counts for."""
MAX_COST_RATIO = 10.0
LEAST_VARIANCE = 1.0
"""Of the cost of all open coupons, minor units squared: what is less is what sums of numbers of 64 bits are off by."""
MAX_DEMAND = 1e15
"""The most demand that a message can hold, minor units."""


def first_lease(limit: Limit, partitions: int, number: int) -> int:
    """What a partition may draw before its owner has heard of it: its part of half the limit; the only one has all.

    Of each more that half the limit allows, one partition after the other has its part: so a limit that rises while
    some have not opened their purses gives them no more, together, than it has risen by, or its owner keeps
    (`_first_at_most`).

    >>> [[first_lease(Limit(most, 1), 4, number) for number in range(4)] for most in (100, 7, 3)]
    [[12, 12, 13, 13], [0, 1, 1, 1], [0, 0, 0, 1]]
    >>> first_lease(Limit(100, 1), 1, 0), first_lease(Limit(500, 100), 4, 3)
    (100, 100)
    """
    most = limit.most or 0
    if partitions == 1:
        return most
    return (most // limit.quantum // 2 + number) // partitions * limit.quantum


def _first_at_most(limit: Limit, partitions: int, number: int) -> int:
    """What must be kept for a partition that was never heard of: it may open its purse when the limit has risen."""
    return first_lease(Limit((limit.most or 0) + 2 * (limit.quantum - 1), limit.quantum), partitions, number)


class Totals(Struct, array_like=True):
    """What is told of one partition's part of an account; none of it ever shrinks."""

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
        """What may be drawn; below 0 where more was drawn while there was no limit."""
        return self.granted - self.returned - self.drawn + self.freed

    @property
    def committed(self) -> int:
        """Held or spent."""
        return self.drawn - self.freed


# ------------------------------------------------------------ a partition's side


class Purse(Totals, array_like=True):
    """What a partition holds of one account. Mutable."""

    size: int = 0
    """Of the last lease: when half of it is drawn, the next one is asked for."""
    asked_at: float | None = None
    """When more was asked for, unless it came."""
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

    @property
    def all_totals(self) -> float:
        """All totals added: a greater number whenever one of them has grown."""
        return _sum_of_totals(self)


def _sum_of_totals(said: "Purse | LeaseReport") -> float:
    grown = said.returned + said.drawn + said.freed + said.spent + said.refunded + said.wanted
    return float(grown + said.over_spent) + round(sum(said.demand) + said.over_expected, 2)


def open_purse(limit: Limit, partitions: int, number: int) -> Purse:
    """The purse of an account that the partition of this number had nothing to do with until now."""
    first = first_lease(limit, partitions, number)
    return Purse(granted=first, size=first)


def draw(purse: Purse, amount: int) -> None:
    """Take from a purse what was seen to be available, or what has no limit."""
    purse.drawn += amount


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
    """Return by how much holds have fallen since that was booked last."""
    return max(purse.falling_held - math.ceil(purse.falling.at(at) - 1e-6), 0)


def fall(purse: Purse, at: float) -> None:
    """Free what holds have fallen by until a tick, which has ended all coupons that are over."""
    freed = fallen(purse, at)
    purse.fallen_at = max(purse.fallen_at, at)
    purse.falling_held -= freed
    purse.freed += freed


def add_demand(purse: Purse, demand: Floats) -> None:
    """Add what a decision would have drawn at each price."""
    known = purse.demand or (0.0,) * len(PRICES)
    purse.demand = tuple(min(total, MAX_DEMAND) for total in (np.array(known) + demand).tolist())


def is_low(purse: Purse, limit: Limit) -> bool:
    """Whether it is time to ask for more: half of the last lease is drawn, or the least that is of use is not there."""
    return limit.most is not None and purse.available < max(purse.size // 2, limit.quantum)


def may_ask(purse: Purse, at: float) -> bool:
    """Whether nothing was asked for, or so long ago that the answer must be lost or there may be more by now."""
    return purse.asked_at is None or at >= purse.asked_at + ASK_AGAIN_S or at < purse.asked_at - ASK_AGAIN_S


def is_news(purse: Purse, at: float) -> bool:
    """Return whether a purse is to be reported: something has changed, and the last report is a while ago."""
    if purse.told_at == at:
        return True
    has_fallen = fallen(purse, at) > purse.falling_held // NOTICED_FALL
    return (has_fallen or purse.all_totals != purse.told) and abs(at - purse.told_at) >= REPORT_EVERY_S


def report(account_id: str, partition: int, purse: Purse, at: float, *, asks: bool = False) -> LeaseReport:
    """Tell the owner the totals of a purse, and ask for more."""
    if asks:
        purse.asked_at = at
    purse.told, purse.told_at = purse.all_totals, at
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
    """Take in a lease; whether something is given back, of which the owner must hear."""
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


# ------------------------------------------------------------ the owner's side


class Holding(Totals, array_like=True):
    """What the owner knows of one partition: what it granted, and the totals that it heard."""

    heard_version: int = 0
    """Of the last lease that the partition had taken in when it was heard of."""
    keep: int | None = None
    """What it was told to keep, by the lease of this version."""
    is_known: bool = False
    """Whether it was ever heard of."""
    is_waiting: bool = False
    """Whether it asked for more than there was."""
    granted_at: float = 0.0
    """When it was granted something last."""
    called_at: float = 0.0
    """When it was told last to give something back."""
    heard: float = -1.0
    """All totals added of the newest report."""
    expected: Falling = field(default_factory=Falling)
    variance: Falling = field(default_factory=Falling)
    demand: tuple[float, ...] = ()
    over_expected: float = 0.0
    over_spent: int = 0
    """As in the newest report."""

    @property
    def is_called(self) -> bool:
        """Whether it was told to give something back, and has not answered."""
        return self.keep is not None and self.heard_version < self.version

    def taken(self, first: int) -> int:
        """What cannot be granted to anybody else: its lease, or what it drew beyond it.

        A partition that was never heard of may have opened its purse with a first lease.
        """
        return max(self.granted - self.returned, self.committed, 0 if self.is_known else first)


class Account(Struct, array_like=True):
    """State of one account at its owner. Mutable; owned by one step at a time."""

    holdings: dict[int, Holding] = field(default_factory=dict)
    opened_at: float | None = None
    """Time of the first report."""
    price: Price = Price()
    traffic: Traffic = Traffic()
    """Demand at the least price, by hour of the week."""
    told: tuple[float, float | None, float] = NOTHING_TOLD
    """Price, risk and cost ratio of the last leases."""

    @property
    def drawn(self) -> int:
        """Given and held, or spent, of what was heard of."""
        return sum(holding.committed for holding in self.holdings.values())

    @property
    def spent(self) -> int:
        """Spent, of what was heard of."""
        return sum(holding.spent - holding.refunded for holding in self.holdings.values())

    @property
    def held(self) -> int:
        """Held for open coupons, of what was heard of."""
        return self.drawn - self.spent


def left(account: Account, limit: Limit, partitions: int) -> int:
    """What may still be granted; below 0 if the limit was lowered, or came after what was drawn."""
    unheard = Holding()
    committed = sum(
        account.holdings.get(number, unheard).taken(_first_at_most(limit, partitions, number))
        for number in range(partitions)
    )
    return (limit.most or 0) - committed


def take_report(account: Account, said: LeaseReport, limit: Limit, partitions: int) -> list[Lease]:
    """Take in a partition's totals: the leases that follow for it and for others."""
    holding = account.holdings.setdefault(said.partition, Holding())
    if not holding.is_known and account.told != NOTHING_TOLD:
        _renew(holding)  # it has not heard of price and risk
    _merge(holding, said)
    holding.is_waiting = (holding.is_waiting or said.asks) and limit.most is not None
    # A partition that has not taken in what it was sent is sent it again.
    told = [said.partition] if holding.heard_version < holding.version else []
    if account.opened_at is None:
        account.opened_at, account.price = said.at, Price(lump_minor=float(limit.unit_minor))
    if limit.most is not None:
        told += _update(account, limit, said.at)
        told += _grant(account, limit, partitions, said.at)
        told += _recall(account, limit, partitions, said.at)
    return [_lease(said.account_id, number, account, said.at) for number in dict.fromkeys(told)]


def _merge(holding: Holding, said: LeaseReport) -> None:
    if not holding.is_known and not holding.version:
        holding.granted = said.granted  # its first lease; what was kept for it may be more
    holding.is_known = True
    holding.heard_version = max(holding.heard_version, said.version)
    for name in Totals.__struct_fields__:
        setattr(holding, name, max(getattr(holding, name), getattr(said, name)))
    heard = _sum_of_totals(said)
    if heard > holding.heard:
        holding.heard = heard
        holding.expected, holding.variance = Falling(*said.expected), Falling(*said.variance)
        holding.demand = tuple(said.demand) if len(said.demand) == len(PRICES) else ()
        holding.over_expected, holding.over_spent = said.over_expected, said.over_spent


def _update(account: Account, limit: Limit, at: float) -> list[int]:
    """Bring price and risk up to date; the partitions that are to hear of it: all that were heard of, or none."""
    if at < _next_update(account, limit):
        return []
    holdings = account.holdings.values()
    ratio = 1.0 if limit.is_stock else _cost_ratio(account, limit)
    variance = ratio * sum(holding.variance.at(at) for holding in holdings)
    has_risk = limit.hold != "maximum" and variance >= LEAST_VARIANCE
    risk = pricing.risk_of(variance, pricing.QUANTILE_Z) if has_risk else None
    if limit.is_priced:
        nothing = (0.0,) * len(PRICES)
        demand = np.sum([holding.demand or nothing for holding in holdings], axis=0)
        totals = pricing.Totals(
            spent_minor=account.drawn * limit.unit_minor if limit.is_stock else account.spent,
            expected_minor=ratio * sum(holding.expected.at(at) for holding in holdings),
            variance=variance,
            demand=tuple(demand.tolist()),
        )
        if account.price.at is not None and account.price.seen:
            asked = totals.demand[0] - account.price.seen[0]
            account.traffic = account.traffic.note(account.price.at, at, asked)
        account.price = pricing.update(account.price, totals, _terms(account, limit), account.traffic, at, ratio)
    else:
        account.price = Price(at=at)
    news = account.price.value, risk, ratio
    if not any(map(_has_moved, account.told, news)):
        return []
    account.told = news
    known = [number for number, holding in account.holdings.items() if holding.is_known]
    for number in known:
        holding = account.holdings[number]
        if holding.is_called:
            holding.version += 1
        else:
            _renew(holding)
    return known


def _cost_ratio(account: Account, limit: Limit) -> float:
    """Return observed over expected cost of the coupons that are over, drawn towards 1 while these are few."""
    holdings = account.holdings.values()
    known = CALIBRATED_AFTER * limit.quantum
    spent, expected = sum(one.over_spent for one in holdings), sum(one.over_expected for one in holdings)
    return min(max((spent + known) / (expected + known), 1 / MAX_COST_RATIO), MAX_COST_RATIO)


def _terms(account: Account, limit: Limit) -> Budget:
    """Return what the price steers to. Who starts late spreads the money over what is left of the time."""
    starts_at = min(max(limit.starts_at, account.opened_at or 0.0), limit.ends_at - 1.0)
    return Budget(float(limit.most or 0) * (limit.unit_minor or 1), starts_at, limit.ends_at, limit.curve, limit.lag_s)


def share_due(account: Account, limit: Limit, at: float) -> float | None:
    """Return the share of a budget that should be spent by a time, 0 to 1; None where spending is not steered."""
    if not limit.is_priced:
        return None
    return pricing.share_due(_terms(account, limit), at, account.traffic) if account.opened_at is not None else 0.0


def _next_update(account: Account, limit: Limit) -> float:
    if account.price.at is None:
        return 0.0
    is_first_risk = limit.hold == "quantile" and account.told[1] is None
    terms = _terms(account, limit)
    every = min(max((terms.ends_at - terms.starts_at) / pricing.UPDATES, pricing.LEAST_UPDATE_S), pricing.MOST_UPDATE_S)
    return account.price.at + (pricing.LEAST_UPDATE_S if is_first_risk else every)


def _has_moved(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is not after
    return abs(after - before) > NOTICED_CHANGE * max(before, after)


def _lacks(holding: Holding, limit: Limit) -> int:
    """What it lacks of the least that is of use."""
    return max(limit.quantum - max(holding.available, 0), 0)


def _queue(account: Account, limit: Limit) -> list[int]:
    """Partitions that wait: first those that have too little to be of use, who lacks least before the others."""
    waiting = [number for number, holding in account.holdings.items() if holding.is_waiting]

    def urgency(number: int) -> tuple[bool, int, int]:
        holding = account.holdings[number]
        lacks = _lacks(holding, limit)
        return (not lacks, lacks or holding.available, number)

    return sorted(waiting, key=urgency)


def _grant(account: Account, limit: Limit, partitions: int, at: float) -> list[int]:
    """Give to those who wait half of an even share of what is left, but no less than is of use."""
    granted = []
    for number in _queue(account, limit):
        holding, rest = account.holdings[number], left(account, limit, partitions)
        least = _lacks(holding, limit) or limit.quantum
        if rest < least:
            break
        # What was drawn while there was no limit was never granted, and is no part of what is left.
        beyond = max(-holding.available, 0)
        holding.granted += beyond + max(least, rest // (2 * partitions))
        holding.is_waiting, holding.granted_at = False, at
        _renew(holding)
        granted.append(number)
    return granted


def _recall(account: Account, limit: Limit, partitions: int, at: float) -> list[int]:
    """Call back what lies idle while somebody has too little, or what is beyond the limit: who has most gives half."""
    needy = [number for number in _queue(account, limit) if _lacks(account.holdings[number], limit)][:1]
    need = sum(_lacks(account.holdings[number], limit) for number in needy) - left(account, limit, partitions)
    if need <= 0:
        return []
    for number in range(partitions):
        account.holdings.setdefault(number, Holding(granted=_first_at_most(limit, partitions, number)))
    others = [(holding.available, number) for number, holding in account.holdings.items() if number not in needy]
    recalled = []
    for idle, number in sorted(others, reverse=True):
        holding = account.holdings[number]
        if need <= 0 or idle <= 0:
            break
        # A partition that draws nothing does not report: if its lease was lost, only another one reaches it.
        is_to_be_told = not holding.is_called or abs(at - holding.called_at) >= ASK_AGAIN_S
        if not holding.is_called:
            if needy and abs(at - holding.granted_at) < RESTS_S:
                continue
            _renew(holding)
            holding.keep = max(idle - max(idle - idle // 2, need), 0)
        if is_to_be_told:
            holding.called_at = at
            recalled.append(number)
        need -= max(idle - (holding.keep or 0), 0)
    return recalled


def _renew(holding: Holding) -> None:
    holding.version += 1
    holding.keep = None


def _lease(account_id: str, number: int, account: Account, at: float) -> Lease:
    holding, (price, risk, cost_ratio) = account.holdings[number], account.told
    return Lease(
        price=price,
        risk=risk,
        cost_ratio=cost_ratio,
        account_id=account_id,
        partition=number,
        at=at,
        version=holding.version,
        granted=holding.granted,
        keep=holding.keep,
    )
