"""Interpurchase timing: orders are a renewal process, and a held coupon raises its hazard."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.worlds._one import Basket, DayWorld, Held, Lattice, Shop, Shopper, catalogue_of
from benchmarks.worlds.world import Floats

HEEDS, PULL, PROMPTED = 0.1, 0.06, 0.4
AGES = 22
OLDER = np.minimum(np.arange(AGES) + 1, AGES - 1)
QUANTITIES = np.array([1.0, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0, 22.0, 35.0])
CHANCES = QUANTITIES**-1.6 / (QUANTITIES**-1.6).sum()
SEASON = np.array([1.35, 0.85, 0.85, 0.9, 0.9, 1.0, 1.35])
SENSITIVITY = {"loyal": 0.05, "seeker": 1.1, "browser": 0.3}


@dataclass
class Traits:
    """Timing and tastes of one shopper; `pull`, `sources` and `net` are by coupon."""

    visits: float
    hazard: Floats
    taste: Floats
    pull: Floats
    sources: Floats
    net: Floats
    margin: float

    @cached_property
    def worth(self) -> Floats:
        """Expected margin of 0, 1, ... days without a coupon, by weekday of the first, (days, weekdays, ages)."""
        rows = [np.zeros((7, AGES))]
        for _ in range(10):
            rows.append(np.array([self.day_without(w, rows[-1][(w + 1) % 7]) for w in range(7)]))
        return np.array(rows)

    def visits_on(self, day: int) -> float:
        """Return the probability of an own visit on a day."""
        return float(min(1.0, self.visits * SEASON[day % 7]))

    def day_without(self, day: int, following: Floats) -> Floats:
        """Return the values at the start of a day without a coupon from those at its end, by age."""
        p = self.visits_on(day) * -np.expm1(-self.hazard * SEASON[day % 7])
        values: Floats = p * (self.margin + following[1]) + (1 - p) * following[OLDER]
        return values


class Renewal(DayWorld):
    """Shoppers who order by an Erlang-2 renewal process: coupons change the time of the next order.

    The hazard of an own order depends on the days since the last order and on the weekend (Gupta 1991).
    Basket quantities are heavy-tailed.
    Each held coupon adds a competing hazard: an S-curve of its depth times the deal sensitivity of the shopper.
    An order resets the clock, so that an early order by a coupon postpones the next own order.
    Loyal shoppers respond little, browsers visit often and order late. Both follow coupons into their interests only.
    Deal seekers follow any coupon, whatever their interest. Coupons may also prompt a visit.
    Own orders use a held coupon in scope in 10 % of the cases: whole-shop coupons lose on sure buyers.
    Most orders are placed hours after the visit.
    """

    name: ClassVar[str] = "renewal"
    USES = HEEDS

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        rng = np.random.default_rng([seed, 21])
        terms = [(0, float(percent), 0) for percent in (5, 8, 10, 10, 12, 15)]
        terms += [(0, 0.0, amount) for amount in (60, 80, 100, 120, 150, 200)]
        terms += [
            (int(n), float(d), 0)
            for n, d in zip(rng.integers(1, 4, 18), rng.choice([5, 8, 10, 12, 15, 18, 20, 22], 18), strict=True)
        ]
        terms += [
            (int(n), 0.0, int(d)) for n, d in zip(rng.integers(1, 4, 6), rng.integers(5, 25, 6) * 10, strict=True)
        ]
        self.shop = Shop(rng, (10, 9), [terms[n] for n in rng.permutation(len(terms))], (0.3, 0.5))
        self._margin, self._scope, self._taken = self.shop.expected(QUANTITIES, CHANCES, 0.0)
        self._depth = self._taken / np.maximum(self._scope, 1.0)
        self.coupons = catalogue_of(self.shop, rng, self._margin, self._scope)
        self._traits = [self._drawn(n) for n in range(shoppers)]

    def _drawn(self, n: int) -> Traits:
        rng = np.random.default_rng([self.seed, 22, self.draw, n])
        kind = str(rng.choice(list(SENSITIVITY), p=[0.4, 0.4, 0.2]))
        visits = float(rng.beta(7.0, 7.0) if kind == "browser" else rng.beta(5.0, 8.0))
        rate = 2.0 / (rng.gamma(4.0, 1.7) if kind != "browser" else rng.gamma(5.0, 2.5))
        survival = np.exp(-rate * np.arange(AGES + 1)) * (1.0 + rate * np.arange(AGES + 1))
        hazard = np.log(survival[:-1] / survival[1:]) / max(visits, 0.1)
        taste = rng.dirichlet(np.full(self.shop.categories, 0.7))
        sources = self.shop.covers * (1.0 if kind == "seeker" else taste)
        sources = sources / np.maximum(sources.sum(axis=1, keepdims=True), 1e-12)
        interest = 1.0 if kind == "seeker" else np.minimum(1.0, 2.0 * self.shop.covers @ taste)
        depth = (sources * self._depth.T).sum(axis=1)
        curve = 1.0 / (1.0 + np.exp(-(depth - 0.135) / 0.02))
        pull = PULL * SENSITIVITY[kind] * float(np.exp(rng.normal(0.0, 0.5))) * curve * interest
        net = (sources * (self._margin[:, None] - self._taken).T).sum(axis=1)
        return Traits(visits, hazard, taste, pull, sources, net, float(taste @ self._margin))

    def newcomer(self, n: int) -> Shopper:
        """Return a shopper whose state is the age of the last order in days."""
        s = self.start(n)
        s.stock = int(np.random.default_rng([self.seed, 23, self.draw, n]).integers(8))
        return s

    def wake(self, s: Shopper, row: Floats) -> None:
        """Draw a visit of the shopper's own, or one that a held coupon prompts for an order."""
        t, moment = self._traits[s.number], self.moment_of(s.day, row[25])
        own = row[24] < t.visits_on(s.day)
        if not own:
            s.basket = self._order(t, s.held(moment), row, 0.0)
            if s.basket is None:
                return
        s.moment = moment
        at = moment - 120.0 - (19000.0 * float(row[28]) if own and row[27] < 0.65 else 0.0)
        ripe = -np.expm1(-t.hazard[s.stock]) if own else 1.0
        for n in range(1 + int((1.6 + 2.3 * ripe) * row[26])):
            wanted = self.shop.pick(self._category(t.taste, row[30 + n]), row[34 + n])
            s.looks.insert(0, (at, wanted if row[38 + n] < 0.75 else self.shop.anything(row[42 + n], row[34 + n])))
            at -= 20.0 + 400.0 * float(row[46 + n])

    def _category(self, weights: Floats, u: float) -> int:
        return min(int(np.searchsorted(np.cumsum(weights), u)), self.shop.categories - 1)

    def _order(self, t: Traits, held: list[Held], row: Floats, hazard: float) -> Basket | None:
        """Draw the first of the competing hazards of a day: tag 1 marks an order that a coupon caused."""
        share = PROMPTED if hazard == 0.0 else 1.0
        rates = np.array([hazard, *(share * t.pull[one.coupon] for one in held)])
        clocks = -np.log(row[8 : 8 + len(rates)]) / np.maximum(rates, 1e-300)
        first = int(clocks.argmin())
        if clocks[first] >= 1.0:
            return None
        quantity = int(QUANTITIES[min(int(np.searchsorted(np.cumsum(CHANCES), row[4])), len(QUANTITIES) - 1)])
        if first:
            used: Held | None = held[first - 1]
            k = self._category(t.sources[held[first - 1].coupon], row[3])
        else:
            k = self._category(t.taste, row[3])
            ranks = np.array([0.0, *(self._taken[k, one.coupon] for one in held)])
            best = int(ranks.argmax()) if row[5] < HEEDS else 0
            used = held[best - 1] if best else None
        return Basket([(self.shop.pick(k, row[6]), quantity)], used)

    def decide(self, s: Shopper, row: Floats) -> Basket | None:
        """Order if a competing hazard fires in the visit of the day."""
        t, hazard = self._traits[s.number], self._traits[s.number].hazard[s.stock] * SEASON[s.day % 7]
        basket = self._order(t, s.held(s.moment or 0.0), row, float(hazard))
        if basket is None and row[7] < 0.12:
            s.carted = self.shop.pick(self._category(t.taste, row[3]), row[6])
        return basket

    def settle(self, s: Shopper, basket: Basket) -> None:
        """Restart the clock."""
        del basket
        s.stock = 0

    def night(self, s: Shopper, row: Floats) -> None:
        """Let the last order age."""
        del row
        s.stock = int(OLDER[s.stock])

    def click_chance(self, s: Shopper, number: int) -> float:
        """Return a probability of a click that rises with the pull of the coupon."""
        return 0.08 + 0.5 * min(1.0, float(self._traits[s.number].pull[number]) / PULL)

    def effects(self, s: Shopper, at: float) -> Floats:
        """Return the exact effects by backward induction over days, sets of unused coupons, and ages."""
        if len(s.held(at)) >= self.KEEPS:
            return np.zeros(len(self.coupons))
        pending = s.basket.used if s.basket else None
        held = [one for one in s.held(at) if one is not pending]
        ahead = _Ahead(self._traits[s.number], Lattice(self, held, np.arange(len(self.coupons)), at), self._taken)
        lattice, full, without = ahead.lattice, ahead.lattice.full, ahead.lattice.full - ahead.lattice.fresh
        end = ahead.end_of(s.day)
        if s.moment is None:
            return end[:, full, OLDER[s.stock]] - end[:, without, OLDER[s.stock]]
        if s.basket is None:
            usable = sum(1 << n for n, one in enumerate(held) if one.expires_at > s.moment)
            visit = ahead.visit(s.day, end, 1.0)[:, :, s.stock]
            return visit[:, usable | lattice.fresh] - visit[:, usable]
        values = self.shop.values(s.basket.lines)
        uses = HEEDS * (self.shop.covers @ values > 0) * (pending is None)
        used = end[:, without, 1] - self.shop.discounts(values[None])[0]
        effects: Floats = uses * used + (1 - uses) * end[:, full, 1] - end[:, without, 1]
        return effects

    def margin_without(self) -> float:
        """Return the expected margin by recursion over the whole days played."""
        total = 0.0
        for n, t in enumerate(self._traits):
            values = np.zeros(AGES)
            for day in reversed(range(self.whole_days)):
                values = t.day_without(day, values)
            total += float(values[self.newcomer(n).stock])
        return total


