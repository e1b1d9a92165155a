"""The stock and budgets that are left to a shopper's partition, and what one more coupon would lack of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stream_coupons.core.decision.table import CandidateTable
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.purses import Purse, first_lease
from stream_coupons.core.money.wallet import Wallet, needed
from stream_coupons.core.reasons import Shortage
from stream_coupons.ops.explain.candidate_verdicts import Lack
from stream_coupons.runtime.steps import SharedStates


@dataclass(frozen=True, slots=True)
class Funds:
    """The stock and budgets that are left.

    Attributes
    ----------
    purses : mapping
        Purses of the shopper's partition, by account.
    partition, partitions : int
        The shopper's partition, and the number of partitions.
    new_ratio : float
        `policy.new_shopper_ratio`.
    """

    purses: Mapping[str, Purse]
    partition: int
    partitions: int
    new_ratio: float = 1.0

    @property
    def wallet(self) -> Wallet:
        """The wallet of the shopper's partition."""
        return Wallet(SharedStates[Any](self.purses, Purse), self.partition, self.partitions, self.new_ratio)

    def lack(
        self, limits: Iterable[Limit], held_minor: int, most_minor: int, new_at: float | None = None
    ) -> Lack | None:
        """Return the shortage of one more coupon that draws on these accounts; None when it can be given.

        `new_at` is the time of the decision if the shopper is new.
        """
        for limit in limits:
            shortage = self.wallet.shortage([limit], held_minor, most_minor, new_at)
            if shortage is not None:
                return Lack(
                    shortage=shortage,
                    account_id=limit.account_id,
                    needed=needed(limit, self.purses.get(limit.account_id), held_minor, most_minor),
                    here=self._here(limit, new_at if shortage is Shortage.NEW_SHOPPERS else None),
                )
        return None

    def _here(self, limit: Limit, new_at: float | None) -> int:
        purse = self.purses.get(limit.account_id)
        if new_at is not None and purse is not None:
            return self.wallet.left_to_new(limit, purse, new_at) or 0
        return first_lease(limit, self.partitions, self.partition) if purse is None else purse.available

    def lacking(self, table: CandidateTable) -> dict[int, Lack]:
        """Return the shortage of each candidate that is sold out, by its position."""
        [moment] = table.moments
        new_at = moment.at if moment.shopper.is_new(moment.at) else None
        coupons = table.coupons
        lacks = {
            position: self.lack(coupons.limited[position], held, int(coupons.most_minor[position]), new_at)
            for position, held in zip(table.position.tolist(), table.held_minor.tolist(), strict=True)
        }
        return {position: lack for position, lack in lacks.items() if lack is not None}
