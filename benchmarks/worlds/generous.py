"""A young shop whose shoppers seldom order unless reminded: nearly every coupon pays."""

import numpy as np

from benchmarks.worlds._two import (
    DailyWorld,
    Held,
    Line,
    Rows,
    Shop,
    Shopper,
    Visit,
    pick,
    placed_by,
    products,
    timetable,
)
from benchmarks.worlds.world import AFTER_S, DAY_S, Floats
from stream_coupons.core.messages.decisions import CouponIssue

LEVELS = 4
"""Levels of habit: no order yet, or the habit has faded; up to a firm one."""
RETURN = np.array([0.36, 0.39, 0.41, 0.42])
"""Daily probability of a visit of one's own accord by habit, of an average shopper."""
HABIT = np.array([1.0, 1.35, 1.55, 1.7])
"""Factor of the attraction of all categories by habit."""
FADE = 0.04
"""Daily probability that the habit falls by a level."""
FOCUS = 5.0
"""Factor of the attraction of the category that a visit is about."""
WALLET = 3
"""Number of open coupons that the app shows; a new one then replaces the one that ends first."""
SUBSETS = 1 << WALLET
BITS = (np.arange(SUBSETS)[:, None] >> np.arange(WALLET) & 1).astype(bool)
"""Places of the wallet, newest first, whose coupon is open, by subset."""
AFTER_USE = np.column_stack([np.arange(SUBSETS) & ~(1 << place) for place in range(WALLET)] + [np.arange(SUBSETS)])
"""Subset that is left when the coupon of each place, or none, is used."""
AHEAD = 14


