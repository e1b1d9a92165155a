"""Mechanics shared by the worlds of maker "one": a shop, the messages of a day, and expectations over days.

No behaviour of shoppers is here. A shopper has at most one moment of a possible order a day. The worlds differ in the
law by which an order takes place, in what it contains, and in the state that it leaves behind.
"""

import heapq
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from benchmarks.worlds.world import AFTER_S, DAY_S, Events, Floats, World
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import Item
from stream_coupons.testing import browse, cart, coupon, feedback, item, order

OPENS_S, OPEN_S = 6 * 3600.0, 15 * 3600.0
AFTER_DAYS = round(AFTER_S / DAY_S)
COLUMNS = 64
Step = Callable[[int, Floats], Floats]


class Shop:
    """Items, categories, margins and coupons, drawn from the seed of the shop.

    Parameters
    ----------
    rng : Generator
        Source of the shop.
    sizes : tuple of int
        Number of categories, and of items in each.
    coupons : sequence of tuple
        Per coupon: number of categories in scope (0: whole shop), percent off (0: an amount), amount off.
    margins : tuple of float
        Range of the margins of categories.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        sizes: tuple[int, int],
        coupons: Sequence[tuple[int, float, int]],
        margins: tuple[float, float],
    ) -> None:
        self.categories, each = sizes
        self.names = [f"cat-{n:02d}" for n in range(self.categories)]
        self.category = np.repeat(np.arange(self.categories), each)
        level = np.exp(rng.normal(6.2, 0.55, self.categories))
        self.prices = np.rint(level[self.category] * np.exp(rng.normal(0.0, 0.3, len(self.category)))) // 10 * 10 + 9
        self.popular = rng.dirichlet(np.full(each, 1.5), self.categories)
        self.liked = rng.dirichlet(np.full(self.categories, 4.0))
        self.margins = rng.uniform(*margins, self.categories)
        self.covers = np.ones((len(coupons), self.categories), bool)
        for scope, (wide, _, _) in zip(self.covers, coupons, strict=True):
            if wide:
                scope[:] = np.isin(np.arange(self.categories), rng.choice(self.categories, wide, replace=False))
        self.percent = np.array([percent for _, percent, _ in coupons])
        self.amount = np.array([float(amount) for _, _, amount in coupons])
        self.cap = np.where(self.percent > 0, np.rint(self.percent * 60.0), self.amount)
        self.windows = np.sort(rng.choice([1, 2, 3, 3, 4, 5, 7], len(coupons)))[::-1]

    def discounts(self, values: Floats) -> Floats:
        """Return the discount of every coupon on orders of `values` by category: (orders, coupons)."""
        scope = values @ self.covers.T
        off = np.where(self.percent > 0, scope * self.percent / 100.0, np.minimum(self.amount, scope))
        discounts: Floats = np.floor(np.minimum(off, self.cap) + 1e-9)
        return discounts

    def values(self, lines: Sequence[tuple[int, int]]) -> Floats:
        """Return the value of lines (item, quantity) by category."""
        found = np.zeros(self.categories)
        for product, quantity in lines:
            found[self.category[product]] += self.prices[product] * quantity
        return found

    def expected(self, quantities: Floats, chances: Floats, extra: float) -> tuple[Floats, Floats, Floats]:
        """Return the expected margin, value in scope and discounts of an order, by the category of its main line.

        The main line is an item by popularity, in a random quantity. One unit of any item of the shop is added
        with probability `extra`.
        """
        anything = (self.liked[:, None] * self.popular).ravel()
        added = np.vstack([np.zeros(self.categories), np.eye(self.categories)[self.category] * self.prices[:, None]])
        p_added = np.append(1.0 - extra, extra * anything) if extra else np.ones(1)
        added = added[: len(p_added)]
        rows = []
        for k in range(self.categories):
            main = np.outer(self.prices[self.category == k], quantities).ravel()
            p_main = np.outer(self.popular[k], chances).ravel()
            values = (main[:, None, None] * np.eye(self.categories)[k] + added).reshape(-1, self.categories)
            p = np.outer(p_main, p_added).ravel()
            rows.append((p @ (values @ self.margins), p @ (values @ self.covers.T), p @ self.discounts(values)))
        margin, scope, taken = (np.array(part) for part in zip(*rows, strict=True))
        return margin, scope, taken

    def pick(self, k: int, u: float) -> int:
        """Return an item of category `k` by popularity, from a uniform draw."""
        each = int(self.popular.shape[1])
        return k * each + min(int(np.searchsorted(np.cumsum(self.popular[k]), u)), each - 1)

    def anything(self, u: float, v: float) -> int:
        """Return any item of the shop by popularity, from two uniform draws."""
        return self.pick(min(int(np.searchsorted(np.cumsum(self.liked), u)), self.categories - 1), v)

    def message(self, product: int, quantity: int | None = None) -> Item:
        """Return an item as messages state it."""
        price, name = int(self.prices[product]), self.names[self.category[product]]
        if quantity is None:
            return item(f"item-{product:03d}", category=name, price_minor=price)
        return item(f"item-{product:03d}", category=name, price_minor=price, quantity=quantity)


@dataclass
class Held:
    """A coupon that a shopper holds."""

    coupon: int
    expires_at: float
    issue: CouponIssue


@dataclass
class Basket:
    """An order that its shopper has decided on: lines (item, quantity), the coupon used, and a tag of the world."""

    lines: list[tuple[int, int]]
    used: Held | None = None
    tag: int = 0


@dataclass
class Shopper:
    """State of one shopper.

    `moment` is the time of a possible order later in the visit, `looks` the times and items of browsing to come.
    `draws` has one row of uniform draws per day, so that draws do not depend on coupons.
    """

    number: int
    user_id: str
    draws: Floats
    rng: np.random.Generator
    day: int = -1
    moment: float | None = None
    looks: list[tuple[float, int]] = field(default_factory=list)
    carted: int | None = None
    basket: Basket | None = None
    wallet: list[Held] = field(default_factory=list)
    stock: int = 0
    """State that the world defines."""
    orders: int = 0

    def held(self, at: float) -> list[Held]:
        """Return the coupons that can be used after `at`, in order of arrival."""
        return [one for one in self.wallet if one.expires_at > at]


class DayWorld(World):
    """A world by days: its shoppers hold at most `KEEPS` unused coupons, and throw away further ones."""

    KEEPS = 3
    USES = 1.0
    """Probability that an own order in scope uses a coupon that arrives after the shopper decided to order."""
    shop: Shop

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        self.whole_days = int(np.ceil(days))
        self._known: dict[int, Shopper] = {}

    @abstractmethod
    def wake(self, s: Shopper, row: Floats) -> None:
        """Draw the visit of the day: set `moment` and `looks`, or leave them."""

    @abstractmethod
    def decide(self, s: Shopper, row: Floats) -> Basket | None:
        """Draw the order at `moment`, given the coupons held then."""

    @abstractmethod
    def settle(self, s: Shopper, basket: Basket) -> None:
        """Change the state of the shopper by an order."""

    @abstractmethod
    def night(self, s: Shopper, row: Floats) -> None:
        """Change the state of the shopper from one day to the next."""

    @abstractmethod
    def newcomer(self, n: int) -> Shopper:
        """Return a shopper before the first day."""

    def start(self, n: int) -> Shopper:
        """Return a shopper without a state."""
        draws = np.random.default_rng([self.seed, 1, self.draw, n]).random((self.whole_days, COLUMNS))
        return Shopper(n, f"user-{n:04d}", draws, np.random.default_rng([self.seed, 2, self.draw, n]))

    def moment_of(self, day: int, u: float) -> float:
        """Return the time of a possible order from a uniform draw: evenings are busier."""
        return self.starts_at + day * DAY_S + OPENS_S + OPEN_S * float(np.sqrt(u))

    def share_before(self, at: float, day: int) -> float:
        """Return the probability that the possible order of a day is before a time."""
        into = (at - self.starts_at - day * DAY_S - OPENS_S) / OPEN_S
        return float(min(max(into, 0.0), 1.0)) ** 2

    def life(self, s: Shopper) -> Iterator[tuple[float, Struct]]:
        """Yield the messages of a shopper from the present state on, with their times."""
        while True:
            if s.moment is not None:
                yield from self._visit(s, s.draws[s.day], s.moment)
            if s.day >= 0:
                self.night(s, s.draws[s.day])
            s.day += 1
            if s.day >= len(s.draws):
                return
            self.wake(s, s.draws[s.day])

    def _visit(self, s: Shopper, row: Floats, moment: float) -> Iterator[tuple[float, Struct]]:
        while s.looks:
            at, product = s.looks.pop(0)
            yield at, browse(s.user_id, self.shop.message(product), at=at)
        if s.basket is None:
            s.basket = self.decide(s, row)
            wanted = s.basket.lines[0][0] if s.basket else s.carted
            s.carted = None
            if wanted is not None and (s.basket is None or row[0] < 0.5):
                s.moment = moment if s.basket else None
                at = moment - 40.0 - 60.0 * float(row[1])
                yield at, cart(s.user_id, self.shop.message(wanted), at=at)
        basket, s.basket, s.moment = s.basket, None, None
        if basket is None:
            return
        s.wallet = [one for one in s.held(moment) if one is not basket.used]
        self.settle(s, basket)
        s.orders += 1
        lines = [self.shop.message(product, quantity) for product, quantity in basket.lines]
        yield moment, order(s.user_id, *lines, at=moment, order_id=f"order-{s.number}-{s.day}")
        if basket.used is not None:
            values = self.shop.values(basket.lines)
            scope = int(values @ self.shop.covers[basket.used.coupon])
            off = int(self.shop.discounts(values[None])[0, basket.used.coupon])
            used = basket.used.issue
            yield moment, feedback(used, "purchase", at=moment, discount_minor=off, order_value_minor=scope)

    def receive(self, s: Shopper, number: int, issue: CouponIssue, at: float) -> float | None:
        """Give a coupon to a shopper; return the time of a click, if there is one."""
        clicks, late = map(float, s.rng.random(2))
        if len(s.held(at)) >= self.KEEPS:
            return None
        s.wallet = [*s.held(at), Held(number, issue.expires_at, issue)]
        if s.basket is not None and s.basket.used is None and late < self.USES:
            values = self.shop.values(s.basket.lines)
            if values @ self.shop.covers[number] > 0 and issue.expires_at > (s.moment or at):
                s.basket.used = s.wallet[-1]
        return at + 3.0 + 25.0 * clicks / 0.5 if clicks < self.click_chance(s, number) else None

    def click_chance(self, s: Shopper, number: int) -> float:
        """Return the probability of a click on a coupon just received."""
        del s, number
        return 0.2

    def events(self) -> Events:
        """Yield the messages of all shoppers in order of time; receive the issues of each."""
        numbers = {one.coupon_id: n for n, one in enumerate(self.coupons)}
        self._known = {n: self.newcomer(n) for n in range(self.shoppers)}
        lives = {n: self.life(s) for n, s in self._known.items()}
        ticket = count()
        heap = [
            (at, next(ticket), n, message) for n, one in lives.items() for at, message in [next(one, (np.inf, None))]
        ]
        heapq.heapify(heap)
        while heap and heap[0][0] < self.ends_at:
            at, _, n, message = heapq.heappop(heap)
            assert message is not None
            issues = yield message
            s = self._known[n if n >= 0 else ~n]
            for one in issues or ():
                clicked = self.receive(s, numbers[one.coupon_id], one, at)
                if clicked is not None:
                    heapq.heappush(heap, (clicked, next(ticket), ~s.number, feedback(one, "click", at=clicked)))
            if n >= 0:
                then, following = next(lives[n], (np.inf, None))
                heapq.heappush(heap, (then, next(ticket), n, following))

    def state_of(self, user_id: str) -> Shopper:
        """Return the state of a shopper of the run under way."""
        return self._known[int(user_id.removeprefix("user-"))]

    def true_values(self, user_id: str, at: float) -> Floats:
        """Return the exact effect of each coupon; 0 for all if the shopper keeps no more of them."""
        return self.effects(self.state_of(user_id), at)

    @abstractmethod
    def effects(self, s: Shopper, at: float) -> Floats:
        """Return the effect of each coupon on a shopper in a state."""


class Lattice:
    """Expectations over days by backward induction, for every set of unused coupons.

    Slot i is the i-th held coupon, the last slot the new one. Bit i of a mask is set while slot i is unused.
    Values have the shape (coupons, masks, states).

    Parameters
    ----------
    world : DayWorld
        The world.
    held : sequence of Held
        Coupons held, in order of arrival.
    new : array of int
        Numbers of the new coupons to evaluate, by falling window.
    at : float
        Time of the decision.
    """

    def __init__(self, world: DayWorld, held: Sequence[Held], new: NDArray[np.int64], at: float) -> None:
        self.world, self.slots = world, len(held) + 1
        self.full = 2**self.slots - 1
        self.fresh = 1 << len(held)
        self.masks = np.arange(2**self.slots)
        expires = np.array([one.expires_at for one in held])
        self.expires = np.hstack([np.tile(expires, (len(new), 1)), (at + world.shop.windows[new] * DAY_S)[:, None]])
        self.coupons = np.hstack([np.tile([one.coupon for one in held], (len(new), 1)), new[:, None]]).astype(np.int64)
        self.ends = self.expires[:, -1] + AFTER_S
        days = ((self.expires - world.starts_at) // DAY_S).astype(np.int64)
        self.last = days.max(axis=1)
        self.end_days = days[:, -1] + AFTER_DAYS
        self.part = world.share_before(at, int((at - world.starts_at) // DAY_S))
        """Share of the last day of the horizon that counts: windows are whole days."""
        self.bits = (self.masks[:, None] >> np.arange(self.slots)) & 1

    def best(self, ranks: Floats) -> NDArray[np.int64]:
        """Return the slot used for each alternative, -1 for none, from ranks (coupons, slots, alternatives).

        The rank is 0 out of scope. The first of equals is used. The result is (coupons, masks, alternatives).
        """
        among: Floats = ranks[:, None] * self.bits[:, :, None]
        slot: NDArray[np.int64] = among.argmax(axis=2)
        slot[among.max(axis=2) <= 0] = -1
        return slot

    def fold(self, day: int, tail: Floats, step: Step) -> Floats:
        """Return the values at the end of `day`: `step` gives those at the start of a day from those at its end.

        `tail` has the values at the end of the last day on which any slot can be used, (coupons, states). `step` treats
        every slot of a mask as usable; coupons that expire are taken out here.
        """
        values = np.repeat(tail[:, None], len(self.masks), axis=1)
        for today in range(int(self.last.max()), day, -1):
            n = int((self.last >= today).sum())
            values[:n] = self._expire(today, step(today, values[:n]))
        return values

    def _expire(self, day: int, values: Floats) -> Floats:
        """Mix the values of masks over the time of the possible order: a slot is usable until it expires."""
        n = len(values)
        into = (self.expires[:n] - self.world.starts_at - day * DAY_S - OPENS_S) / OPEN_S
        shares = np.clip(into, 0.0, 1.0) ** 2
        if (shares == 1.0).all():
            return values
        order = shares.argsort(axis=1)
        sorted_shares = np.take_along_axis(shares, order, axis=1)
        weights = np.diff(sorted_shares, axis=1, prepend=0.0, append=1.0)
        gone = np.cumsum(1 << order, axis=1)
        mixed = weights[:, 0, None, None] * values
        rows = np.arange(n)[:, None]
        for slot in range(self.slots):
            weight = weights[:, slot + 1]
            if weight.any():
                mixed += weight[:, None, None] * values[rows, self.masks & ~gone[:, slot, None]]
        return mixed


def catalogue_of(shop: Shop, rng: np.random.Generator, margin: Floats, scope: Floats) -> list[Coupon]:
    """Return the coupons as the shop states them: typical price and margin are noisy, or missing for one in seven.

    `margin` and `scope` are the expected margin (categories,) and value in scope (categories, coupons) of an order.
    """
    ratio = margin / np.maximum(scope.max(axis=1), 1.0)
    coupons = []
    for n, covers in enumerate(shop.covers):
        price, share = float(scope[covers, n].mean()), float(ratio[covers].mean())
        stated = {}
        if rng.random() < 0.85:
            noise = np.exp(rng.normal(0.0, 0.2, 2))
            stated = {
                "typical_price_minor": int(price * noise[0]),
                "margin_ratio": round(float(min(share * noise[1], 0.9)), 3),
            }
        percent = float(shop.percent[n])
        coupons.append(
            coupon(
                f"coupon-{n:02d}",
                categories=[] if covers.all() else [shop.names[k] for k in np.flatnonzero(covers)],
                discount_percent=percent or None,
                discount_minor=None if percent else int(shop.amount[n]),
                max_discount_minor=int(shop.cap[n]),
                redeem_within_s=float(shop.windows[n] * DAY_S),
                **{"typical_price_minor": None, **stated},
            )
        )
    return coupons
