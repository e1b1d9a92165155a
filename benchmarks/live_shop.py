"""A shop that stays open: shoppers browse, look at the coupons they are given, click and use some of them.

A coupon that is used brings an order that would not have been: by the measured lift coupons earn, so no guardrail or
brake changes what the engine does after a while.
"""

import random
import threading
import time
from contextlib import AbstractContextManager

from benchmarks.background import in_background
from stream_coupons.core.messages.catalogue import Campaign, Coupon, Guardrail
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, FeedbackEvent, Item, OrderEvent
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.codec import Decoder
from stream_coupons.settings import Settings

CATEGORIES = ("tea", "coffee", "cakes", "cups")
CAMPAIGNS = (
    Campaign(campaign_id="spring", title="Spring", budget_minor=2_000_000, holdout_ratio=0.2),
    Campaign(
        campaign_id="clearance",
        title="Clearance",
        budget_minor=500_000,
        guardrails=[Guardrail(metric="redemption_ratio", limit=0.9)],
    ),
)
COUPONS = (
    Coupon(coupon_id="tea-15", title="15 % off tea", campaign_id="spring", discount_percent=15.0, categories=["tea"],
           max_discount_minor=500, redeem_within_s=60.0, typical_price_minor=2500, margin_ratio=0.6),
    Coupon(coupon_id="coffee-10", title="10 % off coffee", campaign_id="spring", discount_percent=10.0,
           categories=["coffee"], max_discount_minor=400, redeem_within_s=60.0, typical_price_minor=3000,
           margin_ratio=0.6),
    Coupon(coupon_id="cups-20", title="20 % off cups", campaign_id="clearance", discount_percent=20.0,
           categories=["cups"], max_discount_minor=800, redeem_within_s=60.0, typical_price_minor=3000,
           margin_ratio=0.7),
    Coupon(coupon_id="cakes-50", title="Half price cakes", discount_percent=50.0, categories=["cakes"],
           max_discount_minor=3000, redeem_within_s=60.0, typical_price_minor=4000, margin_ratio=0.2),
)  # fmt: skip
SCOPES = {coupon.coupon_id: coupon.categories[0] for coupon in COUPONS}


class Shop:
    """Sends events of random shoppers at a rate, and answers their coupons.

    Parameters
    ----------
    settings : Settings
        Of the workers.
    rate : float
        Browse events a second.
    shoppers : int
        Number of shoppers.
    """

    def __init__(self, settings: Settings, rate: float, shoppers: int = 2000) -> None:
        self._settings, self._rate, self._shoppers = settings, rate, shoppers
        self._draw = random.Random(7)
        self._sent = 0

    def run(self, over: threading.Event) -> None:
        """Stay open until the event is set."""
        kafka, decode = self._settings.kafka, Decoder(topics.ISSUES)
        began, browsed = time.monotonic(), 0
        with (
            Publisher(kafka, kafka.partitions) as publisher,
            Reader(kafka, [topics.ISSUES.name], from_beginning=False) as issues,
        ):
            while not over.wait(0.05):
                due = int((time.monotonic() - began) * self._rate)
                for _ in range(due - browsed):
                    self._visit(publisher)
                browsed = due
                for record in issues.poll(0.0):
                    self._answer(publisher, decode(record.value))

    def _envelope(self, user_id: str) -> dict[str, object]:
        self._sent += 1
        return {"event_id": f"e{self._sent}-{time.time():.6f}", "user_id": user_id, "occurred_at": time.time()}

    def _visit(self, publisher: Publisher) -> None:
        number = self._draw.randrange(self._shoppers)
        user_id, category = f"shopper-{number}", CATEGORIES[(number + (self._draw.random() < 0.2)) % len(CATEGORIES)]
        item = self._item(category, self._draw.randrange(1000, 6000))
        publisher.send(topics.BROWSE, BrowseEvent(**self._envelope(user_id), item=item))
        if self._draw.random() < 0.3:
            publisher.send(topics.CART, CartEvent(**self._envelope(user_id), item=item))
        if self._draw.random() < 0.05:
            self._order(publisher, user_id, item)

    def _item(self, category: str, price_minor: int) -> Item:
        return Item(item_id=f"{category}-{self._draw.randrange(20)}", category=category, price_minor=price_minor)

    def _order(self, publisher: Publisher, user_id: str, item: Item, discount_minor: int | None = None) -> str:
        """Send an order of one item; return its id."""
        envelope, order_id = self._envelope(user_id), f"o{self._sent}"
        about = {"order_id": order_id, "items": [item], "total_minor": item.price_minor}
        publisher.send(topics.ORDER, OrderEvent(**envelope, **about, discount_minor=discount_minor))
        return order_id

    def _answer(self, publisher: Publisher, issue: CouponIssue) -> None:
        chances = {"impression": 0.8, "click": 0.4, "purchase": 0.5}
        for kind, chance in chances.items():
            if self._draw.random() > chance:
                return
            details: dict[str, object] = {"issue_id": issue.issue_id, "coupon_id": issue.coupon_id, "kind": kind}
            if kind == "purchase":
                taken = self._draw.randrange(100, max(issue.max_discount_minor or 101, 101))
                item = self._item(SCOPES.get(issue.coupon_id, CATEGORIES[0]), 3000)
                order_id = self._order(publisher, issue.user_id, item, taken)
                details |= {"order_id": order_id, "discount_minor": taken, "order_value_minor": 3000}
            publisher.send(topics.FEEDBACK, FeedbackEvent(**self._envelope(issue.user_id), **details))


def open_shop(settings: Settings, rate: float, shoppers: int = 2000) -> AbstractContextManager[object]:
    """Keep a shop open for as long as the block takes; raise what ended it before."""
    return in_background(Shop(settings, rate, shoppers).run, "shop")
