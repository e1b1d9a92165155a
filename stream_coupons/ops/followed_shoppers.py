"""Shoppers followed from their first decision on: what they brought before it and since."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.decision.lift_steps import fold_of, rate_days
from stream_coupons.core.local_time import DAY_S
from stream_coupons.ops.lift_log import Enrolment, MoneyEntry

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

OUTCOMES = ("margin", "orders", "money")


@dataclass(frozen=True, slots=True)
class FollowedShoppers:
    """n shoppers in order of their first decisions.

    Attributes
    ----------
    start : array, shape (n,)
        Time from which the outcome counts.
    outcome : array, shape (n, 3)
        By `OUTCOMES`.
    before : array, shape (n, 2)
        Margin and orders before the first decision.
    first_order_at : array, shape (n,)
        Time of the first order before it; infinite if there was none.
    fold : array of int, shape (n,)
        Fold of each shopper in the adjustment.
    discount, gross, assumed : array, shape (n,)
        Discounts, margin of orders, and its part on items outside of every scope.
    """

    at: Floats
    start: Floats
    is_holdout: Mask
    best: Floats
    outcome: Floats
    before: Floats
    first_order_at: Floats
    fold: NDArray[np.intp]
    discount: Floats
    gross: Floats
    assumed: Floats
    index: dict[str, int] = field(repr=False)

    def covariates(self) -> Floats:
        """Return what is known at the first decision, shape (n, 6), as the live measurement does: see `Followed`."""
        first_at = np.minimum(self.first_order_at, self.at)
        days = [rate_days(at, first) for at, first in zip(self.at, first_at, strict=True)]
        start = (self.start - self.start.mean()) / DAY_S
        rates = self.before / np.array(days)[:, None]
        return np.column_stack([start, self.best, rates, start[:, None] * rates])


def follow(enrolments: dict[str, Enrolment], entries: Iterable[MoneyEntry], since: float) -> FollowedShoppers:
    """Add up what each shopper brought before and after the first decision.

    The order that led to the first decision was before it. The first coupon's sending and its use were not.
    """
    ordered = sorted(enrolments.items(), key=lambda pair: (pair[1].at, pair[0]))
    index = {user_id: row for row, (user_id, _) in enumerate(ordered)}
    n = len(ordered)
    at = np.array([one.at for _, one in ordered])
    found = FollowedShoppers(
        at=at,
        start=np.maximum(at, since),
        is_holdout=np.array([one.is_holdout for _, one in ordered]),
        best=np.array([one.best_minor for _, one in ordered]),
        outcome=np.zeros((n, len(OUTCOMES))),
        before=np.zeros((n, 2)),
        first_order_at=np.full(n, np.inf),
        fold=np.array([fold_of(user_id) for user_id, _ in ordered], np.intp),
        discount=np.zeros(n),
        gross=np.zeros(n),
        assumed=np.zeros(n),
        index=index,
    )
    for entry in entries:
        row = index.get(entry.user_id)
        if row is None:
            continue
        if entry.orders and entry.at <= at[row]:
            found.before[row] += entry.margin_minor, entry.orders
            found.first_order_at[row] = min(entry.at, found.first_order_at[row])
        elif entry.at >= found.start[row]:
            found.outcome[row] += entry.margin_minor, entry.orders, entry.money_minor
            found.discount[row] += entry.discount_minor
            found.gross[row] += entry.margin_minor * entry.orders
            found.assumed[row] += entry.assumed_minor
    return found
