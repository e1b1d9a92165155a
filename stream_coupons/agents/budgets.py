"""budgets: owns each limit, a coupon's stock or its budget (key account_id), and leases parts of it to partitions.

An account is the state of its key. Its holdings, one for each partition of shoppers, are states of their own.
"""

from collections.abc import Callable

from stream_coupons.agents.keyed import KeyedAgent
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.effects import Effects
from stream_coupons.core.messages.leases import LeaseReport
from stream_coupons.core.money import leases
from stream_coupons.core.money.holdings import Account, Holding
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Record
from stream_coupons.runtime.steps import Folded, Outcome, SharedStates


class Budgets(KeyedAgent[Account]):
    """Reports on leases in, leases out."""

    name = "budgets"
    reads = (topics.LEASE_REPORTS,)
    state_type = Account
    shared_type = Holding
    new_shared = Holding
    has_views = True

    def __init__(self, known: Callable[[], Knowledge], partitions: int) -> None:
        super().__init__(known, partitions)
        self.accounts: dict[str, Account] = {}
        """A view for metrics: the accounts of the partitions owned."""

    def fold(self, state_key: str, state: Account, message: LeaseReport, record: Record) -> Folded:  # noqa: ARG002
        """Return an account and a report on it, to be committed before the next one."""
        return Folded((state, message), is_open=True)

    def commit(self, work: tuple[Account, LeaseReport], record: Record, shared: SharedStates[Holding]) -> Outcome:
        """Take in what a partition did with its leases."""
        (state, message), effects = work, Effects()
        if message.partition >= self.partitions:
            fault = f"partition is {message.partition}, expected one of {self.partitions}"
            effects.refuse(Rejection.INVALID, fault)
            return self._outcome(effects, record, shared)
        self.accounts[message.account_id] = state
        limit = self.known().catalogue.accounts.limit(message.account_id)
        for lease in leases.take_report(state, shared, message, limit, self.partitions):
            effects.messages.append(lease)
            effects.facts.append(("lease", "granted" if lease.keep is None else "called_back"))
        return self._outcome(effects, record, shared)

    def place(self, partition: int, state_key: str, state: Account) -> None:  # noqa: ARG002
        """Bring the view for metrics in line with one account."""
        self.accounts[state_key] = state

    def forget(self, partition: int) -> None:
        """Drop a partition from the view for metrics."""
        for account_id in list(self.accounts):
            if topics.partition_for(account_id.encode(), self.partitions) == partition:
                del self.accounts[account_id]
