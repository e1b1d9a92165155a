"""The states that the shoppers of a partition share, for another number of partitions.

A purse, a sum of lift or a day's results belongs to the shoppers of its partition. What a shopper's known issues hold
and have spent goes with the shopper. What no report can change any more, such as the discounts of forgotten issues,
goes to partition 0. So all totals are what they were, and each later booking finds what it frees.

Leases are returned: half of what is neither held nor spent of a limit is leased anew, in even shares.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from stream_coupons.core.decision.result_steps import numbers_of
from stream_coupons.core.effects import Stake
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.measurement.added_results import sum_of
from stream_coupons.core.measurement.lift_sums import INT_BYTES, LiftChange, LiftSums, unpack_cell
from stream_coupons.core.measurement.result_sums import PREFIX, CouponResults, DayResults, Numbers
from stream_coupons.core.money.accounts import CODES, UNITS, Limit, budgets_of
from stream_coupons.core.money.code_ranges import count, joined
from stream_coupons.core.money.holdings import Account, Holding, Holdings, key_of
from stream_coupons.core.money.purses import Purse, PurseTotals, book, fall, first_lease, sum_of_totals
from stream_coupons.core.shopper.state import OpenIssue, Shopper
from stream_coupons.runtime.steps import SharedStates

Shared = Mapping[int, Mapping[str, Any]]
"""Shared states by partition and key."""


class BooksDiffer(StreamCouponsError):
    """Purses and shoppers' states do not agree on what is spent: one of them is damaged."""


class AccountTotals(Struct, frozen=True):
    """Totals of an account over all partitions, which no move changes; units of stock, or minor units.

    Attributes
    ----------
    given : int
        Given of a stock or a pool of codes, or spent of a budget and not refunded.
    held : int or None
        Held by open coupons; None if holds fall with time.
    closed : int
        Coupons that are over.
    """

    given: int
    held: int | None
    closed: int


def own_issues(shopper: Shopper) -> Iterable[OpenIssue]:
    """Yield the issues of this system that a shopper's state has: open ones, and closed ones with reports to come."""
    for issue_id in shopper.issues:
        issue = shopper.issue(issue_id)
        if not issue.observed:
            yield issue
    for issue_id in shopper.closed_issues:
        if (closed := shopper.closed_issue(issue_id)) is not None:
            yield closed


class KnownShares:
    """Holds, spending and results of the known issues of each new partition.

    Parameters
    ----------
    shared : Shared
        The shared states of the old partitions.
    """

    def __init__(self, shared: Shared) -> None:
        each = [one for states in shared.values() for one in states.items()]
        self.old: defaultdict[str, list[Any]] = defaultdict(list)
        for key, state in each:
            self.old[key].append(state)
        self.purses: defaultdict[str, defaultdict[int, Purse]] = defaultdict(lambda: defaultdict(Purse))
        self.numbers: defaultdict[tuple[str, int], defaultdict[int, Numbers]]
        self.numbers = defaultdict(lambda: defaultdict(Numbers))

    def take(self, shopper: Shopper, partition: int) -> None:
        """Add the issues of a shopper of a new partition."""
        for issue in own_issues(shopper):
            booking = issue.booking(Stake(), issue.stake, issue.at)
            for account_id in budgets_of(issue.coupon_id, issue.campaign_id):
                before = self.old.get(account_id, ())
                purse = self.purses[account_id][partition]
                purse.fallen_at = max((one.fallen_at for one in before), default=0.0)
                purse.max_overspend_ratio = max((one.max_overspend_ratio for one in before), default=0.0)
                book(purse, booking)
            of_day = self.numbers[issue.coupon_id, issue.day]
            of_day[partition] = sum_of([of_day[partition], numbers_of(issue)])


def is_stock(account_id: str) -> bool:
    """Return True for an account of units or codes, also of a coupon that is not in the catalogue any more."""
    return account_id.startswith((f"{UNITS}:", f"{CODES}:"))


def totals_of(purses: Iterable[Purse], account_id: str) -> AccountTotals:
    """Return the totals of an account.

    Parameters
    ----------
    purses : iterable of Purse
        Of all partitions.
    account_id : str
        The account.
    """
    every = list(purses)
    drawn = sum(one.drawn - one.freed for one in every)
    closed = sum(one.closed for one in every)
    if is_stock(account_id):
        return AccountTotals(drawn, 0, closed)
    spent = sum(one.spent - one.refunded for one in every)
    return AccountTotals(spent, None if any(one.falling_held for one in every) else drawn - spent, closed)


def moved_purses(known: KnownShares, account_id: str, limit: Limit, account: Account, partitions: int) -> list[Purse]:
    """Return the purses of an account for the new partitions.

    Parameters
    ----------
    known : KnownShares
        Old states, and what known issues hold.
    account_id, limit : str, Limit
        The account and its terms.
    account : Account
        The owner's state.
    partitions : int
        The new number of partitions.

    Raises
    ------
    BooksDiffer
        If known issues have spent more than the purses have.
    """
    old: list[Purse] = known.old[account_id]
    fallen_at = max((one.fallen_at for one in old), default=0.0)
    purses = [known.purses[account_id][number] for number in range(partitions)]
    first, before, after = purses[0], totals_of(old, account_id), totals_of(purses, account_id)
    forgotten = before.given - after.given
    if forgotten < 0:
        raise BooksDiffer(f"{account_id}: shoppers' coupons took {after.given}, but the purses have {before.given}")
    first.drawn += forgotten
    if not is_stock(account_id):
        first.spent += forgotten
        first.worst += forgotten
    if before.held is not None and after.held is not None:
        first.drawn += max(before.held - after.held, 0)  # of no known issue: it was never going to be freed
    for name in ("closed", "over_spent", "wanted", "over_expected"):
        setattr(first, name, getattr(first, name) + sum(getattr(one, name) for one in old))
    demands = [one.demand for one in old if one.demand]
    first.demand = tuple(np.sum(demands, axis=0).tolist()) if demands else ()
    for purse in purses:
        fall(purse, fallen_at)
    _lease_anew(purses, limit)
    hour = max((one.new_hour for one in old), default=0)
    new_drawn = sum(one.new_drawn for one in old if one.new_hour == hour)
    for purse in purses:
        purse.new_hour, purse.new_drawn = hour, ceil(new_drawn / partitions)
        purse.price, purse.risk, purse.cost_ratio, purse.is_spent = account.told
        purse.told = sum_of_totals(purse)
    return purses


