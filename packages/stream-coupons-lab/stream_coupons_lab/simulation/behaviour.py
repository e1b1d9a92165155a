"""Behaviour of a simulated shopper without coupons: sessions, baskets and orders.

Sessions start as a Poisson process with the shopper's hours. A day has a focus, the category that the shopper
is interested in; a focus lasts some days. In a session the shopper browses products, then leaves or puts one
into the cart, then abandons the cart or orders. P(order) of a session is `order_ratio`, reduced while the
shopper's last purchase in that category is not used up.

Each shopper has a random generator of their own and no input here depends on coupons, so behaviour is the
same under every policy.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec import Struct

from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, Item, OrderEvent
from stream_coupons.kafka.topics import BROWSE, CART, ORDER
from stream_coupons_lab.simulation.assortment import CATEGORIES, REPLENISH_DAYS, Assortment
from stream_coupons_lab.simulation.population import Population

DAY_S = 86400.0
FOCUS_KEEPS = 0.6
FOCUS_SHARE = 0.4
BROWSE_AGAIN = 0.68
MOST_BROWSES = 12
ABANDON_RATIO = 0.18
SECOND_LINE_RATIO = 0.3
USES_IF_ORDERING = 0.85
DRAWS_PER_SESSION = 8 + 3 * MOST_BROWSES
LACKS_BRAND, LACKS_CATEGORY, LACKS_PRICE, LACKS_ITEM = 0.04, 0.07, 0.12, 0.13
LACKS_TOTAL = 0.03

Dated = tuple[float, int, str, str, Struct]
"""(occurred_at, rank among events of the same time, event_id, topic, message): sorts by time."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """Days counted from the start, and which tastes hold on them."""

    start_at: float
    drift_day: int | None = None

    def day(self, at: float) -> int:
        """The day that a moment is in."""
        return int((at - self.start_at) // DAY_S)

    def starts_at(self, day: int) -> float:
        """The first moment of a day."""
        return self.start_at + day * DAY_S

    def tastes(self, day: int) -> int:
        """Index into `Population.tastes`."""
        return int(self.drift_day is not None and day >= self.drift_day)


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit; after `decided_at` it is over or a product is in the cart until `settled_at`."""

    started_at: float
    decided_at: float
    settled_at: float
    category: int
    order_ratio: float
    carted: int | None


@dataclass(frozen=True, slots=True)
class Purchase:
    """An order as the truth remembers it: (product, quantity) lines of one category."""

    at: float
    category: int
    lines: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Shop:
    """State that all shoppers share; read only."""

    assortment: Assortment
    population: Population
    calendar: Calendar
    domain: str
    seed: int
    """Seed of the shoppers' behaviour; part of their events' ids."""
    uses_if_ordering: float
    """P(a coupon is used | seen, an order of the shopper's own takes it)."""
    faulty: tuple[tuple[Item, Item, Item], ...]

    @classmethod
    def open(
        cls,
        assortment: Assortment,
        population: Population,
        calendar: Calendar,
        domain: str,
        seed: int,
        uses_if_ordering: float = USES_IF_ORDERING,
    ) -> "Shop":
        """Prepare the products as upstream sometimes sends them: without brand, category or price."""
        faulty = tuple(
            (
                Item(item_id=i.item_id, category=i.category, price_minor=i.price_minor),
                Item(item_id=i.item_id, brand=i.brand, price_minor=i.price_minor),
                Item(item_id=i.item_id, category=i.category, brand=i.brand),
            )
            for i in assortment.items
        )
        return cls(assortment, population, calendar, domain, seed, uses_if_ordering, faulty)

    def item(self, product: int, draw: float) -> Item:
        """A product as a message carries it; a low uniform draw makes it lack something."""
        if draw >= LACKS_PRICE:
            return self.assortment.items[product]
        return self.faulty[product][0 if draw < LACKS_BRAND else 1 if draw < LACKS_CATEGORY else 2]

    def lines(self, basket: Sequence[tuple[int, int]], draws: list[float]) -> list[Item]:
        """The lines of an order as a message carries them."""
        lines = []
        for (product, quantity), draw in zip(basket, draws, strict=False):
            item = self.item(product, draw)
            lines.append(
                Item(
                    item_id=item.item_id,
                    category=item.category,
                    brand=item.brand,
                    price_minor=item.price_minor,
                    quantity=float(quantity),
                )
            )
        return lines

    def value_minor(self, basket: Sequence[tuple[int, int]]) -> int:
        """Return the value of a basket at shelf prices, in cents."""
        return sum(int(self.assortment.price_minor[product]) * quantity for product, quantity in basket)


