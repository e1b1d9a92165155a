"""A travel agency: long searches, rare and big orders."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from benchmarks.worlds._four import VISIT_S, Held, Shopper, SteppedWorld, order_of, stated, taken
from benchmarks.worlds.world import AFTER_S, DAY_S, Floats
from stream_coupons import testing
from stream_coupons.core.messages.inputs import Item

CATEGORIES, BRANDS, TRIPS = 8, 3, 8
LEVELS, THRESHOLD, NOISE = 20, 14.0, 1.0  # of the evaluation, and of its logistic noise
WINDOW_DAYS, REST_DAYS = 7, 8
HORIZON_S = WINDOW_DAYS * DAY_S + AFTER_S
HORIZON_DAYS = 15


@dataclass(slots=True)
class Traveller(Shopper):
    """A shopper with a search: the trip, or -1 while resting until the day `rested_on`, and the evaluation so far."""

    trip: int = -1
    rested_on: int = 0
    level: int = 0


class Voyages(SteppedWorld):
    """Discrete-time hazard of rare big orders after a search of days.

    A search is for one trip: a category, a brand and a price of a skewed distribution. Every browse event raises an
    evaluation by 0, 1 or 2 levels, up to the shopper's ceiling. At the end of a visit the shopper orders if it passes a
    threshold with logistic noise (sequential search with a reservation value, Weitzman 1979). Each day may end the
    search.
    A coupon of a fixed amount lowers the threshold by its share of the price, more so near its expiry: large trips
    respond little. The response to depth is an S-curve: depths up to about 8 % pay, deeper ones cost more than they
    add. Coupons cover the whole shop, a brand, or 1 to 4 categories.
    Shoppers notice 13 % of the coupons and use the best valid one. Resolute shoppers browse most and order anyway.
    After a search the shopper rests for 8 days, so a coupon that hastens an order brings the next search forward.
    All windows are 7 days.
    """

    name: ClassVar[str] = "voyages"
    notice = 0.13

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        self._make_shop(np.random.default_rng([seed, 21]))
        rng = np.random.default_rng([seed, 22, draw])
        resolve = rng.beta(1.5, 3.3, shoppers)
        self.visit, self.browse_on = 0.66 + 0.28 * resolve, 0.56 + 0.28 * resolve
        self.gives_up = 0.13 - 0.1 * resolve
        self.starts = rng.beta(3.0, 4.0, shoppers) * 0.9
        self.response = rng.gamma(3.0, 11.5, shoppers) * (1.2 - 0.7 * resolve)
        steps = np.stack([0.45 - 0.3 * resolve, np.full(shoppers, 0.4), 0.15 + 0.3 * resolve], 1)
        self.steps = steps
        self.ceiling = np.round(THRESHOLD - 2.5 + 4.5 * resolve).astype(int)
        self.moves = np.stack([_moves(*row) for row in zip(steps, self.browse_on, self.ceiling, strict=True)])
        self.tastes = rng.dirichlet(self.popularity, shoppers)
        self.trip_shares = np.repeat(self.tastes, TRIPS, 1) / TRIPS
        self.ahead: dict[int, Floats] = {}
        self.reset()

    def _make_shop(self, rng: np.random.Generator) -> None:
        self.popularity = rng.permutation(np.linspace(0.1, 1.3, CATEGORIES))
        base = rng.lognormal(9.3, 0.2, (CATEGORIES, 1))
        spread = rng.lognormal(0.0, 0.35, (CATEGORIES, TRIPS))
        self.price: Floats = 100.0 * np.round(np.clip(base * spread, 5_000, 80_000).ravel() / 100)
        self.category = np.repeat(np.arange(CATEGORIES), TRIPS)
        self.brand = rng.integers(BRANDS, size=CATEGORIES * TRIPS)
        ratio = np.repeat(rng.permutation(np.linspace(0.2, 0.44, CATEGORIES)), TRIPS)
        self.margin = ratio * self.price
        self.items = [
            Item(item_id=f"trip{n}", category=f"cat{c}", brand=f"brand{b}", price_minor=int(p), quantity=1)
            for n, (c, b, p) in enumerate(zip(self.category, self.brand, self.price, strict=True))
        ]
        coupons, scopes = [], []
        for n in range(24):
            c, b = n % CATEGORIES, int(rng.integers(BRANDS))
            within = np.append(c, rng.permutation(np.delete(np.arange(CATEGORIES), c))[: rng.integers(4)])
            scope, names = np.isin(self.category, within), {"categories": [f"cat{k}" for k in sorted(within.tolist())]}
            if n >= 20:
                scope, names = np.ones(len(self.price), bool), {}
            elif n >= 16:
                scope, names = self.brand == b, {"brands": [f"brand{b}"]}
            price, margin = self.price[scope].mean(), self.margin[scope].sum() / self.price[scope].sum()
            fixed = (
                round(
                    np.median(self.price[scope])
                    * (rng.uniform(0.015, 0.05) if n >= 20 else rng.uniform(0.02, 0.22))
                    / 50
                )
                * 50
            )
            coupons.append(replace(stated(rng, f"v{n}", price, margin, 0.0, fixed), **names))
            scopes.append(scope)
        self.coupons = coupons
        self.off = np.where(scopes, np.array([taken(one, self.price) for one in coupons]), 0.0)

    def born(self, number: int) -> Shopper:
        rng = np.random.default_rng([self.seed, 23, self.draw, number])
        one = Traveller(number, f"u{number}", self.start_of(0), rng)
        one.rested_on = int(rng.integers(-4, REST_DAYS))
        self.leave(one)
        if rng.random() < 0.4:
            one.trip, one.level = (
                int(rng.choice(len(self.price), p=self.trip_shares[number])),
                min(int(rng.integers(8)), int(self.ceiling[number])),
            )
        return one

    # ------------------------------------------------------------ play

    def step(self, one: Shopper) -> tuple[list[Struct], float]:
        assert isinstance(one, Traveller)
        if one.phase == "away":
            self._open(one)
            return [], 0.0
        if one.phase == "order":
            return self._order(one)
        goes_on, raised, wait, looks, cart = one.rng.random(5).tolist()
        if one.phase == "browse" and one.browses and goes_on >= (one.browses < 4) * self.browse_on[one.number]:
            one.phase = "order"
            message = testing.cart(one.user_id, self.items[one.trip], at=one.at, event_id=one.next_id("cart"))
            one.at += 60.0 + 600.0 * wait
            return [message] if one.level >= THRESHOLD - 3 and cart < 0.6 else [], 0.0
        one.browses += 1
        one.level = min(
            one.level + int(np.searchsorted(np.cumsum(self.steps[one.number][:2]), raised)), self.ceiling[one.number]
        )
        shown = (
            one.trip if looks < 0.25 + 0.05 * one.level else int(self.category[one.trip] * TRIPS + looks * 1e4 % TRIPS)
        )
        browse = testing.browse(one.user_id, self.items[shown], at=one.at, event_id=one.next_id("browse"))
        one.at += 60.0 + 540.0 * wait
        return [browse], 0.0

    def _open(self, one: Traveller) -> None:
        one.day += 1
        one.rng = self.rng_of_day(one)
        self.leave(one)
        gives_up, starts, visits, which = one.rng.random(4).tolist()
        if one.trip >= 0 and gives_up < self.gives_up[one.number]:
            one.trip, one.rested_on = -1, one.day + REST_DAYS
        elif one.trip < 0 and one.day >= one.rested_on and starts < self.starts[one.number]:
            one.trip = int(np.searchsorted(np.cumsum(self.trip_shares[one.number]), which * 0.999999))
            one.level = 0
        if one.trip >= 0 and visits < self.visit[one.number]:
            self.enter(one)

    def _order(self, one: Traveller) -> tuple[list[Struct], float]:
        best = max(one.usable(), key=lambda held: self.off[held.coupon, one.trip], default=None)
        off = self.off[best.coupon, one.trip] if best else 0.0
        near = max((self._near(one.day, held) for held in one.usable() if self._gets(held, one) == off), default=0.0)
        eased = self.response[one.number] * off / self.price[one.trip] * near
        if one.rng.random() >= _logistic(one.level - THRESHOLD + eased):
            self.leave(one)
            return [], 0.0
        used, item, earned = best if off > 0 else None, self.items[one.trip], float(self.margin[one.trip] - off)
        messages = order_of(one, [item], used, int(off), int(self.price[one.trip]))
        one.trip, one.rested_on = -1, one.day + REST_DAYS
        self.leave(one)
        return messages, earned

    def _gets(self, held: Held, one: Traveller) -> float:
        return float(self.off[held.coupon, one.trip])

    def _near(self, day: int, held: Held) -> float:
        """Return the weight of a coupon: .7 when new, 1 in its last day."""
        return _weight(day - int((held.issue.issued_at - self.starts_at) // DAY_S))

    # ------------------------------------------------------------ ground truth

    def _continuation(self, number: int) -> Floats:
        """Return the value of a shopper whose search has ended, by the days left of the horizon, without coupons."""
        if number not in self.ahead:
            ahead, idle = np.zeros(HORIZON_DAYS + 1), np.zeros(HORIZON_DAYS + 1)
            mean = float(self.trip_shares[number] @ self.margin)
            off, visit = np.zeros(1), self.visit[number]
            searching = np.zeros((HORIZON_DAYS + 1, 1, LEVELS))  # by days left
            for left in range(1, HORIZON_DAYS + 1):
                after = mean + ahead[left - 1]
                ended = self._visited(number, searching[left - 1], after - off, off)
                moved = visit * ended + (1 - visit) * searching[left - 1]
                searching[left] = (1 - self.gives_up[number]) * moved + self.gives_up[number] * ahead[left - 1]
                start = self.starts[number]
                fresh = visit * ended[0, 0] + (1 - visit) * searching[left - 1][0, 0]
                idle[left] = start * fresh + (1 - start) * idle[left - 1]
                ahead[left] = idle[left - REST_DAYS + 1] if left >= REST_DAYS else 0.0
            self.ahead[number] = ahead
        return self.ahead[number]

    def _visited(self, number: int, waits: Floats, ordered: Floats, eased: Floats) -> Floats:
        """Return the value at the start of a visit by level, from that of waiting and of ordering."""
        out: Floats = self._ended(waits, ordered, eased) @ self.moves[number, 0].T
        return out

    def _ended(self, waits: Floats, ordered: Floats, eased: Floats) -> Floats:
        hazard = _logistic(np.arange(LEVELS) * 1.0 - THRESHOLD + eased[:, None])
        out: Floats = hazard * ordered[:, None] + (1 - hazard) * waits
        return out

    def true_values(self, user_id: str, at: float) -> Floats:
        one = self.shopper_of(user_id)
        assert isinstance(one, Traveller)
        number = one.number
        if one.trip < 0:
            return np.zeros(len(self.coupons))
        share = float(self.shares(one.day + 2 * WINDOW_DAYS, np.array(at + HORIZON_S)))
        ahead = self._continuation(number)
        later = share * ahead[: 2 * WINDOW_DAYS + 1] + (1 - share) * np.append(0.0, ahead[: 2 * WINDOW_DAYS])
        visit, quits = self.visit[number], self.gives_up[number]
        value, none = np.zeros((1, LEVELS)), [(1.0, np.zeros(1), np.zeros(1))]
        for k in range(2 * WINDOW_DAYS, 0, -1):
            after, kept = later[2 * WINDOW_DAYS - k], share if k == 2 * WINDOW_DAYS else 1.0
            cases = none if k > WINDOW_DAYS else self._cases(one, one.day + k, at)
            ended = sum(
                w * self._ended(value, kept * (self.margin[one.trip] - off) + after, eased) for w, off, eased in cases
            )
            value = (1 - quits) * (visit * ended @ self.moves[number, 0].T + (1 - visit) * value) + quits * after
        if one.phase != "away":
            ((_, off, eased),) = self._cases(one, one.day, at)
            value = self._ended(value, self.margin[one.trip] - off + later[2 * WINDOW_DAYS], eased)
            value = value @ self.moves[number, one.browses if one.phase == "browse" else 4].T
        out: Floats = self.notice * (value[:-1, one.level] - value[-1, one.level])
        return out

    def _cases(self, one: Traveller, day: int, at: float) -> list[tuple[float, Floats, Floats]]:
        """Return (share of the visits of a day, discount, shift of the threshold), by new coupon and last for none.

        Coupons that expire in the day split its visits.
        """
        held = [each for each in one.held if each.is_noticed]
        expiries = np.array([each.issue.expires_at for each in held] + [at + WINDOW_DAYS * DAY_S]) - VISIT_S
        until = self.shares(day, expiries) if day > one.day else (expiries >= one.started_at).astype(float)
        cases, lower = [], 0.0
        for cut in sorted({1.0, *until[(until > 0) & (until < 1)].tolist()}):
            best = max(
                (
                    (self.off[h.coupon, one.trip], self._near(day, h))
                    for h, u in zip(held, until, strict=False)
                    if u >= cut
                ),
                default=(0.0, 0.0),
            )
            off, near = np.full(len(self.coupons) + 1, best[0]), np.full(len(self.coupons) + 1, best[1])
            new = np.append(self.off[:, one.trip] * (until[-1] >= cut), 0.0)
            near = np.where(new > off, _weight(day - int((at - self.starts_at) // DAY_S)), near)
            off = np.maximum(off, new)
            cases.append((cut - lower, off, self.response[one.number] * off / self.price[one.trip] * near))
            lower = cut
        return cases

    def margin_without(self) -> float:
        return self.simulated_margin(8)


def _moves(steps: Floats, browse_on: float, ceiling: int) -> Floats:
    """Return the transitions from the level after 0, 1, ... 4 browse events to that at the end of the visit."""
    once = np.zeros((LEVELS, LEVELS))
    for level in range(LEVELS):
        for up, share in enumerate(steps):
            once[level, max(level, min(level + up, ceiling))] += share
    out = [np.eye(LEVELS)]
    for _ in range(3):
        out.insert(0, (1 - browse_on) * np.eye(LEVELS) + browse_on * once @ out[0])
    return np.stack([once @ out[0], *out])


def _logistic(x: Floats | float) -> Floats:
    out: Floats = 1.0 / (1.0 + np.exp(-np.asarray(x) / NOISE))
    return out


def _weight(age: int) -> float:
    return 0.7 + 0.3 * min(age, WINDOW_DAYS) / WINDOW_DAYS
