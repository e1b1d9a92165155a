"""World `journeys`: shoppers move between hidden states, and coupons change how they move."""

from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import numpy as np
from msgspec import Struct

from benchmarks.worlds._three import AgendaWorld, Held, Shop, Shopper, hash_of, name_of, pick
from benchmarks.worlds.world import DAY_S, Floats
from stream_coupons.testing import browse, cart

IDLE, LOOKING, CONSIDERING, BUYING, LAPSED, LOYAL, WAITING = range(7)
VISIT = np.array([0.22, 0.55, 0.60, 0.70, 0.04, 0.45, 0.42])
"""Probability of a visit per day, by state."""
CART = np.array([0.20, 0.40, 0.75, 0.90, 0.25, 0.80, 0.55])
CHECKOUT = np.array([0.30, 0.35, 0.42, 0.75, 0.30, 0.70, 0.35])
"""Probability of an order from a cart without a coupon."""
LURE = np.array([1.5, 1.9, 2.1, 0.9, 1.5, 1.0, 1.6])
"""What each unit of relative discount adds to it."""
QUIET = np.array(
    [
        [0.87, 0.09, 0.00, 0.00, 0.04, 0.00, 0.00],
        [0.20, 0.72, 0.08, 0.00, 0.00, 0.00, 0.00],
        [0.08, 0.17, 0.67, 0.08, 0.00, 0.00, 0.00],
        [0.15, 0.00, 0.25, 0.60, 0.00, 0.00, 0.00],
        [0.01, 0.02, 0.00, 0.00, 0.97, 0.00, 0.00],
        [0.03, 0.00, 0.00, 0.00, 0.00, 0.97, 0.00],
        [0.03, 0.00, 0.00, 0.00, 0.01, 0.08, 0.88],
    ]
)
BROWSED = np.array(
    [
        [0.62, 0.30, 0.06, 0.00, 0.02, 0.00, 0.00],
        [0.14, 0.55, 0.31, 0.00, 0.00, 0.00, 0.00],
        [0.08, 0.12, 0.58, 0.22, 0.00, 0.00, 0.00],
        [0.10, 0.00, 0.30, 0.60, 0.00, 0.00, 0.00],
        [0.10, 0.30, 0.00, 0.00, 0.60, 0.00, 0.00],
        [0.04, 0.00, 0.00, 0.00, 0.00, 0.96, 0.00],
        [0.02, 0.00, 0.00, 0.00, 0.02, 0.08, 0.88],
    ]
)
ORDERED = np.array(
    [[0.68, 0.08, 0.0, 0.04, 0.02, 0.18, 0.0]] * 5 + [[0.02, 0, 0, 0, 0, 0.98, 0]] + [[0, 0, 0, 0, 0, 0.3, 0.7]]
)
REDEEMED = np.array(
    [[0.68, 0.08, 0.0, 0.04, 0.02, 0.17, 0.01]] * 5 + [[0, 0, 0, 0, 0, 0.975, 0.025]] + [[0.02, 0, 0, 0, 0, 0.20, 0.78]]
)
MOVES = np.concatenate([QUIET, BROWSED, ORDERED, REDEEMED])
DEEP = 0.15
"""Relative discount beyond which a coupon has no further effect."""
AWARE = 0.52
"""Probability that a shopper thinks of the coupons they hold when they decide on an order."""
PURSE = 3
"""Number of coupons that a shopper keeps in mind: the latest ones."""
EXTRA = 0.5
"""Probability of a second line in an order, of any category."""
WINDOWS = (1.5, 2.5, 4.5, 6.5)
"""Days. Shoppers keep to an hour of the day, so that no visit falls on the time of expiry."""
DAYS = 6
"""Days after today on which some coupon may be usable."""


