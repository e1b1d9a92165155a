"""The engine's own log: the decisions on record, and the later orders of their shoppers.

It is read from the topics `decisions`, `order-events`, `coupon-feedback` and `coupon-catalog`, in any order. Copies
count once.
"""

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

from stream_coupons.core.catalogue.coupon_terms import is_in_scope
from stream_coupons.core.decision.attribution import MONEY_KINDS
from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import LoggedDecision
from stream_coupons.core.messages.inputs import FeedbackEvent, Item, OrderEvent
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder

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


class OwnLog:
    """Decisions, orders, redemptions and coupons; feed it records with `take`.

    Parameters
    ----------
    typical_price_minor : float
        Price of an item whose price is in no order.

    Attributes
    ----------
    decisions : dict of LoggedDecision
        By id.
    coupons : dict of Coupon
        By id, as they are at last.
    ends_at : float
        Time of the last event.
    unreadable : int
        Records that are no valid message of their topic.
    """

    def __init__(self, typical_price_minor: float = 1000.0) -> None:
        self.decisions: dict[str, LoggedDecision] = {}
        self.coupons: dict[str, Coupon] = {}
        self.ends_at = -math.inf
        self.unreadable = 0
        self._typical_price_minor = typical_price_minor
        self._orders: dict[str, OrderEvent] = {}
        self._used_at: dict[str, float] = {}
        """Time of a coupon's first use, by issue."""
        self._reports: dict[str, FeedbackEvent] = {}
        """The purchase, refund or cancellation that happened last, by issue."""
        self._decoders = {topic.name: Decoder(topic) for topic in READ}

    def take(self, topic: str, value: bytes | None) -> None:
        """Take one record; those of other topics, and deletions, are ignored."""
        decode = self._decoders.get(topic)
        if decode is None or value is None:
            return
        try:
            message = decode(value)
        except BadMessage:
            self.unreadable += 1
            return
        match message:
            case LoggedDecision():
                self.decisions[message.decision_id] = message
                self.ends_at = max(self.ends_at, message.at)
            case OrderEvent():
                self._orders[f"{message.user_id} {message.event_id}"] = message
                self.ends_at = max(self.ends_at, message.occurred_at)
            case FeedbackEvent():
                self.ends_at = max(self.ends_at, message.occurred_at)
                if message.kind in MONEY_KINDS:
                    self._take_report(message)
            case Coupon():
                self.coupons[message.coupon_id] = message

    def _take_report(self, event: FeedbackEvent) -> None:
        known = self._reports.get(event.issue_id)
        if known is None or event.occurred_at >= known.occurred_at:
            self._reports[event.issue_id] = event
        if event.kind == "purchase":
            first_at = self._used_at.get(event.issue_id, math.inf)
            self._used_at[event.issue_id] = min(event.occurred_at, first_at)

    def money(self) -> dict[tuple[str, str], Money]:
        """Return the money of each shopper in each domain: the margin of all orders less all discounts.

        A discount counts when the coupon was first used, by the amount that was reported last: a refund corrects it.
        The margin of an item is its price times the mean `margin_ratio` of the coupons that it is in the scope of, or
        of all coupons of the domain. An item without a price has the mean price of the same item in other orders.

        Raises
        ------
        BadConfig
            If there are no coupons.
        """
        if not self.coupons:
            raise BadConfig(f"the log has no coupons: add the records of {topics.CATALOG.name}")
        margins = _Margins(self.coupons.values(), self._orders.values(), self._typical_price_minor)
        amounts: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for order in self._orders.values():
            amounts[order.user_id, order.domain].append((order.occurred_at, margins.of_order(order)))
        for issue_id, report in self._reports.items():
            used_at = self._used_at.get(issue_id, report.occurred_at)
            amounts[report.user_id, report.domain].append((used_at, -self._discount(report)))
        found = {}
        for key, of_shopper in amounts.items():
            of_shopper.sort()
            found[key] = Money([at for at, _ in of_shopper], list(accumulate(amount for _, amount in of_shopper)))
        return found

    def _discount(self, report: FeedbackEvent) -> float:
        """Return the coupon's discount; where a purchase lacks it, the largest possible, as the budgets book it."""
        if report.kind == "cancel":
            return 0.0
        if report.discount_minor is not None or report.kind == "refund":
            return float(report.discount_minor or 0)
        decision = self.decisions.get(report.issue_id)
        coupon_id = report.coupon_id or (decision.coupon_id if decision is not None else "")
        coupon = self.coupons.get(coupon_id)
        return float(coupon.max_discount_minor) if coupon is not None else 0.0

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


class _Margins:
    """Margins of orders, minor units."""

    def __init__(self, coupons: Iterable[Coupon], orders: Iterable[OrderEvent], typical_price_minor: float) -> None:
        self._by_domain: defaultdict[str, list[Coupon]] = defaultdict(list)
        for coupon in coupons:
            self._by_domain[coupon.domain].append(coupon)
        self._typical_price_minor = typical_price_minor
        self._ratios: dict[tuple[str, str, str | None, str | None], float] = {}
        sums: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for order in orders:
            for item in order.items:
                if item.price_minor is not None:
                    sums[item.item_id] += item.price_minor
                    counts[item.item_id] += 1
        self._prices = {item_id: sums[item_id] / count for item_id, count in counts.items()}

    def of_order(self, order: OrderEvent) -> float:
        """Return the margin of an order before discounts."""
        if not order.items:
            return (order.total_minor or 0) * self._mean(self._by_domain[order.domain])
        return sum(self._value(item) * self._ratio(order.domain, item) for item in order.items)

    def _value(self, item: Item) -> float:
        price = item.price_minor
        if price is None:
            return self._prices.get(item.item_id, self._typical_price_minor) * (item.quantity or 1.0)
        return price * (item.quantity or 1.0)

    def _ratio(self, domain: str, item: Item) -> float:
        key = domain, item.item_id, item.category, item.brand
        known = self._ratios.get(key)
        if known is None:
            coupons = self._by_domain[domain]
            known = self._ratios[key] = self._mean([one for one in coupons if is_in_scope(one, item)] or coupons)
        return known

    @staticmethod
    def _mean(coupons: list[Coupon]) -> float:
        return sum(coupon.margin_ratio for coupon in coupons) / len(coupons) if coupons else 0.0
