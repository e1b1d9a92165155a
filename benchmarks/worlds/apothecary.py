"""An online drugstore: needs pile up until the next order, and one order serves them all."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import Item
from stream_coupons.testing import builders

from .world import DAY_S, Events, Floats, World

Ints = NDArray[np.intp]
CATEGORIES = ("hair", "skin", "oral", "makeup", "baby", "household", "health", "pet")
C, ITEMS, SEGMENTS, LEVELS, TIERS, MEMORIES = len(CATEGORIES), 6, 16, 4, 3, (0.3, 0.6, 0.95)
WINDOWS = (1, 2, 3, 5, 7)
LONGEST = WINDOWS[-1]
AFTER, AHEAD, STOCK_DAYS, TABLE, MAX_OPEN = 7, 14, 14, 9, 7
"""Days after a window; days of the longest effect; days of a stockpile; pieces tabulated; open needs tabulated."""
NOTICED, BEFORE_DAYS, MAX_BOOST = 0.85, 2.0, 2.5
"""Probability that a piece in the scope recalls a coupon; days of needs before the start; most of a saving's effect."""


class Apothecary(World):
    """An online drugstore with multi-category baskets.

    Needs arise by category as Poisson processes, with gamma rates over shoppers and categories (NBD: Ehrenberg 1959;
    Schmittlein, Bemmaor and Morrison 1985). A shopper may have churned for a category. Open needs pile up. Once a day,
    at an habitual hour, a shopper orders by a proportional hazard (Jain and Vilcassim 1991): the hazard of an order is
    the sum of one hazard per open need, times the weekday, times exp(elasticity * saving) for the coupons that cover
    the need. One order serves all open needs (multi-category choice: Manchanda, Ansari and Gupta 1999), so a coupon
    changes the timing of the whole basket. A trip to another store takes all open needs away. Each order earns a
    delivery fee and costs picking, which is more. Item prices and quantities are drawn at the order, by price tier.

    A coupon for one category creates a need by trial, the more likely the deeper it is, unless its shopper holds
    another one for the category. The order of such a need fills a stockpile: fewer needs for two weeks (Neslin,
    Henderson and Quelch 1985). One coupon per order is used at most. Valid coupons share the shopper's attention: one
    of n comes to mind with (1 - (1 - u)^n) / n, where u is the shopper's trait. It is used with
    (1 - (1 - 0.85)^inside) * rho^outside for the numbers of needs inside and outside of its scope. After an order or a
    trip, only the coupon that was given last is kept, unless it was used. A competitor's price cut makes one category
    elastic in mid-run.

    True values are exact renewal sums: independent needs keep the counts Poisson after days without an order. Values
    of more than 9 pieces of one category continue the table's last slope. A discount for several categories has a
    limit that a basket hardly reaches; the values ignore it.
    """

    name = "apothecary"

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        rng = np.random.default_rng([seed, 41])
        self._draw_shop(rng)
        self._draw_coupons(rng)
        self._tabulate()
        own = np.random.default_rng([seed, draw, 42])
        segment, level = own.choice(SEGMENTS, shoppers, p=self._shares), own.integers(LEVELS, size=shoppers)
        self._classes = (segment * LEVELS + level) * 3 + own.choice(3, shoppers, p=self._memory_shares)
        self._hours = own.integers(8, 23, shoppers)
        self._needs = own.poisson(self._rates_of(self._classes) * BEFORE_DAYS).tolist()
        self._next = [0] * shoppers
        self._trials: list[set[int]] = [set() for _ in range(shoppers)]
        self._stock: list[dict[int, int]] = [{} for _ in range(shoppers)]
        self._held: list[list[tuple[int, int, CouponIssue]]] = [[] for _ in range(shoppers)]
        self._luck = np.random.default_rng([seed, draw, 43])
        self._memo: dict[Any, Any] = {}
        self._memo_day = -1

    def _draw_shop(self, rng: np.random.Generator) -> None:
        """Draw products, segments of shoppers and costs."""
        level = 700.0 * np.exp(0.45 * rng.standard_normal(C))
        prices = level[:, None] * np.exp(0.55 * rng.standard_normal((C, ITEMS)))
        self._prices = np.maximum(np.round(prices / 10.0), 15.0).astype(int) * 10
        taste = -np.array([1.3, 0.3, -0.5])[:, None, None] * np.log(self._prices / level[:, None])
        weight = np.exp(taste + 0.5 * rng.standard_normal((C, ITEMS)))
        self._items = weight / weight.sum(2, keepdims=True)
        self._pieces = rng.dirichlet((14.0, 4.0, 2.0), C)
        self._typical = (self._items * self._prices).sum(2) * (self._pieces @ [1.0, 2.0, 3.0])
        self._ratio = rng.uniform(0.22, 0.48, C)
        self._margins = self._typical * self._ratio
        self._per_order = -float(rng.uniform(120.0, 300.0))
        popular, shape = rng.dirichlet(np.full(C, 3.0)), rng.uniform(0.5, 1.0)
        taste = rng.gamma(shape, size=(SEGMENTS, C)) * popular
        taste *= np.where(rng.random((SEGMENTS, C)) < rng.uniform(0.1, 0.3), 0.02, 1.0)
        spread = np.quantile(rng.gamma(0.7, size=20000), [0.15, 0.4, 0.65, 0.93])
        size = rng.uniform(0.45, 0.65) * spread / spread.mean()
        self._class_rates = np.repeat((taste / taste.sum(1, keepdims=True))[:, None] * size[:, None], 3, 1).reshape(
            -1, C
        )
        self._shares, self._memory_shares = rng.dirichlet(np.full(SEGMENTS, 4.0)), rng.dirichlet((4.0, 5.0, 3.0))
        self._tier = rng.integers(TIERS, size=SEGMENTS)
        self._base, self._leak = rng.uniform(0.05, 0.16, SEGMENTS), rng.uniform(0.03, 0.12, SEGMENTS)
        self._elastic = np.exp(1.3 + 0.5 * rng.standard_normal(SEGMENTS))
        self._trial, self._less = (
            rng.uniform(0.1, 0.9, SEGMENTS) * (rng.random(SEGMENTS) < 0.5),
            float(rng.uniform(0.3, 0.6)),
        )
        self._rho, self._cut = float(rng.uniform(0.8, 0.93)), int(rng.integers(C))
        self._season = np.exp(0.25 * rng.standard_normal(7))
        self._by_category = rng.uniform(0.5, 1.4, C)
        self._by_category[self._cut] = 0.25
        self._cut_day = int(0.45 * self.days)

    def _rates_of(self, classes: Ints) -> Floats:
        return np.asarray(self._class_rates[classes])

    def _draw_coupons(self, rng: np.random.Generator) -> None:
        """Draw the catalogue: 20 coupons for one category, 5 for several, 3 for the whole shop."""
        self._scope = np.zeros((28, C))
        self._percent, self._amount, self._floor, self._limit = (np.zeros(28) for _ in range(4))
        self._windows = rng.choice(WINDOWS, 28)
        self.coupons, late = [], set(rng.choice(28, 3, replace=False).tolist())
        for k in range(28):
            one = int(rng.integers(C)) if k else self._cut
            several = rng.choice(C, int(rng.integers(2, 4)), replace=False)
            inside = [one] if k < 20 else sorted(several.tolist()) if k < 25 else list(range(C))
            self._scope[k, inside] = 1.0
            typical, ratio = float(self._typical[1, inside].mean()), float(self._ratio[inside].mean())
            depth = float(rng.uniform(0.12, 0.3) if k == 0 else rng.uniform(0.04, 0.15) if k > 24 else _depth(rng))
            if 12 <= k < 18:
                self._amount[k] = self._limit[k] = 10.0 * max(2.0, round(depth * typical / 10.0))
            else:
                self._percent[k] = max(3.0, round(100.0 * depth))
                room = float(rng.uniform(1.5, 4.0)) if k < 20 else 40.0
                self._limit[k] = 10.0 * math.ceil(room * typical * depth / 10.0)
            if k in (18, 19):
                self._floor[k] = 10.0 * round(0.9 * typical / 10.0)
            fields: dict[str, Any] = {} if k > 24 else {"categories": [CATEGORIES[c] for c in inside]}
            fields |= {"discount_minor": None, "typical_price_minor": None}
            if self._amount[k]:
                fields["discount_minor"] = int(self._amount[k])
            else:
                fields["discount_percent"] = float(self._percent[k])
            if self._floor[k]:
                fields["min_spend_minor"] = int(self._floor[k])
            errors = np.exp(0.2 * rng.standard_normal(2))
            if rng.random() < 0.85:
                worth = typical * (2.2 if k > 24 else 1.2)
                fields["typical_price_minor"] = round(worth * float(errors[0]))
                fields["margin_ratio"] = min(0.9, ratio * float(errors[1]))
            if k in late:
                fields["valid_from"] = self.starts_at + 0.4 * self.days * DAY_S
            fields |= {"max_discount_minor": int(self._limit[k]), "redeem_within_s": float(self._windows[k]) * DAY_S}
            self.coupons = [*self.coupons, builders.coupon(f"coupon-{k:02}", **fields)]
        self._single = np.flatnonzero(self._scope.sum(1) == 1.0)
        self._category = self._scope.argmax(1)
        self._several = (self._scope.sum(1) > 1.0).astype(float)
        self._window_index = np.searchsorted(WINDOWS, self._windows)

    def _tabulate(self) -> None:
        """Tabulate probability of use and expected discount by tier, coupon, needs open now and further needs."""
        table = np.zeros((TIERS, 28, 2, TABLE + 1))
        number = np.arange(TABLE + 1)
        recalled = 1.0 - (1.0 - NOTICED) ** number
        table[:, :, 0], table[:, :, 1] = recalled, recalled * number * self._percent[:, None] / 100.0
        self._depth = np.tile(self._percent / 100.0, (TIERS, 1))
        for tier in range(TIERS):
            for c in range(C):
                values = (self._prices[c][:, None] * [1, 2, 3] // 10).ravel()
                chances = np.outer(self._items[tier, c], self._pieces[c]).ravel()
                density = np.zeros(int(values.max()) * TABLE + 1)
                density[0] = 1.0
                grid = np.arange(len(density), dtype=np.float64) * 10.0
                for n in range(1, TABLE + 1):
                    new = np.zeros_like(density)
                    for value, chance in zip(values, chances, strict=True):
                        new[value:] += chance * density[: len(density) - value]
                    density = new
                    for k in self._single[self._category[self._single] == c]:
                        used = density * (grid >= self._floor[k])
                        off = self._discount(int(k), grid)
                        table[tier, k, :, n] = recalled[n] * used.sum(), recalled[n] * (used @ off)
                        if n == 1:
                            self._depth[tier, k] = used @ off / self._typical[tier, c]
        self._coefficients = np.zeros((TIERS, 28, MAX_OPEN + 1, 2, TABLE + 2))
        slope = table[..., -1] - table[..., -2]
        slope[:, :, 0] = 0.0
        slope[:, 20:, 1] = self._percent[20:] / 100.0
        factorial = np.array([math.factorial(n) for n in range(TABLE)], float)
        for now in range(MAX_OPEN + 1):
            start = np.broadcast_to(table[..., -1:] + slope[..., None] * (now + number - TABLE), table.shape).copy()
            line = start[..., 0].copy()
            start[..., : TABLE + 1 - now] = table[..., now:]
            seen = np.minimum(recalled[np.minimum(now + number, TABLE)], 1.0)
            start[:, 20:, 1] = seen * number * self._percent[20:, None] / 100.0
            line[:, 20:, 1] = 0.0
            gap = start - line[..., None] - slope[..., None] * number
            self._coefficients[:, :, now, :, :TABLE] = gap[..., :TABLE] / factorial
            self._coefficients[:, :, now, :, TABLE] = line
            self._coefficients[:, :, now, :, TABLE + 1] = slope

    def _discount(self, k: int, value: Floats) -> Floats:
        """Return the discount on values within the scope, minor units."""
        part = np.floor(value * self._percent[k] / 100.0 + 0.5)
        return np.asarray(np.minimum(part if self._percent[k] else np.minimum(value, self._amount[k]), self._limit[k]))

    def _shopper(self, cls: int) -> tuple[int, int, float]:
        segment = cls // (3 * LEVELS)
        return segment, int(self._tier[segment]), MEMORIES[cls % 3]

    def _boosts(self, segment: int, day: int, which: Ints, valid: Ints) -> Floats:
        """Return the logarithm of the factor of coupons on the hazard of a need, (coupons, C, AHEAD)."""
        days = day + np.arange(AHEAD)
        elastic = np.tile(self._by_category[:, None], AHEAD)
        elastic[self._cut, days >= self._cut_day] = 1.8
        depth = self._elastic[segment] * self._depth[self._tier[segment], which]
        held = np.arange(1, AHEAD + 1) <= valid[:, None]
        return np.asarray((depth[:, None] * self._scope[which])[:, :, None] * elastic * held[:, None])

    def _hazard(self, segment: int, day: int, days: int = AHEAD) -> Floats:
        return np.asarray(self._base[segment] * self._season[(day + np.arange(days)) % 7])

    def _supply(self, cls: int, stock: Sequence[tuple[int, int]]) -> Floats:
        """Return the expected number of new needs by category and day, (C, AHEAD)."""
        rates = np.tile(self._class_rates[cls][:, None], AHEAD)
        for c, left in stock:
            rates[c, :left] *= 1.0 - self._less
        return rates

    def _uses(self, coefficients: Floats, inside: Floats, outside: Floats, mix: Floats, add: Any) -> Floats:
        """Return probability of use and discount, (2, ...), for Poisson numbers of new needs; attention excluded."""
        sums = coefficients[..., TABLE - 1]
        for n in range(TABLE - 2, -1, -1):
            sums = sums * inside + coefficients[..., n]
        sums = np.exp(-inside) * sums + coefficients[..., TABLE] + coefficients[..., TABLE + 1] * inside
        sums = sums * np.exp(-(1.0 - self._rho) * outside)
        sums[1] = sums[1] * mix + add * sums[0]
        return np.asarray(sums)

    def _after(self, cls: int, day: int, stock: tuple[tuple[int, int], ...]) -> tuple[Floats, Floats, Floats]:
        """Return values after a shopping trip: without a coupon, (1 + C, days, windows); with each one, and trials."""
        key = cls, day, stock
        if key not in self._memo:
            segment, tier, _ = self._shopper(cls)
            rates = np.tile(self._supply(cls, stock), (1 + C, 1, 1))
            for c in range(C):
                rates[1 + c, c] = np.minimum(rates[c + 1, c], self._class_rates[cls][c] * (1.0 - self._less))
            hazard = np.broadcast_to(self._hazard(segment, day), rates.shape)
            weights = np.stack([np.ones(C), self._margins[tier]])[None]
            signed, trip, means = _kernel(rates, hazard, weights, np.arange(AHEAD), self._leak[segment])
            ordered, moves = signed.sum(1), signed.sum(1) + trip
            gain = np.cumsum((signed * means[:, 1]).sum(1) + self._per_order * ordered, 1)
            none = np.zeros((1 + C, AHEAD + 1, len(WINDOWS)))
            for h, window in enumerate(WINDOWS):
                end = window + AFTER
                left = np.eye(end) - moves[:, : end - 1, :end].transpose(0, 2, 1) @ np.eye(end - 1, end, 1)
                none[:, :end, h] = np.linalg.solve(left, gain[:, end - 1, :end, None])[..., 0]
            which = np.concatenate([np.arange(28), self._single])
            variant = np.concatenate([np.zeros(28, np.intp), 1 + self._category[self._single]])
            with_one = self._onward(cls, day, which, self._windows[which], rates[variant], none[variant])
            self._memo[key] = rates, none, with_one
        found: tuple[Floats, Floats, Floats] = self._memo[key]
        return found

    def _onward(self, cls: int, day: int, which: Ints, valid: Ints, rates: Floats, none: Floats) -> Floats:
        """Return values after a shopping trip on a day with one coupon still held, (rows, days, windows)."""
        segment, tier, memory = self._shopper(cls)
        hazard = self._hazard(segment, day) * np.exp(np.minimum(self._boosts(segment, day, which, valid), MAX_BOOST))
        scope = self._scope[which]
        rows = np.ones((len(which), C))
        weights = np.stack([rows, rows * self._margins[tier], scope, scope * self._typical[tier]], 1)
        signed, trip, means = _kernel(rates, hazard, weights, np.arange(1, LONGEST), self._leak[segment])
        held = (np.arange(1, LONGEST + 1) <= valid[:, None])[:, None, :, None]
        near = means[:, :, :, :LONGEST]
        mix = np.where(self._several[which][:, None, None, None] > 0, near[:, 3] / np.maximum(near[:, 2], 1e-12), 1.0)
        table = self._coefficients[tier, which, 0].transpose(1, 0, 2)[:, :, None, None, None, :]
        result = self._uses(table, near[:, 2], near[:, 0] - near[:, 2], mix, 0.0) * signed[:, :, :LONGEST]
        used, off = np.zeros((2, len(which), AHEAD, LONGEST - 1))
        used[:, :LONGEST], off[:, :LONGEST] = (result * held).sum(2) * memory
        ordered = signed.sum(1)
        gain = np.cumsum((signed * means[:, 1]).sum(1) + self._per_order * ordered - off, 1)
        values, stay = none.copy(), ordered + trip - used
        ends = np.array(WINDOWS) + AFTER - 1
        for i in range(LONGEST - 1, 0, -1):
            later = np.einsum("rj,rjh->rh", used[:, :, i - 1], none[:, 1:])
            values[:, i] = gain[:, ends, i - 1] + later + np.einsum("rj,rjh->rh", stay[:, :, i - 1], values[:, 1:])
        return values

    def true_values(self, user_id: str, at: float) -> Floats:
        i = int(user_id[1:])
        cls, day, needs, held = int(self._classes[i]), self._next[i], np.array(self._needs[i]), self._held[i]
        segment, tier, memory = self._shopper(cls)
        if self._memo_day != (today := int((at - self.starts_at) // DAY_S)):
            self._memo.clear()
            self._memo_day = today
        stock = {c: min(until - day + 1, AHEAD) for c, until in self._stock[i].items() if until >= day}
        rates = self._supply(cls, tuple(stock.items()))
        rates[:, 0] *= (self._time(i, day) - at) / DAY_S
        after = tuple(sorted((stock | dict.fromkeys(self._trials[i], AHEAD)).items()))
        after_rates, none, with_one = self._after(cls, day, after)
        which = np.concatenate([np.arange(28), self._single])
        variant = np.concatenate([np.zeros(28, np.intp), 1 + self._category[self._single]])
        rows = len(which) + 1
        boost = np.zeros((rows, C, AHEAD))
        boost[:-1] = self._boosts(segment, day, which, self._windows[which])
        held_k = np.array([k for k, _, _ in held], np.intp)
        held_days = np.array([last - day + 1 for _, last, _ in held], np.intp)
        boost += self._boosts(segment, day, held_k, held_days).sum(0)
        open_ = np.tile(needs, (rows, 1))
        open_[np.arange(28, rows - 1), self._category[self._single]] += 1
        asked = np.concatenate([which, [0]])
        lists = [(asked, np.concatenate([self._windows[which], [0]]))]
        lists += [(np.full(rows, k), np.full(rows, v)) for k, v in zip(held_k, held_days, strict=True) if v > 0]
        ones = np.ones((rows, C))
        weights = [ones, ones * self._margins[tier]]
        for coupon, _ in lists:
            weights += [self._scope[coupon], self._scope[coupon] * self._typical[tier]]
        hazard = self._hazard(segment, day) * np.exp(np.minimum(boost, MAX_BOOST))
        signed, trip, means = _kernel(
            rates[None], hazard, np.stack(weights, 1), np.arange(1), self._leak[segment], open_
        )
        signed, trip, means = signed[..., 0], trip[..., 0], means[..., 0]
        ordered = signed.sum(1)
        gain = (signed * means[:, 1]).sum(1) + ordered * (self._per_order + open_ @ self._margins[tier])[:, None]
        valid = [np.arange(1, AHEAD + 1) <= v[:, None] for _, v in lists]
        number = np.maximum(np.sum(valid, 0), 1)
        share, last = (1.0 - (1.0 - memory) ** number) / number, np.zeros((rows, AHEAD))
        newest = len(lists) - 1 if held and held_days[-1] > 0 else 0
        for n, (coupon, _) in enumerate(lists):
            total, inside, worth = means[:, [0, 2 + 2 * n, 3 + 2 * n], :, :LONGEST].transpose(1, 0, 2, 3)
            now = (self._scope[coupon] * open_).sum(1).astype(np.intp)
            several = self._several[coupon][:, None, None]
            mix = np.where(several > 0, worth / np.maximum(inside, 1e-12), 1.0)
            add = self._several * self._percent / 100.0
            add = (add[coupon] * (self._scope[coupon] * open_ @ self._typical[tier]))[:, None, None]
            table = self._coefficients[tier, coupon, np.minimum(now, MAX_OPEN)].transpose(1, 0, 2)[:, :, None, None, :]
            result = self._uses(table, inside, total - inside, mix, add) * signed[:, :, :LONGEST]
            recall = (share * valid[n])[:, :LONGEST] * (self._rho ** (open_.sum(1) - now))[:, None]
            used, off = result.sum(2) * recall
            gain[:, :LONGEST] -= off
            if n == 0:
                last[:-1, :LONGEST] = used[:-1]
            if n == newest and n:
                last[-1, :LONGEST] = used[-1]
        moved = ordered + trip
        index = self._window_index[which]
        upto = np.arange(1, AHEAD + 1) <= (self._windows[which] + AFTER)[:, None]
        mine, bare = with_one[np.arange(rows - 1), 1:, index], none[variant, 1:, index]
        given = (gain[:-1] * upto + last[:-1] * bare + (moved - last)[:-1] * mine).sum(1)
        kept = none[0]
        if newest:
            row = held_k[-1:], held_days[-1:]
            kept = self._onward(cls, day, *row, after_rates[:1], none[:1])[0]
        ends = np.array(WINDOWS) + AFTER - 1
        base = np.cumsum(gain[-1])[ends] + last[-1] @ none[0, 1:] + (moved - last)[-1] @ kept[1:]
        values = given[:28].copy()
        tried = self._trial_chances(i)[self._single]
        values[self._single] += tried * (given[28:] - given[self._single])
        return np.asarray(values - base[self._window_index])

    def _trial_chances(self, i: int) -> Floats:
        """Return the probability that each coupon creates a need when it is given."""
        segment, tier, _ = self._shopper(int(self._classes[i]))
        chances = np.minimum(self._trial[segment] * self._depth[tier], 0.5) * (1.0 - self._several)
        for k, last, _ in self._held[i]:
            if last >= self._next[i] and not self._several[k]:
                chances[self._category == self._category[k]] = 0.0
        return np.asarray(chances)

    def _time(self, i: int, day: int) -> float:
        """Return the time at which a shopper may order on a day: seconds earlier each day, for whole windows."""
        return self.starts_at + day * (DAY_S - 1.0) + float(self._hours[i]) * 3600.0

    def margin_without(self) -> float:
        days, total = math.ceil(self.days), 0.0
        for cls in np.unique(self._classes):
            mine, (segment, tier, _) = self._hours[self._classes == cls], self._shopper(int(cls))
            rates = np.tile(self._class_rates[cls][:, None], (len(mine), 1, days))
            rates[:, :, 0] *= BEFORE_DAYS + mine[:, None] / 24.0
            hazard = np.broadcast_to(self._hazard(segment, 0, days), rates.shape)
            weights = np.stack([np.ones(C), self._margins[tier]])[None]
            signed, trip, means = _kernel(rates, hazard, weights, np.arange(days), self._leak[segment])
            moves, gain = signed.sum(1) + trip, (signed * (means[:, 1] + self._per_order)).sum(1)
            ended = np.array([[self._time(i, day) < self.ends_at for day in range(days)] for i in self._of(cls)])
            gain = (gain * ended[:, :, None]).sum(1)
            for i in range(days - 2, -1, -1):
                gain[:, i] += (moves[:, i : days - 1, i] * gain[:, i + 1 :]).sum(1)
            total += float(gain[:, 0].sum())
        return total

    def _of(self, cls: int) -> Ints:
        return np.flatnonzero(self._classes == cls)

    def events(self) -> Events:
        for day in range(math.ceil(self.days)):
            for row in self._schedule(day):
                at, i = row[:2]
                if at >= self.ends_at:
                    break
                waiting: deque[Struct] = deque(self._happen(day, row))
                while waiting:
                    for issue in (yield waiting.popleft()) or ():
                        waiting.extend(self._receive(i, issue, at))

    def _schedule(self, day: int) -> list[tuple[float, int, int, int, float, float]]:
        """Return what may happen on a day in order of time: 0 a need, 1 a look, 2 an order."""
        rng = np.random.default_rng([self.seed, self.draw, 44, day])
        rates = self._rates_of(self._classes)
        arisen, looks = rng.poisson(rates), rng.poisson(0.15 + 0.9 * rates.sum(1))
        who, c = (np.repeat(part, arisen.ravel()) for part in np.divmod(np.arange(arisen.size), C))
        seen = np.repeat(np.arange(self.shoppers), looks)
        cumulated = np.cumsum(rates, 1) / rates.sum(1, keepdims=True)
        wanted = np.minimum((rng.random(len(seen))[:, None] > cumulated[seen]).sum(1), C - 1)
        everyone = np.arange(self.shoppers)
        kinds = np.repeat([0, 1, 2], [len(who), len(seen), self.shoppers])
        own = np.concatenate([who, seen, everyone])
        times = self.starts_at + (day + rng.random(len(own))) * DAY_S
        times[kinds == 2] = self.starts_at + day * (DAY_S - 1.0) + self._hours * 3600.0
        categories = np.concatenate([c, wanted, everyone * 0])
        columns = times, own, kinds, categories, rng.random(len(own)), rng.random(len(own))
        order = np.argsort(times, kind="stable")
        return list(zip(*(column[order].tolist() for column in columns), strict=True))

    def _happen(self, day: int, row: tuple[float, int, int, int, float, float]) -> list[Struct]:
        at, i, kind, c, item, chance = row
        if kind == 2:
            return self._visit(day, at, i, item, chance)
        if kind == 0:
            if self._stock[i].get(c, -1) >= self._next[i]:
                if chance < self._less:
                    return []
                chance = (chance - self._less) / (1.0 - self._less)
            self._needs[i][c] += 1
            return self._show(i, c, at, item, chance)
        if chance < 0.6 and any(self._needs[i]):
            c = max(range(C), key=lambda each: self._needs[i][each] + 0.5 * (each == c))
        return [builders.browse(f"u{i}", self._item(i, c, item), at=at, event_id=f"l{i}-{at:.6f}")]

    def _show(self, i: int, c: int, at: float, item: float, chance: float) -> list[Struct]:
        """Return the events by which a need shows."""
        found = self._item(i, c, item)
        events: list[Struct] = []
        if chance < 0.75:
            events.append(builders.browse(f"u{i}", found, at=at, event_id=f"b{i}-{c}-{at:.6f}"))
        if chance < 0.4:
            events.append(builders.cart(f"u{i}", found, at=at, event_id=f"c{i}-{c}-{at:.6f}"))
        return events

    def _item(self, i: int, c: int, draw: float, pieces: int | None = None) -> Item:
        tier = self._shopper(int(self._classes[i]))[1]
        n = min(int(np.searchsorted(np.cumsum(self._items[tier, c]), draw)), ITEMS - 1)
        price = int(self._prices[c, n])
        return Item(item_id=f"{CATEGORIES[c]}-{n}", category=CATEGORIES[c], price_minor=price, quantity=pieces)

    def _visit(self, day: int, at: float, i: int, draw: float, chance: float) -> list[Struct]:
        """Decide on a trip elsewhere or an order, and tidy up the coupons after it."""
        self._next[i] = day + 1
        needs, held = self._needs[i], self._held[i]
        if not (held or any(needs)):
            return []
        segment, _, memory = self._shopper(int(self._classes[i]))
        if chance < self._leak[segment]:
            self._held[i], self._needs[i] = held[-1:], [0] * C
            self._stock_up(i, day)
            return []
        if not any(needs):
            return []
        boost = np.zeros(C)
        if held:
            which, valid = np.array([k for k, _, _ in held]), np.array([last - day + 1 for _, last, _ in held])
            boost = self._boosts(segment, day, which, valid)[:, :, 0].sum(0)
        hazard = float(self._hazard(segment, day, 1)[0] * (np.exp(np.minimum(boost, MAX_BOOST)) @ needs))
        if (chance - self._leak[segment]) / (1.0 - self._leak[segment]) >= 1.0 - math.exp(-hazard):
            return []
        rng = np.random.default_rng([self.seed, self.draw, 45, i, day, int(draw * 1e9)])
        items, worth = [], np.zeros(C)
        for c in np.repeat(np.arange(C), needs).tolist():
            pieces = 1 + min(int(np.searchsorted(np.cumsum(self._pieces[c]), rng.random())), 2)
            items.append(self._item(i, c, rng.random(), pieces))
            worth[c] += (items[-1].price_minor or 0) * pieces
        events: list[Struct] = [builders.order(f"u{i}", *items, at=at, event_id=f"o{i}-{day}")]
        valid_held = [each for each in held if each[1] >= day]
        count, luck, kept = len(valid_held), rng.random(), held[-1:]
        share = (1.0 - (1.0 - memory) ** count) / max(count, 1)
        for n, (k, _, issue) in enumerate(valid_held):
            inside = int(self._scope[k] @ needs)
            recall = (1.0 - (1.0 - NOTICED) ** inside) * self._rho ** (sum(needs) - inside)
            value = float(self._scope[k] @ worth)
            if inside and value >= self._floor[k] and n * share <= luck < n * share + share * recall:
                off = int(self._discount(k, np.array(value)))
                kept = [each for each in kept if each[2] is not issue]
                events.append(builders.feedback(issue, "purchase", at=at, discount_minor=off, order_id=f"o{i}-{day}"))
        self._held[i], self._needs[i] = kept, [0] * C
        self._stock_up(i, day)
        return events

    def _stock_up(self, i: int, day: int) -> None:
        """Fill the stockpile with pending trials."""
        self._stock[i].update(dict.fromkeys(self._trials[i], day + STOCK_DAYS))
        self._trials[i].clear()

    def _receive(self, i: int, issue: CouponIssue, at: float) -> list[Struct]:
        """Hold a coupon, click on it or not, and try its category or not."""
        k = int(issue.coupon_id.rsplit("-", 1)[1])
        trial, click, item = self._luck.random(3).tolist()
        tried = trial < self._trial_chances(i)[k]
        self._held[i].append((k, self._next[i] + int(self._windows[k]) - 1, issue))
        events: list[Struct] = []
        if tried or click < 0.2:
            events.append(builders.feedback(issue, "click", at=at))
        if tried:
            c = int(self._category[k])
            self._needs[i][c] += 1
            self._trials[i].add(c)
            events += self._show(i, c, at, item, click)
        return events


def _depth(rng: np.random.Generator) -> float:
    return float(np.clip(0.13 * math.exp(0.6 * rng.standard_normal()), 0.03, 0.3))


def _kernel(
    rates: Floats, hazard: Floats, weights: Floats, starts: Ints, leak: float, needs: Floats | Ints | None = None
) -> tuple[Floats, Floats, Floats]:
    """Return signed weights, (rows, 2, days, starts), of an order; probabilities of a trip; means of new needs.

    The expectation of a function of the basket at an order is the sum over both signs of weight times its expectation
    under Poisson numbers of new needs with these means, (rows, weights, 2, days, starts).
    """
    rows, length = hazard.shape[0], hazard.shape[2]
    total = np.zeros((rows, C, length + 1))
    np.cumsum(hazard, 2, out=total[:, :, 1:])
    decay, supply, queue = np.exp(-total), np.zeros((len(rates), length + 1)), np.zeros_like(total)
    np.cumsum(rates.sum(1), 1, out=supply[:, 1:])
    np.cumsum(rates / decay[:, :, :-1], 2, out=queue[:, :, 1:])
    weighted = (weights[:, :, None] * decay.transpose(0, 2, 1)[:, None]).reshape(rows, -1, C)
    old = (weighted @ queue[:, :, starts]).reshape(rows, -1, length + 1, len(starts))
    shape = rows, -1, length + 1, C
    weighted, ends = weighted.reshape(shape), queue.transpose(0, 2, 1)[:, None]
    after = (weighted * ends).sum(3)[..., None] - old
    before = (weighted[:, :, :-1] * ends[:, :, 1:]).sum(3)[..., None] - old[:, :, :-1]
    means = np.maximum(np.stack([before, after[:, :, 1:]], 2), 0.0)
    log = after[:, 0] - (supply[:, :, None] - supply[:, None, starts])
    if needs is not None:
        log = log - (needs[:, :, None] * total).sum(1)[:, :, None]
    survival = np.exp(np.minimum(log, 0.0))
    lag = np.arange(1, length + 1)[:, None] - starts
    stay = np.where(lag > 0, (1.0 - leak) ** np.maximum(lag - 1, 0), 0.0)
    trip = leak * stay * survival[:, :-1]
    signed = (1.0 - leak) * stay * np.stack([survival[:, :-1], -survival[:, 1:]], 1)
    return signed, trip, means
