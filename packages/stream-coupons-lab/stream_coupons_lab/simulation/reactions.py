"""Reactions of a shopper to a coupon: drawn from the ground truth, dated, turned into events."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent, OrderEvent
from stream_coupons.kafka.topics import FEEDBACK, ORDER
from stream_coupons_lab.simulation.behaviour import Dated, Purchase, Shop, SimulatedShopper
from stream_coupons_lab.simulation.catalogue import discount_of
from stream_coupons_lab.simulation.history import CouponMemory
from stream_coupons_lab.simulation.population import Floats
from stream_coupons_lab.simulation.terms import CouponTerms, coupon_number
from stream_coupons_lab.simulation.truth import CLICKS_IF_ORDERING, CLICKS_IF_PERSUADED, Truth

IMPRESSION_S, CLICK_S, PURCHASE_S = 180.0, 1500.0, 5 * 3600.0
TOO_LATE_S = 1.0

Kind = Literal["impression", "click", "purchase"]


@dataclass(frozen=True, slots=True)
class CouponUse:
    """A coupon used on an order: what it took off, and whether the order is due to the coupon."""

    purchase: Purchase
    discount_minor: int
    scope_value_minor: int
    persuaded: bool

    def incremental_margin_minor(self, margin_ratio: float) -> float:
        """Margin that would not have come without the coupon, less the discount."""
        return self.scope_value_minor * margin_ratio * self.persuaded - self.discount_minor


@dataclass(frozen=True, slots=True)
class Reaction:
    """Events to come, and the redemption among them if there is one."""

    events: list[Dated]
    redemption: CouponUse | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Draws:
    """The randomness of one response: always the same numbers, whatever is made of them."""

    sees: float
    uses: float
    persuaded: float
    clicks: float
    product: float
    quantity: float
    lacks: float
    delays: Floats

    @classmethod
    def keyed(cls, seed: int, shopper: int, coupon: int, times: int) -> "_Draws":
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3, shopper, coupon, times)))
        sees, uses, persuaded, clicks, product, quantity, lacks = rng.random(7).tolist()
        return cls(sees, uses, persuaded, clicks, product, quantity, lacks, rng.normal(0.0, 1.0, 3))


@dataclass(frozen=True, slots=True, eq=False)
class _Offer:
    """A coupon in a shopper's hands, good for orders in (at, until] of products in scope."""

    shopper: SimulatedShopper
    history: CouponMemory
    coupon: Coupon
    scope: NDArray[np.bool_]
    at: float
    until: float

    def covers(self, purchase: Purchase) -> bool:
        in_time = self.at + TOO_LATE_S < purchase.at <= self.until
        return in_time and any(self.scope[product] for product, _ in purchase.lines)


