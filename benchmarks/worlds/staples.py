"""A grocer whose shoppers buy staples by a rhythm of their own, and other categories on impulse."""

import heapq
from collections.abc import Generator, Sequence
from math import ceil
from typing import Any, ClassVar, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.testing import browse, cart, coupon, feedback, item, order

from .world import AFTER_S, DAY_S, Events, Floats, World

STAPLES = ("milk", "bread", "coffee", "eggs", "pasta", "produce", "detergent", "yoghurt")
IMPULSE = ("wine", "cheese", "chocolate", "snacks", "flowers", "deli", "ice-cream", "spirits", "bakery", "toys")
NAMES = STAPLES + IMPULSE
COUNT, SEASONAL = len(NAMES), NAMES.index("chocolate")
IS_STAPLE = np.arange(COUNT) < len(STAPLES)
LEVELS = np.where(IS_STAPLE, 3, 2)
STATES, ITEMS, DRAWS = 6, 6, 10
SHAPE = (3, 4, 2, 2)
TYPES = int(np.prod(SHAPE))
CART_S, ORDER_S, AISLE_S = 40, 90, 120
LONGEST = 7 + int(AFTER_S / DAY_S)
NONE = -1
QUANTITIES, QUANTITY_SHARES = np.array([1, 2, 3, 6]), np.array([0.55, 0.25, 0.13, 0.07])
DUE = np.array([0.85, 0.35, 0.1, 0.05, 0.03, 0.02])
SATED = np.array([1, 0.5, 0.3, 0.2, 0.15, 0.1])
Key = tuple[int, int]
Steps = Generator[Struct, Sequence[CouponIssue], tuple[int, int, int, str] | None]


class Held(NamedTuple):
    """A coupon in mind for a category: its position, its expiry and its issue."""

    position: int
    expires_at: float
    issue: CouponIssue


