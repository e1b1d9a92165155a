"""World `reminders`: a coupon works as a message does, whatever its discount."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from msgspec import Struct

from benchmarks.worlds._three import AgendaWorld, Held, Ints, Shop, Shopper, hash_of, name_of, pick
from benchmarks.worlds.world import AFTER_S, DAY_S, Floats
from stream_coupons.testing import browse, cart

FADES = np.array([0.0, 0.7, 0.3])
"""Decay per day of the modes of the visit rate: habit, reminder and weariness."""
FULL = 2.5
"""Bound of both stocks of exposure: each exposure adds less than the one before."""
LATER, DELAY = 0.4, 1.8
"""Share of orders that are placed after the visit, and their rate per day."""
MORE = 0.45
"""Probability of each further line of an order: any item."""
CART = 0.6
"""P(cart) is the shopper's P(order) to this power; the rest of it is decided after the cart."""
ITEMS = 120
NODES, WEIGHTS = np.polynomial.legendre.leggauss(20)
NODES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2


@dataclass
class Reached(Shopper):
    """A shopper with stocks of exposure."""

    visit: int = 0
    focus: int = 0
    stage: str = "out"
    """Rest of the visit: all of it (`browse`), the decision on the cart (`close`), or none (`out`)."""
    glow: float = 0.0
    weary: float = 0.0
    since: float = 0.0
    """Time at which `glow` and `weary` had these values."""


