"""Stock and money of one partition: purses that leases fill, decisions draw on, and redemptions spend from."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from stream_coupons.core.effects import Booking, Effects
from stream_coupons.core.measurement import totals
from stream_coupons.core.measurement.totals import TotalChange
from stream_coupons.core.messages.leases import Lease
from stream_coupons.core.money import purses
from stream_coupons.core.money.accounts import Limit, budgets_of
from stream_coupons.core.money.code_ranges import split, without
from stream_coupons.core.money.holds import hold_of
from stream_coupons.core.money.price import demand_of
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.money.traffic import Floats
from stream_coupons.core.reasons import Shortage


class Purses(Protocol):
    """The purses of a partition by account, among its other shared states."""

    def get(self, account_id: str) -> Purse | None:
        """Return a purse for reading; None if there is none."""

    def change(self, key: str, new: Callable[[], Any] | None = None) -> Any:
        """Return a purse for changing.

        Parameters
        ----------
        key : str
            The account.
        new : callable, optional
            Makes a new purse if there is none.
        """

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return all shared states for reading."""


class Charge(NamedTuple):
    """Draws of one more coupon on its accounts, minor units.

    Attributes
    ----------
    price_minor : float
        Price of its expected cost, over all of its accounts.
    held_minor : int
        Money that it holds in each of its budgets: the largest hold among them.
    shortage : Shortage or None
        The resource that is lacking; None if the coupon can be given.
    """

    price_minor: float
    held_minor: int
    shortage: Shortage | None = None


def needed(limit: Limit, purse: Purse | None, held_minor: int, most_minor: int) -> int:
    """Return the amount that one more coupon takes of an account, units or minor units.

    Parameters
    ----------
    limit : Limit
        Terms of the account.
    purse : Purse or None
        The partition's part of it; None if nothing was drawn on it yet.
    held_minor, most_minor : int
        Money that the coupon holds in each budget, and the most that it can cost.
    """
    if limit.is_stock:
        return 1
    return held_minor if purse is None else purses.needed(purse, limit, held_minor, most_minor)


