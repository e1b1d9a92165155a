"""A shop whose shoppers react to a discount only from a threshold on."""

import numpy as np

from benchmarks.worlds._two import DailyWorld, Held, Line, Rows, Shop, Shopper, Visit, pick, products, timetable
from benchmarks.worlds.world import Floats

OWN_USE = 0.09
"""Share of orders of their own accord for which shoppers remember the coupon that the app shows."""
STRONG, WEAK = 0.55, 0.06
"""Probability that a strong, or weak, need is bought of one's own accord."""
MORE = np.array([1.0, 0.5, 0.2])
"""Probability that a visit has more than 0, 1, 2 needs."""
MEMORY = 7
"""Days over which earlier coupons tire, the day of issue included."""
CLASSES = 4
DEALS, REGULAR, LOYAL, WEARY = range(CLASSES)


class Thresholds(DailyWorld):
    """Each shopper has a reservation depth per category; a coupon below it does nothing.

    A visit considers one to three needs. A need is bought of one's own accord with a probability that depends on its
    strength. If it is not, a shown coupon at least as deep as the shopper's threshold for the category converts it with
    a probability; below the threshold it never does (reservation prices; price thresholds, Gupta and Cooper 1992).
    Latent classes: thresholds of deal seekers, regular and weary shoppers are dense between 12 and 25 percent; regular
    and weary ones have higher thresholds where their interest is small. Loyal shoppers hardly need a coupon and take
    the discount with them. Margins are high, so that deep coupons pay on average and shallow ones do not.
    Fatigue: each further coupon of the last week lowers the response, and each coupon the visit rate of weary shoppers.
    A visit browses its needs first, in their order, then perhaps one more item.
    The app shows one coupon per item: the last one given that covers it, redeemed or not. Own orders use it with
    probability .09. Some coupons take a fixed amount off, which is deep on cheap items; three cover the whole shop.
    """

    name = "thresholds"

    def build(self, rng: np.random.Generator) -> Shop:
        """Return 14 categories and coupons for groups of 4 or 6 categories, brands and the whole shop.

        Each size of scope has one coupon of each depth.
        """
        shop = products(rng, np.clip(rng.normal(0.41, 0.08, 14), 0.2, 0.55), 7, 4, 1500.0)
        shop.quantities, shop.chances = (1, 2, 5), (0.84, 0.13, 0.03)
        shop.windows = (0.0, 0.0, 0.3, 0.35, 0.35)
        depths = rng.permuted(np.tile([0.06, 0.1, 0.14, 0.2, 0.24], (3, 1)), axis=1)
        for number in range(15):
            if number % 3 == 0:
                parts = np.split(rng.permutation(14), (4, 8))
            scope = sorted(parts[number % 3].tolist())
            shop.offer(rng, {"categories": scope}, depths[number % 3, number // 3], rng.random() < 0.2)
        for number in range(4):
            shop.offer(rng, {"brands": [number]}, (0.1, 0.14, 0.2, 0.24)[number], rng.random() < 0.2)
        for number in range(3):
            shop.offer(rng, {}, (0.05, 0.08, 0.05)[number], number == 2)
        self.popular: Floats = rng.dirichlet(np.full(14, 1.5))
        return shop

    def populate(self, rng: np.random.Generator) -> None:
        """Draw classes, interests, thresholds and visit rates."""
        shop, size = self.shop, self.shoppers
        kind = rng.choice(CLASSES, size, p=[0.33, 0.31, 0.24, 0.12])
        interest = rng.dirichlet(14 * 8.0 * self.popular, size)
        middle = np.array([0.15, 0.165, 0.6, 0.17])[kind, None]
        picky = np.where(kind == DEALS, 0.0, 0.1)[:, None] * -np.log(np.clip(interest * 5, 0.1, 2.0))
        threshold = middle * np.exp(rng.normal(0.0, 0.2, (size, 14)) + picky)
        self.threshold: Floats = threshold[:, shop.category]
        popular = rng.dirichlet(np.full(7, 2.0), 14).ravel()
        self.liking: Floats = interest[:, shop.category] * popular
        self.ranks: Floats = np.cumsum(self.liking, axis=1)
        self.rate: Floats = np.clip(rng.gamma(8.0, 0.063, size), 0.1, 0.9)
        self.strong: Floats = np.array([0.14, 0.26, 0.3, 0.24])[kind]
        self.convert: Floats = np.array([0.06, 0.06, 0.01, 0.02])[kind]
        self.tire: Floats = np.array([0.98, 0.95, 0.9, 0.8])[kind]
        self.leave: Floats = np.array([1.0, 1.0, 1.0, 0.987])[kind]
        self.depth: Floats = shop.discounts[0] / shop.price

    def newcomer(self, user: int) -> Shopper:  # noqa: ARG002
        """Return a shopper without coupons."""
        return Shopper()

    def given(self, user: int, day: int) -> int:
        """Return the number of coupons of the week that ends with a day."""
        return sum(day - MEMORY < held.day <= day for held in self.people[user].issues)

    def start(self, user: int, day: int, u: Floats) -> Visit | None:
        """Draw a visit: its needs are strong or weak, and strong ones mostly go to the cart."""
        if u[0] >= self.rate[user] * self.leave[user] ** self.given(user, day):
            return None
        size = int((u[1] < MORE).sum())
        items = [pick(self.ranks[user], draw) for draw in u[2 : 2 + size]]
        strong = [bool(draw < self.strong[user]) for draw in u[5 : 5 + size]]
        carted = [is_strong and draw < 0.6 for is_strong, draw in zip(strong, u[8 : 8 + size], strict=True)]
        browsed = items + ([pick(self.ranks[user], u[12])] if u[11] < 0.5 else [])
        looks, order_at = timetable(day, browsed, [*carted, False], u[13:])
        return Visit(looks, order_at, [(n, STRONG if s else WEAK) for n, s in zip(items, strong, strict=True)])

    def buy(self, user: int, visit: Visit, day: int, u: Floats) -> list[Line]:
        """Buy each need of one's own accord, or by a coupon from the threshold on."""
        lines = []
        response = self.convert[user] * self.tire[user] ** max(self.given(user, day) - 1, 0)
        for place, (number, own) in enumerate(visit.needs):
            first, second, quantity = u[3 * place : 3 * place + 3]
            held = self._shown(user, number, day)
            if first < own:
                lines.append(self.line(number, quantity, held if held is not None and second < OWN_USE else None))
            elif (
                held is not None
                and second < response
                and self.depth[held.coupon, number] >= self.threshold[user, number]
            ):
                lines.append(self.line(number, quantity, held))
        return lines

    def _shown(self, user: int, number: int, day: int) -> Held | None:
        for held in reversed(self.people[user].issues):
            if held.last >= day and self.shop.covers[held.coupon, number]:
                return None if held.used else held
        return None

    def true_values(self, user_id: str, at: float) -> Floats:
        """Follow the probability that each issue is unused through the current visit and the days of the fatigue.

        A use depends on its own issue only, since shoppers see one issue per item whether it is used or not. Columns of
        all arrays are the coupons and, last, none; rows are the issues held and, last, the new one.
        """
        user, day, size = int(user_id[5:]), self.day(at), len(self.coupons)
        held = [one for one in self.people[user].issues if one.last >= day]
        unused = np.array([[not one.used] * (size + 1) for one in held] + [[True] * size + [False]], float)
        total, visit = np.zeros(size + 1), self.open.get(user)
        for number, own in visit.needs if visit is not None else []:
            use, gain = self._rates(user, held, day, 0, (np.array([number]), np.ones(1), own))
            total += (unused * gain).sum(0)
            unused *= 1 - use
        own = self._own(user)
        every = np.arange(len(self.shop.price))
        base = MORE.sum() * own * (self.liking[user] @ self.shop.margin)
        more = MORE - np.append(MORE[1:], 0.0)
        for ahead in range(1, MEMORY):
            coming = self.given(user, day + ahead) + (np.arange(size + 1) < size)
            rate = self.rate[user] * self.leave[user] ** coming
            use, gain = self._rates(user, held, day, ahead, (every, self.liking[user], own))
            stay = 1 - use
            total += rate * (base + (unused * gain * (MORE[0] + stay * (MORE[1] + stay * MORE[2]))).sum(0))
            unused *= 1 - rate * (1 - stay * (more[0] + stay * (more[1] + stay * more[2])))
        values: Floats = total[:-1] - total[-1]
        return values

    def _own(self, user: int) -> float:
        return float(self.strong[user] * STRONG + (1 - self.strong[user]) * WEAK)

    def _rates(
        self, user: int, held: list[Held], day: int, ahead: int, need: tuple[Rows, Floats, float]
    ) -> tuple[Floats, Floats]:
        """Return the probability that a need uses an issue that is unused, and its gain: (issues, coupons and none).

        `need` has the items that it may be for, their probabilities, and the probability that it is bought anyway.
        """
        items, likely, own = need
        shop, size, fresh = self.shop, len(self.coupons), self.shop.usable > ahead
        numbers = np.array([*range(size), *(one.coupon for one in held)])
        covers, off = shop.covers[:, items][numbers], shop.discount[:, items][numbers]
        mine = covers * (OWN_USE * own * likely)
        deep = self.depth[:, items][numbers] >= self.threshold[user, items]
        theirs = covers * deep * ((1 - own) * self.convert[user] * likely)
        parts = np.stack([mine, theirs, -mine * off, theirs * (shop.margin[items] - off)])
        sums = np.zeros((4, len(held) + 1, size + 1))
        sums[:, -1, :-1] = parts[:, :size].sum(-1) * fresh
        free = np.ones(len(items), bool)
        for place in reversed([n for n, one in enumerate(held) if one.last >= day + ahead]):
            seen = parts[:, size + place] * free
            overlap = seen @ covers[:size].T * fresh
            sums[:, place] = seen.sum(-1)[:, None] - np.pad(overlap, ((0, 0), (0, 1)))
            free &= ~covers[size + place]
        earlier = self.given(user, day + ahead) + (np.arange(size + 1) < size)
        tired = self.tire[user] ** np.maximum(earlier - 1, 0)
        return sums[0] + tired * sums[1], sums[2] + tired * sums[3]

    def margin_without(self) -> float:
        """Return visits times needs times their margin."""
        own = self.strong * STRONG + (1 - self.strong) * WEAK
        return float(self.days * MORE.sum() * (self.rate * own) @ (self.liking @ self.shop.margin))