@dataclass
class Traveller(Shopper):
    """A shopper in a hidden state."""

    today: int = -1
    state: int = IDLE
    focus: int = 0
    """Item that the visit is about."""
    reached: int = -1
    """Day of the latest visit in which they got a coupon: further ones in that visit do not move them."""
    stage: str = "out"
    """Rest of the visit: all of it (`browse`), the order (`checkout`), or none (`out`)."""


class Journeys(AgendaWorld[Traveller]):
    """A hidden Markov chain of purchase intent: idle, looking, considering, buying, lapsed, loyal, waiting.

    The state sets the chance of a visit each day, of a cart and of an order. Browsing reveals it in part: shoppers who
    consider look longer, and at one item. The first coupon of a visit moves its shopper at once, up the funnel in
    proportion to its appeal and its value to them. That brings orders in any category, redeemed or not. A coupon for
    other items may distract shoppers who consider or buy. A held coupon raises checkout with its depth, up to 15 %.
    About half of the orders that could use a coupon do so. Receipt and use of coupons turn some loyal shoppers into
    ones who wait for the next coupon. So shallow coupons for categories of high margin pay, and those
    for the whole shop that appeal.
    An order uses one coupon at most, the deepest of the latest three.
    Sources: Netzer, Lattin and Srinivasan (2008) on hidden states; Venkatesan and Farris (2012) on exposure.
    """

    name: ClassVar[str] = "journeys"

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        shop = Shop(
            np.random.default_rng([seed, 11]), categories=8, items=60, price=1400, lines=np.array([0.75, 0.2, 0.05])
        )
        shop.add(["category"] * 9 + ["pair"] * 6 + ["brand"] * 5 + ["items"] * 2, (0.03, 0.15), WINDOWS)
        shop.add(["shop", "fee"] * 3, (0.03, 0.1), WINDOWS)
        self.open_shop(shop)
        self.depth, self.off = np.where(shop.covers, shop.depths(), -1.0), shop.mean_discounts()
        self.last_day = np.array([int(one.redeem_within_s // DAY_S) for one in shop.coupons])
        self.extra = EXTRA * float(np.average(shop.gain, weights=shop.popularity))
        self.appeal = shop.rng.uniform(0.1, 2.1, len(shop.coupons)) * np.where(shop.covers.all(axis=1), 0.48, 1.0)
        """How much a coupon moves who gets it, relative to others of its terms."""
        wanted = shop.rng.dirichlet(np.full(8, 1.5))
        rng = np.random.default_rng([seed, 12, draw])
        tastes = rng.dirichlet(8 * wanted + 0.05, shoppers)[:, shop.category] * shop.popularity
        self.tastes = tastes / tastes.sum(axis=1, keepdims=True)
        self.activity = rng.uniform(0.6, 1.4, shoppers)
        self.lured = rng.choice([0.5, 0.8, 1.2], shoppers)
        self.moved = 0.4 + 0.6 * rng.beta(2, 2, shoppers)
        self.hour = rng.normal(15, 2.5, shoppers).clip(8, 20) * 3600
        self.later = self._later(7)
        self.first = rng.choice(7, shoppers, p=[0.32, 0.2, 0.14, 0.06, 0.1, 0.1, 0.08])

    def born(self, user: int, play: int) -> Traveller:
        one = Traveller(user, play, state=int(self.first[user]))
        self._plan_day(one)
        return one

    def receive(self, one: Traveller, held: Held, at: float) -> None:  # noqa: ARG002
        one.held = [*one.held, held][-PURSE:]
        moves = self._exposed(one)[held.index]
        one.state = pick(moves, self.rng(one, 3, hash_of(held.issue)).random())
        one.reached = one.today

    def act(self, one: Traveller, at: float, action: str, argument: int) -> list[Struct]:
        draws = self.draws(one, one.today)
        if action == "day":
            if draws[0] >= VISIT[one.state] * self.activity[one.user]:
                return self._leave(one, QUIET, draws)
            keen = 0.75 if one.state in (CONSIDERING, BUYING) else 0.45
            one.focus, one.stage = pick(self.tastes[one.user], draws[1]), "browse"
            action, argument = "browse", 1 + sum(draw < keen for draw in draws[2:5])
        gap = 60 + 300 * draws[6 + argument]
        if action == "browse":
            one.plan(at + gap, *(("browse", argument - 1) if argument > 1 else ("cart", 0)))
            return [browse(name_of(one.user), self.shop.line(self._looked_at(one, draws[12 + 2 * argument :])), at=at)]
        if action == "cart":
            if draws[12] >= CART[one.state]:
                return self._leave(one, BROWSED, draws)
            one.stage = "checkout"
            one.plan(at + gap, "checkout")
            return [cart(name_of(one.user), self.shop.line(one.focus), at=at)]
        return self._checkout(one, at, draws)

    def _checkout(self, one: Traveller, at: float, draws: list[float]) -> list[Struct]:
        best = None
        if draws[24] < AWARE:
            inside = [held for held in one.held if self.shop.covers[held.index, one.focus]]
            best = max(inside[::-1], key=lambda held: self.depth[held.index, one.focus], default=None)
        depth = self.depth[best.index, one.focus] if best else 0.0
        if draws[25] >= CHECKOUT[one.state] + self.lured[one.user] * LURE[one.state] * min(depth, DEEP):
            return self._leave(one, BROWSED, draws)
        lines = [(one.focus, 1 + pick(self.shop.lines, draws[26]))]
        if draws[27] < EXTRA:
            shares = self.shop.popularity / self.shop.categories
            lines.append((pick(shares, draws[28]), 1 + pick(self.shop.lines, draws[29])))
        if best:
            one.held = [held for held in one.held if held is not best]
        return self.sale(one, at, lines, [(best, 0)] if best else []) + self._leave(
            one, REDEEMED if best else ORDERED, draws
        )

    def _leave(self, one: Traveller, moves: Floats, draws: list[float]) -> list[Struct]:
        one.state, one.stage = pick(moves[one.state], draws[31]), "out"
        self._plan_day(one)
        return []

    def _plan_day(self, one: Traveller) -> None:
        one.today += 1
        late = 18000 * (self.draws(one, one.today)[32] - 0.5)
        one.plan(self.starts_at + one.today * DAY_S + self.hour[one.user] + late, "day")

    def _looked_at(self, one: Traveller, draws: list[float]) -> int:
        """Return the item of the visit, another one of its category, or any that the shopper likes."""
        stays = 0.75 if one.state in (CONSIDERING, BUYING, LOYAL) else 0.4
        if draws[0] < stays:
            return one.focus
        shares = self.tastes[one.user]
        if draws[0] < 0.85:
            shares = np.where(self.shop.category == self.shop.category[one.focus], self.shop.popularity, 0.0)
        return pick(shares, draws[1])

    def _exposed(self, one: Traveller) -> Floats:
        """Return where receipt of each coupon moves the shopper, (coupons, states)."""
        depth = np.clip(self.depth, 0, DEEP)
        reach = 1 - np.exp(-20 * (depth @ self.tastes[one.user]))
        hit, ease = depth[:, one.focus], self.moved[one.user] * self.appeal
        moves = np.zeros((len(reach), 7))
        if one.reached == one.today:
            pass
        elif one.state == IDLE:
            moves[:, LOOKING], moves[:, LAPSED] = ease * 0.1 * reach, 0.004 * (1 - reach)
        elif one.state == LOOKING:
            moves[:, CONSIDERING], moves[:, IDLE] = ease * 0.14 * reach, 0.008 * (1 - reach)
        elif one.state == CONSIDERING:
            moves[:, BUYING], moves[:, LOOKING] = ease * 1.8 * hit, np.where(hit > 0, 0.0, 0.008)
        elif one.state == BUYING:
            moves[:, CONSIDERING] = 0.02
        elif one.state == LAPSED:
            moves[:, LOOKING] = ease * 0.1 * reach
        elif one.state == LOYAL:
            moves[:, WAITING] = 0.007 + 0.008 * reach
        moves[:, one.state] = 1 - moves.sum(axis=1)
        return moves

    def true_values(self, user_id: str, at: float) -> Floats:  # noqa: ARG002
        one = self.person(user_id)
        last = np.append(self.last_day, -1)
        noon = self.starts_at + one.today * DAY_S + self.hour[one.user]
        kept = one.held[-PURSE:] if len(one.held) < PURSE else one.held[1:]
        ends = [int((held.issue.expires_at - noon) // DAY_S) for held in kept]
        lost = one.held[0].index if len(one.held) == PURSE else None
        if lost is not None:
            last[-1] = int((one.held[0].issue.expires_at - noon) // DAY_S)
        purse = Purse(self, one, [held.index for held in kept], lost)
        state, total = purse.rest_of_visit(self._exposed(one))
        for day in range(1, DAYS + 1):
            purse.expire(state, day, last, ends)
            state, gained = purse.day(state)
            total += gained
        after = self.later[one.user, self.last_day + 7 - DAYS]  # (coupons, states)
        present = state.sum(axis=1)
        return np.asarray(total[:-1] - total[-1] + ((present[:-1] - present[-1]) * after).sum(axis=1))

    def margin_without(self) -> float:
        whole = round(self.days)
        return float(self._later(whole)[np.arange(self.shoppers), whole, self.first].sum())

    def _later(self, days: int) -> Floats:
        """Return the expected margin of days without coupons, (shoppers, number of days, states)."""
        visit = np.minimum(1.0, VISIT * self.activity[:, None])
        orders = visit * CART * CHECKOUT
        gain = orders * (self.tastes @ self.shop.gain + self.extra)[:, None]
        values = [0 * gain]
        for _ in range(days):
            quiet, browsed, ordered = (values[-1] @ moves.T for moves in (QUIET, BROWSED, ORDERED))
            values.append(gain + (1 - visit) * quiet + (visit - orders) * browsed + orders * ordered)
        return np.stack(values, 1)


class Purse:
    """Expectations over a shopper's state and purse, one row for each coupon given and one for none.

    The new coupon is bit 0 of a set, the kept ones from the oldest are the other bits. In the last row bit 0 is the
    coupon that a new one would make the shopper forget, if there is one.
    """

    def __init__(self, world: Journeys, one: Traveller, kept: list[int], lost: int | None) -> None:
        self.world, self.one, self.bits = world, one, 1 + len(kept)
        nothing = np.full((1, world.depth.shape[1]), -1.0)
        first = np.concatenate([world.depth, nothing if lost is None else world.depth[[lost]] - 1e-9])
        off = np.concatenate([world.off, 0 * nothing if lost is None else world.off[[lost]]])
        # A tie goes to the latest coupon: the first bit, then the last one.
        self.depths = [first] + [world.depth[[index]] - 1e-10 * (len(kept) - n) for n, index in enumerate(kept)]
        self.offs = [off] + [world.off[[index]] for index in kept]
        self.rows, self.sets = len(first), 2**self.bits
        self._tabulate()

    def _tabulate(self) -> None:
        """Fill in P(order with each coupon), P(other order) and the expected margin of a visit, by set and state."""
        world, one = self.world, self.one
        lure = world.lured[one.user] * LURE
        own = world.tastes[one.user] @ world.shop.gain
        self.use = np.zeros((self.bits, self.rows, self.sets, 7))
        self.gained = np.broadcast_to(CART * CHECKOUT * (own + world.extra), (self.rows, self.sets, 7)).copy()
        taken = np.zeros((self.rows, self.sets, 1))
        weights = [self._weights(depth, off) for depth, off in zip(self.depths, self.offs, strict=True)]
        for chosen in range(1, self.sets):
            inside = [bit for bit in range(self.bits) if chosen >> bit & 1]
            best = reduce(np.maximum, [self.depths[bit] for bit in inside])
            for bit in inside:
                wins = (self.depths[bit] == best) & (best >= -1e-6)
                covered, deep, paid, deep_paid, full = (weights[bit] * wins).sum(-1)[..., None]
                self.use[bit, :, chosen] = AWARE * CART * (CHECKOUT * covered + lure * deep)
                self.gained[:, chosen] += AWARE * CART * (CHECKOUT * (paid - full) + lure * deep_paid)
                taken[:, chosen] += AWARE * covered
        self.own = CART * CHECKOUT * (1 - taken)
        visit = np.minimum(1.0, VISIT * world.activity[one.user])
        parts = [np.broadcast_to(1 - visit, self.own.shape), visit * (1 - self.own - self.use.sum(0)), visit * self.own]
        self.parts, self.use_daily, self.gained = np.stack(parts, 2), visit * self.use, visit * self.gained

    def _weights(self, depth: Floats, off: Floats) -> Floats:
        """Return what a use of a coupon on each item adds to the sums of `_tabulate`, (sums, rows, items)."""
        taste = np.broadcast_to(self.world.tastes[self.one.user], depth.shape)
        full, lure = self.world.shop.gain + self.world.extra, np.clip(depth, 0, DEEP)
        return np.stack([taste, taste * lure, taste * (full - off), taste * lure * (full - off), taste * full])

    def day(self, state: Floats) -> tuple[Floats, Floats]:
        """Return the state (rows, sets, states) after a day, and the expected margin of that day by row."""
        used = np.zeros_like(state)
        for bit in range(self.bits):
            moved = (state * self.use_daily[bit]).reshape(self.rows, -1, 2, 2**bit, 7)
            used.reshape(moved.shape)[:, :, 0] += moved[:, :, 1]
        parts = np.concatenate([state[:, :, None] * self.parts, used[:, :, None]], 2).reshape(*state.shape[:2], 28)
        return parts @ MOVES, (state * self.gained).sum(axis=(1, 2))

    def expire(self, state: Floats, day: int, last: Floats, ends: list[int]) -> None:
        """Take the coupons whose last day was the day before out of all sets, in place."""
        for bit in [bit for bit, end in enumerate(ends, 1) if end == day - 1]:
            view = state.reshape(self.rows, -1, 2, 2**bit, 7)
            view[:, :, 0] += view[:, :, 1]
            view[:, :, 1] = 0
        over = last == day - 1
        if over.any():
            state[over, ::2] += state[over, 1::2]
            state[over, 1::2] = 0

    def rest_of_visit(self, exposed: Floats) -> tuple[Floats, Floats]:
        """Return the state after the visit and its expected margin, by row."""
        world, one = self.world, self.one
        start = np.concatenate([exposed, np.eye(7)[[one.state]]])
        state = np.zeros((self.rows, self.sets, 7))
        if one.stage == "out":
            state[:, -1] = start
            return state, np.zeros(self.rows)
        depths = np.array([np.broadcast_to(depth[:, one.focus], self.rows) for depth in self.depths])
        best, gain = depths.argmax(0), world.shop.gain[one.focus] + world.extra
        depth, rows = depths.max(0)[:, None], np.arange(self.rows)
        covered = AWARE * (depth >= -1e-6)
        off = np.array([np.broadcast_to(off[:, one.focus], self.rows) for off in self.offs])[best, rows]
        cart = CART if one.stage == "browse" else np.ones(7)
        lure = world.lured[one.user] * LURE
        use = start * cart * covered * (CHECKOUT + lure * np.clip(depth, 0, DEEP))
        own = start * cart * CHECKOUT * (1 - covered)
        state[:, -1] = (start - use - own) @ BROWSED + own @ ORDERED
        state[rows, self.sets - 1 - 2**best] += use @ REDEEMED
        return state, use.sum(1) * (gain - off) + own.sum(1) * gain