@dataclass(slots=True, eq=False)
class SimulatedShopper:
    """One shopper's life without coupons, drawn day by day as far as somebody asks.

    Attributes
    ----------
    focus : list[int]
        The category they are after, per day drawn so far.
    sessions, purchases : list
        In order of their start.
    outbox : list[Dated]
        Events that nobody has taken yet.
    """

    index: int
    user_id: str
    shop: Shop
    rng: np.random.Generator
    focus: list[int] = field(default_factory=list)
    sessions: list[Visit] = field(default_factory=list)
    purchases: list[Purchase] = field(default_factory=list)
    outbox: list[Dated] = field(default_factory=list)
    _bought_at: list[float] = field(default_factory=lambda: [-math.inf] * len(CATEGORIES))
    _events: int = 0

    @classmethod
    def born(cls, index: int, shop: Shop) -> "SimulatedShopper":
        """A shopper with a generator of their own."""
        sequence = np.random.SeedSequence(shop.seed, spawn_key=(2, index))
        return cls(index, f"shopper-{index:05d}", shop, np.random.default_rng(sequence))

    def live_through(self, day: int) -> None:
        """Draw every day up to this one that is not drawn yet."""
        while len(self.focus) <= day:
            self._live(len(self.focus))

    def _live(self, day: int) -> None:
        shop, rng = self.shop, self.rng
        tastes = shop.population.tastes[shop.calendar.tastes(day)]
        share = memoryview(tastes.share_cumulative[self.index])
        keep, other = rng.random(2).tolist()
        if self.focus and keep < FOCUS_KEEPS:
            self.focus.append(self.focus[-1])
        else:
            self.focus.append(_pick(share, other))
        visits = int(rng.poisson(shop.population.activity[self.index]))
        if not visits:
            return
        draws = rng.random((visits, DRAWS_PER_SESSION)).tolist()
        hours = shop.population.hours_cumulative[self.index]
        clock = np.interp([row[0] for row in draws], hours, np.arange(25.0)).tolist()
        look, buy = memoryview(tastes.look_cumulative[self.index]), memoryview(tastes.buy_cumulative[self.index])
        for hour, row in sorted(zip(clock, draws, strict=True)):
            started_at = shop.calendar.starts_at(day) + hour * 3600.0
            category = self.focus[day] if row[1] < FOCUS_SHARE else _pick(share, row[2])
            self._visit(started_at, category, row, look, buy)

    def _visit(self, started_at: float, category: int, draws: list[float], look: memoryview, buy: memoryview) -> None:
        """One session: draws[3:8] decide how it ends, the rest are three to a browse."""
        at = _millis(started_at)
        used_up = 1.0 - math.exp(-(at - self._bought_at[category]) / (REPLENISH_DAYS[category] * DAY_S))
        ratio = float(self.shop.population.order_ratio[self.index, category]) * max(0.0, used_up)
        browses = min(MOST_BROWSES, 1 + int(math.log(1.0 - draws[3]) / math.log(BROWSE_AGAIN)))
        orders = draws[4] < ratio
        carts = orders or draws[4] < ratio + (1.0 - ratio) * ABANDON_RATIO
        wanted = self._product(buy if orders else look, category, draws[5]) if carts else None
        now = at
        for number in range(browses):
            which, lack, pause = draws[8 + 3 * number : 11 + 3 * number]
            last = wanted is not None and number == browses - 1
            self._browse(now, wanted if last else self._product(look, category, which), lack)
            now = _millis(now + 4.0 - 45.0 * math.log(1.0 - pause))
        decided_at = now
        if wanted is None:
            self.sessions.append(Visit(at, decided_at, decided_at, category, ratio, None))
            return
        settled_at = _millis(decided_at + 20.0 - 120.0 * math.log(1.0 - draws[6]))
        self.sessions.append(Visit(at, decided_at, settled_at, category, ratio, wanted))
        self._cart(decided_at, wanted, "add", draws[8])
        if orders:
            self._order(settled_at, category, wanted, buy)
        elif draws[7] < 0.3:
            self._cart(settled_at, wanted, "remove", draws[8])

    def _product(self, cumulative: memoryview, category: int, draw: float) -> int:
        first = self.shop.assortment.first
        return bisect_right(cumulative, category + draw, int(first[category]), int(first[category + 1]) - 1)

    def _browse(self, at: float, product: int | None, draw: float) -> None:
        item = None if product is None or LACKS_PRICE <= draw < LACKS_ITEM else self.shop.item(product, draw)
        event_id = self._next_id()
        event = BrowseEvent(event_id=event_id, user_id=self.user_id, occurred_at=at, domain=self.shop.domain, item=item)
        self.outbox.append((at, 0, event_id, BROWSE.name, event))

    def _cart(self, at: float, product: int, action: str, draw: float) -> None:
        event_id = self._next_id()
        event = CartEvent(
            event_id=event_id,
            user_id=self.user_id,
            occurred_at=at,
            domain=self.shop.domain,
            item=self.shop.item(product, draw),
            action="add" if action == "add" else "remove",
        )
        self.outbox.append((at, 0, event_id, CART.name, event))

    def _order(self, at: float, category: int, product: int, buy: memoryview) -> None:
        second, which, quantity, *lack, no_total = self.rng.random(6).tolist()
        basket = [(product, 1 + int(quantity < 0.25) + int(quantity < 0.05))]
        if second < SECOND_LINE_RATIO:
            basket.append((self._product(buy, category, which), 1))
        purchase = Purchase(at, category, tuple(basket))
        self.purchases.append(purchase)
        self._bought_at[category] = at
        event_id = self._next_id()
        event = OrderEvent(
            event_id=event_id,
            user_id=self.user_id,
            occurred_at=at,
            domain=self.shop.domain,
            order_id=f"order-{event_id}",
            items=self.shop.lines(purchase.lines, lack),
            total_minor=None if no_total < LACKS_TOTAL else self.shop.value_minor(purchase.lines),
        )
        self.outbox.append((at, 0, event_id, ORDER.name, event))

    def _next_id(self) -> str:
        self._events += 1
        return f"{self.shop.domain}-{self.shop.seed}-{self.index:05d}-{self._events:06d}"


def _pick(cumulative: memoryview, draw: float) -> int:
    return min(bisect_right(cumulative, draw), len(cumulative) - 1)


def _millis(at: float) -> float:
    return round(at, 3)
