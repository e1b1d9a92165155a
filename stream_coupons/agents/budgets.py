"""budgets: owns each coupon's stock and money (key coupon_id)."""

from collections.abc import Callable
from typing import Any

from stream_coupons import topics
from stream_coupons.agents.keyed import KeyedAgent
from stream_coupons.core import ledger
from stream_coupons.core.effects import Effects
from stream_coupons.core.events import Proposal, Settlement
from stream_coupons.core.ledger import Ledger
from stream_coupons.core.scoring import Knowledge
from stream_coupons.runtime.records import Record


class Budgets(KeyedAgent[Ledger]):
    """Proposals and settlements in; reservations out, or the proposal handed on to its next alternative.

    Second copies of a message, which senders make when they crash between sending and committing, are known by their
    origin: a ledger needs no list of all that it ever booked.
    """

    name = "budgets"
    reads = (topics.PROPOSALS, topics.SETTLEMENTS)
    state_type = Ledger
    tracks_origins = True
    has_views = True

    def __init__(self, known: Callable[[], Knowledge], partitions: int) -> None:
        super().__init__(known, partitions)
        self.ledgers: dict[str, Ledger] = {}
        """A view for metrics: the ledgers of the partitions owned."""

    def step(self, state_key: str, state: Ledger, message: Any, record: Record) -> Effects:  # noqa: ARG002
        """Reserve or settle."""
        self.ledgers[state_key] = state
        match message:
            case Proposal():
                return ledger.reserve(state, self.known().catalogue.by_id.get(state_key), message)
            case Settlement():
                return ledger.settle(state, message)
        raise TypeError(f"no step for {type(message).__name__}")

    def place(self, partition: int, state_key: str, state: Ledger) -> None:  # noqa: ARG002
        """Bring the view for metrics in line with one ledger."""
        self.ledgers[state_key] = state

    def forget(self, partition: int) -> None:
        """Drop a partition from the view for metrics."""
        for coupon_id in list(self.ledgers):
            if topics.partition_for(coupon_id.encode(), self.partitions) == partition:
                del self.ledgers[coupon_id]