class Reminders(AgendaWorld[Reached]):
    """Exposure with carry-over: visits are a Poisson process whose rate depends on two decaying stocks of exposure.

    Every coupon received adds to both stocks. The first stock raises the rate of visits for some days. The second one
    lowers it for longer, so that coupons drive weary shoppers away. How much a coupon adds depends on its category, on
    the shopper's share of demand in its scope and on luck, and not on its discount. So coupons for striking categories
    pay, shallow and short ones a little more, and broad ones cost their discounts. Orders per visit do not depend on
    coupons.
    Few shoppers redeem, mostly those who buy often anyway, so redemptions and effect are nearly unrelated.
    Two of five orders follow the visit by hours or days. Quantities and numbers of lines have heavy tails.
    Coupons can be combined. Sources: Nerlove and Arrow (1962) and Broadbent (1979) on adstock; Sahni, Zou and
    Chintagunta (2017), where discount offers work as advertising.
    """

    name: ClassVar[str] = "reminders"
    most: ClassVar[int] = 30
    """Bound of the quantity of a line."""

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        root = np.random.default_rng([seed, 21])
        shares = np.arange(1, self.most + 1) ** -2.3
        shop = Shop(root, categories=16, items=ITEMS, price=900, lines=shares / shares.sum())
        windows = (1, 2, 3, 5, 7)
        shop.add(["category"] * 14 + ["pair"] * 5 + ["brand"] * 4 + ["items"] * 4, (0.03, 0.3), windows)
        shop.add(["shop"] * 4 + ["fee"] * 3, (0.02, 0.07), windows)
        self.open_shop(shop)
        self.off = shop.mean_discounts()
        self.window = np.array([one.redeem_within_s / DAY_S for one in shop.coupons])
        striking = root.uniform(0.7, 1.2, (2, len(shop.coupons)))
        # Some categories make a good message: most of what sets the first stock apart.
        by_category = root.permutation(np.linspace(0.38, 1.74, 16))
        striking[0] *= shop.covers @ by_category[shop.category] / shop.covers.sum(axis=1)
        rng = np.random.default_rng([seed, 22, draw])
        tastes = rng.dirichlet(np.full(16, 0.5), shoppers)[:, shop.category] * shop.popularity
        self.tastes = tastes / tastes.sum(axis=1, keepdims=True)
        self.inside = self.tastes @ shop.covers.T
        """Share of each shopper's orders in the scope of each coupon."""
        self.strength = striking[:, None] * (0.5 + 0.5 * (1 - np.exp(-4 * self.inside)))
        """What receipt of each coupon adds to the two stocks, (stocks, shoppers, coupons)."""
        self.habit = rng.gamma(4.0, 0.1, shoppers).clip(0.08, 1.2)
        self.buys = rng.beta(4, 7, shoppers)
        self.redeems = np.where(rng.random(shoppers) < 0.1 + 0.5 * self.buys, 0.9, 0.2)
        self.gain = self.tastes @ shop.gain
        self.gain += MORE / (1 - MORE) * float(np.average(shop.gain, weights=shop.popularity))
        self.lift = rng.gamma(1.2, 0.17, shoppers)
        self.tires = np.where(rng.random(shoppers) < 0.5, rng.uniform(0.08, 0.2, shoppers), 0.02)

    def born(self, user: int, play: int) -> Reached:
        one = Reached(user, play, since=self.starts_at)
        self._plan_visit(one, self.starts_at)
        return one

    def receive(self, one: Reached, held: Held, at: float) -> None:
        glow, weary = self._stocks(one, at)[1:] + self._added(one, at)[held.index, 1:]
        one.glow, one.weary = float(glow), float(weary)
        one.since, one.held = at, [*one.held, held]

    def act(self, one: Reached, at: float, action: str, argument: int) -> list[Struct]:
        if action == "order":
            return self._order(one, at, *divmod(argument, ITEMS))
        draws = self.draws(one, one.visit)
        if action == "visit":
            one.focus, one.stage = pick(self.tastes[one.user], draws[1]), "browse"
            action, argument = "browse", 1 + int(draws[2] * 3.6)
        gap = 60 + 300 * draws[3 + argument]
        buys = self.buys[one.user]
        if action == "browse":
            one.plan(at + gap, *(("browse", argument - 1) if argument > 1 else ("cart", 0)))
            return [browse(name_of(one.user), self.shop.line(self._looked_at(one, draws[8 + 2 * argument :])), at=at)]
        if action == "cart" and draws[18] < buys**CART:
            one.stage = "close"
            one.plan(at + gap, "close")
            return [cart(name_of(one.user), self.shop.line(one.focus), at=at)]
        if action == "close" and draws[19] < buys ** (1 - CART):
            wait = -np.log(1 - draws[21]) / DELAY * DAY_S if draws[20] < LATER else 0.0
            one.plan(at + wait, "order", one.visit * ITEMS + one.focus)
        one.stage = "out"
        self._plan_visit(one, at)
        return []

    def _order(self, one: Reached, at: float, visit: int, focus: int) -> list[Struct]:
        draws = self.rng(one, 4, visit).random(1)
        lines = [(focus, 1 + pick(self.shop.lines, draws[0]))]
        for n in range(20):
            further = self.rng(one, 5, visit, n).random(3)
            if further[0] >= MORE:
                break
            shares = self.shop.popularity / self.shop.categories
            lines.append((pick(shares, further[1]), 1 + pick(self.shop.lines, further[2])))
        used = []
        for held in one.held:
            chance = self.rng(one, 6, visit, hash_of(held.issue)).random()
            if self.shop.covers[held.index, focus] and chance < self.redeems[one.user]:
                used.append((held, 0))
        one.held = [held for held in one.held if all(held is not other for other, _ in used)]
        return self.sale(one, at, lines, used)

    def _stocks(self, one: Reached, at: float) -> Floats:
        """Return 1 and both stocks of exposure at a time."""
        return np.asarray(np.exp(-FADES * (at - one.since) / DAY_S) * np.array([1.0, one.glow, one.weary]))

    def _added(self, one: Reached, at: float) -> Floats:
        """Return what receipt of each coupon at a time adds to 1 and both stocks, (coupons, 3)."""
        room = 1 - self._stocks(one, at)[1:] / FULL
        return np.pad(self.strength[:, one.user].T * room, ((0, 0), (1, 0)))

    def _rates(self, user: int) -> Floats:
        """Return what each unit of the stocks adds to the visits per day."""
        return np.asarray(self.habit[user] * np.array([1.0, self.lift[user], -self.tires[user]]))

    def _plan_visit(self, one: Reached, at: float) -> None:
        """Draw the time of the next visit: where the integral of the rate reaches an exponential draw."""
        one.visit += 1
        target = -np.log(1 - self.draws(one, one.visit)[0])
        habit, glow, weary = (self._rates(one.user) * self._stocks(one, at)).tolist()
        low, high = 0.0, 60.0
        for _ in range(34):
            days = (low + high) / 2
            reached = habit * days + glow * _spent(FADES[1], days) + weary * _spent(FADES[2], days)
            low, high = (days, high) if reached < target else (low, days)
        one.plan(at + high * DAY_S, "visit")

    def _looked_at(self, one: Reached, draws: list[float]) -> int:
        """Return the item of the visit, or any that the shopper likes."""
        return one.focus if draws[0] < 0.6 else pick(self.tastes[one.user], draws[1])

    def margin_without(self) -> float:
        orders = self.habit * self.buys * _orders_until(np.full(1, self.days))[0]
        return float(orders @ self.gain)

    def true_values(self, user_id: str, at: float) -> Floats:
        one = self.person(user_id)
        stocks, rates, added = self._stocks(one, at), self._rates(one.user), self._added(one, at)
        days = self.window + AFTER_S / DAY_S
        gained = (_orders_until(days[:, None]) * rates * added).sum(1) * self.buys[one.user] * self.gain[one.user]
        index = np.arange(len(added))
        paid = self._discount(one, index, self.window, rates * (stocks + added))
        if one.held:
            # More visits also use more of the coupons already held; nearly linear in the exposure.
            kept = np.array([held.index for held in one.held])
            left = np.array([(held.issue.expires_at - at) / DAY_S for held in one.held])
            before = self._discount(one, kept, left, np.tile(rates * stocks, (len(kept), 1)))
            for stock in (1, 2):
                more = stocks + added[:, stock].mean() * np.eye(3)[stock]
                after = self._discount(one, kept, left, np.tile(rates * more, (len(kept), 1)))
                paid += (after - before).sum() * added[:, stock] / added[:, stock].mean()
        return np.asarray(gained - paid)

    def _discount(self, one: Reached, index: Ints, days: Floats, modes: Floats) -> Floats:
        """Return the expected discount of coupons held for some more days, given the modes of the visit rate."""
        user, redeems = one.user, self.redeems[one.user]
        close = {"browse": self.buys[user], "close": self.buys[user] ** (1 - CART), "out": 0.0}[one.stage]
        at = days[:, None] * NODES
        scope, off = self.inside[user, index], self.off[index]
        share = (redeems * self.buys[user] * scope)[:, None]
        rate = share * np.einsum("cm,cgm->cg", modes, _order_rate(at[..., None]))
        survival = np.exp(-share * np.einsum("cm,cgm->cg", modes, _orders_until(at[..., None])))
        fired, density = 1 - np.exp(-DELAY * at), DELAY * np.exp(-DELAY * at)
        items = [order % ITEMS for _, _, action, order in one.agenda if action == "order"]
        chances = [redeems * self.shop.covers[index, item] for item in items]
        # An order of this visit that comes at once uses the coupon first; else it may come later, as the pending ones.
        now = close * (1 - LATER) * redeems * self.shop.covers[index, one.focus]
        items, chances = [*items, one.focus], [*chances, close * LATER * redeems * self.shop.covers[index, one.focus]]
        lives = [1 - chance[:, None] * fired for chance in chances]
        lives[-1] = lives[-1] - now[:, None]
        whole = survival * np.prod(lives, axis=0)
        mean = (off @ self.tastes[user]) / np.maximum(scope, 1e-12)
        flow = mean[:, None] * rate * whole
        for item, chance, alive in zip(items, chances, lives, strict=True):
            flow = flow + (off[:, item] * chance)[:, None] * density * whole / alive
        return np.asarray(now * off[:, one.focus] + days * (flow @ WEIGHTS))


def _spent(fade: float, days: float) -> float:
    """Return the integral of a mode over some days."""
    return float((1 - math.exp(-fade * days)) / fade)


def _order_rate(days: Floats) -> Floats:
    """Return the rate of orders after some days, per order that a visit leads to and unit of each mode."""
    visits = np.exp(-FADES * days)
    return np.asarray((1 - LATER) * visits + LATER * DELAY * (visits - np.exp(-DELAY * days)) / (DELAY - FADES))


def _orders_until(days: Floats) -> Floats:
    """Return the integral of `_order_rate`; the last axis are the modes."""
    fades = np.maximum(FADES, 1e-9)
    visits = -np.expm1(-fades * days) / fades
    late = DELAY * (visits + np.expm1(-DELAY * days) / DELAY) / (DELAY - fades)
    return np.asarray((1 - LATER) * visits + LATER * late)
