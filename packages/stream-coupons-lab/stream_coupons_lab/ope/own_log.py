"""The engine's own log: the decisions on record, and the later orders of their shoppers.

It is read from the topics `decisions`, `order-events`, `coupon-feedback` and `coupon-catalog`, in any order. Copies
count once.
"""

from bisect import bisect_right
from collections import defaultdict
from itertools import accumulate
from typing import Any, NamedTuple

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.decisions import LoggedDecision
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka import topics
from stream_coupons.ops.money_log import Margins, MoneyLog

READ = (topics.DECISIONS, topics.ORDER, topics.FEEDBACK, topics.CATALOG)
"""The topics of the engine's own log."""


class Money(NamedTuple):
    """The money of a shopper over time: ascending times, and the sum until each, minor units."""

    at: list[float]
    total: list[float]

    def between(self, first: float, last: float) -> float:
        """Return the money after the first and up to the last of two times."""
        return self._until(last) - self._until(first)

    def _until(self, at: float) -> float:
        count = bisect_right(self.at, at)
        return self.total[count - 1] if count else 0.0


NO_MONEY = Money([], [])


class OwnLog(MoneyLog):
    """Decisions, and what a `MoneyLog` has; feed it records with `take`.

    Attributes
    ----------
    decisions : dict of LoggedDecision
        By id.
    """

    def __init__(self, rules: PolicyRules | None = None) -> None:
        super().__init__(READ)
        self.decisions: dict[str, LoggedDecision] = {}
        self._rules = rules or PolicyRules()

    def note(self, message: Any) -> None:
        """Take one message."""
        if isinstance(message, LoggedDecision):
            self.decisions[message.decision_id] = message
            self.saw(message.at)
        super().note(message)

    def coupon_of(self, issue_id: str) -> str:
        """Return the coupon of an issue; empty if its decision is not on record."""
        decision = self.decisions.get(issue_id)
        return decision.coupon_id if decision is not None else ""

    def money(self) -> dict[tuple[str, str], Money]:
        """Return the money of each shopper in each domain: the margin of all orders less all discounts.

        Raises
        ------
        BadConfig
            If there are no coupons.
        """
        if not self.coupons:
            raise BadConfig(f"the log has no coupons: add the records of {topics.CATALOG.name}")
        margins = Margins(self, self._rules)
        amounts: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for order in self.orders.values():
            margin = margins.takings(order.domain, margins.items_of(order)).margin_minor
            amounts[order.user_id, order.domain].append((order.occurred_at, margin))
        for one in self.discounts():
            amounts[one.user_id, one.domain].append((one.at, -one.minor))
        found = {}
        for key, of_shopper in amounts.items():
            of_shopper.sort()
            found[key] = Money([at for at, _ in of_shopper], list(accumulate(amount for _, amount in of_shopper)))
        return found

    def window_s(self) -> float:
        """Return the longest time in which a coupon that was an arm can be used, seconds.

        Raises
        ------
        BadConfig
            If no decision has an arm that is in the catalogue.
        """
        arms = {arm for decision in self.decisions.values() for arm in decision.arms}
        windows = [coupon.redeem_within_s for coupon_id, coupon in self.coupons.items() if coupon_id in arms]
        if not windows:
            raise BadConfig(
                f"{len(self.decisions)} decisions, and none has an arm that is among the {len(self.coupons)} coupons "
                f"of the log: add the records of {topics.DECISIONS.name} and {topics.CATALOG.name}"
            )
        return max(windows)
