"""Stock and money as leases: the owner of a limit grants parts of it to partitions, which draw on theirs alone.

Every limit is an account: the stock of a coupon, in units, or its budget, in minor units of money. The owner knows what
it granted to each partition, a partition what it drew. All that they tell each other are totals that only grow, and
whoever reads takes the larger: copies, lost messages and another order change nothing.

    available = granted - returned - drawn + freed
    granted - returned, summed over all partitions, is at most the limit: at every prefix of the log

A coupon is given where its unit and its money lie: the check and what follows from it are one act, in one partition.
This is escrow [1]_, with bounds that move to where they are wanted [2]_.

A partition that nobody heard of yet has a first lease, which both sides compute from the limit: half of an even share.
So there is something to draw on before the first message. Later leases halve what is left, down to the last unit, and
what lies idle is called back when it is wanted elsewhere and nothing else is left.

References
----------
.. [1] O'Neil, P. E. (1986). The escrow transactional method. ACM TODS.
.. [2] Balegas, V. et al. (2015). Extending eventually consistent cloud databases for enforcing numeric invariants.
       SRDS.
"""

from typing import NamedTuple

from msgspec import Struct, field

from stream_coupons.core.coupons import Catalogue
from stream_coupons.core.events import Coupon, Lease, LeaseReport

ASK_AGAIN_S = 5.0
"""After an answer that granted nothing, or none at all."""
RESTS_S = 4.0
"""A lease is not called back sooner: of two partitions that want the last unit, each would only see it pass by."""
REPORT_EVERY_S = 5.0
"""How long totals that only the owner's books need may wait."""
EVEN_PACING_START_RATIO = 0.1
MAX_TOTAL = 2**53
"""Of what is drawn, or wanted, of one account: the most that a message can say."""
UNITS, MONEY = "units", "money"


class Limit(NamedTuple):
    """What an account may give in all, and the least that is of use to whoever asks; `most` None: it has no limit."""

    most: int | None
    quantum: int


def units_of(coupon_id: str) -> str:
    """The account of a coupon's stock."""
    return f"{UNITS}:{coupon_id}"


def money_of(coupon_id: str) -> str:
    """The account of a coupon's budget."""
    return f"{MONEY}:{coupon_id}"


def units_limit(coupon: Coupon) -> Limit:
    """The limit of a coupon's stock."""
    return Limit(coupon.stock, 1)


def money_limit(coupon: Coupon, at: float) -> Limit:
    """The limit of a coupon's budget: all of it, or as much as time has released."""
    if coupon.budget_minor is None:
        return Limit(None, coupon.max_discount_minor)
    return Limit(int(coupon.budget_minor * _released_ratio(coupon, at)), coupon.max_discount_minor)


def limit_of(account_id: str, catalogue: Catalogue, at: float) -> Limit:
    """The limit of an account; that of a coupon that is not in the catalogue is 0."""
    kind, _, coupon_id = account_id.partition(":")
    coupon = catalogue.by_id.get(coupon_id)
    if coupon is None:
        return Limit(0, 1)
    return units_limit(coupon) if kind == UNITS else money_limit(coupon, at)


def _released_ratio(coupon: Coupon, at: float) -> float:
    """Share of the budget that may be committed by now: all of it, or as much as time has passed."""
    if coupon.pacing == "none" or coupon.valid_until <= coupon.valid_from:
        return 1.0
    elapsed = (at - coupon.valid_from) / (coupon.valid_until - coupon.valid_from)
    return min(max(elapsed, EVEN_PACING_START_RATIO), 1.0)


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
    """Held before, and neither held nor spent any more."""
    spent: int = 0
    wanted: int = 0
    """Asked for by a decision, but not available."""

    @property
    def available(self) -> int:
        """What may be drawn; below 0 where more was drawn while there was no limit."""
        return self.granted - self.returned - self.drawn + self.freed


# ------------------------------------------------------------ a partition's side


