"""What one partition may give: its purses, drawn on by decisions, filled by leases, emptied by what is spent."""

from collections.abc import Iterable
from typing import Protocol

from stream_coupons.core import leases
from stream_coupons.core.effects import Effects, Freed
from stream_coupons.core.events import Coupon, Lease
from stream_coupons.core.leases import REPORT_EVERY_S, Limit, Purse, money_limit, money_of, units_limit, units_of
from stream_coupons.core.reasons import Shortage


class Purses(Protocol):
    """The purses of a partition by account, saved together with the shoppers whose steps change them."""

    def get(self, account_id: str) -> Purse | None:
        """A purse, to be looked at."""

    def change(self, account_id: str, new: Purse | None = None) -> Purse:
        """A purse, to be changed; `new` if there is none."""

    def items(self) -> Iterable[tuple[str, Purse]]:
        """All purses, to be looked at."""


class Wallet:
    """The purses of one partition.

    Parameters
    ----------
    partition : int
        Of how many there are `partitions`.
    """

    def __init__(self, purses: Purses, partition: int, partitions: int) -> None:
        self._purses = purses
        self._partition = partition
        self._partitions = partitions

    def shortage(self, coupon: Coupon, at: float) -> Shortage | None:
        """What one more coupon would lack here; None when it can be given."""
        if coupon.stock is not None and not self._has(units_of(coupon.coupon_id), units_limit(coupon), 1):
            return Shortage.STOCK
        limit = money_limit(coupon, at)
        if self._has(money_of(coupon.coupon_id), limit, coupon.max_discount_minor):
            return None
        is_early = limit.most is not None and limit.most < (coupon.budget_minor or 0)
        return Shortage.PACING if is_early else Shortage.BUDGET

    def _has(self, account_id: str, limit: Limit, amount: int) -> bool:
        purse = self._purses.get(account_id)
        if purse is None:
            return limit.most is None or leases.first_lease(limit, self._partitions, self._partition) >= amount
        is_countable = purse.drawn + amount <= leases.MAX_TOTAL
        return is_countable and (limit.most is None or purse.available >= amount)

    def draw(self, coupon: Coupon, at: float, effects: Effects) -> None:
        """Take a unit and the most that it can cost; more is asked for in time."""
        for account_id, limit, amount in _accounts(coupon, at):
            purse = self._open(account_id, limit)
            leases.draw(purse, amount)
            self._ask_if_low(account_id, purse, limit, at, effects)

    def want(self, coupon: Coupon, at: float, effects: Effects) -> None:
        """Ask for what a coupon lacks that was to be given."""
        for account_id, limit, amount in _accounts(coupon, at):
            if limit.most is None or self._has(account_id, limit, amount):
                continue
            purse = self._purses.get(account_id)
            if purse is None or leases.may_ask(purse, at):  # each of thousands would write it anew
                purse = self._open(account_id, limit)
                leases.want(purse, amount)
                self._ask_if_low(account_id, purse, limit, at, effects)

    def _open(self, account_id: str, limit: Limit) -> Purse:
        return self._purses.change(account_id, leases.open_purse(limit, self._partitions, self._partition))

    def _ask_if_low(self, account_id: str, purse: Purse, limit: Limit, at: float, effects: Effects) -> None:
        if leases.is_low(purse, limit) and leases.may_ask(purse, at):
            effects.emit(leases.report(account_id, self._partition, purse, at, asks=True))

    def book(self, freed: Iterable[Freed]) -> None:
        """Book what became of coupons that were given."""
        for coupon_id, held_minor, spent_minor in freed:
            leases.free(self._purses.change(money_of(coupon_id)), held_minor, spent_minor)

    def receive(self, lease: Lease) -> Effects:
        """Take in a lease."""
        effects = Effects()
        before = self._purses.get(lease.account_id)
        is_known = before is not None and lease.version <= before.version
        purse = self._purses.change(lease.account_id)
        if is_known:
            effects.count("duplicate", "lease")
        # One that comes again is answered again: a crash may have lost the report on what was given back.
        if is_known or leases.receive(purse, lease):
            effects.emit(leases.report(lease.account_id, self._partition, purse, lease.at))
        return effects

    def tell(self, at: float) -> Effects:
        """Report what has changed, each account now and then; at one time again, the same: it may have been lost."""
        effects = Effects()
        changed = [
            account_id
            for account_id, purse in self._purses.items()
            if purse.told_at == at or (purse.all_totals != purse.told and abs(at - purse.told_at) >= REPORT_EVERY_S)
        ]
        for account_id in changed:
            effects.emit(leases.report(account_id, self._partition, self._purses.change(account_id), at))
        return effects


def _accounts(coupon: Coupon, at: float) -> tuple[tuple[str, Limit, int], ...]:
    """The accounts that a coupon draws on, and how much of each."""
    return (
        (units_of(coupon.coupon_id), units_limit(coupon), 1),
        (money_of(coupon.coupon_id), money_limit(coupon, at), coupon.max_discount_minor),
    )
