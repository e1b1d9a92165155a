"""The states of a system for another number of partitions."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.core.measurement.added_results import numbers_of_report, sum_of
from stream_coupons.core.measurement.lift_sums import LiftSums
from stream_coupons.core.measurement.result_sums import PREFIX, CouponResults
from stream_coupons.core.messages.results import ResultTotals
from stream_coupons.core.money.accounts import Accounts
from stream_coupons.core.money.holdings import Account, Holding
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.neighbours.buckets import split_cell_key
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka.topics import partition_for
from stream_coupons.ops.system.shares import KnownShares, moved_account, moved_lift, moved_purses, moved_results
from stream_coupons.runtime.cells import Cell, CellCodec, StateCodec
from stream_coupons.runtime.steps import SHARED_PREFIX

PlacedState = tuple[int, str, bytes]
"""Partition, key and encoded state record."""

SHARED: StateCodec[Any] = StateCodec(Users.shared_type)
RAW_CELLS: CellCodec[Raw] = CellCodec(Raw)
_shoppers: CellCodec[Shopper] = CellCodec(Shopper)
_accounts: CellCodec[Account] = CellCodec(Account)
_holdings: StateCodec[Holding] = StateCodec(Holding)


class Move:
    """States on their way to other partitions. What depends on offsets of the old topics is left behind.

    Parameters
    ----------
    read : callable
        Returns the states of an agent; called more than once.
    limits : Accounts
        Terms of the accounts.
    reports : iterable of ResultTotals
        The latest reports on results, of all coupons, days and old partitions.
    partitions : int
        The new number of partitions.
    """

    def __init__(
        self,
        read: Callable[[str], Iterable[PlacedState]],
        limits: Accounts,
        reports: Iterable[ResultTotals],
        partitions: int,
    ) -> None:
        self._read = read
        self._limits = limits
        self._partitions = partitions
        self._shared: defaultdict[int, dict[str, Any]] = defaultdict(dict)
        for partition, key, data in read(Users.name):
            if key.startswith(SHARED_PREFIX):
                self._shared[partition][key.removeprefix(SHARED_PREFIX)] = SHARED.decode(data)
        self._dropped: defaultdict[tuple[str, int], list[ResultTotals]] = defaultdict(list)
        for report in reports:
            results = self._shared[report.partition].get(PREFIX + report.coupon_id, CouponResults())
            if all(one.day != report.day for one in results.days):
                self._dropped[report.coupon_id, report.day].append(report)

    def states(self) -> Iterator[tuple[str, int, str, bytes]]:
        """Yield agent, partition, key and encoded state record of all states."""
        known = KnownShares(self._shared)
        for key, cell in self._cells(Users.name, _shoppers):
            home = partition_for(key.encode(), self._partitions)
            known.take(cell.state, home)
            yield Users.name, home, key, _shoppers.encode(Cell(cell.due, cell.state))
        for key, member in self._cells(Neighbours.name, RAW_CELLS):
            home = partition_for(split_cell_key(key)[0].encode(), self._partitions)
            yield Neighbours.name, home, key, RAW_CELLS.encode(Cell(member.due, member.state))
        accounts = {key: cell.state for key, cell in self._cells(Budgets.name, _accounts)}
        drawn_on = {key for key, states in known.old.items() if isinstance(states[0], Purse)}
        for account_id in sorted(drawn_on | accounts.keys()):
            account, old = accounts.get(account_id, Account()), known.old[account_id]
            limit = self._limits.limit(account_id)
            purses = moved_purses(known, account_id, limit, account, self._partitions)
            yield from self._placed(account_id, purses)
            moved, holdings = moved_account(account, limit, purses, old)
            home = partition_for(account_id.encode(), self._partitions)
            yield Budgets.name, home, account_id, _accounts.encode(Cell(None, moved))
            for key, holding in holdings.items():
                yield Budgets.name, home, f"{SHARED_PREFIX}{key}", _holdings.encode(holding)
        for key, states in sorted(known.old.items()):
            if states and isinstance(states[0], LiftSums):
                yield from self._placed(key, moved_lift(states, self._partitions))
            elif states and isinstance(states[0], CouponResults):
                yield from self._placed(key, self._results(known, key.removeprefix(PREFIX)))

    def reports(self) -> Iterator[ResultTotals]:
        """Yield a report for each coupon and day that all partitions have dropped; call it after `states`."""
        for reports in self._dropped.values():
            latest = max(reports, key=lambda one: one.at)
            version, numbers = sum(one.version for one in reports), sum_of(map(numbers_of_report, reports))
            yield replace(latest, partition=0, version=version, recent_minor=0, **numbers._asdict())

    def _cells(self, agent: str, codec: CellCodec[Any]) -> Iterator[tuple[str, Cell[Any]]]:
        for _, key, data in self._read(agent):
            if not key.startswith(SHARED_PREFIX):
                yield key, codec.decode(data)

    def _placed(self, key: str, states: Iterable[Any]) -> Iterator[tuple[str, int, str, bytes]]:
        for partition, state in enumerate(states):
            yield Users.name, partition, f"{SHARED_PREFIX}{key}", SHARED.encode(state)

    def _results(self, known: KnownShares, coupon_id: str) -> list[CouponResults]:
        days = {day.day for one in known.old[PREFIX + coupon_id] for day in one.days}
        dropped = {day: sum_of(map(numbers_of_report, self._dropped.pop((coupon_id, day), ()))) for day in days}
        return moved_results(known, coupon_id, dropped, self._partitions)
