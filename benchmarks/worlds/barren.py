"""A shop in which no coupon pays: its shoppers buy what they need in any case."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.worlds._one import Basket, DayWorld, Lattice, Shop, Shopper, catalogue_of
from benchmarks.worlds.world import DAY_S, Floats
from stream_coupons.core.messages.decisions import CouponIssue

HEEDS, FAVOURITES = 0.9, 6
ANNOYED_DAYS, ANNOYED = 4, 0.03
QUANTITIES = np.array([1.0, 2.0, 3.0, 4.0, 6.0])
CHANCES = np.array([0.5, 0.25, 0.13, 0.08, 0.04])


@dataclass
class Traits:
    """Habits of one shopper: daily visits, orders per visit, shares of categories."""

    visits: float
    orders: float
    taste: Floats


class Barren(DayWorld):
    """Loyal shoppers who ignore prices: no coupon pays for any of them (`pays` is False).

    A shopper visits with a fixed probability each day, more often at weekends.
    Each visit leads to an order with a fixed probability.
    The category is a draw of fixed tastes. None of this depends on a coupon or its depth.
    An order takes the best coupon in scope with probability .9: each use is a discount without an effect.
    A coupon annoys: in the four days after it the shopper visits 3 % less (reactance; Fitzsimons and Lehmann 2004).
    Discounts are always below the margin of the lines in scope, so no true value is positive.
    The world judges what a policy loses by noise, by winner's curse and by exploration.
    """

    name: ClassVar[str] = "barren"
    pays: ClassVar[bool] = False
    USES = HEEDS
    KEEPS = 4

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        rng = np.random.default_rng([seed, 31])
        terms = [(0, 5.0, 0), (0, 10.0, 0), (0, 15.0, 0)]
        terms += [
            (int(n), float(d), 0)
            for n, d in zip(rng.choice([1, 1, 2, 4], 19), rng.choice([5, 10, 15, 20], 19), strict=True)
        ]
        terms += [(1, 0.0, 100), (1, 0.0, 150), (2, 0.0, 100)]
        self.shop = Shop(rng, (12, 8), [terms[n] for n in rng.permutation(len(terms))], (0.22, 0.5))
        least = self.shop.prices.reshape(self.shop.categories, -1).min(axis=1) * self.shop.margins
        least_in_scope = np.where(self.shop.covers, least, np.inf).min(axis=1)
        self.shop.amount = np.minimum(self.shop.amount, np.floor(least_in_scope))
        self.shop.cap = np.where(self.shop.percent > 0, self.shop.cap, self.shop.amount)
        self._margin, scope, self._taken = self.shop.expected(QUANTITIES, CHANCES / CHANCES.sum(), 0.0)
        self.coupons = catalogue_of(self.shop, rng, self._margin, scope)
        self._traits = [self._drawn(n) for n in range(shoppers)]

    def _drawn(self, n: int) -> Traits:
        rng = np.random.default_rng([self.seed, 32, self.draw, n])
        taste = np.zeros(self.shop.categories)
        chosen = rng.choice(self.shop.categories, FAVOURITES, replace=False, p=self.shop.liked)
        taste[chosen] = rng.dirichlet(np.full(FAVOURITES, 0.8))
        return Traits(float(rng.beta(2.0, 3.0)), float(rng.beta(4.0, 7.0)), taste)

    def newcomer(self, n: int) -> Shopper:
        """Return a shopper who is not annoyed: the state is the last day of annoyance."""
        s = self.start(n)
        s.stock = -1
        return s

    def visits(self, t: Traits, day: int) -> float:
        """Return the probability of a visit of a shopper who is not annoyed."""
        return t.visits * (1.15 if day % 7 in (0, 6) else 0.94)

    def wake(self, s: Shopper, row: Floats) -> None:
        """Draw a visit that browses by taste."""
        t = self._traits[s.number]
        if row[24] >= self.visits(t, s.day) * (1.0 - ANNOYED * (s.day <= s.stock)):
            return
        s.moment = self.moment_of(s.day, row[25])
        at = s.moment - 110.0
        for n in range(1 + int(3.2 * row[26])):
            s.looks.insert(0, (at, self.shop.pick(self._wanted(t, row[30 + n]), row[34 + n])))
            at -= 20.0 + 400.0 * float(row[38 + n])

    def _wanted(self, t: Traits, u: float) -> int:
        return min(int(np.searchsorted(np.cumsum(t.taste), u)), self.shop.categories - 1)

    def receive(self, s: Shopper, number: int, issue: CouponIssue, at: float) -> float | None:
        """Give a coupon; it annoys from tomorrow on."""
        s.stock = self._annoyed_until(at)
        return super().receive(s, number, issue, at)

    def _annoyed_until(self, at: float) -> int:
        return int((at - self.starts_at) // DAY_S) + ANNOYED_DAYS

    def decide(self, s: Shopper, row: Floats) -> Basket | None:
        """Order by habit; the best coupon in scope is used."""
        t, held = self._traits[s.number], s.held(s.moment or 0.0)
        k = self._wanted(t, row[3])
        if row[2] >= t.orders:
            s.carted = self.shop.pick(k, row[4]) if row[5] < 0.15 else None
            return None
        quantity = int(QUANTITIES[np.searchsorted(np.cumsum(CHANCES), row[6])])
        ranks = np.array([0.0, *(self._taken[k, one.coupon] for one in held)])
        best = int(ranks.argmax()) if row[7] < HEEDS else 0
        return Basket([(self.shop.pick(k, row[4]), quantity)], held[best - 1] if best else None)

    def settle(self, s: Shopper, basket: Basket) -> None:
        """Leave no state behind."""

    def night(self, s: Shopper, row: Floats) -> None:
        """Leave no state behind."""

    def effects(self, s: Shopper, at: float) -> Floats:
        """Return the exact effects by backward induction over days and sets of unused coupons.

        The two states of the recursion are the shopper who gets no coupon, and the one who gets it.
        """
        t, pending = self._traits[s.number], s.basket.used if s.basket else None
        held = [one for one in s.held(at) if one is not pending]
        lattice = Lattice(self, held, np.arange(len(self.coupons)), at)
        keeps = len(s.held(at)) < self.KEEPS
        without = lattice.full - lattice.fresh
        kept = lattice.full if keeps else without
        after, now = self._ahead(t, lattice, s.day, np.array([s.stock, self._annoyed_until(at)]))
        if s.moment is None:
            return after[:, kept, 1] - after[:, without, 0]
        if s.basket is None:
            usable = sum(1 << n for n, one in enumerate(held) if one.expires_at > s.moment)
            return now[:, (kept & lattice.fresh) | usable, 1] - now[:, usable, 0]
        values = self.shop.values(s.basket.lines)
        uses = HEEDS * (self.shop.covers @ values > 0) * (pending is None) * keeps
        having = uses * (after[:, without, 1] - self.shop.discounts(values[None])[0]) + (1 - uses) * after[:, kept, 1]
        effects: Floats = having - after[:, without, 0]
        return effects

    def _ahead(self, t: Traits, lattice: Lattice, today: int, until: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return the values after the visit of today, and before it; `until`: last day of annoyance by state."""
        slots = self._taken[:, lattice.coupons].transpose(1, 2, 0)
        slot = lattice.best(slots)
        used = slot >= 0
        rows = np.arange(len(slots))[:, None, None]
        discount = np.where(used, slots[rows, slot, np.arange(len(t.taste))], 0.0)
        net: Floats = (self._margin - HEEDS * discount) @ t.taste
        target = lattice.masks[:, None] - np.where(used, 1 << slot.clip(0), 0)

        def visit(values: Floats, chance: Floats) -> Floats:
            n = len(values)
            following: Floats = np.einsum("cmks,k->cms", values[rows[:n], target[:n]], t.taste)
            ordered = net[:n, :, None] + HEEDS * following + (1 - HEEDS) * values
            visited: Floats = chance * ordered + (1 - chance) * values
            return visited

        def orders(day: int) -> Floats:
            return np.where(day <= until, 1.0 - ANNOYED, 1.0) * (self.visits(t, day) * t.orders)

        tail = np.zeros((len(slots), len(until)))
        for day in range(today + 1, today + ANNOYED_DAYS + 1):
            tail += (lattice.last < day)[:, None] * orders(day) * float(self._margin @ t.taste)
        after = lattice.fold(today, tail, lambda day, values: visit(values, orders(day)))
        return after, visit(after, np.array(t.orders))

    def margin_without(self) -> float:
        """Return the expected margin of the whole days played."""
        return float(
            sum(
                self.visits(t, day) * t.orders * float(self._margin @ t.taste)
                for t in self._traits
                for day in range(self.whole_days)
            )
        )
