"""State of an account at its owner: a holding for each partition, and sums over them that follow every change.

The account is one state record, and each holding another. A report changes one holding and the account, so its cost
and its bytes do not depend on the number of partitions. Sums of integers are exact.
Sums of lines are rounded: each update of the price adds them up anew, which bounds the error to that of the reports
between two updates.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct, field

from stream_coupons.core.messages.leases import CodeRange
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.holds import Falling
from stream_coupons.core.money.price import Price
from stream_coupons.core.money.purses import PurseTotals, first_lease
from stream_coupons.core.money.traffic import Traffic

LeaseTerms = tuple[float, float | None, float, bool]
INITIAL_TERMS: LeaseTerms = (0.0, None, 1.0, False)
"""Price, risk, cost ratio and whether the budget is spent, of a purse that is opened."""
Urgency = tuple[bool, int, int]
"""Sort key of a waiting partition: False if it lacks something, the amount that it lacks or else has, its number."""


class Holding(PurseTotals, array_like=True):
    """The owner's record of one partition: the total granted, and the totals reported."""

    heard_version: int = 0
    """Version of the last lease that the partition applied, by its latest report."""
    keep: int | None = None
    """The most that the partition may keep, by the lease of this version; None for all."""
    is_known: bool = False
    """True if the partition ever reported."""
    is_waiting: bool = False
    """True if its request is not granted yet."""
    granted_at: float = 0.0
    """Time of the last grant."""
    called_at: float = 0.0
    """Time of the last call to return a part."""
    heard: float = -1.0
    """Sum of all totals of the newest report."""
    expected: Falling = field(default_factory=Falling)
    variance: Falling = field(default_factory=Falling)
    demand: tuple[float, ...] = ()
    over_expected: float = 0.0
    over_spent: int = 0
    """Discounts of coupons that are over, by the newest report."""
    codes: list[CodeRange] = field(default_factory=list)
    """Numbers of a pool of codes that were granted and not reported as given or returned, in the order of their
    grants."""

    @property
    def is_called(self) -> bool:
        """True if the partition was called to return a part, and has not answered."""
        return self.keep is not None and self.heard_version < self.version

    @property
    def idle(self) -> int:
        """Amount that the partition may draw, not below 0."""
        return max(self.available, 0)

    def taken(self, first: int) -> int:
        """Return the amount that no other partition can get: its lease, or its draws beyond the lease.

        A partition that never reported may have opened its purse with a first lease.
        """
        return max(self.granted - self.returned, self.committed, 0 if self.is_known else first)

    def lacks(self, limit: Limit) -> int:
        """Return the amount that the partition lacks to the least useful amount."""
        return max(limit.quantum - self.idle, 0)


class HoldingSums(Struct, array_like=True):
    """Sums over the holdings of an account."""

    drawn: int = 0
    """Amount given and held, reserved or spent, by the reports."""
    spent: int = 0
    """Amount spent, by the reports."""
    closed: int = 0
    """Number of coupons that are over, by the reports."""
    taken: int = 0
    """Amount that cannot be granted, with what is kept for partitions that never reported."""
    idle: int = 0
    """Amount that partitions may draw."""
    expected: Falling = field(default_factory=Falling)
    """Expected cost of all open coupons."""
    variance: Falling = field(default_factory=Falling)
    """Variance of this cost."""

    @property
    def held(self) -> int:
        """Amount held and reserved for open coupons, by the reports."""
        return self.drawn - self.spent


class Account(Struct, array_like=True):
    """State of one account at its owner, but for its holdings. Mutable; owned by one step at a time."""

    sums: HoldingSums = field(default_factory=HoldingSums)
    waiting: list[Urgency] = field(default_factory=list)
    """Partitions whose requests are not granted yet, the most urgent first."""
    summed_by: tuple[int | None, int, int] | None = None
    """Limit, quantum and number of partitions by which `sums` and `waiting` were computed."""
    opened_at: float | None = None
    """Time of the first report."""
    price: Price = Price()
    traffic: Traffic = Traffic()
    """Demand at the least price, by hour of the week."""
    told: LeaseTerms = INITIAL_TERMS
    """Price, risk, cost ratio and whether the budget is spent, of the last leases."""
    learnt_from: int = 0
    """Number of coupons that were over when the risk was computed last."""
    codes: list[CodeRange] = field(default_factory=list)
    """Numbers of a pool of codes that no partition has."""
    pooled: int = 0
    """Numbers that were ever in `codes`."""


