"""A bazaar of many stalls: shoppers of hidden classes, coupons of very different worth, mild effects elsewhere."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from random import Random
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import Item
from stream_coupons.testing import START, browse, cart, coupon, feedback, item, order

from .world import AFTER_S, DAY_S, Events, Floats, World

Ints = NDArray[np.intp]
Bought = tuple[int, int, int]
"""Category, number of the item, and pieces."""
STALLS = (
    *("tea", "bread", "fruit", "soap", "spices", "nuts", "oil", "candles", "rugs", "lamps"),
    *("pots", "knives", "linen", "scarves", "shoes", "leather", "jewels", "toys", "books", "lutes"),
)
"""Names of categories; the first `STAPLES` are bought every few days."""
STAPLES, ITEMS, PIECES, PIECE_ODDS = 4, 5, (1, 2), (0.8, 0.2)
LOYAL, ORDINARY, BROWSER, SEEKER, WEARY = range(5)
CLASS_ODDS = (54.0, 96.0, 54.0, 60.0, 36.0)
"""Parameters of the Dirichlet distribution of the shares of the classes."""
MINDS = (0.95, 0.62, 0.3, 0.8, 0.5)
"""Probability that a shopper minds a coupon in a visit, by class."""
APPEALS = (0.2, -1.4, -2.3, -1.8, -1.3)
PULLS = (0.3, 1.0, 0.8, 1.2, 0.4)
URGES = (0.0, 0.02, 0.013, 0.045, 0.0)
"""Prompted visits a day while a coupon is held, at full pull, by class."""
MOST_TIMES = 6.0
"""Most interest in a scope, relative to that of the average shopper, that counts for prompted visits."""
SPARES = (0.06, 0.12, 0.1, 0.12, 0.12)
"""Probability of a small order in another category, if a visit ends without one in its own."""
BROUGHT = (0.0, 0.12, 0.15, 0.2, 0.0)
"""Probability that receipt of a coupon brings a visit, within `BROUGHT_DAYS`."""
BROUGHT_DAYS, BROUGHT_ORDERS = 2.0, 0.12
PAUSE_DAYS, PACE = 4.0, 0.93
"""Days of fewer visits of a weary shopper after a coupon, and their rate relative to others."""
CARTED, CART_SHIFTS = 0.4, (-0.5, 1.2)
"""Probability that a visit puts the item into the cart, and the log-odds of an order that follow, without and with."""
DELAYED, DELAY_S = 0.12, (3600.0, 9 * 3600.0)
VISIT_S, GRACE_S = 600.0, 3600.0
"""The longest visit; time after a coupon's use must start within which its order may still be sent."""
WINDOWS = (2, 3, 5, 7)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
NODES, WEIGHTS = np.append((_NODES + 1) / 2, 1.0), np.append(_WEIGHTS / 2, 0.0)
"""Rule of integration over (0, 1), and the end."""


@dataclass(slots=True, eq=False)
class Open:
    """A coupon that a shopper holds: its version, the end of its use, and its issue."""

    version: int
    ends_at: float
    issue: CouponIssue


@dataclass(slots=True, eq=False)
class Visit:
    """A visit by interest: category, satiation at its start, draws, and whether it is open and has filled a cart."""

    focus: int
    is_sated: int
    began_at: float
    draws: list[float]
    is_open: bool = True
    is_carted: bool | None = None


@dataclass(slots=True, eq=False)
class Shopper:
    """A shopper: traits, ends of satiation by category, coupons held, end of a pause, and the latest visit."""

    number: int
    kind: int
    rate: float
    minds: float
    sums: list[float]
    sated: list[float]
    own: Random
    side: Random
    held: list[Open] = field(default_factory=list)
    pause_until: float = 0.0
    visit: Visit | None = None
    count: int = 0

    def valid(self, since: float) -> list[Open]:
        """Return the coupons held whose use may start at a time."""
        return [one for one in self.held if one.ends_at > since]


class Traits(NamedTuple):
    """Tables of one shopper for true values. The leading axis of probabilities is satiation: no, yes.

    Attributes
    ----------
    rates : ndarray (categories,)
        Visits a day.
    own, pulled : ndarray (3, 2, categories), (3, 2, pairs)
        P(order) without and with a coupon: no cart, cart, and before it is known.
    urges : ndarray (versions,)
        Prompted visits a day.
    margins, spares : ndarray (categories,)
        Margin of an order less that of the small order that it replaces, and that of the small order, minor units.
    spare, brought : float
        Margins of small orders a day, and of a visit that a coupon brings, minor units.
    """

    rates: Floats
    own: Floats
    pulled: Floats
    urges: Floats
    margins: Floats
    spares: Floats
    spare: float
    brought: float