def _lease_anew(purses: list[Purse], limit: Limit) -> None:
    """Grant each partition what it has committed, and a part of the rest of the limit."""
    if limit.most is None:
        return
    rest = max(limit.most - sum(purse.committed for purse in purses), 0)
    for number, purse in enumerate(purses):
        purse.size = first_lease(limit._replace(most=rest), len(purses), number)
        purse.granted = max(purse.committed, 0) + purse.size


def moved_account(
    account: Account, limit: Limit, purses: list[Purse], old: Iterable[Purse]
) -> tuple[Account, dict[str, Holding]]:
    """Return the owner's state that matches the purses of the new partitions, and its holdings by key.

    Parameters
    ----------
    account, limit : Account, Limit
        The state before, and the terms.
    purses, old : Purse
        The purses of the new partitions, and those of the old ones, whose codes return to the pool.
    """
    codes = joined(sorted([*account.codes, *(part for purse in old for part in purse.codes)]))
    holdings = {
        key_of(limit.account_id, number): Holding(
            **{name: getattr(purse, name) for name in PurseTotals.__struct_fields__},
            is_known=True,
            heard=sum_of_totals(purse),
            expected=purse.expected,
            variance=purse.variance,
            demand=purse.demand,
            over_expected=purse.over_expected,
            over_spent=purse.over_spent,
        )
        for number, purse in enumerate(purses)
    }
    drawn = sum(purse.drawn for purse in purses)
    if account.pooled and count(codes) + drawn != account.pooled:
        raise BooksDiffer(f"a pool of {account.pooled} codes has {count(codes)} left and {drawn} given")
    moved = replace(account, codes=codes, summed_by=None)
    Holdings(moved, SharedStates(holdings, Holding), limit, len(purses))  # adds the sums up
    return moved, holdings


def moved_lift(old: list[LiftSums], partitions: int) -> list[LiftSums]:
    """Return the sums of a series for the new partitions: all are in partition 0, and changes add up from there.

    Parameters
    ----------
    old : list of LiftSums
        One for each old partition that has the series.
    partitions : int
        The new number of partitions.
    """
    period = max(one.period for one in old)
    parts = [one for one in old if one.period == period]
    series = LiftChange(old[0].domain, period, 0, None, (), campaign_id=old[0].campaign_id)
    empty = [LiftSums(domain=series.domain, campaign_id=series.campaign_id, period=period) for _ in range(partitions)]
    first = empty[0]
    first.version, first.buyers = sum(one.version for one in parts), sum(one.buyers for one in parts)
    first.predicted, first.closed = sum(one.predicted for one in parts), sum(one.closed for one in parts)
    first.cells = tuple(map(_added, zip(*(one.cells for one in parts), strict=True)))
    return empty


def _added(cells: Iterable[bytes]) -> bytes:
    """Return the sum of cells of sums, number by number."""
    sums = (sum(column) for column in zip(*map(unpack_cell, cells), strict=True))
    return b"".join(number.to_bytes(INT_BYTES, "little", signed=True) for number in sums)


def moved_results(
    known: KnownShares, coupon_id: str, dropped: Mapping[int, Numbers], partitions: int
) -> list[CouponResults]:
    """Return the results of a coupon for the new partitions.

    Parameters
    ----------
    known : KnownShares
        Old states, and the results of known issues.
    coupon_id : str
        The coupon.
    dropped : mapping of int to Numbers
        By day, the results that old partitions have reported and dropped.
    partitions : int
        The new number of partitions.
    """
    old: list[CouponResults] = known.old[PREFIX + coupon_id]
    found: list[list[DayResults]] = [[] for _ in range(partitions)]
    for day in sorted({one.day for results in old for one in results.days}):
        live = [one for results in old for one in results.days if one.day == day]
        latest = max(live, key=lambda one: one.closes_at)
        total = sum_of([dropped.get(day, Numbers()), *(one.numbers for one in live)])
        of_day: Mapping[int, Numbers] = known.numbers.get((coupon_id, day), {})
        rest = Numbers(*(max(all_ - part, 0) for all_, part in zip(total, sum_of(of_day.values()), strict=True)))
        for number in range(partitions):
            numbers = sum_of([of_day.get(number, Numbers()), rest if number == 0 else Numbers()])
            if numbers == Numbers():
                continue
            told = numbers.discount_minor
            recent = sum(one.recent_minor for one in live) if number == 0 else 0
            made = DayResults(
                1,
                0,
                max(one.told_at for one in live),
                day,
                latest.campaign_id,
                latest.domain,
                latest.closes_at,
                numbers,
                told,
                told - recent,
            )
            found[number].append(made)
    last = max((results.dropped for results in old), default=-1)
    return [CouponResults(tuple(days), last) for days in found]
