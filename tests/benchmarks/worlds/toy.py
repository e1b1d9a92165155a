"""A shop so small that its truth can be seen: each visit has at most one order, of the category on view."""

import heapq
from collections import defaultdict
from typing import ClassVar

import numpy as np

from benchmarks.worlds.world import DAY_S, Events, Floats, World
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.testing import browse, coupon, feedback, item, order

PRICE, MARGIN = 2000, 0.4
ORDERS, PULL = 0.2, 1.2
CATEGORIES = 4
PERCENT = (5.0, 10.0, 15.0, 60.0)


class Toy(World):
    """Shoppers visit once a day and order with a probability, which grows with the depth of a coupon for the category.

    A coupon of 60 % costs more than the margin. What is ordered in later visits is the same with and without a coupon.
    """

    name: ClassVar[str] = "toy"

    def __init__(self, seed: int, shoppers: int = 20, days: float = 3.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        self.coupons = [
            coupon(
                f"{category}-{percent:g}",
                categories=[f"c{category}"],
                discount_percent=percent,
                discount_minor=None,
                max_discount_minor=PRICE,
                typical_price_minor=PRICE,
                margin_ratio=MARGIN,
                redeem_within_s=DAY_S / 2,
            )
            for category in range(CATEGORIES)
            for percent in PERCENT
        ]
        self._depth = np.array([(c.discount_percent or 0.0) / 100 for c in self.coupons])
        self._scope = np.array([int(c.categories[0][1:]) for c in self.coupons])
        self._on_view: dict[str, int] = {}
        self._held: defaultdict[str, list[CouponIssue]] = defaultdict(list)

    def events(self) -> Events:
        """Yield a browse event a day and shopper, then perhaps an order."""
        rng = np.random.default_rng([self.seed, self.draw, 1])
        visits = [
            (self.starts_at + (day + rng.random()) * DAY_S, f"u{user}", int(rng.integers(CATEGORIES)), rng.random())
            for user in range(self.shoppers)
            for day in range(int(self.days))
        ]
        heapq.heapify(visits)
        while visits:
            at, user, category, draw = heapq.heappop(visits)
            what = item(f"i{category}", category=f"c{category}", price_minor=PRICE)
            self._on_view[user] = category
            issues = yield browse(user, what, at=at)
            self._held[user] += issues
            usable = [
                issue for issue in self._held[user] if issue.expires_at > at and int(issue.coupon_id[0]) == category
            ]
            depth = max([(issue.discount_percent or 0.0) / 100 for issue in usable], default=0.0)
            if draw < ORDERS + PULL * depth:
                yield order(
                    user, item(f"i{category}", category=f"c{category}", price_minor=PRICE, quantity=1), at=at + 1e-3
                )
                for issue in usable[:1]:
                    self._held[user].remove(issue)
                    yield feedback(issue, "purchase", at=at + 1e-3, discount_minor=int(depth * PRICE))

    def true_values(self, user_id: str, at: float) -> Floats:  # noqa: ARG002 - the visit is on
        """Return the effect in this visit."""
        chance = np.minimum(ORDERS + PULL * self._depth, 1.0)
        effect = PRICE * (chance * (MARGIN - self._depth) - ORDERS * MARGIN)
        return np.where(self._scope == self._on_view[user_id], effect, 0.0)

    def margin_without(self) -> float:
        """Return the margin of all visits."""
        return self.shoppers * int(self.days) * ORDERS * PRICE * MARGIN