class Reactions:
    """Draws reactions; the only state is the `CouponMemory` it is handed."""

    def __init__(self, shop: Shop, terms: CouponTerms, truth: Truth) -> None:
        self._shop = shop
        self._terms = terms
        self._truth = truth

    def react(
        self, shopper: SimulatedShopper, history: CouponMemory, coupon: Coupon, issue: CouponIssue, at: float
    ) -> Reaction:
        """React to a coupon that reaches the shopper at this moment.

        The draws are keyed by seed, shopper, coupon and how often they had it before.
        """
        until = min(issue.expires_at, at + coupon.redeem_within_s)
        if at >= until:
            return Reaction([])
        response = self._truth.response(shopper, history, [coupon], at, np.array([until]))
        row = int(self._terms.rows([coupon])[0])
        times = history.receive(coupon.coupon_id, at)
        draws = _Draws.keyed(self._shop.seed, shopper.index, coupon_number(coupon.coupon_id), times)
        if draws.sees >= response.sees[0]:
            return Reaction([])
        if draws.uses < self._shop.uses_if_ordering:
            history.keep(row, at, until)
        offer = _Offer(shopper, history, coupon, self._terms.scope[row], at, until)
        redemption = self._redeem(offer, float(response.persuaded[0]), draws)
        if redemption is None:
            chance = float(response.curious[0])
        else:
            chance = CLICKS_IF_PERSUADED if redemption.persuaded else CLICKS_IF_ORDERING
        feedback = _Feedback(self._shop, shopper, issue, f"{shopper.user_id}-{coupon.coupon_id}-{times}")
        return Reaction(feedback.events(at, redemption, draws, draws.clicks < chance), redemption)

    def _redeem(self, offer: _Offer, persuaded: float, draws: _Draws) -> CouponUse | None:
        """Use the coupon on an order of their own; failing such an order, perhaps be persuaded."""
        shopper, history, at, until = offer.shopper, offer.history, offer.at, offer.until
        shopper.live_through(max(0, self._shop.calendar.day(until)))
        own = [purchase for purchase in shopper.purchases if offer.covers(purchase)]
        if own:
            free = [purchase for purchase in own if purchase.at not in history.claimed]
            if not free or draws.uses >= self._shop.uses_if_ordering:
                return None
            history.claimed.add(free[0].at)
            return self._redemption(offer, free[0], persuaded=False)
        if draws.persuaded >= persuaded:
            return None
        delay = min(PURCHASE_S * math.exp(1.2 * draws.delays[0]), (until - at) * (0.5 + 0.49 * draws.uses))
        purchase = self._extra_purchase(offer, round(at + delay, 3), draws)
        history.persuaded.append((purchase.at, purchase.category))
        return self._redemption(offer, purchase, persuaded=True)

    def _extra_purchase(self, offer: _Offer, at: float, draws: _Draws) -> Purchase:
        """Return the order that the coupon causes: a product in scope, drawn by interest and taste."""
        calendar, assortment, index = self._shop.calendar, self._shop.assortment, offer.shopper.index
        tastes = self._shop.population.tastes[calendar.tastes(calendar.day(at))]
        weight = offer.scope * tastes.buy[index] * tastes.share[index][assortment.category]
        cumulative = np.cumsum(weight)
        product = int(np.searchsorted(cumulative, draws.product * cumulative[-1], side="right"))
        return Purchase(at, int(assortment.category[product]), ((product, 1 + int(draws.quantity < 0.2)),))

    def _redemption(self, offer: _Offer, purchase: Purchase, *, persuaded: bool) -> CouponUse:
        value = self._shop.value_minor([line for line in purchase.lines if offer.scope[line[0]]])
        return CouponUse(purchase, discount_of(offer.coupon, value), value, persuaded)


class _Feedback:
    """The events of one reaction, in the order in which they happen."""

    def __init__(self, shop: Shop, shopper: SimulatedShopper, issue: CouponIssue, key: str) -> None:
        self._shop = shop
        self._shopper = shopper
        self._issue = issue
        self._key = f"{shop.domain}-{shop.seed}-{key}"

    def events(self, at: float, redemption: CouponUse | None, draws: _Draws, clicks: bool) -> list[Dated]:
        end = redemption.purchase.at if redemption else self._issue.expires_at
        delays = (IMPRESSION_S * math.exp(draws.delays[1]), CLICK_S * math.exp(1.3 * draws.delays[2]))
        seen_at = round(at + min(delays[0], 0.4 * (end - at)), 3)
        events = [self._event(seen_at, 1, "impression")]
        if clicks:
            events.append(self._event(round(seen_at + min(delays[1], 0.9 * (end - seen_at)), 3), 2, "click"))
        if redemption is None:
            return events
        if redemption.persuaded:
            events.append(self._order(redemption.purchase, draws))
        events.append(self._event(end, 4, "purchase", redemption))
        return events

    def _event(self, at: float, rank: int, kind: Kind, redemption: CouponUse | None = None) -> Dated:
        event_id = f"{self._key}-{kind}"
        event = FeedbackEvent(
            event_id=event_id,
            user_id=self._shopper.user_id,
            occurred_at=at,
            domain=self._shop.domain,
            issue_id=self._issue.issue_id,
            kind=kind,
            coupon_id=self._issue.coupon_id,
            order_id=f"{self._shopper.user_id}-{redemption.purchase.at}" if redemption else None,
            discount_minor=redemption.discount_minor if redemption else None,
            order_value_minor=self._shop.value_minor(redemption.purchase.lines) if redemption else None,
        )
        return (at, rank, event_id, FEEDBACK.name, event)

    def _order(self, purchase: Purchase, draws: _Draws) -> Dated:
        event_id = f"{self._key}-order"
        event = OrderEvent(
            event_id=event_id,
            user_id=self._shopper.user_id,
            occurred_at=purchase.at,
            domain=self._shop.domain,
            order_id=event_id,
            items=self._shop.lines(purchase.lines, [draws.lacks]),
            total_minor=self._shop.value_minor(purchase.lines),
        )
        return (purchase.at, 3, event_id, ORDER.name, event)