class KeptHoldings(Protocol):
    """The holdings of all accounts, by `key_of`."""

    def get(self, key: str, /) -> Holding | None:
        """Return a holding, to be read; None if there is none."""

    def change(self, key: str, new: Callable[[], Holding] | None = None) -> Holding:
        """Return a holding, to be changed.

        Parameters
        ----------
        key : str
            Its key.
        new : callable, optional
            Makes a holding if there is none.
        """


def key_of(account_id: str, number: int) -> str:
    """Return the key of the holding of a partition.

    Parameters
    ----------
    account_id, number : str, int
        The account, and the number of the partition.

    Examples
    --------
    >>> key_of("units:tea", 3)
    'units:tea:3'
    """
    return f"{account_id}:{number}"


@dataclass(frozen=True, slots=True)
class Holdings:
    """The holdings of one account under its present terms.

    Attributes
    ----------
    account : Account
        The account, changed in place.
    kept : KeptHoldings
        Its holdings, and those of other accounts.
    limit : Limit
        Its terms.
    partitions : int
        Number of partitions of the shoppers' topics.
    """

    account: Account
    kept: KeptHoldings
    limit: Limit
    partitions: int

    def __post_init__(self) -> None:
        """Add the sums up anew if the terms differ from those before."""
        terms = self.limit.most, self.limit.quantum, self.partitions
        if self.account.summed_by != terms:
            self.account.summed_by = terms
            self.sum_up()

    @property
    def left(self) -> int:
        """Amount that may still be granted; below 0 if the limit was lowered, or set after draws."""
        return (self.limit.most or 0) - self.account.sums.taken

    def items(self) -> Iterator[tuple[int, Holding]]:
        """Yield the number and the holding of each partition that has one, to be read."""
        for number in range(self.partitions):
            if (holding := self._kept(number)) is not None:
                yield number, holding

    def get(self, number: int) -> Holding:
        """Return the holding of a partition, to be read; a new one has a first lease."""
        return self._kept(number) or self._new(number)

    def change(self, number: int) -> Holding:
        """Return the holding of a partition, to change what no sum depends on."""
        return self.kept.change(key_of(self.limit.account_id, number), lambda: self._new(number))

    @contextmanager
    def rebooked(self, number: int) -> Iterator[Holding]:
        """Yield the holding of a partition, to change all of it; the sums follow."""
        self._count(number, -1)
        yield self.change(number)
        self._count(number, 1)

    def sum_up(self) -> None:
        """Compute all sums from the holdings."""
        self.account.sums, self.account.waiting = HoldingSums(), []
        for number in range(self.partitions):
            self._count(number, 1)

    def _first(self, number: int) -> int:
        """Return the amount reserved for a partition that never reported."""
        return first_lease(self.limit, self.partitions, number)

    def _kept(self, number: int) -> Holding | None:
        return self.kept.get(key_of(self.limit.account_id, number))

    def _new(self, number: int) -> Holding:
        return Holding(granted=self._first(number))

    def _count(self, number: int, sign: int) -> None:
        """Add the holding of a partition to the sums, or subtract it."""
        sums, holding = self.account.sums, self.get(number)
        sums.drawn += sign * holding.committed
        sums.spent += sign * (holding.spent - holding.refunded)
        sums.closed += sign * holding.closed
        sums.taken += sign * holding.taken(self._first(number))
        sums.idle += sign * holding.idle
        sums.expected = sums.expected.plus(holding.expected, sign)
        sums.variance = sums.variance.plus(holding.variance, sign)
        if holding.is_waiting:
            lacks, waiting = holding.lacks(self.limit), self.account.waiting
            urgency = (not lacks, lacks or holding.available, number)
            if sign > 0:
                insort(waiting, urgency)
            else:
                del waiting[bisect_left(waiting, urgency)]
