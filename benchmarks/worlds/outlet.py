"""A fashion and home shop whose shoppers differ in kind: who looks around says little about who responds."""

from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Generator, Sequence
from heapq import heapify, heappop, heappush
from math import log
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.testing import START, browse, cart, coupon, feedback, item, order

from .world import DAY_S, Events, Floats, World

Ints = NDArray[np.int64]
Held = tuple[tuple[int, int], ...]
"""Coupons held: number of the coupon, and days until its last day."""
NAMES = ("coats", "shoes", "dresses", "bags", "bedding", "kitchen", "lighting")
SEASONAL, CATEGORIES, TIERS, ITEMS = 0, len(NAMES), 3, 4
STAGES, STATES = 3, 1 + 3 * len(NAMES)
"""Stages of satiation. States of a shopper: none, or the category of the latest purchase and its stage."""
DEAL, LOYAL, BROWSER, WEARY, HOARDER = range(5)
PROFILES, PIECES, PIECE_ODDS = 4, np.array([1, 2, 3]), np.array([0.75, 0.18, 0.07])
PIECE_SUMS: list[float] = PIECE_ODDS.cumsum().tolist()
RATES, RATE_ODDS = np.array([0.05, 0.12, 0.25, 0.42, 0.65, 0.88]), np.array([0.24, 0.24, 0.20, 0.15, 0.11, 0.06])
NEST, TIER_NEST = 0.8, 0.68
"""Dissimilarity of categories within buying, and of tiers within a category, relative to buying or not."""
MAX_PAGES, MAX_HELD, AFTER_DAYS, MAX_DAYS, MOST_VISITS, CACHED = 12, 3, 7, 6, 0.97, 1000
LAST = MAX_DAYS + AFTER_DAYS
SPANS = np.arange(MAX_DAYS + 1) + AFTER_DAYS
CLICK_ODDS = 0.55, 0.35, 0.3, 0.2, 0.6
PAGE_ODDS = 0.35, 0.5, 0.16, 0.35, 0.3


class Choice(NamedTuple):
    """The choice of shoppers of one type who mind some coupons; the leading axes are those of the coupon sets.

    Attributes
    ----------
    weights : ndarray (..., categories)
        Attraction of each category, without satiation and focus.
    tiers : ndarray (..., categories, tiers)
        Shares of tiers within a category.
    slots : ndarray (..., categories, tiers)
        The coupon used: 0 for none, else its place in the set, from 1.
    uses : ndarray (..., slots, categories)
        Shares of the slots within a category.
    gains : ndarray (..., 2, categories)
        Mean margin less discount, before and after the season.
    odds : ndarray (..., states, categories)
        Probability of each purchase on a visit.
    total : ndarray (..., states)
        Probability of any purchase on a visit.
    """

    weights: Floats
    tiers: Floats
    slots: Ints
    uses: Floats
    gains: Floats
    odds: Floats
    total: Floats

    def of(self, rows: Ints) -> Any:
        """Return the choices of some sets."""
        return type(self)._make(part[rows] for part in self)


