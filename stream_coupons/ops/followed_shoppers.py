"""Shoppers followed from their first decision on: what they brought before it and since."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_coupons.ops.lift_log import Enrolment, MoneyEntry

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

DAY_S = 86400.0
SHRUNKEN_BY_DAYS = 7.0
"""Days without an order that are added to the time before enrolment, for rates of those who were hardly seen."""
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
    discount, gross, assumed : array, shape (n,)
        Discounts, margin of orders, and its part on items outside of every scope.
    """

    at: Floats
    start: Floats
    is_holdout: Mask
    best: Floats
    outcome: Floats
    before: Floats
    discount: Floats
    gross: Floats
    assumed: Floats
    index: dict[str, int] = field(repr=False)

    def covariates(self, begins_at: float) -> Floats:
        """Return what is known at the first decision, shape (n, 6).

        Parameters
        ----------
        begins_at : float
            Time of the first order of anyone.
        """
        days = np.maximum(self.at - begins_at, 0.0) / DAY_S + SHRUNKEN_BY_DAYS
        start = (self.start - self.start.min()) / DAY_S
        rates = self.before / days[:, None]
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
        elif entry.at >= found.start[row]:
            found.outcome[row] += entry.margin_minor, entry.orders, entry.money_minor
            found.discount[row] += entry.discount_minor
            found.gross[row] += entry.margin_minor * entry.orders
            found.assumed[row] += entry.assumed_minor
    return found
