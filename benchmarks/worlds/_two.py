"""Messages, catalogue and calendar that the worlds `thresholds`, `purse` and `generous` share; no behaviour."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from itertools import count

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from benchmarks.worlds.world import AFTER_S, DAY_S, Events, Floats, World
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import Item, OrderEvent
from stream_coupons.testing import START, browse, cart, coupon, feedback, item, order

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]
OPENS_H, OPEN_H = 9.0, 14.0
"""Orders are placed uniformly over `OPEN_H` hours from hour `OPENS_H` of a day; days start at `START`."""
DRAWS = 32
"""Uniform draws for the course of one visit, and as many for its purchases."""


@dataclass
class Shop:
    """Products and coupons: C categories, I items, Q quantities that are ordered, K coupons.

    `windows` are the shares of coupons that can be used for 1, 2, 3, 5 and 7 days.
    """

    category: Rows
    brand: Rows
    price: Floats
    margins: Floats
    quantities: tuple[int, ...] = (1,)
    chances: tuple[float, ...] = (1.0,)
    windows: tuple[float, ...] = (0.1, 0.2, 0.3, 0.2, 0.2)
    coupons: list[Coupon] = field(default_factory=list)

    def close(self) -> None:
        """Tabulate the coupons: coverage (K, I), discounts (Q, K, I), expected discounts and margins, usable days."""
        covers = [[self._covers(one, i) for i in range(len(self.price))] for one in self.coupons]
        self.covers: Mask = np.array(covers)
        amounts = [
            np.rint(np.outer([(one.discount_percent or 0.0) / 100 for one in self.coupons], self.price) * q)
            for q in self.quantities
        ]
        fixed = np.array([[one.discount_minor or 0] for one in self.coupons])
        most = np.array([[one.max_discount_minor] for one in self.coupons])
        taken = [
            np.minimum(np.where(fixed > 0, np.minimum(fixed, self.price * q), each), most)
            for q, each in zip(self.quantities, amounts, strict=True)
        ]
        self.discounts: Floats = np.array(taken) * self.covers
        self.discount: Floats = np.tensordot(np.array(self.chances), self.discounts, 1)
        self.margin: Floats = self.margins[self.category] * self.price * np.dot(self.quantities, self.chances)
        self.usable: Rows = np.array([round(one.redeem_within_s / DAY_S) for one in self.coupons])

    def _covers(self, one: Coupon, i: int) -> bool:
        return (not one.categories or f"category-{self.category[i]}" in one.categories) and (
            not one.brands or f"brand-{self.brand[i]}" in one.brands
        )

    def message(self, i: int, quantity: int | None = None) -> Item:
        """Return the item as events state it."""
        return item(
            f"item-{i}",
            category=f"category-{self.category[i]}",
            brand=f"brand-{self.brand[i]}",
            price_minor=int(self.price[i]),
            quantity=quantity,
        )

    def offer(self, rng: np.random.Generator, scope: dict[str, Sequence[int]], depth: float, amount: bool) -> None:
        """Add a coupon of about `depth` off; its stated price and margin have errors, or are missing.

        Parameters
        ----------
        rng : Generator
            Draws window and errors.
        scope : dict of str to sequence of int
            Numbers of the covered `categories`, `brands`; empty for the whole shop.
        depth : float
            Share of the price that is taken off.
        amount : bool
            True: a fixed amount, `depth` of the mean price in scope.
        """
        kinds = {"categories": "category", "brands": "brand"}
        names = {key: [f"{kinds[key]}-{n}" for n in numbers] for key, numbers in scope.items()}
        number = len(self.coupons)
        bare = coupon(f"coupon-{number}", categories=names.get("categories", []), brands=names.get("brands", []))
        inside = [i for i in range(len(self.price)) if self._covers(bare, i)]
        typical = float(self.price[inside].mean())
        margin = float(self.margins[self.category[inside]] @ self.price[inside] / self.price[inside].sum())
        wrong = np.exp(rng.normal(0.0, 0.2, 2))
        is_stated = rng.random(2) < 0.85
        off = max(50, round(depth * typical / 50) * 50)
        window = int(rng.choice([1, 2, 3, 5, 7], p=self.windows)) * DAY_S
        self.coupons.append(coupon(
            bare.coupon_id, categories=bare.categories, brands=bare.brands, redeem_within_s=window,
            kind="amount" if amount else "percent",
            discount_percent=None if amount else round(depth * 100), discount_minor=off if amount else None,
            max_discount_minor=off if amount else max(100, round(depth * typical * 2.5)),
            typical_price_minor=round(typical * wrong[0]) if is_stated[0] else None,
            margin_ratio=float(np.clip(round(margin * wrong[1], 2), 0.05, 0.8)) if is_stated[1] else 0.3,
        ))  # fmt: skip


def products(rng: np.random.Generator, margins: Floats, each: int, brands: int, typical: float) -> Shop:
    """Return a shop of `each` items in every category, without coupons; prices are about `typical`, lognormal."""
    category = np.repeat(np.arange(len(margins)), each)
    level = rng.lognormal(math.log(typical), 0.4, len(margins))[category]
    price = np.rint(level * rng.lognormal(0.0, 0.35, len(category)) / 10) * 10 - 1
    return Shop(category, rng.integers(brands, size=len(category)), np.maximum(price, 199.0), margins)


@dataclass
class Held:
    """A coupon that a shopper was given: number of the coupon, the day, the last day of use."""

    coupon: int
    day: int
    last: int
    issue: CouponIssue | None = None
    used: bool = False


@dataclass
class Shopper:
    """The state of one shopper; the world defines `level`."""

    issues: list[Held] = field(default_factory=list)
    level: int = 0


@dataclass
class Visit:
    """The plan of one visit: items browsed or put in the cart, the time of an order, and needs with their strength."""

    looks: list[tuple[float, int, bool]]
    order_at: float
    needs: list[tuple[int, float]]


@dataclass
class Line:
    """One line of an order, and the coupon that was taken off it."""

    item: int
    quantity: int
    held: Held | None = None
    discount: int = 0


def pick(cumulative: Floats, u: float) -> int:
    """Return the index that a uniform draw selects by cumulative probabilities."""
    return min(int(np.searchsorted(cumulative, u, side="right")), len(cumulative) - 1)


def timetable(
    day: int, items: Sequence[int], carted: Sequence[bool], u: Floats
) -> tuple[list[tuple[float, int, bool]], float]:
    """Return the looks of a visit (time, item, is it a cart event) and the time of its order; `u`: 10 uniform draws.

    The order follows the last look within minutes, or hours later on the same day with probability .3.
    """
    order_at = float(START + day * DAY_S + (OPENS_H + OPEN_H * u[0]) * 3600)
    at = order_at - float(3600 + 10800 * u[2] if u[1] < 0.3 else 120 + 480 * u[2])
    looks = []
    for place in reversed(range(len(items))):
        if carted[place]:
            looks.append((at - 10, items[place], True))
        looks.append((at - 40, items[place], False))
        at -= float(60 + 300 * u[3 + place])
    return looks[::-1], order_at


def placed_by(until: Floats, day: int) -> Floats:
    """Return the share of the orders of a day that are placed by some times, epoch seconds."""
    share: Floats = np.clip(((until - START - day * DAY_S) / 3600 - OPENS_H) / OPEN_H, 0.0, 1.0)
    return share


class DailyWorld(World):
    """A world of at most one visit a day and shopper.

    A coupon that is given on day d with a window of n days is used on the days d to d + n - 1. Shoppers do not use it
    in the hours of the last, partial day. It is taken off one line of an order.
    """

    shop: Shop
    click_ratio = 0.25

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        self.shop = self.build(np.random.default_rng([seed, 1]))
        self.shop.close()
        self.coupons = self.shop.coupons
        self.number = {one.coupon_id: n for n, one in enumerate(self.coupons)}
        self.populate(np.random.default_rng([seed, 2, draw]))
        self.people = [self.newcomer(user) for user in range(shoppers)]
        self.open: dict[int, Visit] = {}
        self.earned_minor = 0.0

    @abstractmethod
    def build(self, rng: np.random.Generator) -> Shop:
        """Return the products with their coupons."""

    @abstractmethod
    def populate(self, rng: np.random.Generator) -> None:
        """Draw what is constant of each shopper."""

    @abstractmethod
    def newcomer(self, user: int) -> Shopper:
        """Return the initial state of a shopper."""

    @abstractmethod
    def start(self, user: int, day: int, u: Floats) -> Visit | None:
        """Advance a shopper's state to a new day, and return the plan of the day's visit, if there is one."""

    @abstractmethod
    def buy(self, user: int, visit: Visit, day: int, u: Floats) -> list[Line]:
        """Return what a shopper orders at the end of a visit, and advance the state; coupons are marked as used."""

    def events(self) -> Events:
        """Yield the messages of all shoppers day by day, in order of time."""
        ties = count()
        clicks = np.random.default_rng([self.seed, 3, self.draw])
        for day in range(math.ceil(self.days)):
            queue: list[tuple[float, int, int, int, Held | None]] = []
            drawn = [np.random.default_rng([self.seed, 4, self.draw, user, day]) for user in range(self.shoppers)]
            for user, rng in enumerate(drawn):
                visit = self.start(user, day, rng.random(DRAWS))
                if visit is not None:
                    self.open[user] = visit
                    queue += [(look[0], next(ties), user, place, None) for place, look in enumerate(visit.looks)]
                    queue.append((visit.order_at, next(ties), user, -1, None))
            heapify(queue)
            while queue and queue[0][0] < self.ends_at:
                at, _, user, place, clicked = heappop(queue)
                if clicked is not None and clicked.issue is not None:
                    yield feedback(clicked.issue, "click", at=at)
                elif place < 0:
                    yield from self._checkout(user, day, drawn[user].random(DRAWS))
                else:
                    _, number, is_cart = self.open[user].looks[place]
                    told = (cart if is_cart else browse)(f"user-{user}", self.shop.message(number), at=at)
                    for issue in (yield told) or ():
                        held = self.give(user, self.number[issue.coupon_id], issue.issued_at, issue)
                        if clicks.random() < self.click_ratio:
                            heappush(queue, (at + clicks.uniform(3, 30), next(ties), user, 0, held))
            self.open.clear()

    def give(self, user: int, number: int, at: float, issue: CouponIssue | None = None) -> Held:
        """Add a coupon to those that a shopper holds."""
        day = self.day(at)
        held = Held(number, day, day + int(self.shop.usable[number]) - 1, issue)
        self.people[user].issues.append(held)
        return held

    def _checkout(self, user: int, day: int, u: Floats) -> Iterator[Struct]:
        visit = self.open.pop(user)
        lines = self.buy(user, visit, day, u)
        if not lines:
            return
        self.earned_minor += self.profit(lines)
        placed = self._order(user, lines, visit.order_at)
        yield placed
        for line in lines:
            if line.held is not None and line.held.issue is not None:
                covers = self.shop.covers[line.held.coupon]
                value = sum(int(self.shop.price[one.item]) * one.quantity for one in lines if covers[one.item])
                yield feedback(line.held.issue, "purchase", at=visit.order_at, discount_minor=line.discount,
                               order_value_minor=value)  # fmt: skip

    def _order(self, user: int, lines: list[Line], at: float) -> OrderEvent:
        items = [self.shop.message(line.item, line.quantity) for line in lines]
        total = sum(int(self.shop.price[line.item]) * line.quantity for line in lines)
        off = sum(line.discount for line in lines)
        return order(f"user-{user}", *items, at=at, total_minor=total - off, discount_minor=off)

    def profit(self, lines: list[Line]) -> float:
        """Return the margin of an order less its discounts."""
        shop = self.shop
        margins = (shop.margins[shop.category[line.item]] * shop.price[line.item] * line.quantity for line in lines)
        return float(sum(margins)) - sum(line.discount for line in lines)

    def day(self, at: float) -> int:
        """Return the number of the day of a time."""
        return int((at - START) // DAY_S)

    def line(self, number: int, u: float, held: Held | None = None) -> Line:
        """Return a line of an order of one item with a drawn quantity; its coupon, if any, is marked as used."""
        place = pick(np.cumsum(self.shop.chances), u)
        if held is None:
            return Line(number, self.shop.quantities[place])
        held.used = True
        return Line(number, self.shop.quantities[place], held, int(self.shop.discounts[place, held.coupon, number]))

    def rollout(self, user: int, number: int | None, at: float, until: float, rng: np.random.Generator) -> float:
        """Return one random outcome of `true_values`' expectation: margin from `at` to `until`, with a coupon or none.

        The state of the shopper, with the visit that is open, is restored afterwards.
        """
        kept = self.people[user]
        self.people[user] = replace(kept, issues=[replace(held) for held in kept.issues])
        if number is not None:
            self.give(user, number, at)
        visit, earned = self.open.get(user), 0.0
        for day in range(self.day(at), self.day(until) + 1):
            u = rng.random((2, DRAWS))
            if day > self.day(at):
                visit = self.start(user, day, u[0])
            if visit is not None:
                lines = self.buy(user, visit, day, u[1])
                earned += self.profit(lines) * (visit.order_at <= until)
        self.people[user] = kept
        return earned

    def until(self, number: int, at: float) -> float:
        """Return the end of the time over which the effect of a coupon counts."""
        return at + self.coupons[number].redeem_within_s + AFTER_S
