"""World `idle`: coupons move purchases to an earlier day and never add one."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from msgspec import Struct

from benchmarks.worlds._three import AgendaWorld, Bools, Held, Ints, Shop, Shopper, hash_of, name_of, pick
from benchmarks.worlds.world import DAY_S, Floats
from stream_coupons.testing import browse, cart

AHEAD = 7
"""Days ahead of its date that a purchase can be moved."""
USED = 0.8
"""Share of the orders in scope that use a coupon; one that the first order in scope leaves unused is forgotten."""
WINDOWS = (1.5, 2.5, 3.5, 4.5, 6.5)
"""Days. Shoppers keep to an hour of the day, so that no visit falls on the time of expiry."""
TABLE = np.arange(AHEAD)
"""Days from today; no coupon lasts longer."""


@dataclass
class Household(Shopper):
    """A shopper with stocks at home."""

    today: int = -1
    in_visit: bool = False
    due: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Day on which the stock of each of their categories runs out."""
    rounds: int = 0
    """Purchases so far, in all categories."""
    trips: frozenset[int] = frozenset()
    """Days on which they visit anyway."""


class Idle(AgendaWorld[Household]):
    """Purchase acceleration without any growth in consumption.

    A household uses up a category at its own pace and orders its usual item on the day the stock runs out. The gaps
    between these days are 8 to about 25 days. A deep enough coupon for that item makes the household order up to 7 days
    early. The following purchase keeps its date, so the number of orders over the horizon never changes.
    Holders order more than controls until the coupon expires, and less in the week after. Redemptions are frequent.
    Fixed amounts for the whole shop move nothing and are a plain gift. So the true value of every coupon is at most 0:
    minus the discounts, including those of other coupons that an early order makes usable.
    Coupons can be combined. Sources: Blattberg, Eppen and Lieberman (1981); Neslin, Henderson and Quelch (1985).
    """

    name: ClassVar[str] = "idle"
    pays: ClassVar[bool] = False

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        shop = Shop(
            np.random.default_rng([seed, 31]), categories=12, items=90, price=1000, lines=np.array([0.6, 0.3, 0.1])
        )
        shop.add(["category"] * 16 + ["amount"] * 6 + ["items"] * 5 + ["fee"] * 3, (0.08, 0.24), WINDOWS)
        self.open_shop(shop)
        self.depth, self.off = shop.depths(), shop.mean_discounts()
        self.is_whole = np.array([not (one.categories or one.items) for one in shop.coupons])
        self.last_day = np.array([int(one.redeem_within_s // DAY_S) for one in shop.coupons])
        rng = np.random.default_rng([seed, 32, draw])
        wanted = rng.dirichlet(np.full(12, 3.0))
        self.hour = rng.normal(15, 2.5, shoppers).clip(8, 20) * 3600
        self.browsing = rng.beta(2, 9, shoppers)
        self.ease = rng.choice([0.2, 0.7, 1.0], shoppers, p=[0.3, 0.4, 0.3])
        """How readily they order early."""
        self.usual: list[Ints] = []
        """Usual item of each of their categories."""
        self.pace: list[Floats] = []
        for _ in range(shoppers):
            mine = rng.choice(12, rng.integers(2, 6), replace=False, p=wanted)
            self.usual.append(np.array([self._favourite(int(k), rng.random()) for k in mine]))
            self.pace.append(rng.gamma(2.0, 2.5, len(mine)))

    def born(self, user: int, play: int) -> Household:
        one = Household(user, play)
        first = self.rng(one, 1).random(len(self.usual[user]))
        one.due = (first * (8.5 + self.pace[user])).astype(np.int64)
        one.trips = frozenset(int(day) for day in one.due)
        self._plan_day(one)
        return one

    def receive(self, one: Household, held: Held, at: float) -> None:  # noqa: ARG002
        one.held = [*one.held, held]

    def act(self, one: Household, at: float, action: str, argument: int) -> list[Struct]:
        draws = self.draws(one, one.today)
        if action == "day":
            if one.today not in one.trips and draws[0] >= self.browsing[one.user]:
                self._plan_day(one)
                return []
            one.in_visit, action, argument = True, "browse", 1 + int(draws[1] * 3.4)
        gap = 60 + 240 * draws[2 + argument]
        if action == "browse":
            one.plan(at + gap, *(("browse", argument - 1) if argument > 1 else ("cart", 0)))
            return [browse(name_of(one.user), self.shop.line(self._looked_at(one, draws[6 + 2 * argument :])), at=at)]
        if action == "cart":
            one.plan(at + gap, "leave")
            due = np.flatnonzero(one.due == one.today)
            if draws[7] >= (0.75 if len(due) else 0.12):
                return []
            index = int(self.usual[one.user][due[0]]) if len(due) else self._looked_at(one, draws[8:])
            return [cart(name_of(one.user), self.shop.line(index), at=at)]
        return self._leave(one, at)

    def _leave(self, one: Household, at: float) -> list[Struct]:
        """Order what is due, and what a coupon moves to today."""
        usual, draws = self.usual[one.user], self.rng(one, 3, one.today).random((3, len(one.due)))
        stays = self._stays(one)[0][0]
        bought = np.flatnonzero((one.due == one.today) | (self._movable(one)[0] & (draws[0] >= stays)))
        lines = [(int(usual[k]), 1 + pick(self.shop.lines, draws[1, k])) for k in bought]
        used, kept = [], []
        for held in one.held:
            inside = [n for n, (index, _) in enumerate(lines) if self.shop.covers[held.index, index]]
            if not inside:
                kept.append(held)
            elif self.rng(one, 4, hash_of(held.issue)).random() < USED:
                used.append((held, inside[0]))
        one.held, one.in_visit, one.due = kept, False, one.due.copy()
        for k in bought:
            one.rounds += 1
            longer = self.rng(one, 5, int(k), int(one.due[k])).random()
            one.due[k] += 8 + int(2 * longer * self.pace[one.user][k])
            one.trips |= {int(one.due[k])}
        self._plan_day(one)
        return self.sale(one, at, lines, used) if lines else []

    def true_values(self, user_id: str, at: float) -> Floats:  # noqa: ARG002
        one = self.person(user_id)
        usual = self.usual[one.user]
        visits = np.array([one.today + int(t) in one.trips for t in TABLE]) + 0.0
        visits = np.maximum(visits, self.browsing[one.user])
        visits[0] = one.in_visit
        movable, due = self._movable(one), one.due == one.today + TABLE[:, None]
        stays, paid = self._stays(one)
        lives = self.last_day[:, None] >= TABLE
        covers = self.shop.covers[:, usual] & ~self.is_whole[:, None]
        pulls = self._pulls(one.user)[:, None] * lives[..., None]  # (coupons, days, categories)
        gifts = USED * self.off[:, usual][:, None] * (covers[:, None] & lives[..., None])
        moved = np.where(due, 1.0, visits[:, None] * movable * (1 - stays * (1 - pulls)))
        before = np.where(due, 1.0, visits[:, None] * movable * (1 - stays))
        change = _until_bought(moved, paid + gifts) - _until_bought(before, paid)
        none = np.prod(np.where(movable, stays, 1.0), axis=1)
        none_with = np.prod(np.where(movable, stays * (1 - pulls), 1.0), axis=2)
        calm = np.cumprod(np.where(due.any(axis=1), 0.0, 1 - visits + visits * none))
        calm_with = np.cumprod(np.where(due.any(axis=1), 0.0, 1 - visits + visits * none_with), axis=1)
        for held in one.held:
            if self.is_whole[held.index]:
                last = self._last(one, held)
                change += USED * self.off[held.index, usual[0]] * (calm[last] - calm_with[:, last])
        plain = USED * self.off[:, usual[0]] * (1 - calm[self.last_day])
        return np.minimum(0.0, np.where(self.is_whole, -plain, -change))

    def _pulls(self, user: int) -> Floats:
        """Return the probability that a coupon moves a movable purchase in a visit, (coupons, categories)."""
        deep = np.clip(4 * (self.depth[:, self.usual[user]] - 0.06), 0, 0.95) * self.ease[user]
        return np.asarray(np.where(self.is_whole[:, None], 0.0, deep))

    def _stays(self, one: Household) -> tuple[Floats, Floats]:
        """Return P(no held coupon moves the purchase) and the discounts of an order, (days, categories)."""
        usual = self.usual[one.user]
        stays, paid = np.ones((AHEAD, len(usual))), np.zeros((AHEAD, len(usual)))
        pulls = self._pulls(one.user) if one.held else None
        for held in one.held:
            if pulls is not None and not self.is_whole[held.index]:
                last = self._last(one, held)
                stays[: last + 1] *= 1 - pulls[held.index]
                paid[: last + 1] += USED * self.off[held.index, usual]
        return stays, paid

    def _movable(self, one: Household) -> Bools:
        """Return whether the next purchase can be made early, (days, categories)."""
        left = one.due - one.today - TABLE[:, None]
        return np.asarray((left > 0) & (left <= AHEAD))

    def _last(self, one: Household, held: Held) -> int:
        """Return the last day, counted from today, on which a coupon can be used."""
        return int((held.issue.expires_at - self._noon(one.user, one.today)) // DAY_S)

    def _noon(self, user: int, day: int) -> float:
        return float(self.starts_at + day * DAY_S + self.hour[user])

    def _plan_day(self, one: Household) -> None:
        one.today += 1
        late = 18000 * (self.draws(one, one.today)[30] - 0.5)
        one.plan(self._noon(one.user, one.today) + late, "day")

    def _looked_at(self, one: Household, draws: list[float]) -> int:
        """Return an item: the usual one of a category that runs out soon, else any."""
        near = 1 / (1 + one.due - one.today)
        if draws[0] < 0.7:
            return int(self.usual[one.user][pick(near / near.sum(), draws[1])])
        return int(draws[1] * len(self.shop.price))

    def _favourite(self, category: int, draw: float) -> int:
        inside = np.flatnonzero(self.shop.category == category)
        return int(inside[pick(self.shop.popularity[inside], draw)])


def _until_bought(hazard: Floats, paid: Floats) -> Floats:
    """Return the expected discounts of the next purchase of all categories; days are the last but one axis."""
    open_before = np.concatenate([np.ones_like(hazard[..., :1, :]), np.cumprod(1 - hazard, axis=-2)[..., :-1, :]], -2)
    return np.asarray((open_before * hazard * paid).sum(axis=(-2, -1)))