class Staples(World):
    """A grocer: staples run down and are bought when due; other categories are bought on impulse.

    Notes
    -----
    - A shopper shops at an hour of their own, and passes categories in a fixed order. Each day is one opportunity for
      each category to be looked at, put into the cart, and ordered; so a window of k days has k opportunities.
    - Stock runs down by a chance a day and level, so that times between purchases are regular (Erlang: Chatfield and
      Goodhardt 1973). Rates differ over shoppers with a heavy tail (Ehrenberg 1988). Shoppers look at what is due.
    - A purchase adds to the stock that is left, so that a coupon also pulls purchases forward (Gupta 1988; Neslin,
      Henderson and Quelch 1985). A shopper without stock may buy at a competitor instead.
    - Look, cart and order are logit choices (Guadagni and Little 1983). Half of the shoppers hardly respond to discounts,
      and a quarter strongly (Narasimhan 1984). A shopper thinks of a held coupon with a chance that is high for planned
      purchases and lower on impulse (Inman, Winer and Ferraro 2009), once at the cart and again at the order.
    - A coupon for several categories is earmarked for one when it arrives, mostly for what is on view or due (Heath and
      Soll 1996). Of two coupons for a category, the deeper one is kept in mind, the later one among equals.
    - From the middle of the time on, a season makes shoppers buy one category anyway.

    True values are exact: backward inductions over opportunities and stock, by type of shopper. Given the earmarks,
    categories are independent of each other.
    """

    name: ClassVar[str] = "staples"

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        rng = np.random.default_rng([seed, 901])
        self._season_day = int(days * rng.uniform(0.4, 0.55))
        typical = np.where(IS_STAPLE, rng.uniform(250, 900, COUNT), rng.uniform(700, 2600, COUNT))
        typical[SEASONAL] = rng.uniform(500, 900)
        self._prices = np.maximum(typical[:, None] * rng.lognormal(0, 0.45, (COUNT, ITEMS)), 60).astype(int)
        self._shares = rng.dirichlet(np.full(ITEMS, 3.0), COUNT)
        self._margin = np.where(IS_STAPLE, rng.uniform(0.2, 0.3, COUNT), rng.uniform(0.38, 0.5, COUNT))
        weights = self._shares[:, :, None] * QUANTITY_SHARES
        self._mean_value = (self._prices[:, :, None] * QUANTITIES * weights).sum((1, 2))
        self._set_coupons(rng)
        self._set_types(rng)
        self._set_shoppers()
        self._tables: dict[tuple[int, ...], Floats] = {}
        self._effects: dict[int, Floats] = {}
        self._held: dict[int, dict[int, Held]] = {}
        self._visits: dict[Key, tuple[str, int]] = {}
        self._day, self._queue = 0, list[tuple[int, int, int, str]]()
        self._draws = np.zeros((0, COUNT, DRAWS))

    def _set_coupons(self, rng: np.random.Generator) -> None:
        """Draw the catalogue, and its amounts as the shop states them."""
        scopes = [[c] for c in range(COUNT)] + [[c] for c in (SEASONAL, 8, 9, 12, 14)]
        scopes += [rng.choice(8, 3, False).tolist(), rng.choice(8, 2, False).tolist(), [8, 15], [11, 13, 16]]
        scopes += [[] for _ in range(rng.integers(2, 5))]
        late = set(rng.choice(np.arange(8, 23), 2, False).tolist())
        coupons: list[Coupon] = []
        for number, scope in enumerate(scopes):
            inside = scope or list(range(COUNT))
            mean, ranges = float(self._mean_value[inside].mean()), ((0.05, 0.1), (0.15, 0.3), (0.03, 0.08))
            depth = rng.uniform(*ranges[0 if not scope else 1 if max(scope) >= len(STAPLES) else 2])
            by_amount, amount = bool(scope) and rng.random() < 0.3, max(round(depth * mean), 1)
            stated, error = rng.random(2) < 0.85, rng.lognormal(0, 0.2, 2)
            ratio = float(np.clip(self._margin[inside].mean() * error[1], 0.05, 0.9)) if stated[1] else 0.3
            coupons.append(
                coupon(
                    f"s{number:02d}",
                    categories=[NAMES[c] for c in scope],
                    discount_minor=amount if by_amount else None,
                    discount_percent=None if by_amount else round(100 * depth, 1),
                    max_discount_minor=amount if by_amount else max(round(2.5 * amount), 1),
                    typical_price_minor=round(mean * error[0]) if stated[0] else None,
                    margin_ratio=round(ratio, 3),
                    redeem_within_s=float(rng.choice([1, 2] if scope == [SEASONAL] else [1, 2, 3, 5, 7])) * DAY_S,
                    valid_from=self.starts_at + 0.4 * self.days * DAY_S if number in late else 0.0,
                )
            )
        self.coupons: Sequence[Coupon] = coupons
        self._position = {c.coupon_id: number for number, c in enumerate(coupons)}
        self._days = [round(c.redeem_within_s / DAY_S) for c in coupons]
        pairs = [(p, c) for p, scope in enumerate(scopes) for c in scope or range(COUNT)]
        self._of_pair, self._category = np.array(pairs).T
        self._pairs = [[n for n, pair in enumerate(pairs) if pair[1] == c] for c in range(COUNT)]
        discounts = np.array([self._discount(p, self._prices[:, :, None] * QUANTITIES) for p in range(len(coupons))])
        self._item_cost = np.append(discounts @ QUANTITY_SHARES, np.zeros((1, COUNT, ITEMS)), 0)
        self._cost = (self._item_cost * self._shares).sum(2)
        self._depth = self._cost / self._mean_value

    def _discount(self, position: int, value: Any) -> Any:
        """Return the discount of a coupon on orders of some values, whole minor units."""
        terms = self.coupons[position]
        percent = terms.discount_percent
        off = np.round(value * percent / 100) if percent else np.minimum(terms.discount_minor or 0, value)
        return np.minimum(off, terms.max_discount_minor)

    def _set_types(self, rng: np.random.Generator) -> None:
        """Draw the chances of a look, cart and order by season, type, category, stock and coupon; the last is none."""
        response, pace, plan, taste = np.unravel_index(np.arange(TYPES), SHAPE)
        rates = np.array([0.1, 0.25, 0.5, 0.9]) * rng.uniform(0.85, 1.1)
        self._run_down = np.where(IS_STAPLE, rates[pace][:, None], (0.2 + 0.5 * rates[pace])[:, None])
        beta = (np.array([0.8, 6.0, 13.0]) * rng.uniform(0.8, 1.2, 3))[response]
        planned, impulsive = rng.uniform([0.85, 0.92], [0.91, 0.98]), rng.uniform([0.3, 0.5], [0.5, 0.7])
        self._use = np.where(IS_STAPLE, planned[plan][:, None], impulsive[plan][:, None])
        keen = (np.array([0.35, 1.0])[taste] * (0.3 + rates[pace]))[:, None] * rng.uniform(0.08, 0.35, COUNT)
        views = np.where(IS_STAPLE[:, None], DUE, keen[:, :, None] * SATED)
        staple_carts = np.array([1.6, -0.6, -2.0, -2.6, -3.0, -3.4]) + rng.normal(0, 0.25, COUNT)[:, None]
        impulse_carts = -0.3 * np.arange(STATES) + rng.uniform(-2.0, -0.6, COUNT)[:, None]
        carts = np.where(IS_STAPLE[:, None], staple_carts, impulse_carts)
        orders = np.where(IS_STAPLE, rng.uniform(1.6, 2.4, COUNT), rng.uniform(-0.9, 0.3, COUNT))
        views, carts, orders = (np.repeat(a[None], 2, 0) for a in (views, carts, orders))
        views[1, :, SEASONAL] = np.minimum(views[1, :, SEASONAL] * 2.0, 0.5)
        carts[1, SEASONAL] += 2.2
        orders[1, SEASONAL] = 2.5
        shift = beta[:, None] * self._depth[:, None]
        use, reach = self._use[..., None], np.exp(rng.uniform(0.5, 0.8) * shift * self._use)[:, None, ..., None]
        self._views = views * reach / (1 - views + views * reach)
        self._cart_logits, self._order_logits, self._shift = carts, orders, shift
        plain, minded = _logit(carts)[:, None], _logit(carts[:, None] + shift[:, None, ..., None])
        self._carts = plain + use * (minded - plain)
        self._used = self._use * _logit(orders[:, None] + shift[:, None])
        self._unused = (1 - self._use) * np.broadcast_to(_logit(orders)[:, None], (2, TYPES, COUNT))
        self._leak = np.where(IS_STAPLE, rng.uniform(0.12, 0.35, COUNT), 0.0)

    def _set_shoppers(self) -> None:
        """Draw the shoppers: type, the categories that they buy, hours, and stock."""
        rng, size = np.random.default_rng([self.seed, 902, self.draw]), (self.shoppers, COUNT)
        response, pace = (rng.choice(len(p), self.shoppers, p=p) for p in ((0.5, 0.25, 0.25), (0.3, 0.35, 0.25, 0.1)))
        base = np.ravel_multi_index((response, pace, rng.integers(2, size=self.shoppers)), SHAPE[:3]) * SHAPE[3]
        self._types = base[:, None] + (rng.random(size) < 0.3)
        ranks = rng.random((self.shoppers, len(STAPLES))).argsort(1).argsort(1)
        self._active = rng.random(size) < 0.6
        self._active[:, IS_STAPLE] = ranks < rng.integers(2, 6, (self.shoppers, 1))
        self._first_stock = np.where(IS_STAPLE, rng.integers(0, 4, size), 0)
        self._stock = self._first_stock.copy()
        self._looks_at = rng.integers(8 * 3600, 20 * 3600, (self.shoppers, 1)) + AISLE_S * np.arange(COUNT)

    # ---------------------------------------------------------------- expectations

    def _table(self, category: int, position: int, usable: int, end: int, until: int) -> Floats:
        """Return the margin of the next `end` opportunities by type and stock; the coupon is usable in the first ones.

        The season starts `until` opportunities from now, in its category.
        """
        if usable <= 0:
            position, usable = NONE, 0
        until = max(until, 0) if category == SEASONAL else 0
        key = category, position, usable, end, until
        if key not in self._tables:
            value = np.zeros((TYPES, STATES))
            if end > 0:
                season = int(category == SEASONAL and until == 0)
                idle = self._night(category, self._table(category, position, usable - 1, end - 1, until - 1))
                none = self._night(category, self._table(category, NONE, 0, end - 1, until - 1))
                stocked = np.minimum(np.arange(STATES) + LEVELS[category], STATES - 1)
                margin = self._margin[category] * self._mean_value[category]
                used, unused = self._used[season, position, :, category], self._unused[season, :, category]
                gain = used[:, None] * (margin - self._cost[position, category] + none[:, stocked] - idle)
                gain += unused[:, None] * (margin + idle[:, stocked] - idle)
                chance = self._views[season, position, :, category] * self._carts[season, position, :, category]
                value = self._leaked(category, idle) + chance * gain
            self._tables[key] = value
        return self._tables[key]