class _Ahead:
    """Expectations of one shopper for every set of unused coupons."""

    def __init__(self, t: Traits, lattice: Lattice, taken: Floats) -> None:
        self.t, self.lattice = t, lattice
        slots = taken[:, lattice.coupons].transpose(1, 2, 0)
        slot = lattice.best(slots)
        used = slot >= 0
        self.rows: NDArray[np.int64] = np.arange(len(slots))[:, None, None]
        discount = np.where(used, slots[self.rows, slot, np.arange(len(t.taste))], 0.0)
        self.reward = t.margin - HEEDS * discount @ t.taste
        self.target = lattice.masks[:, None] - np.where(used, 1 << slot.clip(0), 0)
        self.pulls = t.pull[lattice.coupons][:, None] * lattice.bits
        self.pulled = self.pulls.sum(axis=2)
        self.net = (self.pulls * t.net[lattice.coupons][:, None]).sum(axis=2)
        self.spent = (lattice.masks[:, None] & ~(1 << np.arange(lattice.slots)))[None]

    def visit(self, day: int, end: Floats, visits: float) -> Floats:
        """Return the values at the start of a day from those at its end; `visits`: probability of an own visit."""
        n = len(end)
        again, older, pulled = end[:, :, 1], end[:, :, OLDER], self.pulled[:n, :, None]
        kept = HEEDS * again[self.rows[:n], self.target[:n]] @ self.t.taste + (1 - HEEDS) * again
        caused = (self.net[:n] + (self.pulls[:n] * again[self.rows[:n], self.spent]).sum(axis=2))[:, :, None]
        hazard = self.t.hazard * SEASON[day % 7]
        stays = np.exp(-(hazard + pulled))
        ordered = hazard * (self.reward[:n] + kept)[:, :, None] + caused
        values: Floats = stays * older + (1.0 - stays) / (hazard + pulled) * ordered
        if visits < 1.0:
            stays = np.exp(-PROMPTED * pulled)
            prompted = stays * older + (1.0 - stays) / np.maximum(pulled, 1e-12) * caused
            values = visits * values + (1.0 - visits) * prompted
        return values

    def end_of(self, day: int) -> Floats:
        """Return the values at the end of a day."""
        lattice, t = self.lattice, self.t
        left, weekday = lattice.end_days - lattice.last, (lattice.last + 1) % 7
        tail = (1 - lattice.part) * t.worth[left - 1, weekday] + lattice.part * t.worth[left, weekday]
        return lattice.fold(day, tail, lambda today, end: self.visit(today, end, t.visits_on(today)))