class Cases(NamedTuple):
    """Coupons to be valued: version, days of use, horizon and pause, and whether the focus is sated at once."""

    versions: Ints
    windows: Floats
    horizons: Floats
    pauses: Floats
    after: Ints


class Bazaar(World):
    """A bazaar with staples, fancy goods, and coupons that differ clearly in worth.

    A shopper visits by a Poisson process with a log-normal rate. A visit is for one category, drawn by interest, in
    which a logit decides on an order (McFadden 1974). A purchase satiates its category for an exponential time: the
    dip. A visit without an order in its category leads to a small order elsewhere at times, so a coupon takes a part
    of its additional orders from other categories. In each visit a shopper minds a coupon by chance (`u`, which
    differs by shopper), else neither thinks of one nor uses one. The pull of a coupon is an S-curve of its depth
    (Gupta and Cooper 1992), and it prompts visits of its own: deal seekers' regardless of interest. Receipt brings a
    visit to look around at times. Weary shoppers visit less for some days after each coupon.

    A shopper keeps at most one coupon for a category: a new one replaces those that it overlaps. One coupon for the
    season is given in vain after it. Some orders are sent hours later; an order counts when it is decided.

    True values are exact. Visits by category are independent Poisson processes, and until a coupon is used its
    categories are independent chains of two states that are killed by its use. So the density of the time of use is a
    product of closed forms, integrated by a Gauss-Legendre rule, and what follows is linear in satiation.
    """

    name = "bazaar"

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        super().__init__(seed, shoppers, days, draw)
        rng = np.random.default_rng([seed, 8101])
        self._season_end = START + days * DAY_S * rng.uniform(0.45, 0.55)
        self._draw_stalls(rng)
        self._draw_coupons(rng)
        self._draw_tables(rng)
        rng = np.random.default_rng([seed, draw, 8102])
        self._interests = self._drawn_interests(rng)
        self._shoppers = [self._newcomer(rng, n) for n in range(shoppers)]
        self._first = [np.array(one.sated) > START for one in self._shoppers]
        self._traits: dict[int, Traits] = {}
        self._agenda: list[tuple[float, int, int, str, tuple[Any, ...]]] = []
        self._planned = 0
        for one in self._shoppers:
            self._plan_visit(one, START)
        heapify(self._agenda)

    # ------------------------------------------------------------ the shop

    def _draw_stalls(self, rng: np.random.Generator) -> None:
        size = self._size = int(rng.integers(14, 21))
        level = np.concatenate([rng.uniform(2200, 3600, STAPLES), 3800 * np.exp(rng.normal(0, 0.35, size - STAPLES))])
        prices = level[:, None] * np.exp(rng.normal(0, 0.25, (size, ITEMS)))
        self._prices: Ints = np.rint(prices / 10).astype(np.intp) * 10
        self._ratios = np.concatenate([rng.uniform(0.3, 0.38, STAPLES), rng.uniform(0.38, 0.5, size - STAPLES)])
        self._amounts = (self._prices[..., None] * np.array(PIECES)).reshape(size, -1)
        self._odds = np.outer(np.full(ITEMS, 1 / ITEMS), PIECE_ODDS).ravel()
        self._typical = self._amounts @ self._odds
        self._small = self._prices.mean(1) * self._ratios
        self._popular = rng.dirichlet(np.full(size, 2.5)) * 0.8 + 0.2 / size
        fancy = slice(STAPLES, None)
        self._popular[fancy] *= 0.85 / self._popular[fancy].sum()
        self._popular[:STAPLES] *= 0.15 / self._popular[:STAPLES].sum()

    def _draw_coupons(self, rng: np.random.Generator) -> None:
        everything = list(range(self._size))
        scopes: list[tuple[list[int], float]] = [([k], 0.05) for k in range(STAPLES)]
        fancy = rng.permutation(everything[STAPLES:]).tolist()
        season = int(np.argmax(self._popular))
        scopes += [([season], 0.16)]
        scopes += [([k], float(rng.choice((0.08, 0.12, 0.16, 0.2, 0.3)))) for k in fancy]
        for _ in range(int(rng.integers(2, 14))):
            chosen = rng.choice(everything, int(rng.integers(1, 4)), replace=False)
            scopes.append((sorted(chosen.tolist()), float(rng.choice((0.06, 0.1, 0.14)))))
        wide = int(rng.integers(2, 6))
        scopes += [(everything, depth) for depth in (0.09, 0.11, 0.06, 0.13, 0.08)[:wide]]
        late = set(rng.choice(np.arange(STAPLES + 1, len(scopes) - wide), 2, replace=False).tolist())
        self._windows = rng.choice(WINDOWS, len(scopes)).astype(np.float64)
        self._windows[-wide:] = np.minimum(self._windows[-wide:], 3.0)
        self._windows[-wide] = 5.0
        order_of, coupons, cuts, self._scopes, windows = rng.permutation(len(scopes)).tolist(), [], [], [], []
        for n, place in enumerate(order_of):
            scope, depth = scopes[place]
            is_amount = STAPLES < place < len(scopes) - wide and bool(rng.random() < 0.35)
            typical, percent = float(self._typical[scope].mean()), round(100 * depth)
            most = round(depth * typical * (1 if is_amount else 2.5) / 10) * 10
            cut = np.full(self._amounts.shape, most) if is_amount else np.rint(self._amounts * percent / 100)
            cuts.append(np.minimum(np.minimum(cut, most), self._amounts).astype(int))
            fields: dict[str, Any] = {"max_discount_minor": most, "discount_minor": most if is_amount else None}
            fields["discount_percent"] = None if is_amount else float(percent)
            fields["typical_price_minor"] = None
            if rng.random() < 0.85:
                fields["typical_price_minor"] = round(typical * float(np.exp(rng.normal(0, 0.2))))
                fields["margin_ratio"] = round(float(self._ratios[scope].mean() * np.exp(rng.normal(0, 0.15))), 3)
            if place in late:
                fields["valid_from"] = START + round(0.4 * self.days) * DAY_S
            if len(scope) < self._size:
                fields["categories"] = [STALLS[k] for k in scope]
            fields["title"] = f"{most / 100:.2f} off" if is_amount else f"{percent} % off"
            fields["redeem_within_s"] = float(self._windows[place]) * DAY_S + GRACE_S
            coupons.append(coupon(f"bazaar-{n}", kind="amount" if is_amount else "percent", **fields))
            self._scopes.append(scope)
            windows.append(self._windows[place])
        self.coupons = coupons
        self._places = {one.coupon_id: n for n, one in enumerate(coupons)}
        self._season, self._best = order_of.index(STAPLES), order_of.index(len(scopes) - wide)
        self._scopes.append(self._scopes[self._season])
        self._cuts = [*cuts, cuts[self._season]]
        self._windows = np.array([*windows, windows[self._season]])
        self._horizons = np.array([one.redeem_within_s + AFTER_S for one in coupons]) / DAY_S

    def _draw_tables(self, rng: np.random.Generator) -> None:
        """Draw responses, and tabulate pairs of a coupon's version and a category in its scope."""
        self._version = np.concatenate([np.full(len(scope), n) for n, scope in enumerate(self._scopes)])
        self._category = np.concatenate([np.array(scope) for scope in self._scopes])
        self._starts = np.cumsum([0, *(len(scope) for scope in self._scopes)])
        self._cut = np.array([self._cuts[n][k] @ self._odds for n, scope in enumerate(self._scopes) for k in scope])
        self._covers = np.zeros((len(self._scopes), self._size), dtype=np.bool_)
        self._covers[self._version, self._category] = True
        self._overlaps = (self._covers.astype(int) @ self._covers.T) > 0
        self._pair_of = np.zeros(self._covers.shape, dtype=np.intp)
        self._pair_of[self._version, self._category] = np.arange(len(self._version))
        middle, width = rng.uniform(0.095, 0.115), rng.uniform(0.02, 0.026)
        depth = self._cut / self._typical[self._category]
        is_wide = self._covers.sum(1)[self._version] == self._size
        middles = middle * np.where(is_wide, 0.6, 1.0)
        curve = 1 / (1 + np.exp((middles - depth) / width)) - 1 / (1 + np.exp(middles / width))
        self._pull = np.where(self._version == len(self.coupons), 0.0, curve)
        self._top = rng.uniform(1.7, 2.1)
        deep = (np.bincount(self._version, self._pull) > 0.5)[:-1] & (np.bincount(self._version)[:-1] == 1)
        fame = np.append(np.minimum(np.exp(rng.normal(-0.3, 0.9, len(self.coupons))), 3.0), 1.0)
        fame[rng.choice(np.flatnonzero(deep), 3, replace=False)] = 3.0
        fame[[self._best, self._season]] = 3.6, 1.5
        self._lure = fame * np.bincount(self._version, self._pull) / np.bincount(self._version)
        fades = np.concatenate([rng.uniform(1.5, 2.5, STAPLES), rng.uniform(4.0, 7.0, self._size - STAPLES)])
        self._fades = 1 / fades
        self._dips = np.concatenate([np.full(STAPLES, 0.5), rng.uniform(0.8, 1.4, self._size - STAPLES)])
        self._charms = np.concatenate([np.full(STAPLES, 0.3), rng.normal(0, 0.35, self._size - STAPLES)])

    # ------------------------------------------------------------ shoppers

    def _drawn_interests(self, rng: np.random.Generator) -> Floats:
        """Return interests, (shoppers, categories): fancy goods by taste, and one or two staples by habit."""
        interests = rng.dirichlet(self._popular * 12, self.shoppers) * 0.97 + 0.03 / self._size
        habits = rng.random((self.shoppers, STAPLES)) < 0.5
        interests[:, :STAPLES] += habits * rng.uniform(0.2, 0.5, habits.shape)
        self._habits = habits
        return np.asarray(interests / interests.sum(1, keepdims=True))

    def _newcomer(self, rng: np.random.Generator, n: int) -> Shopper:
        shares = np.random.default_rng([self.seed, 8103]).dirichlet(CLASS_ODDS)
        kind, rate = int(rng.choice(5, p=shares)), float(np.exp(rng.normal(-1.35, 0.85)))
        minds = float(np.clip(MINDS[kind] + rng.normal(0, 0.06), 0.1, 0.97)) if kind else MINDS[kind]
        sated = np.where(rng.random(self._size) < 0.04, START + DAY_S * rng.exponential(1 / self._fades), 0.0)
        own, side = (Random(f"{self.seed}-{self.draw}-{n}-{each}") for each in ("own", "side"))
        sums: list[float] = np.cumsum(self._interests[n]).tolist()
        return Shopper(n, kind, min(max(rate, 0.03), 1.5), minds, sums, sated.tolist(), own, side)

    def _traits_of(self, one: Shopper) -> Traits:
        """Return the tables of a shopper, which never change."""
        if (found := self._traits.get(one.number)) is None:
            interest, kind = self._interests[one.number], one.kind
            score = APPEALS[kind] + self._charms
            score[:STAPLES] += np.where(self._habits[one.number], 2.0, 0.0)
            scores = np.array(CART_SHIFTS)[:, None, None] + score - np.array([0.0, 1.0])[:, None] * self._dips
            pulls = PULLS[kind] * self._top * self._pull
            own, pulled = (1 / (1 + np.exp(-each)) for each in (scores, scores[..., self._category] + pulls))
            own, pulled = (np.append(p, [(1 - CARTED) * p[0] + CARTED * p[1]], 0) for p in (own, pulled))
            small, urges = float(interest @ self._small), URGES[kind] * self._lure
            if kind != SEEKER:
                urges *= np.minimum(self._covers @ interest / (self._covers @ self._popular), MOST_TIMES)
            spares = SPARES[kind] * (small - interest * self._small) / (1 - interest)
            margins, rates = self._typical * self._ratios - spares, one.rate * interest
            brought = BROUGHT[kind] * BROUGHT_ORDERS * small
            found = Traits(rates, own, pulled, urges, margins, spares, float(rates @ spares), brought)
            self._traits[one.number] = found
        return found

    # ------------------------------------------------------------ true values

    def true_values(self, user_id: str, at: float) -> Floats:
        """Return the true effect of each coupon, minor units: exact."""
        one = self._shoppers[int(user_id[1:])]
        traits, visit, count = self._traits_of(one), one.visit, len(self.coupons)
        if visit is not None and not visit.is_open:
            visit = None
        held = one.valid(at if visit is None else visit.began_at)
        focus, sated = -1 if visit is None else visit.focus, (np.array(one.sated) > at).astype(np.float64)
        versions = np.arange(count)
        versions[self._season] = count if at >= self._season_end else self._season
        pauses = (max(one.pause_until - at, 0.0) / DAY_S, PAUSE_DAYS) if one.kind == WEARY else (0.0,)
        horizons, of_horizon = np.unique(self._horizons, return_inverse=True)
        sets = np.flatnonzero(self._covers[versions, focus] & (visit is not None))
        kept = np.repeat(np.array([each.version for each in held], dtype=np.intp), len(horizons))
        ends = np.repeat([max(each.ends_at - at, 0.0) / DAY_S for each in held], len(horizons))
        blocks: list[tuple[Any, ...]] = [
            (versions, self._windows[versions], self._horizons, pauses[-1], 0),
            (versions[sets], self._windows[versions[sets]], self._horizons[sets], pauses[-1], 1),
        ]
        repeats = [(pause, after) for after in range(1 if visit is None else 2) for pause in pauses]
        blocks += [(kept, ends, np.tile(horizons, len(held)), *each) for each in repeats]
        columns = ([np.broadcast_to(each[n], len(each[0])) for each in blocks] for n in range(5))
        gains = self._gains(traits, one.minds, Cases(*map(np.concatenate, columns)), sated, focus)
        given, after = gains[:count], gains[:count].copy()
        after[sets] = gains[count : count + len(sets)]
        rest = gains[count + len(sets) :].reshape(len(repeats) // len(pauses), len(pauses), len(held), len(horizons))
        rest = rest[..., of_horizon]
        is_kept = ~self._overlaps[kept[:: len(horizons)]][:, versions]
        sides = [
            [part[of_horizon] for part in self._plain_sum(traits, horizons, each, sated, focus)] for each in pauses
        ]
        old, new = sides[0][0] + rest[0, 0].sum(0), sides[-1][0] + given + (is_kept * rest[0, -1]).sum(0)
        if visit is not None:
            names = [each.version for each in held]
            covers: list[tuple[Any, Floats, Any]] = [(n, rest[:, 0, place], np.True_) for place, n in enumerate(names)]
            old += self._in_visit(one, visit, sides[0][1], covers)
            covers = [(n, rest[:, -1, place], is_kept[place]) for place, n in enumerate(names)]
            covers.append((versions, np.stack([given, after]), np.True_))
            new += self._in_visit(one, visit, sides[-1][1], covers)
        missed = traits.spare * (1 - PACE) * (pauses[-1] - pauses[0])
        return np.asarray(new + traits.brought - missed - old)

    def _in_visit(self, one: Shopper, visit: Visit, jump: Floats, covers: Sequence[tuple[Any, Floats, Any]]) -> Floats:
        """Return what the open visit adds to the margin, (coupons,).

        `jump` is the margin that satiation of its category adds; the coupons held are versions, gains without and with
        that satiation, and masks. A coupon counts if its scope has the category.
        """
        traits, focus, row = self._traits_of(one), visit.focus, visit.is_sated
        stage = 2 if visit.is_carted is None else int(visit.is_carted)
        own, margin = traits.own[stage, row, focus], traits.margins[focus]
        value = np.asarray(own * (margin + jump))
        for version, (now, then), mask in covers:
            pair = self._pair_of[version, focus]
            used = one.minds * traits.pulled[stage, row, pair] * (margin - self._cut[pair] + jump - now)
            unused = (1 - one.minds) * own * (margin + jump + then - now)
            value = np.where(self._covers[version, focus] & mask, used + unused, value)
        return value

    def _plain(self, traits: Traits, c: Ints, paced: Floats, then: Floats) -> tuple[Floats, Floats]:
        """Return the margin without coupons over days at the pace of a pause and days after, as base and slope.

        The base is that of a category that is not satiated; the slope is what satiation adds.
        """
        shape = (-1,) + (1,) * (paced.ndim - 1)
        rate, fade = traits.rates[c], self._fades[c].reshape(shape)
        base, slope, share, stays = 0.0, 0.0, 0.0, 1.0
        for days, pace in ((paced, PACE), (then, 1.0)):
            if not np.any(days):
                continue
            first, second = ((pace * rate * traits.own[2, n, c]).reshape(shape) for n in (0, 1))
            speed = first + fade
            decay, rest = np.exp(-speed * days), first / speed
            mean = (1 - decay) / speed
            base = base + first * days + (second - first) * (rest * (days - mean) + share * mean)
            slope = slope + (second - first) * mean * stays
            share, stays = rest + (share - rest) * decay, stays * decay
        margin = traits.margins[c].reshape(shape)
        return np.asarray(base * margin), np.asarray(slope * margin)

    def _plain_sum(
        self, traits: Traits, horizons: Floats, pause: float, sated: Floats, focus: int
    ) -> tuple[Floats, Floats]:
        """Return margins without coupons by horizon, and what satiation of the focus would add."""
        paced = np.broadcast_to(np.minimum(pause, horizons), (self._size, len(horizons)))
        base, slope = self._plain(traits, np.arange(self._size), paced, horizons - paced)
        return (base + slope * sated[:, None]).sum(0), slope[focus] * (1 - sated[focus])

    def _gains(self, traits: Traits, minds: float, cases: Cases, sated: Floats, focus: int) -> Floats:
        """Return what holding each coupon adds to the margin in its scope, minor units, (cases,)."""
        starts, sizes = self._starts[cases.versions], np.diff(self._starts)[cases.versions]
        firsts = np.cumsum(sizes) - sizes
        owner = np.repeat(np.arange(len(sizes)), sizes)
        pair = np.arange(len(owner)) + (starts - firsts)[owner]
        c = self._category[pair]
        share = np.where(cases.after[owner] & (c == focus), 1.0, sated[c])
        margin, cut, fade = traits.margins[c][:, None], self._cut[pair][:, None], self._fades[c]
        urge, part = traits.urges[cases.versions], 1.0 / sizes
        prompted = (urge * part)[owner][:, None]
        pauses, horizons = cases.pauses[:, None], cases.horizons[:, None]
        paced = np.minimum(cases.pauses, cases.windows)
        value, state = np.zeros(len(sizes)), (1.0 - share, share)
        base, slope = self._plain(traits, c, cases.pauses[owner], (cases.horizons - cases.pauses)[owner])
        start = np.add.reduceat(base + slope * share, firsts)
        alive, total = np.ones((len(sizes), 1)), start[:, None]
        for low, high, pace in ((np.zeros_like(paced), paced, PACE), (paced, cases.windows, 1.0)):
            if not np.any(high > low):
                continue
            times = low[:, None] + (high - low)[:, None] * NODES
            rate = pace * traits.rates[c]
            buy0, buy1 = ((rate * (1 - minds) * traits.own[2, n, c])[:, None] for n in (0, 1))
            use0, use1 = ((rate * minds * traits.pulled[2, n, pair])[:, None] for n in (0, 1))
            moves = buy0 + use0, buy0, fade[:, None], fade[:, None] + use1
            fresh, full = _killed(state, moves, (times - low[:, None])[owner])
            mass = fresh + full
            full = full / mass
            paced_left = np.maximum(pauses - times, 0.0)
            base, slope = self._plain(traits, c, paced_left[owner], (horizons - times - paced_left)[owner])
            use = use0 + (use1 - use0) * full + prompted
            gain = (buy0 + (buy1 - buy0) * full + use) * margin - use * cut + use * slope * (1 - full)
            gain = gain + prompted * traits.spares[c][:, None]
            parts = gain, use, base + slope * full, np.log(mass)
            gain, use, total, logs = (np.add.reduceat(each, firsts) for each in parts)
            alive = np.exp(logs - urge[:, None] * times)
            value += (high - low) * ((alive * (gain + use * total)) @ WEIGHTS)
            state = fresh[:, -1], full[:, -1] * mass[:, -1]
        return np.asarray(value + alive[:, -1] * total[:, -1] - start)

    def margin_without(self) -> float:
        """Return the expected margin of all orders without coupons, minor units: exact."""
        days, total = np.array([self.days]), 0.0
        for one, sated in zip(self._shoppers, self._first, strict=True):
            traits = self._traits_of(one)
            total += float(self._plain_sum(traits, days, 0.0, sated.astype(np.float64), 0)[0][0])
            total += traits.spare * self.days
        return total

    # ------------------------------------------------------------ events

    def events(self) -> Events:
        """Yield the events of all shoppers in order of time."""
        while self._agenda and self._agenda[0][0] < self.ends_at:
            at, _, number, step, args = heappop(self._agenda)
            act: Callable[..., Iterator[Struct]] = getattr(self, f"_{step}")
            for message in act(self._shoppers[number], at, *args):
                for issue in (yield message) or ():
                    self._receive(self._shoppers[number], at, issue)

    def _plan(self, one: Shopper, at: float, step: str, *args: Any) -> None:
        self._planned += 1
        heappush(self._agenda, (round(at, 3), self._planned, one.number, step, args))

    def _plan_visit(self, one: Shopper, at: float) -> None:
        next_at = at + max(one.own.expovariate(one.rate) * DAY_S, 0.1)
        self._plan(one, next_at, "visit")

    def _receive(self, one: Shopper, at: float, issue: CouponIssue) -> None:
        """Put a coupon into the wallet, in place of those that it overlaps, and plan what it leads to."""
        place = self._places[issue.coupon_id]
        version = len(self.coupons) if place == self._season and at >= self._season_end else place
        held = Open(version, at + float(self._windows[version]) * DAY_S, issue)
        one.held = [each for each in one.held if not self._overlaps[each.version, version]]
        one.held.append(held)
        one.pause_until = at + PAUSE_DAYS * DAY_S
        self._plan_prompt(one, at, held)
        if one.side.random() < BROUGHT[one.kind]:
            self._plan(one, at + one.side.random() * BROUGHT_DAYS * DAY_S, "brought")
        if one.side.random() < 0.25 + 0.4 * one.minds:
            self._plan(one, at + 2.0, "click", issue)

    def _plan_prompt(self, one: Shopper, at: float, held: Open) -> None:
        urge = float(self._traits_of(one).urges[held.version])
        if urge > 0.0:
            self._plan(one, at + one.side.expovariate(urge) * DAY_S, "prompt", held)

    def _click(self, _: Shopper, at: float, issue: CouponIssue) -> Iterator[Struct]:
        yield feedback(issue, "click", at=at, event_id=f"k-{issue.issue_id}")

    def _visit(self, one: Shopper, at: float) -> Iterator[Struct]:
        """Start a visit by interest, and plan its further steps, all before the next such visit."""
        draws = [one.own.random() for _ in range(20)]
        gap = one.own.expovariate(one.rate) * DAY_S
        self._plan(one, at + max(gap, 0.1), "visit")
        if one.kind == WEARY and at < one.pause_until and draws[0] >= PACE:
            return
        focus = _at(one.sums, draws[1])
        one.visit = visit = Visit(focus, int(one.sated[focus] > at), at, draws)
        looks, pace_s = 1 + (draws[2] > 0.45) + (draws[2] > 0.8), min(VISIT_S * (0.3 + 0.7 * draws[3]), 0.9 * gap) / 4
        for n in range(1, looks):
            self._plan(one, at + n * pace_s, "look", _at(one.sums, draws[3 + n]), draws[5 + n])
        self._plan(one, at + 3 * pace_s, "fill", visit)
        self._plan(one, at + 4 * pace_s, "decide", visit)
        yield from self._look(one, at, focus, draws[9])

    def _look(self, one: Shopper, at: float, category: int, chance: float) -> Iterator[Struct]:
        yield browse(self._name(one), self._item(category, int(ITEMS * chance)), at=at, event_id=self._id(one, "b"))

    def _fill(self, one: Shopper, at: float, visit: Visit) -> Iterator[Struct]:
        visit.is_carted = visit.draws[10] < CARTED
        if visit.is_carted:
            one_item = self._item(visit.focus, int(ITEMS * visit.draws[9]))
            yield cart(self._name(one), one_item, at=at, event_id=self._id(one, "c"))

    def _decide(self, one: Shopper, at: float, visit: Visit) -> Iterator[Struct]:
        """End a visit by interest: an order in its category, a small one elsewhere, or none."""
        visit.is_open, draws, traits = False, visit.draws, self._traits_of(one)
        stage, focus = int(bool(visit.is_carted)), visit.focus
        held = next((each for each in one.valid(visit.began_at) if self._covers[each.version, focus]), None)
        held = held if draws[11] < one.minds else None
        odds = traits.own[stage, visit.is_sated, focus]
        if held is not None:
            odds = traits.pulled[stage, visit.is_sated, self._pair_of[held.version, focus]]
        if draws[12] < odds:
            number, pieces = int(ITEMS * draws[9]), PIECES[draws[13] >= PIECE_ODDS[0]]
            return self._purchase(one, at, (focus, number, pieces), held, draws[14:17])
        if draws[17] < SPARES[one.kind]:
            return self._small_order(one, at, focus, draws[18:])
        return iter(())

    def _purchase(
        self, one: Shopper, at: float, bought: Bought, held: Open | None, draws: Sequence[float]
    ) -> Iterator[Struct]:
        """Satiate a category, take the coupon, and send the order, now or hours later."""
        focus = bought[0]
        one.sated[focus] = at - DAY_S / float(self._fades[focus]) * float(np.log1p(-draws[0]))
        delay = DELAY_S[0] + draws[2] * (DELAY_S[1] - DELAY_S[0]) if draws[1] < DELAYED else 0.0
        if held is not None:
            one.held.remove(held)
            delay = delay if at + delay < held.ends_at else 0.0
        if not delay:
            return self._order(one, at, bought, held)
        self._plan(one, at + delay, "order", bought, held)
        return iter(())

    def _order(self, one: Shopper, at: float, bought: Bought, held: Open | None) -> Iterator[Struct]:
        category, number, pieces = bought
        order_id = self._id(one, "o")
        yield order(self._name(one), self._item(category, number, pieces), at=at, event_id=order_id, order_id=order_id)
        if held is not None:
            cut = int(self._cuts[held.version][category, number * len(PIECES) + pieces - 1])
            event_id = f"u-{held.issue.issue_id}"
            yield feedback(held.issue, "purchase", at=at, event_id=event_id, order_id=order_id, discount_minor=cut)

    def _small_order(self, one: Shopper, at: float, focus: int, draws: Sequence[float]) -> Iterator[Struct]:
        """Send an order of one piece outside of a category (-1: of any), without a coupon."""
        chance, low = draws[0], (one.sums[focus - 1] if focus > 0 else 0.0) if focus >= 0 else 0.0
        if focus >= 0:
            width = one.sums[focus] - low
            chance *= 1.0 - width
            chance += width if chance >= low else 0.0
        return self._order(one, at, (_at(one.sums, chance), int(ITEMS * draws[1]), 1), None)

    def _brought(self, one: Shopper, at: float) -> Iterator[Struct]:
        """Look around without an aim, with a small order at times."""
        draws = [one.side.random() for _ in range(5)]
        yield from self._look(one, at, _at(one.sums, draws[0]), draws[1])
        if draws[2] < BROUGHT_ORDERS:
            yield from self._small_order(one, at, -1, draws[3:])

    def _prompt(self, one: Shopper, at: float, held: Open) -> Iterator[Struct]:
        """Start a visit for the sake of a coupon, which ends in its use."""
        if held not in one.valid(at):
            return
        draws, scope = [one.side.random() for _ in range(5)], self._scopes[held.version]
        bought = scope[int(draws[0] * len(scope))], int(ITEMS * draws[1]), PIECES[draws[2] >= PIECE_ODDS[0]]
        one.held.remove(held)
        one.sated[bought[0]] = at - DAY_S / float(self._fades[bought[0]]) * float(np.log1p(-draws[3]))
        self._plan(one, at + 0.5 * VISIT_S, "order", bought, held)
        yield from self._look(one, at, bought[0], draws[1])

    def _id(self, one: Shopper, kind: str) -> str:
        one.count += 1
        return f"{kind}-{one.number}-{one.count}"

    def _name(self, one: Shopper) -> str:
        return f"s{one.number}"

    def _item(self, category: int, number: int, pieces: int = 1) -> Item:
        name, price = STALLS[category], int(self._prices[category, number])
        return item(f"{name}-{number}", category=name, price_minor=price, quantity=pieces)


def _killed(state: tuple[Floats, Floats], rates: tuple[Floats, ...], times: Floats) -> tuple[Floats, Floats]:
    """Return the two probabilities of a killed chain at times, (chains, times).

    The rates are those of leaving the first state, of entering the second from it, of the way back, and of leaving
    the second.
    """
    leave0, enter, back, leave1 = rates
    first, second = (each[:, None] for each in state)
    middle, half = -(leave0 + leave1) / 2, (leave0 - leave1) / 2
    root = np.sqrt(half**2 + enter * back + 1e-18)
    up, down = np.exp((middle + root) * times), np.exp((middle - root) * times)
    even, odd = (up + down) / 2, (up - down) / (2 * root)
    moved = first * -half + second * back, first * enter + second * half
    return even * first + odd * moved[0], even * second + odd * moved[1]


def _at(sums: Sequence[float], chance: float) -> int:
    """Return the choice that a uniform number leads to, of cumulative probabilities."""
    return next((n for n, each in enumerate(sums) if chance < each), len(sums) - 1)
