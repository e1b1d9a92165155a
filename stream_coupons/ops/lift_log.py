"""The log that lift is measured on: each shopper's first decision, what they ordered, and the coupons given."""

import math
from collections import defaultdict
from typing import Any, NamedTuple

from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.inputs import Item, OrderEvent
from stream_coupons.core.rules import PolicyRules, ShopRules
from stream_coupons.kafka import topics
from stream_coupons.ops.money_log import Margins, MoneyLog

READ = (topics.DECISIONS, topics.ISSUES, topics.ORDER, topics.FEEDBACK, topics.CATALOG)
"""The topics that lift is measured on."""


class LiftScope(NamedTuple):
    """Subject of a row of the report: all shoppers, those of a domain, or what a campaign sells to these.

    A shopper is of the domain of the first decision, which no coupon has changed; later ones may be of any.
    """

    domain: str = ""
    campaign: str = ""


class Enrolment(NamedTuple):
    """The first decision about a shopper: from it on, the shopper counts.

    Attributes
    ----------
    domain : str
        Domain of the decision.
    at : float
        Time of the decision.
    is_holdout : bool
        True if the shopper is in the holdout.
    best_minor : float
        Greatest value of an arm.
    """

    at: float
    domain: str
    is_holdout: bool
    best_minor: float


class GivenCoupon(NamedTuple):
    """A coupon that was given; `expires_at` is NaN where only its decision is on record."""

    user_id: str
    domain: str
    coupon_id: str
    at: float
    expires_at: float
    value_minor: float


class MoneyEntry(NamedTuple):
    """Money of a shopper at a time: an order, a discount, or the sending of a coupon; minor units."""

    user_id: str
    domain: str
    at: float
    margin_minor: float
    money_minor: float = 0.0
    orders: int = 0
    assumed_minor: float = 0.0
    discount_minor: float = 0.0


