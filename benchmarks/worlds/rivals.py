"""A shop with a rival at the other end of the street."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from benchmarks.worlds._four import CLOSE_S, OPEN_S, VISIT_S, Shopper, SteppedWorld, order_of, stated, taken
from benchmarks.worlds.world import DAY_S, Floats
from stream_coupons import testing
from stream_coupons.core.messages.inputs import Item

CATEGORIES, BRANDS, TIERS = 8, 3, 3
WIDTH = 0.16  # of the uniform noise of the rival's price, as a share of the price
SWITCH = 0.35  # greatest cost of a switch of brand
RECALL = 0.3
CLASSES = (0.06, 0.34, 0.6)  # shares of shoppers next door to this shop, next door to the rival, and between
SIDES = (0.25, -0.6, -0.08)  # mean positions of the classes
REFERENCE = 0.018  # fall of the willingness to pay after a discount
REFERENCE_S = 7 * DAY_S
BROWSE_ON = 0.5


class Responses(NamedTuple):
    """Expected change of margin and probability of use by coupon, and P(win) without one, per item."""

    gain: Floats
    use: Floats
    win: Floats


@dataclass(slots=True)
class Rival(Shopper):
    """A shopper with the item of the current visit and, by category, the end of the reference price effect."""

    item: int = 0
    reference: tuple[float, ...] = (0.0,) * CATEGORIES


class Rivals(SteppedWorld):
    """Hotelling competition with a rival whose price is new in every visit.

    Each shopper has a position between the two shops in every category (Hotelling 1929). A visit is for one item. The
    shopper orders here if the position, less the rival's relative price advantage, is positive. That advantage is
    uniform, so a coupon changes the orders near the margin only. A third of the shoppers live next door to the rival:
    a coupon has no effect. A few live next door to this shop: a coupon is a gift. The rest are between.
    Categories differ in margin and in the lead over the rival. Coupons pay best if the margin is high, the discount
    small, and the rival in the lead.
    The shopper recalls the wallet in 30 % of the visits and takes the oldest coupon that fits the category.
    A coupon for another brand of the category may switch the brand at a uniform cost: cannibalisation.
    A used coupon lowers the reference price of its category for a week: fewer orders at the full price
    (Kalyanaram and Winer 1995). Visits do not depend on coupons. Some coupons are for the whole shop.
    """

    name: ClassVar[str] = "rivals"

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        self._make_shop(np.random.default_rng([seed, 31]))
        rng = np.random.default_rng([seed, 32, draw])
        self.visit = rng.beta(4.0, 5.5, shoppers)
        side = rng.normal(rng.choice(SIDES, shoppers, p=CLASSES), 0.05)
        self.position = side[:, None] + self.lead + rng.normal(0.0, 0.05, (shoppers, CATEGORIES))
        shares = rng.dirichlet(self.popularity, shoppers)[:, :, None, None]
        brands = rng.dirichlet(np.full(BRANDS, 0.7), (shoppers, CATEGORIES))[:, :, :, None]
        tiers = rng.dirichlet(np.full(TIERS, 1.5), shoppers)[:, None, None, :]
        self.view = (shares * brands * tiers).reshape(shoppers, -1)
        self.tables: dict[int, tuple[Floats, ...]] = {}
        self.reset()

    def _make_shop(self, rng: np.random.Generator) -> None:
        base = rng.lognormal(7.4, 0.45, (CATEGORIES, 1, 1))
        prices = base * rng.uniform(0.8, 1.25, (CATEGORIES, BRANDS, 1)) * np.array([0.65, 1.0, 1.5])
        self.price = np.round(prices).ravel()
        self.category = np.repeat(np.arange(CATEGORIES), BRANDS * TIERS)
        self.brand = np.tile(np.repeat(np.arange(BRANDS), TIERS), CATEGORIES)
        self.popularity = rng.permutation(np.linspace(0.3, 2.5, CATEGORIES))
        self.lead = rng.permutation(np.linspace(-0.12, 0.12, CATEGORIES))
        ratio = rng.permutation(np.linspace(0.16, 0.44, CATEGORIES))[:, None] + rng.uniform(
            -0.05, 0.05, (CATEGORIES, BRANDS)
        )
        self.margin = self.price * np.repeat(ratio.ravel(), TIERS)
        self.items = [
            Item(item_id=f"i{n}", category=f"cat{c}", brand=f"brand{b}", price_minor=int(p), quantity=1)
            for n, (c, b, p) in enumerate(zip(self.category, self.brand, self.price, strict=True))
        ]
        self._make_coupons(rng)

    def _make_coupons(self, rng: np.random.Generator) -> None:
        coupons, scopes, targets = [], [], []
        for n in range(30):
            c, b = n % CATEGORIES, int(rng.integers(BRANDS))
            scope = np.ones(len(self.price), bool) if n >= 25 else self.category == c
            target = np.full(len(self.price), -1)
            names: dict[str, list[str]] = {} if n >= 25 else {"categories": [f"cat{c}"]}
            if n < 14:
                scope = scope & (self.brand == b)
                target = np.where(
                    (self.category == c) & ~scope, (c * BRANDS + b) * TIERS + np.arange(len(scope)) % 3, -1
                )
                names["brands"] = [f"brand{b}"]
            price, margin = self.price[scope].mean(), self.margin[scope].sum() / self.price[scope].sum()
            percent = float(rng.choice([3, 5, 8, 12, 20, 25])) if rng.random() < 0.6 else 0.0
            percent = float(rng.integers(5, 11)) if n >= 25 else percent
            fixed = round(price * rng.uniform(0.03, 0.2) / 10) * 10
            plain = stated(rng, f"r{n}", price, margin, percent, fixed)
            coupons.append(replace(plain, redeem_within_s=float(rng.integers(3, 8)) * DAY_S, **names))
            scopes.append(scope)
            targets.append(target)
        self.coupons = coupons
        amounts = np.array([taken(one, self.price) for one in coupons])
        self.off, self.target = np.where(scopes, amounts, 0.0), np.array(targets)
        self.off_target = np.where(self.target >= 0, np.take_along_axis(amounts, np.maximum(self.target, 0), 1), 0.0)
        touches = ((self.off > 0) | (self.target >= 0)).reshape(len(coupons), CATEGORIES, -1)
        self.fits = touches.sum(2) > 0
        self.within = np.array([one.redeem_within_s for one in coupons])

    def born(self, number: int) -> Shopper:
        one = Rival(number, f"u{number}", self.start_of(0), np.random.default_rng(0))
        self.leave(one)
        return one

    # ------------------------------------------------------------ play

    def step(self, one: Shopper) -> tuple[list[Struct], float]:
        assert isinstance(one, Rival)
        if one.phase == "away":
            one.day += 1
            one.rng = self.rng_of_day(one)
            self.leave(one)
            if one.rng.random() < self.visit[one.number]:
                self.enter(one)
                one.item = int(np.searchsorted(np.cumsum(self.view[one.number]), one.rng.random() * 0.999999))
            return [], 0.0
        if one.phase == "order":
            return self._order(one)
        goes_on, wait, looks, cart = one.rng.random(4).tolist()
        if one.browses == 0 or (one.phase == "browse" and one.browses < 4 and goes_on < BROWSE_ON):
            one.browses += 1
            shelf = np.flatnonzero(self.category == self.category[one.item])
            shown = one.item if looks < 0.6 else int(shelf[int(looks * 1e4) % len(shelf)])
            message = testing.browse(one.user_id, self.items[shown], at=one.at, event_id=one.next_id("browse"))
            one.at += 60.0 + 540.0 * wait
            return [message], 0.0
        one.phase = "order"
        near = self.position[one.number, self.category[one.item]] > 0
        cart_message = testing.cart(one.user_id, self.items[one.item], at=one.at, event_id=one.next_id("cart"))
        one.at += 60.0 + 240.0 * wait if looks < 0.85 else 3600.0 + 3000.0 * wait
        return [cart_message] if cart < (0.7 if near else 0.3) else [], 0.0

    def _order(self, one: Rival) -> tuple[list[Struct], float]:
        recalls, rival, cost = one.rng.random(3).tolist()
        item, c = one.item, int(self.category[one.item])
        used = next((held for held in one.usable() if self.fits[held.coupon, c]), None) if recalls < RECALL else None
        off = self.off[used.coupon, item] if used else 0.0
        benefit = off / self.price[item]
        if used and self.target[used.coupon, item] >= 0:
            target, of_target = int(self.target[used.coupon, item]), self.off_target[used.coupon, item]
            if SWITCH * cost < of_target / self.price[target]:
                item, off, benefit = target, of_target, of_target / self.price[target] - SWITCH * cost
        place = self.position[one.number, c] - REFERENCE * (one.started_at < one.reference[c])
        if place + benefit + WIDTH * (2 * rival - 1) <= 0:
            self.leave(one)
            return [], 0.0
        if used and off > 0:
            one.reference = (*one.reference[:c], one.at + REFERENCE_S, *one.reference[c + 1 :])
        messages = order_of(one, [self.items[item]], used if off > 0 else None, int(off), int(self.price[item]))
        self.leave(one)
        return messages, float(self.margin[item] - off)

    # ------------------------------------------------------------ ground truth

    def _responses(self, number: int, item: slice, lowered: float) -> Responses:
        place = self.position[number, self.category[item]] - lowered
        price, margin, to = self.price[item], self.margin[item], self.target[:, item]
        win = np.clip((place + WIDTH) / (2 * WIDTH), 0.0, 1.0)
        off, off_to = self.off[:, item], self.off_target[:, item]
        stays = np.clip((place + off / price + WIDTH) / (2 * WIDTH), 0.0, 1.0)
        rate = off_to / self.price[to]
        reach = np.minimum(rate, SWITCH)
        switched = (_area(place + rate) - _area(place + rate - reach)) / SWITCH
        kept = np.where(to >= 0, (1 - reach / SWITCH) * win * margin, stays * (margin - off))
        earned = kept + np.where(to >= 0, switched * (self.margin[to] - off_to), 0.0)
        use = np.where(to >= 0, switched, np.where(off > 0, stays, 0.0))
        return Responses(RECALL * (earned - win * margin), RECALL * use, win)

    def _by_category(self, number: int) -> tuple[Floats, ...]:
        """Return gain and use by (coupon, category), at the full and at the lowered reference, and the loss by it."""
        if number not in self.tables:
            plain, low = (self._responses(number, slice(None), down) for down in (0.0, REFERENCE))
            view = self.view[number]
            loss = view * (plain.win - low.win) * self.margin
            rows = (view * plain.gain, view * plain.use, view * low.gain, view * low.use, loss)
            shape = (CATEGORIES, BRANDS * TIERS)
            self.tables[number] = tuple(row.reshape(*row.shape[:-1], *shape).sum(-1) for row in rows)
        return self.tables[number]

    def _rates(self, one: Rival, day: int, lowered: Floats, fresh: Floats) -> tuple[float, Floats, Floats]:
        """Return the expected visits of a day, and gain and use per visit by (coupon, category).

        `lowered` and `fresh` are the probability and the expected share left of a reference price effect by coupons
        that are used from now on. A use costs the loss of such an effect, less what is left of an earlier one.
        """
        gains, uses, low_gains, low_uses, losses = self._by_category(one.number)
        reference, visit, now = np.array(one.reference), float(self.visit[one.number]), day == one.day
        start = one.started_at if now else self.start_of(day) + (OPEN_S + CLOSE_S) / 2
        low = (start < reference).astype(float) if now else self.shares(day, reference)
        low = 1 - (1 - low) * (1 - lowered)
        remaining = (1 - lowered) * np.clip((reference - start) / REFERENCE_S, 0.0, 1.0) + fresh
        days = 6.0 + float(self.shares(day, np.array(start)))
        penalty = visit * days * losses * (1 - remaining)
        if not now:
            use = low * low_uses + (1 - low) * uses
            return visit, low * low_gains + (1 - low) * gains - use * penalty, use
        c = int(self.category[one.item])
        exact = self._responses(one.number, slice(one.item, one.item + 1), REFERENCE * low[c])
        gain, use = np.zeros_like(gains), np.zeros_like(uses)
        gain[:, c], use[:, c] = exact.gain[:, 0] - exact.use[:, 0] * penalty[c], exact.use[:, 0]
        return 1.0, gain, use

    def true_values(self, user_id: str, at: float) -> Floats:
        one = self.shopper_of(user_id)
        assert isinstance(one, Rival)
        until, shape = at + self.within - VISIT_S, (len(self.coupons), CATEGORIES)
        held = [(h.coupon, h.issue.expires_at - VISIT_S) for h in one.held]
        left = np.ones(len(held))
        value, alive = np.zeros(len(self.coupons)), np.ones((len(self.coupons), 1))
        # P(alive and no older coupon fits), and P(alive) if one does, by category
        ready, waiting, was_free = np.zeros(shape), np.ones(shape), np.zeros(CATEGORIES)
        lowered, fresh = np.zeros(CATEGORIES), np.zeros(CATEGORIES)  # by uses of the coupons held
        for day in range(one.day + (one.phase == "away"), one.day + 8):
            now = day == one.day
            share = np.ones(len(until)) if now else self.shares(day, until)
            if not share.any():
                break
            visits, gain, use = self._rates(one, day, lowered, fresh)
            free = np.ones(CATEGORIES)  # of older coupons
            for n, (coupon, expires) in enumerate(held):
                valid = float(one.started_at <= expires) if now else float(self.shares(day, np.array(expires)))
                used = visits * valid * free * use[coupon]
                lowered, fresh = lowered + (1 - lowered) * left[n] * used, fresh + (1 - fresh) * left[n] * used
                free = free * (1 - left[n] * valid * self.fits[coupon])
                left[n] *= 1 - used.sum()
            fresh = np.maximum(fresh - lowered / 7.0, 0.0)
            ready += (free - was_free) * waiting
            was_free = free
            value += share * visits * (gain * ready).sum(1)
            used_in = visits * share[:, None] * use * ready
            elsewhere = 1 - (used_in.sum(1, keepdims=True) - used_in) / alive
            ready, waiting = (ready - used_in) * elsewhere, waiting * elsewhere
            alive = alive - used_in.sum(1, keepdims=True)
        return value

    def margin_without(self) -> float:
        win = np.clip((self.position[:, self.category] + WIDTH) / (2 * WIDTH), 0.0, 1.0)
        return float(self.days * self.visit @ (self.view * win * self.margin).sum(1))


def _area(point: Floats) -> Floats:
    """Return the integral of P(win) up to a position."""
    inside = np.clip(point + WIDTH, 0.0, 2 * WIDTH)
    out: Floats = inside**2 / (4 * WIDTH) + np.maximum(point - WIDTH, 0.0)
    return out