@dataclass(frozen=True, slots=True)
class Wallet:
    """The purses of one partition.

    Attributes
    ----------
    purses : Purses
        By account.
    partition : int
        Number of the partition, of `partitions` in all.
    new_ratio : float
        `policy.new_shopper_ratio`; 1 for no bound on new shoppers.
    """

    purses: Purses
    partition: int
    partitions: int
    new_ratio: float = 1.0

    def price(self, limit: Limit) -> float:
        """Return the price of an account: the value that a minor unit of expected cost must bring."""
        purse = self.purses.get(limit.account_id) if limit.is_priced else None
        return 0.0 if purse is None else purse.price

    def charge(
        self,
        limits: Iterable[Limit],
        most_minor: int,
        redeems: float,
        discount_minor: float,
        new_at: float | None = None,
    ) -> Charge:
        """Return the draws of one more coupon on its accounts.

        Parameters
        ----------
        limits : iterable of Limit
            Accounts that it draws on, without unlimited ones.
        most_minor : int
            The most that one redemption can cost.
        redeems, discount_minor : float
            P(redeem) and E(discount | redeem).
        new_at : float, optional
            Time of the decision if the shopper is new, UTC epoch seconds.
        """
        price, holds, found = 0.0, list[float](), list[tuple[Limit, Purse | None]]()
        for limit in limits:
            purse = self.purses.get(limit.account_id)
            found.append((limit, purse))
            if purse is not None and purse.price and limit.is_priced:
                price += purse.price * (limit.unit_minor or redeems * discount_minor)
            if limit.is_stock:
                continue
            if purse is None or purse.risk is None:
                holds.append(most_minor)
            else:
                chance = min(redeems * purse.cost_ratio, 1.0)
                holds.append(hold_of(limit.hold, most_minor, chance, discount_minor, purse.risk))
        # Without a budget or a prediction nothing justifies a smaller hold.
        held_minor = math.ceil(max(holds)) if holds and redeems > 0.0 else most_minor
        return Charge(price, held_minor, self._shortage(found, held_minor, most_minor, new_at))

    def shortage(
        self, limits: Iterable[Limit], held_minor: int, most_minor: int, new_at: float | None = None
    ) -> Shortage | None:
        """Return the resource that one more coupon lacks; None if it can be given.

        Parameters
        ----------
        limits : iterable of Limit
            Accounts that it draws on.
        held_minor, most_minor : int
            Money that it holds in each budget, and the most that it can cost, minor units.
        new_at : float, optional
            Time of the decision if the shopper is new, UTC epoch seconds.
        """
        found = [(limit, self.purses.get(limit.account_id)) for limit in limits]
        return self._shortage(found, held_minor, most_minor, new_at)

    def _shortage(
        self, found: Iterable[tuple[Limit, Purse | None]], held_minor: int, most_minor: int, new_at: float | None
    ) -> Shortage | None:
        for limit, purse in found:
            amount = 1 if limit.is_stock else held_minor
            if not self._has(limit, purse, needed(limit, purse, held_minor, most_minor)):
                if limit.is_stock:
                    return Shortage.STOCK
                return Shortage.SPENT if purse is not None and purse.is_spent else Shortage.BUDGET
            # The bound is never below one coupon.
            if new_at is not None and purse is not None and purse.new_drawn:
                left = self.left_to_new(limit, purse, new_at)
                if left is not None and left < amount:
                    return Shortage.NEW_SHOPPERS
        return None

    def left_to_new(self, limit: Limit, purse: Purse, at: float) -> int | None:
        """Return the amount that new shoppers may still draw in the hour of a time; None for no bound.

        Parameters
        ----------
        limit : Limit
            Terms of the account.
        purse : Purse
            The partition's part of it.
        at : float
            UTC epoch seconds.
        """
        bound = purses.hourly_bound(limit, self.new_ratio, self.partitions, self.partition)
        return None if bound is None else bound - purses.drawn_by_new(purse, at)

    def next_code(self, limits: Iterable[Limit]) -> int | None:
        """Return the number of the code that the next draw takes; None if there is none.

        Parameters
        ----------
        limits : iterable of Limit
            Accounts that a coupon with a pool of codes draws on.
        """
        [pool] = [limit for limit in limits if limit.revoked is not None]
        purse = self.purses.get(pool.account_id)
        left = [] if purse is None else without(purse.codes, pool.revoked or ())
        # Leased codes may have been imported after this worker last read the pool.
        return left[0][0] if left and left[0][0] < (pool.most or 0) else None

    def _has(self, limit: Limit, purse: Purse | None, amount: int) -> bool:
        if limit.revoked is not None:
            return self.next_code([limit]) is not None
        if purse is None:
            return limit.most is None or purses.first_lease(limit, self.partitions, self.partition) >= amount
        is_countable = purse.drawn + amount <= purses.MAX_TOTAL
        return is_countable and (limit.most is None or (purse.available >= amount and not purse.is_spent))

    def draw(self, limits: Iterable[Limit], booking: Booking, effects: Effects, *, is_new: bool = False) -> None:
        """Draw a unit and the money that a coupon holds, and ask for more in time.

        Parameters
        ----------
        limits : iterable of Limit
            Accounts that the coupon draws on.
        booking : Booking
            Booking of its opening.
        effects : Effects
            Effects of the step so far; extended.
        is_new : bool
            True if the shopper is new.
        """
        for limit in limits:
            purse = self._open(limit)
            if limit.revoked is not None:
                purses.skip_revoked(purse, limit.revoked)
                _, purse.codes = split(purse.codes, 1)
            if is_new and limit.most is not None:
                purses.draw_for_new(purse, booking.at, 1 if limit.is_stock else booking.after.held_minor)
            if limit.is_stock:
                purse.drawn += 1
            else:
                purse.max_overspend_ratio = limit.max_overspend_ratio
                purses.book(purse, booking)
            if purses.is_low(purse, limit):
                self._ask(limit, purse, booking.at, effects)
        if is_new:
            effects.facts.append(("new_shopper", "given"))

    def want(self, limits: Iterable[Limit], held_minor: int, most_minor: int, at: float, effects: Effects) -> None:
        """Ask for the amounts that a coupon lacks.

        Parameters
        ----------
        limits : iterable of Limit
            Accounts that it draws on.
        held_minor, most_minor : int
            Money that it holds in each budget, and the most that it can cost, minor units.
        at : float
            UTC epoch seconds.
        effects : Effects
            Effects of the step so far; extended.
        """
        for limit in limits:
            purse = self.purses.get(limit.account_id)
            amount = needed(limit, purse, held_minor, most_minor)
            if limit.most is None or self._has(limit, purse, amount):
                continue
            if purse is None or purses.may_ask(purse, at):  # each of thousands would write it anew
                purse = self._open(limit)
                purses.want(purse, amount)
                purses.skip_revoked(purse, limit.revoked or ())
                if purses.is_low(purse, limit):
                    self._ask(limit, purse, at, effects)

    def add_demand(self, limit: Limit, values: Floats, costs: Floats, outside: float) -> None:
        """Count the amounts that a decision would draw on an account at each price.

        Parameters
        ----------
        limit : Limit
            Terms of the account.
        values, costs : array, shape (n,)
            Value before the account's own price, and expected cost, of the n coupons of the account.
        outside : float
            The best value of the decision without the account.
        """
        [demand] = demand_of(values[None], costs[None], np.array([outside]))
        if demand.any():
            purses.add_demand(self._open(limit), demand)

    def _open(self, limit: Limit) -> Purse:
        new = partial(purses.open_purse, limit, self.partitions, self.partition)
        purse: Purse = self.purses.change(limit.account_id, new)
        return purse

    def _ask(self, limit: Limit, purse: Purse, at: float, effects: Effects) -> None:
        """Ask for more, unless the last request is still to be answered."""
        if purses.may_ask(purse, at):
            effects.messages.append(purses.report(limit.account_id, self.partition, purse, at, asks=True))

    def settle(self, bookings: Iterable[Booking], changes: Iterable[TotalChange] = ()) -> None:
        """Apply the bookings of a step, and its changes of totals.

        Parameters
        ----------
        bookings : iterable of Booking
            Outcomes of coupons that were given.
        changes : iterable of TotalChange
            Changes of the totals that the partition reports.
        """
        for booking in bookings:
            for account_id in budgets_of(booking.coupon_id, booking.campaign_id):
                purses.book(self.purses.change(account_id), booking)
        totals.book(self.purses, changes)

    def receive(self, lease: Lease) -> Effects:
        """Apply a lease, and return a report if the owner needs an answer."""
        effects = Effects()
        before = self.purses.get(lease.account_id)
        is_known = before is not None and lease.version <= before.version
        purse = self.purses.change(lease.account_id)
        if is_known:
            effects.facts.append(("duplicate", "lease"))
        # A duplicate is answered again: a crash may have lost the report on the amount given back.
        if is_known or purses.receive(purse, lease):
            effects.messages.append(purses.report(lease.account_id, self.partition, purse, lease.at))
        return effects

    def tell(self, at: float) -> Effects:
        """Report changed accounts every `REPORT_EVERY_S`; a repeated tick repeats its reports, as they may be lost."""
        effects = Effects()
        every = [(account_id, one) for account_id, one in self.purses.items() if isinstance(one, Purse)]
        for account_id in [account_id for account_id, purse in every if purses.is_news(purse, at)]:
            purse = self.purses.change(account_id)
            purses.fall(purse, at)
            effects.messages.append(purses.report(account_id, self.partition, purse, at))
        return effects
