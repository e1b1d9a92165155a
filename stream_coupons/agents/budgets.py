"""budgets: owns each limit, a coupon's stock or its budget (key account_id), and leases parts of it to partitions."""

from collections.abc import Callable

from stream_coupons.agents.keyed import KeyedAgent
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.effects import Effects
from stream_coupons.core.messages.leases import LeaseReport
from stream_coupons.core.money import leases
from stream_coupons.core.money.holdings import Account
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Record


class Budgets(KeyedAgent[Account]):
    """Reports on leases in, leases out."""

    name = "budgets"
    reads = (topics.LEASE_REPORTS,)
    state_type = Account
    has_views = True

    def __init__(self, known: Callable[[], Knowledge], partitions: int) -> None:
        super().__init__(known, partitions)
        self.accounts: dict[str, Account] = {}
        """A view for metrics: the accounts of the partitions owned."""

    def step(
        self,
        state_key: str,
        state: Account,
        message: LeaseReport,
        record: Record,  # noqa: ARG002
    ) -> Effects:
        """Take in what a partition did with its leases."""
        effects = Effects()
        if message.partition >= self.partitions:
            fault = f"partition is {message.partition}, expected one of {self.partitions}"
            effects.refuse(Rejection.INVALID, fault)
            return effects
        self.accounts[state_key] = state
        limit = self.known().catalogue.accounts.limit(state_key)
        for lease in leases.take_report(state, message, limit, self.partitions):
            effects.messages.append(lease)
            effects.facts.append(("lease", "granted" if lease.keep is None else "called_back"))
        return effects

    def place(self, partition: int, state_key: str, state: Account) -> None:  # noqa: ARG002
        """Bring the view for metrics in line with one account."""
        self.accounts[state_key] = state

    def forget(self, partition: int) -> None:
        """Drop a partition from the view for metrics."""
        for account_id in list(self.accounts):
            if topics.partition_for(account_id.encode(), self.partitions) == partition:
                del self.accounts[account_id]
