"""Stockpiling: shoppers have inventories, and coupons bring purchases forward."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.worlds._one import Basket, DayWorld, Held, Lattice, Shop, Shopper, catalogue_of
from benchmarks.worlds.world import Floats

STORED, FRESH, LEVELS = 3, 3, 3
STOCKS = LEVELS**STORED
PACKS = np.array([1, 2] * STORED + [1] * FRESH)
STORE = np.array([0, 0, 1, 1, 2, 2] + [-1] * FRESH)
BOOST = np.where(PACKS == 2, 1.2, 1.0)
LEVEL_OF = np.arange(STOCKS)[:, None] // LEVELS ** np.arange(STORED) % LEVELS
HEEDS, FADES, EXTRA, MAX_SIZE = 0.25, 0.35, 0.4, 4
REFERENCE_FALL, LOSS_AVERSION = 0.01, 2.0
MAX_DAYS = 64


def _following() -> NDArray[np.int64]:
    """Return the stock after each alternative, (stocks, alternatives): a purchase fills up to the top level."""
    raised = np.where(STORE >= 0, np.minimum(LEVELS - 1, LEVEL_OF[:, STORE] + PACKS), 0)
    gained = (raised - LEVEL_OF[:, STORE]) * LEVELS ** STORE.clip(0)
    return np.arange(STOCKS)[:, None] + np.where(STORE >= 0, gained, 0)


FOLLOWING = _following()


@dataclass
class Traits:
    """Tastes of one shopper: alternatives are (category, packs), the outside option has utility 0."""

    visits: float
    size: int
    categories: NDArray[np.int64]
    attraction: Floats
    response: float
    margin: Floats
    taken: Floats
    uses_up: Floats

    def gain(self, depth: Floats) -> Floats:
        """Return the factor of the attraction by a price `depth` below the full one: (..., reference, alternatives)."""
        below = depth[..., None, :] - np.array([0.0, REFERENCE_FALL])[:, None]
        gain: Floats = np.exp(self.response * BOOST * np.where(below > 0, below, LOSS_AVERSION * below))
        return gain

    @cached_property
    def plain(self) -> Floats:
        """Choice probabilities without a coupon, (states, alternatives)."""
        weight = (self.gain(np.zeros(len(PACKS)))[:, None] * self.attraction).reshape(-1, len(PACKS))
        plain: Floats = weight / (1.0 + weight.sum(axis=1, keepdims=True))
        return plain

    @cached_property
    def night(self) -> Floats:
        """Transitions of a night: stored categories are used up, the reference price recovers."""
        moves = np.ones((1, 1))
        for rate in self.uses_up:
            down = np.eye(LEVELS) * (1 - rate) + np.eye(LEVELS, k=-1) * rate
            down[0, 0] = 1.0
            moves = np.kron(down, moves)
        return np.kron(np.array([[1.0, 0.0], [FADES, 1.0 - FADES]]), moves)

    @cached_property
    def bought(self) -> Floats:
        """Transitions of a visit without a coupon."""
        states = np.arange(2 * STOCKS)
        moves = np.diag(1.0 - self.plain.sum(axis=1))
        for j in range(len(PACKS)):
            moves[states, states // STOCKS * STOCKS + FOLLOWING[states % STOCKS, j]] += self.plain[:, j]
        return moves

    @cached_property
    def worth(self) -> Floats:
        """Expected margin of 0, 1, ... days without a coupon, (days, states)."""
        rows = [np.zeros(2 * STOCKS)]
        for _ in range(MAX_DAYS):
            after = self.night @ rows[-1]
            rows.append(self.visits * (self.plain @ self.margin + self.bought @ after) + (1 - self.visits) * after)
        return np.array(rows)


class Pantry(DayWorld):
    """Shoppers who stock up: a multinomial logit over categories and quantities, driven by inventory.

    A shopper stores three categories and buys three others fresh. Stored levels fall at random, at heavy-tailed rates.
    At a visit the shopper chooses one or two packs of one category, or nothing. A full stock lowers the utility.
    Two packs respond more to a discount than one, so coupons raise the quantity, and a dip follows.
    One shopper in three hardly responds to prices. Moderate depths of high-margin categories pay best.
    The utility of a price is relative to a reference price, with aversion to losses (Putler 1992). A coupon used lowers
    the reference price for some days. Gupta (1988) describes purchase acceleration and stockpiling by promotions.
    Only in 25 % of the visits does the shopper think of coupons; own orders use them no more often.
    Orders may have an extra line of any category, and a coupon used discounts it too if it is in scope.
    """

    name: ClassVar[str] = "pantry"
    USES = HEEDS

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        rng = np.random.default_rng([seed, 11])
        wide = [0, 0, *rng.choice([1, 1, 2, 2, 3], 28)]
        depths = [
            5.0,
            10.0,
            *rng.choice([4.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0], 28, p=[0.15, 0.2, 0.2, 0.2, 0.15, 0.07, 0.03]),
        ]
        terms = [(int(n), float(depth), 0) for n, depth in zip(wide, depths, strict=True)]
        shuffled = [terms[n] for n in rng.permutation(len(terms))]
        self.shop = Shop(rng, (8, 11), shuffled, (0.25, 0.5))
        packs = [np.array([float(q)]) for q in range(1, 2 * MAX_SIZE + 1)]
        self._orders = [self.shop.expected(q, np.ones(1), EXTRA) for q in packs]
        self.coupons = catalogue_of(self.shop, rng, *self._orders[1][:2])
        self._traits = [self._drawn(n) for n in range(shoppers)]

    def _drawn(self, n: int) -> Traits:
        rng = np.random.default_rng([self.seed, 12, self.draw, n])
        favoured = self.shop.liked**2 / (self.shop.liked**2).sum()
        chosen = rng.choice(self.shop.categories, STORED + FRESH, replace=False, p=favoured)
        categories = np.concatenate([np.repeat(chosen[:STORED], 2), chosen[STORED:]])
        size = int(rng.choice(np.arange(1, MAX_SIZE + 1), p=[0.4, 0.3, 0.2, 0.1]))
        taste = np.repeat(rng.normal(-2.1, 0.5, STORED), 2) - np.where(PACKS[:6] == 2, 1.3, 0.0)
        fullness = np.array([0.0, 0.3, 0.8])[LEVEL_OF[:, STORE[:6]]]
        full = np.hstack([taste - fullness, np.tile(rng.normal(-2.3, 0.5, FRESH), (STOCKS, 1))])
        quantities = size * PACKS - 1
        quantities[STORE < 0] = 0
        margin = np.array([self._orders[q][0][k] for q, k in zip(quantities, categories, strict=True)])
        taken = np.array([self._orders[q][2][k] for q, k in zip(quantities, categories, strict=True)])
        rates = np.clip(0.4 * np.exp(rng.normal(0.0, 0.9, STORED)), 0.02, 0.85)
        visits, response = (
            float(rng.beta(2.4, 2.7)),
            float(rng.choice([1.5, 10.0], p=[0.35, 0.65]) * np.exp(rng.normal(0.0, 0.3))),
        )
        return Traits(visits, size, categories, np.exp(full), response, margin, taken, rates)

    def newcomer(self, n: int) -> Shopper:
        """Return a shopper with a random stock."""
        s = self.start(n)
        s.stock = int(np.random.default_rng([self.seed, 13, self.draw, n]).integers(STOCKS))
        return s

    def wake(self, s: Shopper, row: Floats) -> None:
        """Draw a visit that browses what is wanted and low."""
        t = self._traits[s.number]
        if row[24] >= t.visits:
            return
        s.moment = self.moment_of(s.day, row[25])
        p = t.plain[s.stock] / t.plain[s.stock].sum()
        at = s.moment - 130.0
        for n in range(1 + int(3.4 * row[26] ** 2)):
            j = min(int(np.searchsorted(np.cumsum(p), row[30 + n])), len(p) - 1)
            wanted = self.shop.pick(t.categories[j], row[34 + n])
            s.looks.append((at, wanted if row[38 + n] < 0.8 else self.shop.anything(row[42 + n], row[34 + n])))
            at -= 30.0 + 300.0 * float(row[46 + n])
        s.looks.reverse()

    def decide(self, s: Shopper, row: Floats) -> Basket | None:
        """Choose an alternative by a multinomial logit, with the deepest coupon in scope if coupons are heeded."""
        t, held = self._traits[s.number], s.held(s.moment or 0.0)
        ranks = np.zeros((1 + len(held), len(PACKS)))
        for n, one in enumerate(held if row[2] < HEEDS else []):
            ranks[n + 1] = self._depth(np.array([one.coupon]), t)[0]
        best = ranks.argmax(axis=0)
        reference, stock = divmod(s.stock, STOCKS)
        noise = -np.log(-np.log(row[8 : 9 + len(PACKS)]))
        utility = np.log(t.attraction[stock] * t.gain(ranks.max(axis=0))[reference]) + noise[1:]
        j = int(utility.argmax())
        if utility[j] <= noise[0]:
            s.carted = self.shop.pick(t.categories[j], row[3]) if row[7] < 0.2 else None
            return None
        lines = [(self.shop.pick(t.categories[j], row[3]), t.size * int(PACKS[j]) if STORE[j] >= 0 else 1)]
        if row[4] < EXTRA:
            lines.append((self.shop.anything(row[5], row[6]), 1))
        return Basket(lines, held[best[j] - 1] if best[j] else None, j)

    def settle(self, s: Shopper, basket: Basket) -> None:
        """Fill the stock; a coupon used lowers the reference price."""
        reference, stock = divmod(s.stock, STOCKS)
        reference = 1 if basket.used else reference
        s.stock = STOCKS * reference + int(FOLLOWING[stock, basket.tag])

    def night(self, s: Shopper, row: Floats) -> None:
        """Use up the stock; the reference price recovers."""
        reference, stock = divmod(s.stock, STOCKS)
        falls = (row[20 : 20 + STORED] < self._traits[s.number].uses_up) & (LEVEL_OF[stock] > 0)
        reference = 0 if row[23] < FADES else reference
        s.stock = STOCKS * reference + stock - int(falls @ LEVELS ** np.arange(STORED))

    def click_chance(self, s: Shopper, number: int) -> float:
        """Return a higher probability of a click for a coupon of interest."""
        return 0.35 if self.shop.covers[number, self._traits[s.number].categories].any() else 0.06

    def _depth(self, coupons: NDArray[np.int64], t: Traits) -> Floats:
        depth: Floats = self.shop.percent[coupons][..., None] / 100.0 * self.shop.covers[coupons][..., t.categories]
        return depth

    def effects(self, s: Shopper, at: float) -> Floats:
        """Return the exact effects by backward induction over days, sets of unused coupons, and stocks."""
        t, effects = self._traits[s.number], np.zeros(len(self.coupons))
        if len(s.held(at)) >= self.KEEPS:
            return effects
        pending = s.basket.used if s.basket else None
        values = self.shop.values(s.basket.lines) if s.basket else np.zeros(self.shop.categories)
        matters: NDArray[np.bool_] = np.asarray(self.shop.covers[:, t.categories].any(axis=1))
        new = np.flatnonzero(matters | (self.shop.covers @ values > 0))
        held = [one for one in s.held(at) if one is not pending and matters[one.coupon]]
        ahead = _Ahead(t, Lattice(self, held, new, at), self._depth)
        effects[new] = self._now(s, ahead, held, values)
        return effects

    def _now(self, s: Shopper, ahead: "_Ahead", held: list[Held], values: Floats) -> Floats:
        """Return the effects from the end of the day and what may still happen in the visit."""
        lattice, full = ahead.lattice, ahead.lattice.full
        without = full - lattice.fresh
        after = ahead.after(s.day)
        if s.moment is None:
            return after[:, full, s.stock] - after[:, without, s.stock]
        if s.basket is None:
            usable = sum(1 << n for n, one in enumerate(held) if one.expires_at > s.moment)
            visit = ahead.visit(after)
            return visit[:, usable | lattice.fresh, s.stock] - visit[:, usable, s.stock]
        reference, stock = divmod(s.stock, STOCKS)
        stock = int(FOLLOWING[stock, s.basket.tag])
        if s.basket.used:
            return after[:, full, STOCKS + stock] - after[:, without, STOCKS + stock]
        new = lattice.coupons[:, -1]
        uses = HEEDS * (self.shop.covers[new] @ values > 0)
        used = after[:, without, STOCKS + stock] - self.shop.discounts(values[None])[0, new]
        state = STOCKS * reference + stock
        effects: Floats = uses * used + (1 - uses) * after[:, full, state] - after[:, without, state]
        return effects

    def margin_without(self) -> float:
        """Return the expected margin by the same recursion, over the whole days played."""
        stocks = [self.newcomer(n).stock for n in range(self.shoppers)]
        return float(sum(t.worth[self.whole_days, s] for t, s in zip(self._traits, stocks, strict=True)))


class _Ahead:
    """Choice probabilities and expectations of one shopper for every set of unused coupons."""

    def __init__(self, t: Traits, lattice: Lattice, depth_of: Callable[[NDArray[np.int64], Traits], Floats]) -> None:
        self.t, self.lattice = t, lattice
        depth = depth_of(lattice.coupons, t)
        slot = lattice.best(depth)
        rows, used = np.arange(len(depth))[:, None, None], slot >= 0
        best = np.where(used, depth[rows, slot, np.arange(len(PACKS))], 0.0)
        weight = t.gain(best)[:, :, :, None] * t.attraction
        outside = 1.0 / (1.0 + weight.sum(axis=-1))
        self.outside = outside.reshape(*outside.shape[:2], -1)
        self.chosen = weight * outside[..., None]
        taken = np.where(used, t.taken[np.arange(len(PACKS)), lattice.coupons[rows, slot]], 0.0)
        self.reward = (self.chosen @ (t.margin - taken)[:, :, None, :, None])[..., 0].reshape(self.outside.shape)
        mask = lattice.masks[:, None] - np.where(used, 1 << slot.clip(0), 0) + len(lattice.masks) * rows
        reference = np.where(used[:, :, None], 1, np.arange(2)[:, None])
        self.index = (mask[:, :, None] * 2 + reference)[:, :, :, None] * STOCKS + FOLLOWING
        self.plain = t.plain @ t.margin

    def visit(self, after: Floats) -> Floats:
        """Return the values before a visit from those after it."""
        n = len(after)
        following = after.ravel().take(self.index[:n])
        bought = np.einsum("cmrsj,cmrsj->cmrs", self.chosen[:n], following).reshape(after.shape)
        heeding = self.reward[:n] + bought + self.outside[:n] * after
        values: Floats = HEEDS * heeding + (1 - HEEDS) * (self.plain + after @ self.t.bought.T)
        return values

    def after(self, day: int) -> Floats:
        """Return the values before the night of a day."""
        left = self.lattice.end_days - self.lattice.last
        part = self.lattice.part
        tail = (1 - part) * self.t.worth[left - 1] + part * self.t.worth[left]
        return self.lattice.fold(day, tail, self._day) @ self.t.night.T

    def _day(self, day: int, values: Floats) -> Floats:
        del day
        after = values @ self.t.night.T
        return self.t.visits * self.visit(after) + (1 - self.t.visits) * after