class Purse(Totals, array_like=True):
    """What a partition holds of one account. Mutable."""

    size: int = 0
    """Of the last lease: when half of it is drawn, the next one is asked for."""
    asked_at: float | None = None
    """When more was asked for, unless it came."""
    told: int = 0
    """All totals added, as of the last report."""
    told_at: float = 0.0

    @property
    def all_totals(self) -> int:
        """All totals added: another number whenever one of them has grown."""
        return self.returned + self.drawn + self.freed + self.spent + self.wanted


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


def free(purse: Purse, held: int, spent: int) -> None:
    """Book that of what was held so much was spent, and the rest is free again."""
    purse.freed += held - spent
    purse.spent += spent


def is_low(purse: Purse, limit: Limit) -> bool:
    """Whether it is time to ask for more: half of the last lease is drawn, or the least that is of use is not there."""
    return limit.most is not None and purse.available < max(purse.size // 2, limit.quantum)


def may_ask(purse: Purse, at: float) -> bool:
    """Whether nothing was asked for, or so long ago that the answer must be lost or there may be more by now."""
    return purse.asked_at is None or at >= purse.asked_at + ASK_AGAIN_S or at < purse.asked_at - ASK_AGAIN_S


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
        **{name: getattr(purse, name) for name in Totals.__struct_fields__},
    )


def receive(purse: Purse, lease: Lease) -> bool:
    """Take in a lease; whether something is given back, of which the owner must hear."""
    if lease.version <= purse.version:
        return False
    purse.version = lease.version
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

    @property
    def is_called(self) -> bool:
        """Whether it was told to give something back, and has not answered."""
        return self.keep is not None and self.heard_version < self.version

    def committed(self, first: int) -> int:
        """What cannot be granted to anybody else: its lease, or what it drew while there was no limit. A partition that
        was never heard of may have opened its purse with a first lease."""
        return max(self.granted - self.returned, self.drawn - self.freed, 0 if self.is_known else first)


class Account(Struct, array_like=True):
    """State of one account at its owner. Mutable; owned by one step at a time."""

    holdings: dict[int, Holding] = field(default_factory=dict)

    @property
    def drawn(self) -> int:
        """Given and held, or spent, of what was heard of."""
        return sum(holding.drawn - holding.freed for holding in self.holdings.values())

    @property
    def spent(self) -> int:
        """Spent, of what was heard of."""
        return sum(holding.spent for holding in self.holdings.values())


def left(account: Account, limit: Limit, partitions: int) -> int:
    """What may still be granted; below 0 if the limit was lowered, or came after what was drawn."""
    unheard = Holding()
    committed = sum(
        account.holdings.get(number, unheard).committed(_first_at_most(limit, partitions, number))
        for number in range(partitions)
    )
    return (limit.most or 0) - committed


def take_report(account: Account, said: LeaseReport, limit: Limit, partitions: int) -> list[Lease]:
    """Take in a partition's totals: the leases that follow for it and for others."""
    holding = account.holdings.setdefault(said.partition, Holding())
    _merge(holding, said)
    holding.is_waiting = (holding.is_waiting or said.asks) and limit.most is not None
    # A partition that has not taken in what it was sent is sent it again.
    told = [said.partition] if holding.heard_version < holding.version else []
    if limit.most is not None:
        told += _grant(account, limit, partitions, said.at)
        told += _recall(account, limit, partitions, said.at)
    return [_lease(said.account_id, number, account.holdings[number], said.at) for number in dict.fromkeys(told)]


def _merge(holding: Holding, said: LeaseReport) -> None:
    holding.is_known = True
    holding.heard_version = max(holding.heard_version, said.version)
    for name in Totals.__struct_fields__:
        setattr(holding, name, max(getattr(holding, name), getattr(said, name)))


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


def _lease(account_id: str, number: int, holding: Holding, at: float) -> Lease:
    return Lease(
        account_id=account_id,
        partition=number,
        at=at,
        version=holding.version,
        granted=holding.granted,
        keep=holding.keep,
    )
