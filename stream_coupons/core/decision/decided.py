"""One trigger with its candidates and all that its decision draws on."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.decision.policy_plugin import Offer
from stream_coupons.core.decision.scoring import HEADS, Knowledge
from stream_coupons.core.decision.table import CandidateTable, Trigger
from stream_coupons.core.money.wallet import Wallet


@dataclass(frozen=True, slots=True)
class Decision:
    """A trigger, its candidates, the purses of its partition, and rules, catalogue and models."""

    trigger: Trigger
    table: CandidateTable
    wallet: Wallet
    known: Knowledge

    def among(self, table: CandidateTable, kept: NDArray[np.bool_]) -> "Decision":
        """Return the decision among some rows of a table.

        Parameters
        ----------
        table : CandidateTable
            The trigger's candidates.
        kept : array of bool, shape (n,)
            True for the rows to choose among.
        """
        return replace(self, table=table if kept.all() else table.take(kept))

    def offer(self) -> Offer:
        """Return what a policy from another package decides by; the table has prices."""
        table, moment = self.table, self.trigger.moment
        return Offer(
            user_id=moment.user_id,
            domain=self.trigger.event.domain,
            at=moment.at,
            coupon_ids=[coupon.coupon_id for coupon in table.listed()],
            predicted=table.predicted[:, : len(HEADS)],
            values_minor=table.value_minor,
            prices_minor=table.price_minor,
            rules=self.known.rules.policy,
        )
