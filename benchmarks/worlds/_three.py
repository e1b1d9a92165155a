"""Shared parts of the worlds `journeys`, `reminders` and `idle`: catalogue, agenda and money. No behaviour."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from benchmarks.worlds.world import DAY_S, Events, Floats, World
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent, Item, OrderEvent
from stream_coupons.testing import coupon, feedback, item, order

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
BRANDS = 8
PLAYS = 2
"""Plays without coupons that `margin_without` averages."""


class Shop:
    """Items and coupons of a shop; depends on `rng` only.

    Attributes
    ----------
    category, brand, price : Ints
        Of every item; prices in minor units.
    margin, popularity : Floats
        True margin ratio of every item, and its share of the demand for its category.
    covers : Bools
        Scope of the coupons, (coupons, items).
    """

    def __init__(self, rng: np.random.Generator, categories: int, items: int, price: float, lines: Floats) -> None:
        self.rng, self.categories = rng, categories
        self.lines = lines
        """Probability of each quantity 1, 2, ... of an ordered item."""
        self.quantities = np.arange(1, len(lines) + 1)
        self.category = np.sort(np.r_[np.arange(categories), rng.integers(0, categories, items - categories)])
        self.brand = rng.integers(0, BRANDS, items)
        level = price * np.exp(rng.normal(0, 0.5, categories))
        self.price = level[self.category] * np.exp(rng.normal(0, 0.35, items))
        self.price = np.rint(np.clip(self.price, price / 3, 8 * price)).astype(np.int64)
        self.margin = rng.uniform(0.1, 0.5, categories)[self.category]
        weight = rng.gamma(0.8, 1.0, items) + 0.05
        self.popularity = weight / np.bincount(self.category, weight)[self.category]
        self.gain = self.price * self.margin * (lines @ self.quantities)
        """Expected margin of an ordered item before discounts, (items,)."""
        self.coupons: list[Coupon] = []
        self.covers: Bools = np.zeros((0, items), np.bool_)

    def add(self, kinds: Sequence[str], depths: tuple[float, float], windows: Sequence[float]) -> None:
        """Add one coupon of every kind: `category`, `pair`, `brand`, `items`, `amount`, `shop` or `fee`."""
        for kind in kinds:
            scope = self._scope(kind)
            covered = self._covered(scope)
            self.covers = np.vstack([self.covers, covered])
            typical = float(np.average(self.price[covered], weights=self.popularity[covered] + 1e-3))
            typical *= float(self.lines @ self.quantities)
            depth, days = self.rng.uniform(*depths), float(self.rng.choice(windows))
            fields: dict[str, Any] = {
                **scope,
                "kind": kind,
                "redeem_within_s": days * DAY_S,
                "typical_price_minor": None,
            }
            fields |= self._discount(kind, depth, typical)
            if self.rng.random() < 0.85:
                fields["typical_price_minor"] = int(typical * self._error())
                fields["margin_ratio"] = float(min(1.0, self.margin[covered].mean() * self._error()))
            self.coupons.append(coupon(f"coupon-{len(self.coupons):02d}", **fields))

    def discounts(self, quantity: int) -> Ints:
        """Return the discount of every coupon on a line of every item, 0 out of scope, (coupons, items)."""
        value = self.price * quantity
        rows = []
        for terms, covered in zip(self.coupons, self.covers, strict=True):
            if terms.discount_minor is not None:
                off = np.minimum(terms.discount_minor, value)
            else:
                off = (value * (terms.discount_percent or 0) / 100).astype(np.int64)
            rows.append(np.where(covered, np.minimum(off, terms.max_discount_minor), 0))
        return np.array(rows, np.int64)

    def mean_discounts(self) -> Floats:
        """Return the expected discount over quantities, (coupons, items)."""
        tables = [share * self.discounts(int(q)) for share, q in zip(self.lines, self.quantities, strict=True)]
        return np.asarray(np.sum(tables, axis=0), np.float64)

    def depths(self) -> Floats:
        """Return the discount on one unit relative to its price, (coupons, items)."""
        return np.asarray(self.discounts(1) / self.price, np.float64)

    def line(self, index: int, quantity: int = 1) -> Item:
        """Return an item of the shop for a message."""
        names = {"category": f"category-{self.category[index]}", "brand": f"brand-{self.brand[index]}"}
        return item(f"item-{index}", price_minor=int(self.price[index]), quantity=float(quantity), **names)

    def _scope(self, kind: str) -> dict[str, list[str]]:
        some = [f"category-{k}" for k in self.rng.choice(self.categories, 2, replace=False)]
        if kind in ("shop", "fee"):
            return {}
        if kind == "brand":
            return {"brands": [f"brand-{self.rng.integers(BRANDS)}"]}
        if kind == "items":
            inside = np.flatnonzero(self.category == int(some[0].split("-")[1]))
            return {"items": [f"item-{i}" for i in self.rng.permutation(inside)[: max(1, len(inside) // 2)]]}
        return {"categories": some if kind == "pair" else some[:1]}

    def _covered(self, scope: dict[str, list[str]]) -> Bools:
        covered = np.ones(len(self.price), np.bool_)
        for name, of_item in (("categories", self.category), ("brands", self.brand), ("items", range(len(self.price)))):
            named = {int(label.split("-")[1]) for label in scope.get(name, [])}
            covered &= np.array([not named or int(one) in named for one in of_item])
        return covered

    def _discount(self, kind: str, depth: float, typical: float) -> dict[str, Any]:
        if kind in ("fee", "amount"):
            off = int(self.rng.integers(5, 14)) * 10 if kind == "fee" else max(50, int(depth * typical / 10) * 10)
            return {"discount_minor": off, "max_discount_minor": off}
        most = max(100, int(depth * typical * self.rng.uniform(1.2, 2.5)))
        return {"discount_minor": None, "discount_percent": float(round(100 * depth)), "max_discount_minor": most}

    def _error(self) -> float:
        return float(1 + self.rng.choice([-1, 1]) * self.rng.uniform(0.1, 0.3))


@dataclass
class Held:
    """A coupon that a shopper holds."""

    index: int
    issue: CouponIssue


@dataclass
class Shopper:
    """State of one shopper: everything that their future depends on. `play` number 0 is the world's own."""

    user: int
    play: int = 0
    agenda: list[tuple[float, int, str, int]] = field(default_factory=list)
    """Heap of (time, serial number, action, argument)."""
    serial: int = 0
    held: list[Held] = field(default_factory=list)
    drawn: tuple[int, int, list[float]] = (-1, -1, [])
    """Play, number and values of the latest `AgendaWorld.draws`."""

    def plan(self, at: float, action: str, argument: int = 0) -> None:
        """Add an action to the agenda."""
        self.serial += 1
        heappush(self.agenda, (float(at), self.serial, action, argument))

    def drop_expired(self, at: float) -> None:
        """Forget the coupons that have expired."""
        self.held = [one for one in self.held if one.issue.expires_at > at]