class Generous(DailyWorld):
    """Each visit is a multinomial logit choice of one category or nothing, driven by habit and reminders.

    The attraction of a category is taste, times the factor of the habit, of the visit's focus, and of a reminder if an
    open coupon of the wallet covers it (multinomial logit with state dependence; Guadagni and Little 1983).
    Shoppers are new and arrive over the first days. Without a coupon they look but seldom order.
    Each visit begins with an item of its focus.
    An order raises the habit by a level, the first one most; habits fade slowly. Open coupons also bring
    shoppers back to the shop. The wallet shows three open coupons: a further one replaces the one that ends first.
    An order uses the newest coupon that covers it.
    Depth is shallow, margins are high: nearly every coupon pays for nearly every shopper, and "none" is almost never
    right. The best one depends on tastes: specific coupons remind more than those of the whole shop.
    """

    name = "generous"

    def build(self, rng: np.random.Generator) -> Shop:
        """Return 12 categories; each brand makes whole categories. Coupons are shallow."""
        shop = products(rng, rng.uniform(0.35, 0.5, 12), 5, 4, 1600.0)
        shop.brand = shop.category % 4
        shop.quantities, shop.chances = (1, 2, 4), (0.8, 0.16, 0.04)
        for number in range(14):
            scope = [number] if number < 12 else rng.choice(12, 2, replace=False).tolist()
            shop.offer(rng, {"categories": scope}, rng.choice([0.03, 0.05, 0.08]), rng.random() < 0.2)
        for number in range(4):
            shop.offer(rng, {"brands": [number]}, rng.choice([0.03, 0.05, 0.08]), False)
        for depth in (0.03, 0.05):
            shop.offer(rng, {}, depth, False)
        return shop

    def populate(self, rng: np.random.Generator) -> None:
        """Draw tastes, arrivals and what a reminder does; reduce items to categories."""
        shop, size = self.shop, self.shoppers
        taste = rng.dirichlet(np.full(12, 0.4), size)
        appeal = rng.gamma(4.0, 0.25, (size, 1)) * 0.035
        self.taste: Floats = 0.9 * taste + 0.1 / 12
        self.attraction: Floats = appeal * self.taste * 3
        self.pace: Floats = np.clip(rng.lognormal(-0.05, 0.3, size), 0.4, 1.8)
        self.arrival: Rows = rng.integers(0, max(1, round(self.days / 3)), size)
        first = np.arange(12) * 5
        self.covers = np.vstack([shop.covers[:, first], np.zeros(12, bool)])
        breadth = self.covers.sum(1).astype(float)
        responsive = np.where(rng.random(size) < 0.04, 0.02, rng.uniform(0.6, 1.3, size))[:, None]
        base = np.append(shop.discounts[0].max(1) / shop.price.mean(), 0.0)
        pull = 0.33 / np.maximum(breadth, 1) ** 0.6 + np.minimum(3 * base, 0.4)
        self.factor: Floats = np.exp(pull * responsive)
        match = (self.taste[:, None, :] * self.covers).sum(-1)
        self.recall: Floats = np.append(np.ones(len(breadth) - 1), 0.0) * responsive * (0.002 + 0.003 * np.sqrt(match))
        off = shop.discount.reshape(len(shop.coupons), 12, 5).mean(-1)
        self.margin: Floats = shop.margin.reshape(12, 5).mean(-1)
        self.off: Floats = np.vstack([off, np.zeros(12)])

    def newcomer(self, user: int) -> Shopper:  # noqa: ARG002
        """Return a shopper without habit and coupons."""
        return Shopper()

    def wallet(self, user: int, day: int) -> list[Held]:
        """Return the open coupons that the app shows, newest first."""
        return [held for held in reversed(self.people[user].issues) if not held.used and held.last >= day]

    def kept(self, user: int, day: int) -> list[Held]:
        """Return the open coupons, newest first, that stay in the wallet when another one is given."""
        shown = self.wallet(user, day)
        if len(shown) == WALLET:
            shown.remove(min(shown, key=lambda held: held.last))
        return shown

    def give(self, user: int, number: int, at: float, issue: CouponIssue | None = None) -> Held:
        """Put a coupon into the wallet."""
        self.people[user].issues = self.kept(user, self.day(at))[::-1]
        return super().give(user, number, at, issue)

    def start(self, user: int, day: int, u: Floats) -> Visit | None:
        """Let the habit fade, and draw a visit; its focus is what most of its looks are at."""
        person = self.people[user]
        person.level -= int(person.level > 0 and u[0] < FADE)
        away = 1 - RETURN[person.level] * self.pace[user]
        for held in self.wallet(user, day):
            away *= 1 - self.recall[user, held.coupon]
        if day < self.arrival[user] or (day > self.arrival[user] and u[1] >= 1 - away):
            return None
        ranks = np.cumsum(self.taste[user])
        focus = pick(ranks, u[2])
        seen = [focus if draw < 0.7 else pick(ranks, other) for draw, other in zip(u[4:8], u[8:12], strict=True)]
        items = [5 * c + int(5 * draw) for c, draw in zip([focus, *seen[1:]], u[12:16], strict=True)]
        items = items[: 1 + int(4 * u[3] ** 1.3)]
        carted = [place == 0 and u[16] < 0.06 * HABIT[person.level] for place in range(len(items))]
        looks, order_at = timetable(day, items, carted, u[17:])
        return Visit(looks, order_at, [(focus, FOCUS)])

    def buy(self, user: int, visit: Visit, day: int, u: Floats) -> list[Line]:
        """Choose a category or nothing, by the newest open coupon that covers it if there is one."""
        person = self.people[user]
        attraction = self.attraction[user] * HABIT[person.level]
        attraction[visit.needs[0][0]] *= FOCUS
        coupons: list[Held | None] = [None] * 12
        for held in reversed(self.wallet(user, day)):
            coupons = [held if covers else old for covers, old in zip(self.covers[held.coupon], coupons, strict=True)]
        attraction *= [1.0 if held is None else self.factor[user, held.coupon] for held in coupons]
        choice = int(np.searchsorted(np.cumsum(attraction) / (1 + attraction.sum()), u[0], side="right"))
        if choice == 12:
            return []
        person.level = min(person.level + 1, LEVELS - 1)
        return [self.line(5 * choice + int(5 * u[1]), u[2], coupons[choice])]

    def true_values(self, user_id: str, at: float) -> Floats:
        """Compare backward inductions over days, habit and open coupons, one for each coupon and for none by horizon.

        Rows are the coupons and, for each length of window, the wallet without a new coupon.
        """
        user, day = int(user_id[5:]), self.day(at)
        windows, kind = np.unique(self.shop.usable, return_inverse=True)
        size = len(self.coupons)
        slots, lasts = np.full((2, size + len(windows), WALLET), [[[size]], [[-1]]])
        slots[:size, 0], lasts[:size, 0] = np.arange(size), day + self.shop.usable - 1
        for place, held in enumerate(self.kept(user, day)):
            slots[:size, place + 1], lasts[:size, place + 1] = held.coupon, held.last
        for place, held in enumerate(self.wallet(user, day)):
            slots[size:, place], lasts[size:, place] = held.coupon, held.last
        until: Floats = np.append(self.shop.usable, windows).astype(np.float64) * DAY_S + (AFTER_S + at)
        value = self._ahead(user, day, slots, lasts, until)
        now = ((lasts >= day) << np.arange(WALLET)).sum(1)
        focus, habit = self.open[user].needs[0][0] if user in self.open else None, self.people[user].level
        if focus is not None:
            value = _visit(*self._choices(user, slots, focus), value)
        best = value[np.arange(len(slots)), habit, now]
        values: Floats = best[:size] - best[size:][kind]
        return values

    def _ahead(self, user: int, day: int, slots: Rows, lasts: Rows, until: Floats) -> Floats:
        """Return the expected margin from the next day to `until`: (rows, habits, subsets of open coupons)."""
        chosen, gain = self._choices(user, slots, None)
        open_now = np.where(BITS, (1 - self.recall[user, slots])[:, None], 1.0).prod(-1)
        visit = 1 - (1 - RETURN * self.pace[user])[:, None] * open_now[:, None]
        latest = int(lasts.max())
        value = np.zeros((len(slots), LEVELS, 1))
        for later in range(day + AHEAD, day, -1):
            subsets = SUBSETS if later <= latest else 1
            if (lasts == later).any():
                value = self._expired(value, lasts, later + 1)
            part = placed_by(until, later)[:, None, None]
            come = visit[..., :subsets]
            value = value + come * (_visit(chosen[:, :, :subsets], gain[..., :subsets] * part, value) - value)
            value[:, 1:] += FADE * (value[:, :-1] - value[:, 1:])
        return self._expired(value, lasts, day + 1)

    def _expired(self, value: Floats, lasts: Rows, day: int) -> Floats:
        """Return values of the subsets at the end of the day before `day`, when coupons expire."""
        usable = ((lasts >= day) << np.arange(WALLET)).sum(1)
        places = (
            np.arange(SUBSETS) & usable[:, None] if value.shape[2] > 1 else np.zeros((len(lasts), SUBSETS), np.intp)
        )
        return np.take_along_axis(value, places[:, None], 2)

    def _choices(self, user: int, slots: Rows, focus: int | None) -> tuple[Floats, Floats]:
        """Return the probability of an order by each place of the wallet, or (last) without, and the gain of a visit.

        Shapes are (rows, habits, subsets, places + 1) and (rows, habits, subsets).
        """
        free = np.ones((len(slots), SUBSETS, 12), bool)
        parts = []
        factor, gain = np.ones(free.shape), np.tile(self.margin, (len(slots), SUBSETS, 1))
        for place in range(WALLET):
            mine = free & BITS[:, place, None] & self.covers[slots[:, place]][:, None]
            factor += mine * (self.factor[user, slots[:, place]] - 1)[:, None, None]
            gain -= mine * self.off[slots[:, place]][:, None]
            free &= ~mine
            parts.append(mine)
        attraction = (factor * self.attraction[user])[:, :, None] * HABIT[:, None]
        focused = self.taste[user] if focus is None else np.eye(12)[focus]
        total = 1 + attraction.sum(-1, keepdims=True)
        split = focused / (total + (FOCUS - 1) * attraction)
        chosen = attraction * (split.sum(-1, keepdims=True) + (FOCUS - 1) * split)
        sums = np.ascontiguousarray((chosen @ np.stack([*parts, free, gain], axis=-1)).transpose(0, 2, 1, 3))
        return sums[..., :-1], sums[..., -1]

    def margin_without(self) -> float:
        """Return the expected margin of a chain of habits from each shopper's arrival on."""
        none = np.array([[len(self.coupons)] * WALLET])
        total, whole = 0.0, int(self.days)
        for user in range(self.shoppers):
            chosen, gain = (part[0, :, 0] for part in self._choices(user, none, None))
            share = np.eye(LEVELS)[0]
            for day in range(int(self.arrival[user]), whole):
                faded = FADE * np.append(0.0, share[1:])
                share = share - faded + np.append(faded[1:], 0.0)
                visit = RETURN * self.pace[user] if day > self.arrival[user] else np.ones(LEVELS)
                total += float(share @ (visit * gain))
                moved = share * visit * chosen[:, -1]
                moved[-1] = 0.0
                share = share - moved + np.append(0.0, moved[:-1])
        return total


def _visit(chosen: Floats, gain: Floats, value: Floats) -> Floats:
    """Return values before a visit from those after it: (rows, habits, subsets of open coupons)."""
    higher = np.concatenate([value[:, 1:], value[:, -1:]], 1)
    moved = np.einsum("rhsp,rhsp->rhs", chosen, higher[:, :, AFTER_USE[: value.shape[2]] % value.shape[2]])
    result: Floats = gain + (1 - chosen.sum(-1)) * value + moved
    return result