class Outlet(World):
    """A fashion and home shop.

    A shopper is of a class, a rate of visits (heavy-tailed: Ehrenberg, "Repeat-Buying") and a profile of needs.
    A visit has a focus category and an intent; it ends in a nested logit (McFadden 1978; Bucklin and Gupta 1992):
    whether to buy, which category, which price tier, so a coupon mostly moves purchases between categories (Gupta 1988,
    van Heerde et al. 2003). The latest purchase satiates its category in stages that end by chance, one to two weeks
    in all, and a purchase with a coupon begins one stage higher: the post-promotion dip (Blattberg and Neslin 1990).
    A discount counts as its share of the price: it makes some trade up (Blattberg and Wisniewski 1989).

    Classes: deal seekers respond to depth by an S-curve with a threshold (Gupta and Cooper 1992) and are unlike others
    in nothing else; the loyal buy anyway and use nearly every coupon (subsidisation); browsers look much, buy little
    and use few; the weary visit less for a week after each further coupon (advertising wearout); hoarders postpone a
    purchase in the scope until the last days (Inman and McAlister 1994: coupons are used before they expire). The days
    after receipt bring more visits (exposure effect: Venkatesan and Farris 2012). A shopper minds coupons on a visit
    with the probability `u` of the class, else neither thinks of one nor uses one. An order takes one coupon, the one
    with the largest mean discount. Of more than `MAX_HELD` the oldest is forgotten. After the season, the margin of
    one category falls, which the catalogue does not state.

    True values are exact: backward inductions over days, states and the coupons that are left. A shopper visits at most
    once a day, around an hour of their own, and windows end half a day after a number of days, so a coupon serves on
    whole days. If `days` is no whole number, the last day has no visits.
    """

    name = "outlet"

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        rng = np.random.default_rng([seed, 7001])
        self._season_end = round(days * rng.uniform(0.4, 0.6))
        self._draw_products(rng)
        self._draw_types(rng)
        self._draw_coupons(rng)
        self._choices: dict[tuple[int, tuple[int, ...]], Choice] = {}
        self._arms: OrderedDict[tuple[int, tuple[int, ...]], Choice] = OrderedDict()
        self._futures: OrderedDict[Any, tuple[Floats, Floats, Floats]] = OrderedDict()
        rng = np.random.default_rng([seed, draw, 7002])
        kinds = rng.choice(5, shoppers, p=self._class_odds) * len(RATES) + rng.choice(len(RATES), shoppers, p=RATE_ODDS)
        self._kinds: Ints = kinds * PROFILES + rng.integers(PROFILES, size=shoppers)
        self._hours = rng.uniform(8.0, 16.0, shoppers)
        recent = 1 + 3 * rng.integers(CATEGORIES, size=shoppers) + rng.integers(2, size=shoppers)
        self._states: Ints = np.where(rng.random(shoppers) < 0.3, recent, 0)
        self._first_states = self._states.copy()
        self._users = {f"shopper-{n}": n for n in range(shoppers)}
        self._held: defaultdict[int, list[tuple[int, int, CouponIssue]]] = defaultdict(list)
        self._receipts: defaultdict[int, list[int]] = defaultdict(list)
        self._unread: defaultdict[int, list[CouponIssue]] = defaultdict(list)
        self._plain_sums: dict[tuple[int, int, int, int], list[float]] = {}
        self._visits: dict[int, tuple[int, int, int, bool]] = {}

    def _draw_products(self, rng: np.random.Generator) -> None:
        bases = 1800 * np.exp(rng.normal(0, 0.4, CATEGORIES))
        tiers = bases[:, None, None] * np.array([1, 2.2, 6])[:, None]
        self._prices: Ints = np.rint(tiers * np.exp(rng.normal(0, 0.25, (CATEGORIES, TIERS, ITEMS)))).astype(np.int64)
        self._amounts = (self._prices[..., None] * PIECES).reshape(CATEGORIES, TIERS, -1)
        self._amount_odds = np.tile(PIECE_ODDS / ITEMS, ITEMS)
        self._means = self._amounts @ self._amount_odds
        ratios = rng.uniform(0.28, 0.5, CATEGORIES)
        ratios[SEASONAL] = rng.uniform(0.42, 0.5)
        later = ratios.copy()
        later[SEASONAL] = rng.uniform(0.04, 0.1)
        self._ratios = np.stack([ratios, later])
        self._shelf = [[[self._item(k, j, n) for n in range(ITEMS)] for j in range(TIERS)] for k in range(CATEGORIES)]
        self._margins = self._ratios[:, :, None] * self._means

    def _draw_types(self, rng: np.random.Generator) -> None:
        self._class_odds = rng.dirichlet(np.array([30, 15, 21, 14, 20]))
        kinds = np.arange(5 * len(RATES) * PROFILES)
        self._class_of, rates, profiles = kinds // (len(RATES) * PROFILES), kinds // PROFILES % 6, kinds % PROFILES
        self._rates = RATES[rates]
        self._minds = np.clip(np.array([0.8, 0.95, 0.3, 0.6, 0.9]) + rng.uniform(-0.04, 0.04, 5), 0, 0.97)
        self._appeals = np.exp(np.array([-3.2, -2.5, -4.1, -3.1, -3.0]) + rng.normal(0, 0.12, 5))
        self._reminders = np.array([0.08, 0.0, 0.08, 0.0, 0.05]) * rng.uniform(0.7, 1.3, 5)
        self._wear = rng.uniform(0.12, 0.25)
        self._needs: Floats = rng.dirichlet(np.full(CATEGORIES, 1.6), PROFILES)[profiles] * 0.9 + 0.1 / CATEGORIES
        self._tastes: Floats = rng.dirichlet(np.array([9.0, 4.0, 1.2]), PROFILES)[profiles]
        depths = rng.uniform(0.6, 0.9, CATEGORIES)
        damp = np.ones((STATES, CATEGORIES))
        for k in range(CATEGORIES):
            for stage in range(STAGES):
                damp[1 + STAGES * k + stage] = np.exp(-0.08 * (stage + 1))
                damp[1 + STAGES * k + stage, k] = np.exp(-depths[k] * (stage + 1))
        self._damp = damp
        self._recovers = rng.uniform(0.18, 0.25)
        self._nights = np.eye(STATES)
        for state in range(1, STATES):
            self._nights[state, state] -= self._recovers
            self._nights[state, state - 1 if (state - 1) % STAGES else 0] += self._recovers
        self._plain = 2 + STAGES * np.arange(CATEGORIES)
        self._promoted = self._plain + 1
        self._focus, self._intents = np.exp(rng.uniform(1.8, 2.4)), np.exp(np.array([0.0, rng.uniform(1.3, 1.8)]))
        self._intent_odds = np.array([0.7, 0.3])
        focus = self._needs[:, None] * np.sqrt(damp)
        self._focus_odds: Floats = focus / focus.sum(axis=2, keepdims=True)
        self._focus_sums = self._focus_odds.cumsum(axis=2).tolist()
        self._taste_sums = self._tastes.cumsum(axis=1).tolist()
        self._threshold, self._slope = rng.uniform(0.08, 0.13), rng.uniform(0.01, 0.02)
        self._tops = np.array([rng.uniform(3.2, 4.0), 1.2, 10.0, 9.5, 9.5])

    def _draw_coupons(self, rng: np.random.Generator) -> None:
        scopes: list[tuple[list[int], float, bool]] = [([SEASONAL], rng.uniform(0.15, 0.18), False)]
        for k in range(1, CATEGORIES):
            scopes += [([k], rng.uniform(0.04, 0.1), False), ([k], rng.uniform(0.16, 0.24), False)]
        scopes += [([k], rng.uniform(0.1, 0.22), True) for k in range(2, CATEGORIES)]
        for size in (2, 2, 2, 3, 3, 3):
            chosen = [int(k) for k in rng.choice(np.arange(1, CATEGORIES), size, replace=False)]
            scopes.append((sorted(chosen), rng.uniform(0.06, 0.2), bool(rng.random() < 0.3)))
        everything = list(range(CATEGORIES))
        scopes += [(everything, rng.uniform(0.15, 0.18), False), (everything, rng.uniform(0.22, 0.3), False)]
        late, size = set(rng.choice(np.arange(1, len(scopes) - 2), 3, replace=False).tolist()), len(scopes)
        days = rng.integers(1, MAX_DAYS + 1, size)
        days[-2:] = 1, MAX_DAYS
        self._days: Ints = days
        self._discounts = np.zeros((size + 1, CATEGORIES, TIERS, ITEMS * len(PIECES)), dtype=np.int64)
        coupons = []
        for n, (scope, depth, is_amount) in enumerate(scopes):
            typical = float((self._means[scope] @ np.array([0.63, 0.28, 0.09])).mean())
            most = round(depth * float(self._means[scope, 0 if is_amount else 1].mean()) * (1 if is_amount else 1.6))
            percent = round(100 * depth)
            raw = np.full(self._amounts.shape, most) if is_amount else np.rint(self._amounts * percent / 100)
            self._discounts[n, scope] = np.minimum(np.minimum(raw, most), self._amounts)[scope]
            fields: dict[str, Any] = {"discount_minor": most if is_amount else None}
            fields["discount_percent"] = None if is_amount else float(percent)
            if rng.random() < 0.85:
                errors = np.exp(rng.normal(0, 0.2, 2))
                fields["typical_price_minor"] = round(typical * errors[0])
                fields["margin_ratio"] = round(min(0.9, float(self._ratios[0, scope].mean() * errors[1])), 3)
            else:
                fields["typical_price_minor"] = None
            if n in late:
                fields["valid_from"] = START + round(0.4 * self.days) * DAY_S
            fields["categories"] = [] if len(scope) == CATEGORIES else [NAMES[k] for k in scope]
            window_s = (float(days[n]) + 0.5) * DAY_S
            title = f"{most / 100:.2f} off" if is_amount else f"{percent} % off"
            fields |= {"max_discount_minor": most, "redeem_within_s": window_s, "title": title}
            coupons.append(coupon(f"outlet-{n}", kind="amount" if is_amount else "percent", **fields))
        self.coupons = coupons
        self._places = {one.coupon_id: n for n, one in enumerate(coupons)}
        self._count = size
        cuts: Floats = self._discounts @ self._amount_odds
        shares = cuts / self._means
        start = 1 / (1 + np.exp(self._threshold / self._slope))
        lifts = self._tops[:, None, None, None] * shares
        lifts[DEAL] = self._tops[DEAL] * (1 / (1 + np.exp((self._threshold - shares) / self._slope)) - start)
        lifts += 1.2 * shares * np.arange(TIERS)
        waits = lifts.copy()
        narrow = np.array([len(scope) <= 3 for scope, _, _ in scopes] + [False])[:, None, None] & (cuts > 0)
        waits[HOARDER] = np.where(narrow, -1.6, lifts[HOARDER])
        lifts[HOARDER] += 0.5 * narrow
        self._cuts, self._lifts = np.concatenate([cuts, cuts]), np.exp(np.concatenate([lifts, waits], axis=1))

    def _row(self, kind: int, number: int, left: int) -> int:
        """Return the row of a coupon in the tables of discounts: that of waiting if the shopper puts off its use."""
        waits = self._class_of[kind] == HOARDER and left > 1
        return number + (self._count + 1 if waits else 0)

    def _choose(self, kind: int, rows: Ints) -> Choice:
        """Return the choice given the rows of coupons, (..., slots); row `_count` is no coupon and comes first."""
        cuts = self._cuts[rows]
        slots = cuts.argmax(axis=-3)[..., None, :, :]
        cut = np.take_along_axis(cuts, slots, axis=-3)[..., 0, :, :]
        lift = np.take_along_axis(self._lifts[self._class_of[kind]][rows], slots, axis=-3)[..., 0, :, :]
        tiers = self._tastes[kind] * lift
        total = tiers.sum(axis=-1)
        tiers = tiers / total[..., None]
        weights = self._needs[kind] * total ** (TIER_NEST / NEST)
        uses = (tiers[..., None, :, :] * (slots == np.arange(rows.shape[-1])[:, None, None])).sum(axis=-1)
        gains = (tiers[..., None, :, :] * (self._margins - cut[..., None, :, :])).sum(axis=-1)
        pull = weights[..., None, :] * self._damp
        sums = pull.sum(axis=-1, keepdims=True) + (self._focus - 1) * pull
        power = self._appeals[self._class_of[kind]] * sums**NEST
        each = sum(q / (1 + 1 / (z * power)) for q, z in zip(self._intent_odds, self._intents, strict=True))
        each = self._focus_odds[kind] * each / sums
        odds = pull * (each.sum(axis=-1, keepdims=True) + (self._focus - 1) * each)
        return Choice(weights, tiers, slots[..., 0, :, :], uses, gains, odds, odds.sum(axis=-1))

    def _choice(self, kind: int, rows: tuple[int, ...] = ()) -> Choice:
        """Return the choice with a set of coupons."""
        if (found := self._choices.get((kind, rows))) is None:
            if len(self._choices) > 20 * CACHED:
                self._choices.clear()
            found = self._choices[kind, rows] = self._choose(kind, np.array([self._count, *rows]))
        return found

    def _arm_choice(self, kind: int, rows: tuple[int, ...]) -> Choice:
        """Return the choices with a set and each coupon in turn, (coupons of both halves of the tables, ...)."""
        if (found := self._arms.pop((kind, rows), None)) is None:
            size = 2 * self._count + 1 if self._class_of[kind] == HOARDER else self._count
            sets = np.empty((size, len(rows) + 2), dtype=np.int64)
            sets[:] = (self._count, *rows, 0)
            sets[:, -1] = np.arange(size)
            found = self._choose(kind, sets)
            if len(self._arms) >= CACHED:
                self._arms.popitem(last=False)
        self._arms[kind, rows] = found
        return found

    def _focused(self, kind: int, choice: Choice, state: int, focus: int, intent: int) -> Floats:
        """Return the probability of each purchase on a visit whose focus and intent are known, (..., categories)."""
        pull = choice.weights * self._damp[state]
        pull[..., focus] *= self._focus
        total = pull.sum(axis=-1, keepdims=True)
        power = self._intents[intent] * self._appeals[self._class_of[kind]] * total**NEST
        odds: Floats = pull / total * (power / (1 + power))
        return odds

    def _pace(self, kind: int, gaps: Sequence[int]) -> Floats:
        """Return the probability of a visit on each of the next days, given days since coupons were received."""
        ahead = np.arange(LAST + 1)
        rate = np.full(LAST + 1, self._rates[kind])
        if gaps:
            since = ahead + min(gaps)
            rate *= 1 + self._reminders[self._class_of[kind]] * np.select(
                [since == 1, since == 2, since == 3], [1, 0.6, 0.3]
            )
            if self._class_of[kind] == WEARY:
                recent = sum((((ahead + gap) >= 1) & ((ahead + gap) <= 7)).astype(float) for gap in gaps)
                rate *= np.exp(-self._wear * np.maximum(recent - 0.7, 0))
        pace: Floats = np.minimum(rate, MOST_VISITS)
        return pace

    def _after(self, mask: int, left: Floats, choice: Choice, season: int, held: Sequence[int]) -> Floats:
        """Return the value of each purchase, (..., categories), if `left` is what follows, (..., masks, states)."""
        value: Floats = choice.gains[..., season, :] + choice.uses[..., 0, :] * left[..., mask, self._plain]
        for slot, bit in enumerate(held, start=1):
            value = value + choice.uses[..., slot, :] * left[..., mask & ~(1 << bit), self._promoted]
        return value

    def _visit(self, kind: int, day: int, held: Held, t: int, left: Floats) -> Floats:
        """Return values at the start of a visit, t days from `day`, from those after it, (..., masks, states)."""
        season, mind, none = int(day + t >= self._season_end), self._minds[self._class_of[kind]], self._choice(kind)
        start = np.empty_like(left)
        for mask in range(left.shape[-2]):
            bits = [n for n, (_, last) in enumerate(held) if mask >> n & 1 and last >= t]
            rows = tuple(self._row(kind, held[n][0], held[n][1] - t) for n in bits)
            now = left[..., mask, :]
            value = np.zeros_like(now)
            for choice, share, used in ((none, 1 - mind if rows else 1.0, []), (self._choice(kind, rows), mind, bits)):
                if used or choice is none:
                    gain = self._after(mask, left, choice, season, used) @ choice.odds.T - choice.total * now
                    value += share * gain
                if not rows:
                    break
            start[..., mask, :] = now + value
        return start

    def _base(self, kind: int, day: int, held: Held, paces: Floats) -> tuple[Floats, Floats]:
        """Return values after each day's visit, and before it, (days ahead, paces, spans, masks, states)."""
        masks = 1 << len(held)
        live = max((last for _, last in held), default=-1)
        value, lefts, starts = np.zeros((len(paces), len(SPANS), 1, STATES)), [], []
        for t in range(LAST, -1, -1):
            left = value @ self._nights.T
            if t <= live and left.shape[2] < masks:
                left = np.repeat(left, masks, axis=2)
            if t <= MAX_DAYS:
                lefts.append(np.broadcast_to(left, (*left.shape[:2], masks, STATES)))
            if t:
                visit = self._visit(kind, day, held if t <= live else (), t, left)
                value = left + paces[:, t, None, None, None] * (visit - left)
                value[:, t > SPANS] = 0
            if t <= MAX_DAYS + 1:
                starts.append(np.broadcast_to(value, (*value.shape[:2], masks, STATES)))
        return np.array(lefts[::-1]), np.array(starts[::-1])

    def _arm_visit(  # noqa: PLR0913
        self,
        kind: int,
        day: int,
        held: Held,
        t: int,
        left: Floats,
        without: Floats,
        fixed: tuple[int, int, int] | None = None,
    ) -> Floats:
        """Return values at the start of a visit with each coupon, from those after it, (coupons, masks, states).

        With `fixed` state, focus and intent the values are (coupons, 1, 1), with all coupons held.
        """
        season, mind, none = int(day + t >= self._season_end), self._minds[self._class_of[kind]], self._choice(kind)
        waits = (self._days - t > 1) & (self._class_of[kind] == HOARDER)
        pick = np.arange(self._count) + np.where(waits, self._count + 1, 0)
        masks = range(left.shape[1]) if fixed is None else [left.shape[1] - 1]
        start = []
        for mask in masks:
            bits = [n for n, (_, last) in enumerate(held) if mask >> n & 1 and last >= t]
            rows = tuple(self._row(kind, held[n][0], held[n][1] - t) for n in bits)
            choice = self._arm_choice(kind, rows)
            if self._class_of[kind] == HOARDER:
                choice = choice.of(pick)
            now = left[:, mask] if fixed is None else left[:, mask, fixed[0], None]
            value = self._after(mask, left, choice, season, bits)
            value = value + choice.uses[:, -1] * without[:, mask, self._promoted]
            odds, total, own, own_total = choice.odds, choice.total, none.odds, none.total
            if fixed is not None:
                odds = self._focused(kind, choice, *fixed)[:, None]
                own = self._focused(kind, none, *fixed)[None]
                total, own_total = odds.sum(axis=-1), own.sum(axis=-1)
            gain = (odds @ value[..., None])[..., 0] - total * now
            plain = self._after(mask, left, none, season, []) @ own.T - own_total * now
            start.append(now + mind * gain + (1 - mind) * plain)
        return np.stack(start, axis=1)

    def _future(self, kind: int, day: int, held: Held, gaps: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
        """Return what follows today's visit: without a coupon, with one that is used, with each one."""
        soon = min(max(self._season_end - day, 0), LAST + 1)
        key = kind, soon, held, gaps
        if (found := self._futures.pop(key, None)) is None:
            kept = held[1:] if len(held) >= MAX_HELD else held
            paces = np.stack([self._pace(kind, gaps), self._pace(kind, (*gaps, 0))])
            lefts, starts = self._base(kind, day, _ordered(held), paces)
            before = lefts[0, 0]
            if kept != held:
                lefts, starts = self._base(kind, day, _ordered(kept), paces[1:])
            lefts, starts = lefts[:, -1], starts[:, -1]
            value, ordered = starts[MAX_DAYS + 1][self._days], _ordered(kept)
            for t in range(MAX_DAYS, -1, -1):
                value = np.where((self._days > t)[:, None, None], value, starts[t + 1][self._days])
                left = value @ self._nights.T
                if t:
                    visit = self._arm_visit(kind, day, ordered, t, left, lefts[t][self._days])
                    value = left + paces[1, t] * (visit - left)
            found = before, lefts[0][self._days], left
            if len(self._futures) >= 2 * CACHED:
                self._futures.popitem(last=False)
        self._futures[key] = found
        return found

    def true_values(self, user_id: str, at: float) -> Floats:
        """Return the true effect of each coupon, minor units: exact."""
        user, day = self._users[user_id], int((at - START) // DAY_S)
        kind, state = int(self._kinds[user]), int(self._states[user])
        held = tuple((number, last - day) for last, number, _ in self._held.get(user, []) if last >= day)
        gaps = tuple(day - on for on in self._receipts.get(user, []) if day - on < 7)
        before, without, left = self._future(kind, day, held, gaps)
        on, focus, intent, is_open = self._visits.get(user, (-1, 0, 0, False))
        if on != day or not is_open:
            values: Floats = left[:, -1, state] - before[self._days, -1, state]
            return values
        kept = _ordered(held[1:] if len(held) >= MAX_HELD else held)
        given = self._arm_visit(kind, day, kept, 0, left, without, (state, focus, intent))[:, 0, 0]
        return given - self._today(kind, day, _ordered(held), before, (state, focus, intent))[self._days]

    def _today(self, kind: int, day: int, held: Held, left: Floats, fixed: tuple[int, int, int]) -> Floats:
        """Return values in the midst of a visit without a further coupon, from those after it, (spans,)."""
        season, mind, mask = int(day >= self._season_end), self._minds[self._class_of[kind]], (1 << len(held)) - 1
        rows = tuple(self._row(kind, number, last) for number, last in held)
        value: Floats = left[:, mask, fixed[0]].copy()
        for choice, share, bits in (
            (self._choice(kind), 1 - mind, []),
            (self._choice(kind, rows), mind, range(len(held))),
        ):
            odds = self._focused(kind, choice, *fixed)
            after = self._after(mask, left, choice, season, list(bits))
            value += share * (after @ odds - odds.sum() * left[:, mask, fixed[0]])
        return value

    def margin_without(self) -> float:
        """Return the expected margin of all orders without coupons, minor units: exact."""
        total = 0.0
        for kind in np.unique(self._kinds):
            value = np.zeros((1, STATES))
            for day in range(int(self.days) - 1, -1, -1):
                left = value @ self._nights.T
                value = left + self._rates[kind] * (self._visit(int(kind), day, (), 0, left) - left)
            total += float(value[0, self._first_states[self._kinds == kind]].sum())
        return total

    def events(self) -> Events:
        """Yield the events of all shoppers, day by day."""
        for day in range(int(self.days)):
            rng = np.random.default_rng([self.seed, self.draw, 7003, day])
            draws = rng.random((self.shoppers, 16 + 2 * MAX_PAGES))
            if day:
                eased = np.where(self._states % STAGES == 1, 0, np.maximum(self._states - 1, 0))
                self._states = np.where(draws[:, 0] < self._recovers, eased, self._states)
            rates = self._rates[self._kinds]
            for user, received in list(self._receipts.items()):
                self._receipts[user] = received = [on for on in received if day - on <= 7]
                rates[user] = self._pace(int(self._kinds[user]), [day - on for on in received])[0]
                self._held[user] = [one for one in self._held[user] if one[0] >= day]
            visitors = np.flatnonzero(draws[:, 1] < rates)
            hours = self._hours[visitors] + 10 * draws[visitors, 2] - 5
            agenda: list[tuple[float, int, Generator[Struct | float, None, None]]] = []
            for user, hour in zip(visitors.tolist(), hours.tolist(), strict=True):
                at = round(START + day * DAY_S + 3600 * hour, 3)
                agenda.append((at, user, self._session(user, day, at, draws[user].tolist())))
            heapify(agenda)
            while agenda:
                _, user, session = heappop(agenda)
                step = next(session, None)
                while isinstance(step, Struct):
                    for issue in (yield step) or ():
                        self._receive(issue, day)
                    step = next(session, None)
                if step is not None:
                    heappush(agenda, (step, user, session))

    def _receive(self, issue: CouponIssue, day: int) -> None:
        user, number = self._users[issue.user_id], self._places[issue.coupon_id]
        self._held[user] = [*self._held[user], (day + int(self._days[number]), number, issue)][-MAX_HELD:]
        self._receipts[user].append(day)
        self._unread[user].append(issue)

    def _session(self, user: int, day: int, at: float, draws: list[float]) -> Generator[Struct | float, None, None]:
        """Yield the events of a visit, and before each further one the time until which the shopper waits."""
        name, kind, state = f"shopper-{user}", int(self._kinds[user]), int(self._states[user])
        group = int(self._class_of[kind])
        focus = _drawn(self._focus_sums[kind][state], draws[3])
        intent = int(draws[4] >= self._intent_odds[0])
        self._visits[user] = day, focus, intent, True
        pages = 1 + int(log(1 - draws[5]) / log(1 - PAGE_ODDS[group]))
        steps = [*range(min(pages, MAX_PAGES)), *([-1] if draws[6] < (0.1, 0.7)[intent] else [])]
        for count, page in enumerate(steps):
            if count:
                at = round(at + 20 + 60 * draws[-1 - count], 3)
                yield at
            chance = draws[16 + page] if page >= 0 else 0.0
            category = focus if chance < 0.7 else _drawn(self._focus_sums[kind][state], (chance - 0.7) / 0.3)
            look = draws[16 + MAX_PAGES + page] if page > 0 else draws[9]
            number = int(ITEMS * (draws[10] + max(page, 0) * 0.31 % 1) % ITEMS)
            one = self._shelf[category][_drawn(self._taste_sums[kind], look)][number]
            make = browse if page >= 0 else cart
            yield make(name, one, at=at, event_id=f"e-{user}-{day}-{count}")
            if self._unread[user]:
                issue = self._unread.pop(user)[0]
                if draws[11] < CLICK_ODDS[group]:
                    at = round(at + 5, 3)
                    yield at
                    yield feedback(issue, "click", at=at, event_id=f"k-{issue.issue_id}")
        at = round(at + 30 + 60 * draws[12], 3)
        yield at
        self._unread.pop(user, None)
        self._visits[user] = day, focus, intent, False
        held = sorted((one for one in self._held.get(user, []) if one[0] >= day), key=lambda one: one[0])
        minds = bool(held) and draws[7] < self._minds[group]
        rows = tuple(self._row(kind, number, last - day) for last, number, _ in held) if minds else ()
        choice = self._choice(kind, rows)
        if rows or (sums := self._plain_sums.get((kind, state, focus, intent))) is None:
            sums = self._focused(kind, choice, state, focus, intent).cumsum().tolist()
            if not rows:
                self._plain_sums[kind, state, focus, intent] = sums
        if draws[8] >= sums[-1]:
            return
        category = _drawn(sums, draws[8])
        tier = _drawn(choice.tiers[category].cumsum().tolist(), draws[9])
        number, pieces = int(ITEMS * draws[10]), 1 + _drawn(PIECE_SUMS, draws[13])
        slot = int(choice.slots[category, tier])
        self._states[user] = (self._promoted if slot else self._plain)[category]
        used = held[slot - 1] if slot else None
        if used is not None:
            self._held[user].remove(used)
        one = self._item(category, tier, number, pieces)
        order_id = f"o-{user}-{day}"
        yield order(name, one, at=at, event_id=order_id, order_id=order_id)
        if used is not None:
            cut = int(self._discounts[used[1], category, tier, number * len(PIECES) + pieces - 1])
            event_id = f"u-{used[2].issue_id}"
            yield feedback(used[2], "purchase", at=at, event_id=event_id, order_id=order_id, discount_minor=cut)

    def _item(self, category: int, tier: int, number: int, pieces: int = 1) -> Any:
        name, price = NAMES[category], int(self._prices[category, tier, number])
        return item(f"{name}-{tier}{number}", category=name, price_minor=price, quantity=pieces)


def _drawn(sums: Sequence[float], chance: float) -> int:
    """Return the choice that a uniform number leads to, of cumulative probabilities."""
    return min(bisect_right(sums, chance), len(sums) - 1)


def _ordered(held: Held) -> Held:
    """Return coupons in the order in which they are used: of equal ones, the first that ends."""
    return tuple(sorted(held, key=lambda one: one[1]))