S = TypeVar("S", bound=Shopper)


class AgendaWorld(World, Generic[S]):
    """A world of shoppers who each follow an agenda; subclasses say what an action does."""

    shop: Shop
    people: Sequence[S]

    @abstractmethod
    def born(self, user: int, play: int) -> S:
        """Return a shopper at the start of the time."""

    @abstractmethod
    def act(self, one: S, at: float, action: str, argument: int) -> list[Struct]:
        """Carry out an action, plan the next ones, and return its messages."""

    @abstractmethod
    def receive(self, one: S, held: Held, at: float) -> None:
        """Change the state of a shopper who gets a coupon, including `held`."""

    def events(self) -> Events:
        self.people = [self.born(user, 0) for user in range(self.shoppers)]
        heap = [(one.agenda[0][0], one.user) for one in self.people]
        heapify(heap)
        while heap and heap[0][0] < self.ends_at:
            one = self.people[heappop(heap)[1]]
            for message in self.step(one):
                issues = yield message
                for issue in issues or ():
                    self.give(one, issue)
            heappush(heap, (one.agenda[0][0], one.user))

    def step(self, one: S) -> list[Struct]:
        """Carry out a shopper's next action."""
        at, _, action, argument = heappop(one.agenda)
        one.drop_expired(at)
        if action == "click":
            seen = [held.issue for held in one.held if hash_of(held.issue) == argument]
            return [feedback(seen[0], "click", at=at)] if seen else []
        return self.act(one, at, action, argument)

    def give(self, one: S, issue: CouponIssue) -> None:
        """Give a coupon to a shopper."""
        index = self.index_of[issue.coupon_id]
        if self.rng(one, 9, hash_of(issue)).random() < 0.3:
            one.plan(issue.issued_at + 20.0, "click", hash_of(issue))
        self.receive(one, Held(index, issue), issue.issued_at)

    def open_shop(self, shop: Shop) -> None:
        """Use a complete catalogue; called once by the subclass."""
        self.shop, self.coupons = shop, shop.coupons
        self.tables = [shop.discounts(int(quantity)) for quantity in shop.quantities]
        self.index_of = {terms.coupon_id: index for index, terms in enumerate(shop.coupons)}

    def rng(self, one: Shopper, *numbers: int) -> np.random.Generator:
        """Return random numbers that depend on the shopper, the play and the given numbers only."""
        return np.random.default_rng([self.seed, self.draw, one.play, one.user, *numbers])

    def draws(self, one: Shopper, number: int) -> list[float]:
        """Return 40 uniform draws that depend on the shopper, the play and a number, such as that of a day."""
        if one.drawn[:2] != (one.play, number):
            one.drawn = one.play, number, self.rng(one, 2, number).random(40).tolist()
        return one.drawn[2]

    def fork(self, one: S, play: int) -> S:
        """Return an independent copy of a shopper, whose future has other random numbers."""
        twin = copy(one)
        twin.play, twin.agenda, twin.held = play, list(one.agenda), list(one.held)
        return twin

    def future(self, one: S, until: float) -> Iterator[Struct]:
        """Yield the messages of one shopper until a time, without further coupons."""
        while one.agenda[0][0] < until:
            yield from self.step(one)

    def money(self, messages: Iterable[Struct]) -> float:
        """Return the margin of all orders less all discounts."""
        total = 0.0
        for message in messages:
            if isinstance(message, OrderEvent):
                for line in message.items:
                    index = int(line.item_id.split("-")[1])
                    total += (line.price_minor or 0) * (line.quantity or 0) * float(self.shop.margin[index])
            elif isinstance(message, FeedbackEvent) and message.kind == "purchase":
                total -= message.discount_minor or 0
        return total

    def sale(
        self, one: S, at: float, lines: Sequence[tuple[int, int]], used: Sequence[tuple[Held, int]]
    ) -> list[Struct]:
        """Return an order of (item, quantity) and the feedback of (coupon, number of its line)."""
        who = name_of(one.user)
        offs = [int(self.tables[lines[at_line][1] - 1][held.index, lines[at_line][0]]) for held, at_line in used]
        items = [self.shop.line(index, quantity) for index, quantity in lines]
        total = sum(int(self.shop.price[index]) * quantity for index, quantity in lines)
        messages: list[Struct] = [order(who, *items, at=at, total_minor=total, discount_minor=sum(offs))]
        for (held, at_line), off in zip(used, offs, strict=True):
            value = int(self.shop.price[lines[at_line][0]]) * lines[at_line][1]
            messages.append(feedback(held.issue, "purchase", at=at, discount_minor=off, order_value_minor=value))
        return messages

    def person(self, user_id: str) -> S:
        """Return the shopper with an id."""
        return self.people[int(user_id.removeprefix("shopper-"))]

    def margin_without(self) -> float:
        totals = [
            self.money(self.future(self.born(user, 1 + play), self.ends_at))
            for play in range(PLAYS)
            for user in range(self.shoppers)
        ]
        return sum(totals) / PLAYS


def name_of(user: int) -> str:
    """Return the id of a shopper."""
    return f"shopper-{user}"


def hash_of(issue: CouponIssue) -> int:
    """Return a number for an issue that depends on its coupon and time only."""
    return int(issue.issued_at) % 2**31 * 101 + sum(map(ord, issue.coupon_id))


def pick(shares: Floats, draw: float) -> int:
    """Return the index that a uniform draw selects by its share."""
    return min(int(shares.cumsum().searchsorted(draw, "right")), len(shares) - 1)
