"""The engine's own log: the decisions on record, and the later orders of their shoppers.

It is read from the topics `decisions`, `order-events`, `coupon-feedback` and `coupon-catalog`, in any order. Copies
count once.
"""

from bisect import bisect_right
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka import topics
from stream_coupons.ops.money_log import Margins, MoneyLog

READ = (topics.DECISIONS, topics.ORDER, topics.FEEDBACK, topics.CATALOG)
"""The topics of the engine's own log."""
OUTCOMES = (topics.ISSUES, *READ[1:])
"""The topics of the outcomes of decisions."""


class Brought(NamedTuple):
    """The money that a shopper brought in some time, and the number of their orders; minor units.

    Attributes
    ----------
    margin_minor : float
        Margin of the orders less all discounts by coupons.
    value_minor : float
        Value of the orders before any discount.
    orders : float
        Number of orders.
    """

    margin_minor: float
    value_minor: float
    orders: float


class Money(NamedTuple):
    """The money of a shopper over time: ascending times, and the sums until each with a row of zeros before them."""

    at: list[float]
    total: NDArray[np.float64]

    def between(self, first: float, last: float) -> Brought:
        """Return the money after the first and up to the last of two times."""
        difference = self.total[bisect_right(self.at, last)] - self.total[bisect_right(self.at, first)]
        return Brought(*difference.tolist())


NO_MONEY = Money([], np.zeros((1, len(Brought._fields))))


class OutcomeLog(MoneyLog):
    """Outcomes of decisions: coupons given and clicked, and the money of shoppers over time.

    Attributes
    ----------
    given : dict of tuple
        By issue: coupon and domain, and the predicted P(click), P(redeem) and P(order).
    clicked : set of str
        Issues.
    """

    def __init__(self, read: tuple[topics.Topic, ...], rules: PolicyRules) -> None:
        super().__init__(read)
        self.given: dict[str, tuple[str, str, float, float, float]] = {}
        self.clicked: set[str] = set()
        self._rules = rules

    def note(self, message: Any) -> None:
        """Take one message."""
        if isinstance(message, CouponIssue):
            predicted = message.p_click, message.p_redeem, message.p_order
            self.given[message.issue_id] = message.coupon_id, message.domain, *predicted
            self.saw(message.issued_at)
        elif isinstance(message, FeedbackEvent) and message.kind == "click":
            self.clicked.add(message.issue_id)
        super().note(message)

    def on_record(self, issue_id: str) -> tuple[str, str] | None:
        """Return coupon and domain of an issue; None if it is not on record."""
        return self.given[issue_id][:2] if issue_id in self.given else None

    def money(self) -> dict[tuple[str, str], Money]:
        """Return the money of each shopper in each domain.

        Raises
        ------
        BadConfig
            If there are no coupons.
        """
        if not self.coupons:
            raise BadConfig(f"the log has no coupons: add the records of {topics.CATALOG.name}")
        margins = Margins(self, self._rules)
        amounts: defaultdict[tuple[str, str], list[tuple[float, Brought]]] = defaultdict(list)
        for order in self.orders.values():
            value, margin, _ = margins.takings(order.domain, margins.items_of(order))
            amounts[order.user_id, order.domain].append((order.occurred_at, Brought(margin, value, 1.0)))
        for one in self.discounts():
            amounts[one.user_id, one.domain].append((one.at, Brought(-one.minor, 0.0, 0.0)))
        found = {}
        for key, of_shopper in amounts.items():
            of_shopper.sort()
            rows = np.array([NO_MONEY.total[0], *(amount for _, amount in of_shopper)])
            found[key] = Money([at for at, _ in of_shopper], rows.cumsum(axis=0))
        return found


class OwnLog(OutcomeLog):
    """Decisions, and what an `OutcomeLog` has; feed it records with `take`.

    Attributes
    ----------
    decisions : dict of LoggedDecision
        By id.
    """

    def __init__(self, rules: PolicyRules | None = None) -> None:
        super().__init__(READ, rules or PolicyRules())
        self.decisions: dict[str, LoggedDecision] = {}

    def note(self, message: Any) -> None:
        """Take one message."""
        if isinstance(message, LoggedDecision):
            self.decisions[message.decision_id] = message
            self.saw(message.at)
        super().note(message)

    def on_record(self, issue_id: str) -> tuple[str, str] | None:
        """Return coupon and domain of an issue; None if its decision is not on record."""
        decision = self.decisions.get(issue_id)
        return (decision.coupon_id, decision.domain) if decision is not None else None

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
