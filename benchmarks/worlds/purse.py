"""A shop whose shoppers have a budget a week: what a coupon sells is in part taken from other sales."""

import numpy as np

from benchmarks.worlds._two import DailyWorld, Held, Line, Rows, Shop, Shopper, Visit, pick, products, timetable
from benchmarks.worlds.world import Floats

UNIT = 400
"""Money is counted in units of 4.00 by shoppers; what they pay is rounded to at least one."""
MOST = 48
"""Bound of a weekly budget, in units."""
NEEDS, MORE = 3, 0.45
"""Greatest number of items considered in a visit, and the probability of one more."""
SPREAD = 0.6
"""Scale of the logistic noise of log utility."""
WEEK = 7
SEASON = np.array([0.7, 0.75, 0.8, 0.9, 1.2, 1.5, 1.15])
"""Visit rate by day of the week, relative."""
Kernel = tuple[Floats, Floats, Floats]
"""Moves that leave the coupon open, those that use it (rows, purse, purse), and expected gain (rows, purse)."""


class Purse(DailyWorld):
    """Each shopper spends a weekly budget by sequential choices on utility per cent.

    A visit considers one to three items in turn. An item is bought if its price does not exceed the rest of the budget
    and its utility per cent, with logistic noise, exceeds the marginal utility of money. That rises as the budget
    shrinks, so each purchase lowers the chance of later ones: of other categories, and later in the week
    (cannibalisation; multi-category choice, Song and Chintagunta 2007). Budgets are renewed every seven days.
    A coupon lowers the price that utility is compared with. It also draws attention: a shopper may consider one more
    item of its scope. A shopper has the coupon given last in mind, and forgets earlier ones.
    True margins run from .10 to .46 by category. Shallow coupons of high-margin categories pay on average. Most
    deep ones, and those of low-margin categories, lose money even if they sell. A coupon covers categories of about the
    same margin.
    A visit browses its needs first, in their order, then perhaps one more item.
    Budgets have a heavy tail; visits have a season by day of the week.
    """

    name = "purse"

    def build(self, rng: np.random.Generator) -> Shop:
        """Return 10 categories of very different margins; category coupons cover one to three neighbours by margin."""
        shop = products(rng, rng.permutation(np.linspace(0.1, 0.46, 10)), 6, 5, 1500.0)
        shop.windows = (0.0, 0.1, 0.3, 0.3, 0.3)
        by_margin = np.argsort(shop.margins)
        depths = rng.permutation([0.03, 0.05, 0.06, 0.09, 0.14])
        for number in range(15):
            place, width = number // 3, 1 + number % 3
            first = round(place * (10 - width) / 4)
            scope = sorted(by_margin[first : first + width].tolist())
            shop.offer(rng, {"categories": scope}, depths[(place + 2 * width) % 5], rng.random() < 0.2)
        for number in range(3):
            shop.offer(rng, {"brands": [number]}, (0.03, 0.05, 0.08)[number], rng.random() < 0.2)
        for depth in (0.02, 0.04, 0.06):
            shop.offer(rng, {}, depth, False)
        return shop

    def populate(self, rng: np.random.Generator) -> None:
        """Draw budgets, tastes and visit rates, and derive what items cost with each coupon, or (last row) without."""
        shop, size = self.shop, self.shoppers
        self.budget: Rows = np.clip(np.rint(rng.lognormal(np.log(11.0), 0.6, size)), 4, MOST).astype(np.intp)
        taste = rng.dirichlet(np.full(10, 20.0), size)
        self.utility: Floats = 0.22 * np.log(np.clip(taste * 10, 0.1, 4.0))[:, shop.category]
        rich = np.log(self.budget / 11.0)[:, None] * np.log(shop.price / 1500.0) * 0.8
        weights = (taste**0.7)[:, shop.category] * rng.gamma(2.0, 1.0, len(shop.price)) * np.exp(rich)
        self.liking: Floats = weights / weights.sum(1, keepdims=True)
        self.rate: Floats = np.clip(rng.gamma(6.0, 0.07, size), 0.08, 0.62)
        self.thrift: Floats = rng.uniform(0.35, 0.9, size)
        self.notice: Floats = rng.beta(2.5, 12.5, size) * (rng.random(size) < 0.5)
        self.paid: Floats = shop.price - np.vstack([shop.discount, np.zeros(len(shop.price))])
        self.units: Rows = np.maximum(np.rint(self.paid / UNIT), 1).astype(np.intp)
        self.covers: Floats = np.vstack([shop.covers, np.zeros(len(shop.price), bool)])
        self.kernels: dict[int, tuple[Kernel, Kernel, Floats]] = {}

    def newcomer(self, user: int) -> Shopper:
        """Return a shopper with a full purse."""
        return Shopper(level=int(self.budget[user]))

    def chance(self, user: int, items: Rows, left: Rows) -> Floats:
        """Return the probability that a considered item is bought: (coupons and none, items, purses)."""
        utility = self.utility[user, items] - np.log(self.paid[:, items] / self.shop.price[items])
        money = self.thrift[user] * np.log((self.budget[user] + 1.0) / (left + 1.0))
        bought: Floats = 1 / (1 + np.exp((0.25 + money - utility[..., None]) / SPREAD))
        return bought * (self.units[:, items, None] <= left)

    def start(self, user: int, day: int, u: Floats) -> Visit | None:
        """Renew the purse once a week, and draw a visit; liked items often go to the cart."""
        if day % WEEK == 0:
            self.people[user].level = int(self.budget[user])
        if u[0] >= self.rate[user] * SEASON[day % WEEK]:
            return None
        size = 1 + int(u[1] < MORE) + int(u[1] < MORE**2)
        ranks = np.cumsum(self.liking[user])
        items = [pick(ranks, draw) for draw in u[2 : 2 + size]]
        likely = self.chance(user, np.array(items), np.array([self.people[user].level]))[-1, :, 0]
        carted = [bool(draw < 0.7 * p) for draw, p in zip(u[5:], likely, strict=False)]
        browsed = items + ([pick(ranks, u[9])] if u[8] < 0.5 else [])
        looks, order_at = timetable(day, browsed, [*carted, False], u[12:])
        return Visit(looks, order_at, [(number, 1.0) for number in items])

    def buy(self, user: int, visit: Visit, day: int, u: Floats) -> list[Line]:
        """Decide on each considered item in turn, and perhaps on one more that the coupon is for."""
        person, lines = self.people[user], []
        held = self._minded(user, day)
        items = [number for number, _ in visit.needs]
        if held is not None and u[0] < self.notice[user]:
            items.append(pick(np.cumsum(self._scope(user)[held.coupon]), u[1]))
        for place, number in enumerate(items):
            if place == len(visit.needs) and held is not None and held.used:
                break
            with_coupon = held is not None and not held.used and bool(self.shop.covers[held.coupon, number])
            row = held.coupon if held is not None and with_coupon else len(self.coupons)
            if u[2 + place] < self.chance(user, np.array([number]), np.array([person.level]))[row, 0, 0]:
                person.level -= int(self.units[row, number])
                lines.append(self.line(number, 0.0, held if with_coupon else None))
        return lines

    def _minded(self, user: int, day: int) -> Held | None:
        last = self.people[user].issues[-1:]
        return last[0] if last and last[0].last >= day and not last[0].used else None

    def _scope(self, user: int) -> Floats:
        weights = self.covers * self.liking[user]
        shares: Floats = weights / np.maximum(weights.sum(1, keepdims=True), 1e-12)
        return shares

    def true_values(self, user_id: str, at: float) -> Floats:
        """Compare the values of the purse at hand with each new coupon and with the coupon that is in mind now.

        Both run to the end of the week in which the last coupon ends; the purse is full again after it.
        """
        user, day, size = int(user_id[5:]), self.day(at), len(self.coupons)
        left, held = self.people[user].level, self._minded(user, day)
        ends = np.append(self.shop.usable - 1 + day, -1)
        values = self._now(user, day, np.arange(size + 1), ends)[:, left]
        without = values[-1]
        if held is not None:
            without = self._now(user, day, np.array([held.coupon, size]), np.array([held.last, -1]))[0, left]
        gains: Floats = values[:-1] - without
        return gains

    def _now(self, user: int, day: int, rows: Rows, ends: Rows) -> Floats:
        """Return the value of each purse during the visit that is open: (rows, purses)."""
        value = self._ahead(user, day, rows, ends)
        visit, (_, extra, _) = self.open.get(user), self._tables(user)
        if visit is None:
            return value
        value = self._noticed(user, extra, value, rows)
        for number, _ in reversed(visit.needs):
            value = _step(self._kernel(user, np.array([number]), np.ones((len(self.paid), 1))), value, rows)
        return value

    def _ahead(self, user: int, day: int, rows: Rows, ends: Rows) -> Floats:
        """Return the expected margin from the next day to the end of the next week: (rows, purses).

        Rows are coupons that can be used up to the day `ends`; the last row is no coupon.
        """
        first = day - day % WEEK
        need, extra, bare = self._tables(user)
        last = max(int(ends.max()), day) - first
        value = np.repeat(bare[None, last + 1], len(rows), 0)
        for ahead in range(last, day - first, -1):
            value = self._day(user, (need, extra), value, rows, ahead)
            value[ends < first + ahead] = bare[ahead]
        return value if (day + 1) % WEEK else np.repeat(value[:, -1:], value.shape[1], 1)

    def _day(self, user: int, kernels: tuple[Kernel, Kernel], value: Floats, rows: Rows, day: int) -> Floats:
        """Return the value at the start of a day from the value at the start of the next one."""
        if (day + 1) % WEEK == 0:
            value = np.repeat(value[:, -1:], value.shape[1], 1)
        over = self._noticed(user, kernels[1], value, rows)
        visit = _step(kernels[0], over, rows)
        for _ in range(NEEDS - 1):
            visit = _step(kernels[0], (1 - MORE) * over + MORE * visit, rows)
        rate = float(self.rate[user] * SEASON[day % WEEK])
        return (1 - rate) * value + rate * visit

    def _noticed(self, user: int, extra: Kernel, value: Floats, rows: Rows) -> Floats:
        notice = float(self.notice[user])
        return (1 - notice) * value + notice * _step(extra, value, rows)

    def _tables(self, user: int) -> tuple[Kernel, Kernel, Floats]:
        """Return the kernels of a need and of noticing, and the values without coupons by day of two weeks."""
        if user not in self.kernels:
            every = np.arange(len(self.shop.price))
            need = self._kernel(user, every, np.tile(self.liking[user], (len(self.paid), 1)))
            extra = self._kernel(user, every, self._scope(user))
            bare = np.zeros((2 * WEEK + 1, self.budget[user] + 1))
            none = np.array([len(self.coupons)])
            for day in range(2 * WEEK - 1, -1, -1):
                bare[day] = self._day(user, (need, extra), bare[None, day + 1], none, day)[0]
            self.kernels[user] = need, extra, bare
        return self.kernels[user]

    def _kernel(self, user: int, items: Rows, weights: Floats) -> Kernel:
        """Return the moves of the purse when one item is considered, drawn by weights (coupons and none, items)."""
        size = int(self.budget[user]) + 1
        left = np.arange(size)
        covered = self.covers[:, items].astype(bool)[..., None]
        units = np.where(covered, self.units[:, items, None], self.units[-1, items][None, :, None])
        chances = self.chance(user, items, left)
        bought = np.where(covered, chances, chances[-1]) * weights[..., None]
        row = np.arange(len(weights))[:, None, None]
        target = (row * size + left) * size + np.maximum(left - units, 0)
        shape = (len(weights), size, size)
        parts = ((bought * part).ravel() for part in (covered, ~covered))
        use, keep = (np.bincount(target.ravel(), part, row.size * size**2).astype(float) for part in parts)
        use, keep = use.reshape(shape), keep.reshape(shape)
        keep[:, left, left] += 1 - bought.sum(1)
        gain = self.shop.margin[items] - (self.shop.price[items] - self.paid[:, items])
        return keep, use, np.einsum("kir,ki->kr", bought, gain)

    def margin_without(self) -> float:
        """Return the value of a week without coupons for the time played."""
        return float(sum(self._tables(user)[2][WEEK, -1] for user in range(self.shoppers))) * self.days / WEEK


def _step(kernel: Kernel, value: Floats, rows: Rows) -> Floats:
    """Return values before an item is considered; the last row of `value` is without a coupon."""
    keep, use, gain = (part if len(rows) == len(part) else part[rows] for part in kernel)
    moved: Floats = gain + (keep @ value[..., None])[..., 0] + use @ value[-1]
    return moved
