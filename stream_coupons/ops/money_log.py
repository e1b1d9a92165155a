"""Orders, discounts and coupons of a shop's log in money, read from its topics in any order. Copies count once."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from stream_coupons.core.catalogue.coupon_terms import is_in_scope
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import MONEY_KINDS, FeedbackEvent, Item, OrderEvent
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka import topics
from stream_coupons.ops.topic_log import TopicLog


class UsedDiscount(NamedTuple):
    """The discount of one issue on one order: it counts when it was first used, by the amount reported last.

    Attributes
    ----------
    domain : str
        Domain of the coupon, in whose currency the discount is; where the issue is not on record, of the report.
    """

    issue_id: str
    user_id: str
    domain: str
    at: float
    coupon_id: str
    minor: float


class Takings(NamedTuple):
    """Money of an order, or of some of its items, before discounts; minor units.

    Attributes
    ----------
    value_minor : float
        Prices times quantities.
    margin_minor : float
        Margin.
    assumed_minor : float
        The part of the margin that neither the items nor the catalogue state.
    """

    value_minor: float
    margin_minor: float
    assumed_minor: float


class MoneyLog(TopicLog):
    """Orders, redemptions and coupons; feed it records with `take`.

    Attributes
    ----------
    coupons : dict of Coupon
        By id, as they are at last.
    orders : dict of OrderEvent
        By shopper and event.
    begins_at, ends_at : float
        Times of the first and the last event.
    """

    def __init__(self, read: Sequence[topics.Topic]) -> None:
        super().__init__(read)
        self.coupons: dict[str, Coupon] = {}
        self.orders: dict[tuple[str, str], OrderEvent] = {}
        self.begins_at, self.ends_at = math.inf, -math.inf
        self._used_at: dict[tuple[str, str | None], float] = {}
        """Time of a coupon's first use, by issue and order."""
        self._reports: dict[tuple[str, str | None], FeedbackEvent] = {}
        """The purchase, refund or cancellation that happened last, by issue and order."""

    def note(self, message: Any) -> None:
        """Take one message."""
        match message:
            case OrderEvent():
                self.orders[message.user_id, message.event_id] = message
                self.saw(message.occurred_at)
            case FeedbackEvent():
                self.saw(message.occurred_at)
                if message.kind in MONEY_KINDS:
                    self._note_report(message)
            case Coupon():
                self.coupons[message.coupon_id] = message

    def saw(self, at: float) -> None:
        """Note the time of an event."""
        self.begins_at, self.ends_at = min(at, self.begins_at), max(at, self.ends_at)

    def _note_report(self, event: FeedbackEvent) -> None:
        use = event.issue_id, event.order_id
        known = self._reports.get(use)
        if known is None or event.occurred_at >= known.occurred_at:
            self._reports[use] = event
        if event.kind == "purchase":
            self._used_at[use] = min(event.occurred_at, self._used_at.get(use, math.inf))

    def on_record(self, issue_id: str) -> tuple[str, str] | None:
        """Return coupon and domain of an issue; None if it is not known."""
        raise NotImplementedError

    def discounts(self) -> Iterator[UsedDiscount]:
        """Yield the discount of each issue on each order; a refund corrects it, and a cancellation undoes it."""
        for use, report in self._reports.items():
            if report.kind == "cancel":
                continue
            issue_id, at = report.issue_id, self._used_at.get(use, report.occurred_at)
            coupon_id, domain = self.on_record(issue_id) or (report.coupon_id or "", report.domain)
            discount_minor = self._discount(report, coupon_id)
            yield UsedDiscount(issue_id, report.user_id, domain, at, coupon_id, discount_minor)

    def _discount(self, report: FeedbackEvent, coupon_id: str) -> float:
        """Return the coupon's discount; where a purchase lacks it, the largest possible, as the budgets book it."""
        if report.discount_minor is not None or report.kind == "refund":
            return float(report.discount_minor or 0)
        coupon = self.coupons.get(coupon_id)
        return float(coupon.max_discount_minor) if coupon is not None else 0.0


class Margins:
    """Margins of the orders of a log; `ratio_of` states which margin an item has.

    An item without a price has the mean price of the same item in other orders, else `policy.typical_price_minor`. An
    order without items is one item that is in no category.
    """

    def __init__(self, log: MoneyLog, rules: PolicyRules) -> None:
        self._by_domain: defaultdict[str, list[Coupon]] = defaultdict(list)
        for coupon in log.coupons.values():
            self._by_domain[coupon.domain].append(coupon)
        self._rules = rules
        self._scopes: dict[tuple[str, str, str | None, str | None], list[Coupon]] = {}
        sums: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for order in log.orders.values():
            for item in order.items:
                if item.price_minor is not None:
                    sums[item.item_id] += item.price_minor
                    counts[item.item_id] += 1
        self._prices = {item_id: sums[item_id] / count for item_id, count in counts.items()}

    def items_of(self, order: OrderEvent) -> list[Item]:
        """Return the items of an order; one without items is an item that only coupons without a scope cover."""
        return order.items or [Item(item_id="", price_minor=order.total_minor or 0)]

    def takings(self, domain: str, items: Iterable[Item]) -> Takings:
        """Return the money of some items of an order."""
        value = margin = assumed = 0.0
        for item in items:
            worth, (ratio, is_assumed) = self._value(item), self.ratio_of(domain, item)
            value += worth
            margin += worth * ratio
            assumed += worth * ratio * is_assumed
        return Takings(value, margin, assumed)

    def ratio_of(self, domain: str, item: Item) -> tuple[float, bool]:
        """Return the margin ratio of an item, and True if it is assumed.

        It is the item's own. If the item states none, it is the mean `margin_ratio` of the coupons that have the item
        in their scope. Else it is that of the settings, by domain, and assumed.
        """
        if item.margin_ratio is not None:
            return item.margin_ratio, False
        coupons = self.coupons_for(domain, item)
        if coupons:
            return sum(coupon.margin_ratio for coupon in coupons) / len(coupons), False
        return self._rules.domain_margin_ratios.get(domain, self._rules.margin_ratio), True

    def coupons_for(self, domain: str, item: Item) -> list[Coupon]:
        """Return the coupons of the domain that have the item in their scope."""
        key = domain, item.item_id, item.category, item.brand
        known = self._scopes.get(key)
        if known is None:
            known = self._scopes[key] = [one for one in self._by_domain[domain] if is_in_scope(one, item)]
        return known

    def _value(self, item: Item) -> float:
        price = item.price_minor
        if price is None:
            return self._prices.get(item.item_id, self._rules.typical_price_minor) * (item.quantity or 1.0)
        return price * (item.quantity or 1.0)
