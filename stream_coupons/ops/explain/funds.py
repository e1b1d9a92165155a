"""The stock and budgets that are left to a shopper's partition, and what one more coupon would lack of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stream_coupons.core.decision.candidates import Candidates
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.purses import Purse, first_lease
from stream_coupons.core.money.wallet import Wallet, needed
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
    """

    purses: Mapping[str, Purse]
    partition: int
    partitions: int

    @property
    def wallet(self) -> Wallet:
        """The wallet of the shopper's partition."""
        return Wallet(SharedStates[Any](self.purses, Purse), self.partition, self.partitions)

    def lack(self, limits: Iterable[Limit], held_minor: int, most_minor: int) -> Lack | None:
        """Return the shortage of one more coupon that draws on these accounts; None when it can be given."""
        for limit in limits:
            shortage = self.wallet.shortage([limit], held_minor, most_minor)
            if shortage is not None:
                return Lack(
                    shortage=shortage,
                    account_id=limit.account_id,
                    needed=needed(limit, self.purses.get(limit.account_id), held_minor, most_minor),
                    here=self._here(limit),
                )
        return None

    def _here(self, limit: Limit) -> int:
        purse = self.purses.get(limit.account_id)
        return first_lease(limit, self.partitions, self.partition) if purse is None else purse.available

    def lacking(self, considered: Candidates) -> dict[int, Lack]:
        """Return the shortage of each candidate that is sold out, by its position."""
        coupons = considered.undecided.coupons
        rows = zip(considered.positions.tolist(), considered.charges, strict=True)
        lacks = {
            position: self.lack(
                coupons.limited[position], charge.held_minor, coupons.coupons[position].max_discount_minor
            )
            for position, charge in rows
        }
        return {position: lack for position, lack in lacks.items() if lack is not None}