class LiftLog(MoneyLog):
    """First decisions, coupons given, and what a `MoneyLog` has; feed it records with `take`.

    Attributes
    ----------
    first : dict of Enrolment
        First decision by shopper.
    given : dict of GivenCoupon
        By issue.
    changed : set of str
        Shoppers who were in the holdout at one decision, and not at another one.
    logged_ratio : float
        Smallest share of the decisions that was recorded.
    """

    def __init__(self, rules: PolicyRules | None = None) -> None:
        super().__init__(READ)
        self.first: dict[str, Enrolment] = {}
        self.given: dict[str, GivenCoupon] = {}
        self.changed: set[str] = set()
        self.logged_ratio = 1.0
        self._offered_at: dict[str, float] = {}
        """Time at which a coupon could first be given."""
        self._rules = rules or PolicyRules()

    def note(self, message: Any) -> None:
        """Take one message."""
        match message:
            case LoggedDecision():
                self._note_decision(message)
                self.saw(message.at)
            case CouponIssue() as one:
                self.given[one.issue_id] = GivenCoupon(
                    one.user_id, one.domain, one.coupon_id, one.issued_at, one.expires_at, one.value_minor
                )
                self.saw(one.issued_at)
            case _:
                super().note(message)

    def _note_decision(self, one: LoggedDecision) -> None:
        known = self.first.get(one.user_id)
        if known is not None and known.is_holdout != one.is_holdout:
            self.changed.add(one.user_id)
        if known is None or (one.at, one.domain) < known[:2]:
            best = max(one.values_minor, default=0.0)
            self.first[one.user_id] = Enrolment(one.at, one.domain, one.is_holdout, best)
        self.logged_ratio = min(self.logged_ratio, one.logged_ratio)
        for coupon_id in one.arms:
            if one.at < self._offered_at.get(coupon_id, math.inf):
                self._offered_at[coupon_id] = one.at
        if one.result == "given" and one.coupon_id in one.arms:
            value = one.values_minor[one.arms.index(one.coupon_id)]
            given = GivenCoupon(one.user_id, one.domain, one.coupon_id, one.at, math.nan, value)
            self.given.setdefault(one.decision_id, given)

    def on_record(self, issue_id: str) -> tuple[str, str] | None:
        """Return coupon and domain of an issue; None if it is not on record."""
        given = self.given.get(issue_id)
        return (given.coupon_id, given.domain) if given is not None else None

    def orders_begin_at(self) -> float:
        """Return the time of the first order; of the first event if there is none."""
        return min((order.occurred_at for order in self.orders.values()), default=self.begins_at)

    def scopes(self, shop: ShopRules) -> dict[LiftScope, float]:
        """Return the rows of the report, with the time from which each counts: campaigns begin with their first offer.

        All domains together are a row if there are two at least, and they share a currency.
        """
        domains = sorted({one.domain for one in self.first.values()})
        found = {LiftScope(domain): -math.inf for domain in domains}
        if len(domains) > 1 and len({*map(shop.currency, domains)}) == 1:
            found = {LiftScope(): -math.inf} | found
        begun: dict[LiftScope, float] = {}
        for coupon_id, at in self._offered_at.items():
            scope = self._campaign_of(coupon_id)
            if scope is not None and scope.domain in domains:
                begun[scope] = min(at, begun.get(scope, math.inf))
        return found | dict(sorted(begun.items()))

    def _campaign_of(self, coupon_id: str) -> LiftScope | None:
        coupon = self.coupons.get(coupon_id)
        return LiftScope(coupon.domain, coupon.campaign_id) if coupon and coupon.campaign_id else None

    def enrolments(self, scope: LiftScope) -> dict[str, Enrolment]:
        """Return the first decision about each shopper of a row."""
        return {user_id: one for user_id, one in self.first.items() if scope.domain in ("", one.domain)}

    def given_in(self, scope: LiftScope) -> list[GivenCoupon]:
        """Return the coupons given that count in a row, each with the end of its window."""
        found = []
        for one in self.given.values():
            if not scope.campaign or self._campaign_of(one.coupon_id) == scope:
                coupon = self.coupons.get(one.coupon_id)
                window_s = coupon.redeem_within_s if coupon is not None else math.inf
                found.append(one._replace(expires_at=one.at + window_s) if math.isnan(one.expires_at) else one)
        return found

    def entries(self) -> dict[LiftScope | None, list[MoneyEntry]]:
        """Return the money that counts in the row of each campaign, and by None that of all other rows.

        Of a campaign count the items in the scope of its coupons, and what its coupons cost.
        """
        found: defaultdict[LiftScope | None, list[MoneyEntry]] = defaultdict(list)
        margins = Margins(self, self._rules)
        for order in self.orders.values():
            for campaign, items in self._items_by_campaign(order, margins).items():
                value, margin, assumed = margins.takings(order.domain, items)
                about = order.user_id, order.domain, order.occurred_at
                found[campaign].append(MoneyEntry(*about, margin, value, 1, assumed))
        for one in self.discounts():
            about = one.user_id, one.domain, one.at
            for campaign in {None, self._campaign_of(one.coupon_id)}:
                found[campaign].append(MoneyEntry(*about, -one.minor, discount_minor=one.minor))
        cost = self._rules.cost_weight * self._rules.cost_minor
        for given in self.given.values():
            for campaign in {None, self._campaign_of(given.coupon_id)}:
                found[campaign].append(MoneyEntry(given.user_id, given.domain, given.at, -cost))
        return found

    @staticmethod
    def _items_by_campaign(order: OrderEvent, margins: Margins) -> dict[LiftScope | None, list[Item]]:
        items = margins.items_of(order)
        found: dict[LiftScope | None, list[Item]] = {None: items}
        for item in items:
            names = {coupon.campaign_id for coupon in margins.coupons_for(order.domain, item) if coupon.campaign_id}
            for name in names:
                found.setdefault(LiftScope(order.domain, name), []).append(item)
        return found
