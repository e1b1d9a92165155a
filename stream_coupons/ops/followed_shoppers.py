"""Shoppers followed from their first decision on: what was known of them then, and what they brought day by day."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.decision.lift_steps import fold_of, rate_days
from stream_coupons.core.local_time import DAY_S, local_time
from stream_coupons.core.measurement.lift import sums
from stream_coupons.core.measurement.lift_sums import MARGIN, centred
from stream_coupons.ops.lift_log import Enrolment, MoneyEntry

Floats = NDArray[np.float64]

OUTCOMES = {"margin": MARGIN, "orders": MARGIN + 1, "money": MARGIN + 2}
"""Columns of the outcomes in the sums of `LiftLooks`."""


class LiftLooks(NamedTuple):
    """Sums that lift is computed from, at the end of each of some days.

    Attributes
    ----------
    days : range
        Days since 1970-01-01.
    sums : array, shape (days, FOLDS, 2, w, w)
        Sums of products by fold and arm as of `lift_sums.centred`, the outcomes in the columns of `OUTCOMES`.
    buyers : array of int, shape (days,)
        Shoppers with an order so far.
    """

    days: range
    sums: Floats
    buyers: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class FollowedShoppers:
    """n shoppers in order of their first decisions.

    Attributes
    ----------
    start : array, shape (n,)
        Time from which the outcome counts.
    fold : array of int, shape (n,)
        Fold of each shopper in the adjustment.
    covariates : array, shape (n, 6)
        What is known at the first decision, in the columns of `lift_sums.UNITS`, enrolment relative to the first.
    counted : list of (int, MoneyEntry)
        What counts since then, with the row of its shopper.
    """

    start: Floats
    is_holdout: NDArray[np.bool_]
    fold: NDArray[np.intp]
    covariates: Floats
    counted: list[tuple[int, MoneyEntry]] = field(repr=False)
    index: dict[str, int] = field(repr=False)

    def looks(self, until: float, zone: str) -> LiftLooks:
        """Return the looks at the end of each day, up to the one of `until`, in one pass.

        Parameters
        ----------
        until : float
            Time of the last look, UTC epoch seconds.
        zone : str
            IANA name of the time zone whose days count.
        """
        enrolled_on = np.array([local_time(at, zone).day for at in self.start])
        days = range(int(enrolled_on[0]), local_time(until, zone).day + 1)
        by_day: defaultdict[int, list[tuple[int, MoneyEntry]]] = defaultdict(list)
        for row, entry in self.counted:
            by_day[local_time(entry.at, zone).day].append((row, entry))
        outcome, before = np.zeros((len(self.start), len(OUTCOMES))), 0
        changes, buyers = [], []
        for day, enrolled in zip(days, np.searchsorted(enrolled_on, days, side="right"), strict=True):
            rows = [row for row, _ in by_day[day]]
            changed = np.union1d(np.array(rows, np.intp), np.arange(before, enrolled))
            without = self._sums(changed[changed < before], outcome)
            for row, entry in by_day[day]:
                outcome[row] += entry.margin_minor, entry.orders, entry.money_minor
            changes.append(self._sums(changed, outcome) - without)
            buyers.append(np.count_nonzero(outcome[:, 1]))
            before = enrolled
        return LiftLooks(days, centred(np.cumsum(changes, axis=0)), np.array(buyers))

    def _sums(self, rows: NDArray[np.intp], outcome: Floats) -> Floats:
        return sums(self.covariates[rows], outcome[rows], self.is_holdout[rows], self.fold[rows])


def follow(enrolments: dict[str, Enrolment], entries: Iterable[MoneyEntry], since: float) -> FollowedShoppers:
    """Sort what each shopper brought into what was known at the first decision, and what counts since.

    The order that led to the first decision was before it. The first coupon's sending and its use were not.
    """
    ordered = sorted(enrolments.items(), key=lambda pair: (pair[1].at, pair[0]))
    index = {user_id: row for row, (user_id, _) in enumerate(ordered)}
    at = np.array([one.at for _, one in ordered])
    start, first_order_at = np.maximum(at, since), at.copy()
    before, counted = np.zeros((len(at), 2)), []
    for entry in entries:
        row = index.get(entry.user_id)
        if row is None:
            continue
        if entry.orders and entry.at <= at[row]:
            before[row] += entry.margin_minor, entry.orders
            first_order_at[row] = min(entry.at, first_order_at[row])
        elif entry.at >= start[row]:
            counted.append((row, entry))
    days = [rate_days(of_first, of_order) for of_first, of_order in zip(at, first_order_at, strict=True)]
    enrolled, rates = (start - start[0]) / DAY_S, before / np.array(days)[:, None]
    best = np.array([one.best_minor for _, one in ordered])
    return FollowedShoppers(
        start=start,
        is_holdout=np.array([one.is_holdout for _, one in ordered]),
        fold=np.array([fold_of(user_id) for user_id, _ in ordered], np.intp),
        covariates=np.column_stack([enrolled, best, rates, enrolled[:, None] * rates]),
        counted=counted,
        index=index,
    )
