"""Earnings of the same coupons with and without thresholds, weekly caps and exclusion groups, in a world of orders.

    python -m benchmarks.terms
    python -m benchmarks.terms --seeds 1 2 3 4 5 --days 90 --jobs 2

Catalogues: `none` has no such terms, those of `idle` never bind, and those of `binding` do. Every shopper has a rate of
visits, a probability to order, and a log-normal value of orders. A coupon in hand makes an order likelier, as far as
its minimum can be reached. Some orders just below a minimum are raised to it. The same draws are played without
coupons: their margins differ by what coupons add. The simulation alone knows that; policies read events.

`thompson` ranks coupons online. It draws the mean margin of the days after each coupon from its posterior, and that
after none, and gives the coupon with the greatest draw, or none. `hindsight` gives, of four rules, the best one: always
the same coupon where its terms allow it.
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from scipy import stats

from stream_coupons.core.caps import Cap
from stream_coupons.core.catalogue.discount import discount_of
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.baskets import NO_ORDERS, OrderValues
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline, ManualClock, browse, feedback, item, order

SHOPPERS, DAY_S, WINDOW_S, BEGIN = 300, 86400.0, 3 * 86400.0, 1_800_000_000.0
WEEK_S, MOST_A_WEEK = 7 * DAY_S, 3
MARGIN = 0.35
DEPTHS = (5.0, 10.0, 15.0, 20.0)
TERMS: dict[str, list[dict[str, Any]]] = {
    "none": [{}] * 4,
    "idle": [
        {"min_spend_minor": 1, "caps": [Cap(per="week", n=1000)], "exclusion_group": f"own-{n}"} for n in range(4)
    ],
    "binding": [
        {"min_spend_minor": least, "caps": [Cap(per="week", n=1)], "exclusion_group": group}
        for least, group in ((2500, "small"), (3500, "small"), (4500, "large"), (6000, "large"))
    ],
}


def catalogue(kind: str) -> list[Coupon]:
    """Return one coupon of each depth."""
    return [
        Coupon(
            coupon_id=f"off-{depth:g}",
            discount_percent=depth,
            max_discount_minor=2000,
            typical_price_minor=3000,
            margin_ratio=MARGIN,
            redeem_within_s=WINDOW_S,
            not_while_held="same",
            **terms,
        )
        for depth, terms in zip(DEPTHS, TERMS[kind], strict=True)
    ]


class Taste(NamedTuple):
    """A shopper: visits a day, P(order), pull of a discount, and mean and deviation of log values; P(raise to it)."""

    visits: float
    orders: float
    elasticity: float
    mean: float
    sigma: float
    raises: float

    def reach(self, coupon: Coupon) -> float:
        """Return the share of the shopper's orders that reach the minimum of a coupon."""
        least = coupon.min_spend_minor or 0
        return 1.0 if least <= 1 else 0.5 * math.erfc((math.log(least) - self.mean) / self.sigma / math.sqrt(2.0))


class Visit(NamedTuple):
    """A visit, with all of its draws."""

    number: int
    user: int
    at: float
    uniform: float
    value: float
    raises: float


class Held(NamedTuple):
    """A coupon in a shopper's hand; the engine's has an issue."""

    coupon: Coupon
    issue: CouponIssue | None
    until: float


@dataclass
class World:
    """Shoppers and their visits, drawn once for all policies."""

    seed: int
    days: int
    tastes: list[Taste] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng, drawn = np.random.default_rng(self.seed), []
        for user in range(SHOPPERS):
            mean = math.log(3000.0) + 0.45 * rng.standard_normal()
            taste = Taste(rng.gamma(2.0, 0.25), rng.beta(2, 8), rng.gamma(2.0, 5.0), mean, rng.uniform(0.25, 0.6), 0.3)
            self.tastes.append(taste)
            for at in np.sort(rng.uniform(0.0, self.days, rng.poisson(taste.visits * self.days))).tolist():
                value = math.exp(taste.mean + taste.sigma * rng.standard_normal())
                drawn.append((BEGIN + at * DAY_S, user, rng.random(), value, rng.random()))
        self.visits = [
            Visit(number, user, at, uniform, value, raises)
            for number, (at, user, uniform, value, raises) in enumerate(sorted(drawn))
        ]

    def order(self, visit: Visit, held: Sequence[Held]) -> tuple[float, float, Held | None]:
        """Return the value of the order, its discount, and the coupon that is used; 0 for no order."""
        taste, value = self.tastes[visit.user], visit.value
        depth = max(((one.coupon.discount_percent or 0.0) * taste.reach(one.coupon) for one in held), default=0.0)
        if visit.uniform >= min(taste.orders * (1.0 + taste.elasticity * depth / 100.0), 0.95):
            return 0.0, 0.0, None
        thresholds = [one.coupon.min_spend_minor or 0 for one in held]
        near = [least for least in thresholds if 0.75 * least <= value < least]
        if near and not any(least <= value for least in thresholds) and visit.raises < taste.raises:
            value = float(min(near))
        discount, used = max(
            ((discount_of(one.coupon).on(value), place) for place, one in enumerate(held)), default=(0.0, 0)
        )
        return value, discount, held[used] if discount else None


class Policy(Protocol):
    """A policy, which reads events."""

    def visit(self, visit: Visit, held: Sequence[Held]) -> tuple[Coupon, CouponIssue | None] | None:
        """Return the coupon that a visit leads to, beside those that are held; None for none."""

    def ordered(self, visit: Visit, value: float, used: Held | None, discount: float) -> None:
        """Take in an order, and the use of a coupon."""

    def tick(self, at: float) -> None:
        """Let time pass."""


class Engine:
    """The product: it reads events and feedback."""

    def __init__(self, coupons: list[Coupon]) -> None:
        policy = PolicyRules(cooldown_s=0.0, max_issues_per_window=MOST_A_WEEK, issue_window_s=WEEK_S, known_after=0.0)
        self.clock = ManualClock(BEGIN)
        self.shop = LocalPipeline(
            Settings(policy=policy), coupons, clock=self.clock, on_output=lambda _: None, on_result=None
        )
        self.given: list[CouponIssue] = []
        self.shop.listen(CouponIssue, self.given.append)
        self.met = np.zeros(3)
        """Orders of holders of coupons with a minimum; sum of P(the minimum is reached); orders that reached it."""
        self.by_id = {coupon.coupon_id: coupon for coupon in coupons}

    def visit(self, visit: Visit, held: Sequence[Held]) -> tuple[Coupon, CouponIssue | None] | None:  # noqa: ARG002
        """Publish the visit."""
        self.clock.now = visit.at
        self.given.clear()
        item_seen = item("i", category="c")
        self.shop.publish(browse(f"u{visit.user}", item_seen, at=visit.at, event_id=f"b{visit.number}"))
        return (self.by_id[self.given[0].coupon_id], self.given[0]) if self.given else None

    def ordered(self, visit: Visit, value: float, used: Held | None, discount: float) -> None:
        """Publish the order and the use of a coupon."""
        user = f"u{visit.user}"
        what = item("i", category="c", price_minor=round(value))
        self.shop.publish(order(user, what, at=visit.at + 60.0, event_id=f"o{visit.number}"))
        if used is not None and used.issue is not None:
            report = feedback(
                used.issue, "purchase", at=visit.at + 61.0, discount_minor=round(discount), event_id=f"f{visit.number}"
            )
            self.shop.publish(msgspec.structs.replace(report, order_id=f"o{visit.number}"))

    def note_reached(self, visit: Visit, value: float, held: Sequence[Held]) -> None:
        """Compare P(an order reaches a minimum), as predicted before the order, with the order."""
        least = [one.coupon.min_spend_minor or 0 for one in held]
        if len(least) != 1 or least[0] <= 1:
            return
        profile = self.shop.owners["users"].batches.state(0, f"u{visit.user}").profile  # type: ignore[attr-defined]
        values = OrderValues.of([profile.baskets or NO_ORDERS], np.array([0]), np.array([3000.0]), np.ones(1))
        self.met += (1.0, float(values.reached(np.array(least, float))[0]), value >= least[0])

    def tick(self, at: float) -> None:
        """Let time pass."""
        self.clock.now = at
        self.shop.tick(at)


class Allowed:
    """The terms of coupons, for the policies beside the engine."""

    def __init__(self, coupons: list[Coupon]) -> None:
        self.coupons = coupons
        self._given: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)

    def now(self, visit: Visit, held: Sequence[Held]) -> list[Coupon]:
        """Return the coupons that the visitor may get."""
        recent = [one for one in self._given[visit.user] if one[0] > visit.at - WEEK_S]
        if len(recent) >= MOST_A_WEEK:
            return []
        ids, groups = {one.coupon.coupon_id for one in held}, {one.coupon.exclusion_group for one in held} - {""}
        week = [coupon_id for at, coupon_id in self._given[visit.user] if _week(at) == _week(visit.at)]
        return [
            coupon
            for coupon in self.coupons
            if coupon.coupon_id not in ids
            and coupon.exclusion_group not in groups
            and all(week.count(coupon.coupon_id) < cap.n for cap in coupon.caps)
        ]

    def note(self, visit: Visit, coupon: Coupon) -> None:
        """Count a coupon that is given."""
        self._given[visit.user].append((visit.at, coupon.coupon_id))


def _week(at: float) -> int:
    """Return the number of a calendar week in UTC: 1970 began on a Thursday."""
    return int(at + 3 * DAY_S) // int(WEEK_S)


class Thompson:
    """A ranking learnt online, with shoppers without a coupon as its control."""

    def __init__(self, coupons: list[Coupon], seed: int) -> None:
        self.allowed = Allowed(coupons)
        self.arms: list[Coupon | None] = [None, *coupons]
        self.rng = np.random.default_rng(seed + 100)
        self.sums = np.tile([1e-2, 0.0, 1e4], (len(self.arms), 1))
        self.open: list[tuple[float, int, int]] = []
        self.earned: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)

    def visit(self, visit: Visit, held: Sequence[Held]) -> tuple[Coupon, None] | None:
        """Return the coupon of the greatest draw."""
        allowed = [0, *(self.arms.index(coupon) for coupon in self.allowed.now(visit, held))]
        count, total, squares = self.sums.T
        spread = np.sqrt(np.maximum(squares / np.maximum(count, 1.0) - (total / np.maximum(count, 1.0)) ** 2, 1.0))
        draws = total / np.maximum(count, 1.0) + spread / np.sqrt(count + 1.0) * self.rng.standard_normal(len(count))
        arm = max(allowed, key=lambda each: draws[each]) if self.rng.random() > 0.1 else 0
        if not held:  # a second coupon in hand would count as the first one's
            self.open.append((visit.at + WINDOW_S, visit.user, arm))
        coupon = self.arms[arm]
        if coupon is None:
            return None
        self.allowed.note(visit, coupon)
        return coupon, None

    def ordered(self, visit: Visit, value: float, used: Held | None, discount: float) -> None:  # noqa: ARG002
        """Note what an order earned."""
        self.earned[visit.user].append((visit.at, MARGIN * value - discount))

    def tick(self, at: float) -> None:
        """Learn from windows that are over."""
        for until, user, arm in [one for one in self.open if one[0] <= at]:
            earned = sum(minor for when, minor in self.earned[user] if until - WINDOW_S <= when < until)
            self.sums[arm] += (1.0, earned, earned * earned)
        self.open = [one for one in self.open if one[0] > at]


class Always:
    """One coupon to everybody, where its terms allow it."""

    def __init__(self, coupons: list[Coupon], place: int) -> None:
        self.allowed, self.coupon = Allowed(coupons), coupons[place]

    def visit(self, visit: Visit, held: Sequence[Held]) -> tuple[Coupon, None] | None:
        """Return the coupon."""
        if self.coupon not in self.allowed.now(visit, held):
            return None
        self.allowed.note(visit, self.coupon)
        return self.coupon, None

    def ordered(self, visit: Visit, value: float, used: Held | None, discount: float) -> None:
        """Learn nothing."""

    def tick(self, at: float) -> None:
        """Learn nothing."""


def play(world: World, policy: Policy) -> np.ndarray:
    """Return what coupons added to the margin in each third of the days, in whole currency units, shape (3,)."""
    hands: defaultdict[int, list[Held]] = defaultdict(list)
    added, next_tick = np.zeros(3), BEGIN + DAY_S / 2
    for visit in world.visits:
        while visit.at >= next_tick:
            policy.tick(next_tick)
            next_tick += DAY_S / 2
        held = hands[visit.user] = [one for one in hands[visit.user] if one.until >= visit.at]
        if (found := policy.visit(visit, held)) is not None:
            held.append(Held(*found, visit.at + WINDOW_S))
        value, discount, used = world.order(visit, held)
        plain, _, _ = world.order(visit, [])
        added[int((visit.at - BEGIN) / DAY_S / world.days * 3)] += MARGIN * (value - plain) - discount
        if value:
            if isinstance(policy, Engine):
                policy.note_reached(visit, value, held)
            policy.ordered(visit, value, used, discount)
            if used is not None:
                held.remove(used)
    return added / 100.0


class Result(NamedTuple):
    """One policy on one catalogue in one world."""

    kind: str
    policy: str
    seed: int
    thirds: np.ndarray
    met: np.ndarray


def results(seed: int, days: int) -> list[Result]:
    """Play one world under each catalogue and policy."""
    world, found = World(seed, days), []
    for kind in TERMS:
        coupons, nothing = catalogue(kind), np.zeros(3)
        engine = Engine(coupons)
        found.append(Result(kind, "engine", seed, play(world, engine), engine.met))
        found.append(Result(kind, "thompson", seed, play(world, Thompson(coupons, seed)), nothing))
        rules = [play(world, Always(coupons, place)) for place in range(len(coupons))]
        found.append(Result(kind, "hindsight", seed, max(rules, key=np.sum), nothing))
    return found


def interval(values: Sequence[float]) -> str:
    """Return a mean with the half width of its 95 % interval by Student's t."""
    if len(values) < 2:
        return f"{np.mean(values):,.0f}"
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return f"{np.mean(values):,.0f} (+-{half:,.0f})"


def table(found: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of a table: all days, and each third."""
    by_name: defaultdict[tuple[str, str], dict[int, np.ndarray]] = defaultdict(dict)
    for one in found:
        by_name[one.kind, one.policy][one.seed] = one.thirds
    for kind in TERMS:
        engine, ranking = by_name[kind, "engine"], by_name[kind, "thompson"]
        by_name[kind, "engine - thompson"] = {seed: engine[seed] - ranking[seed] for seed in engine}
        for name in ("engine", "thompson", "engine - thompson", "hindsight"):
            rows = np.array([*by_name[kind, name].values()])
            thirds = "  ".join(f"{interval(rows[:, n].tolist()):>15}" for n in range(3))
            yield f"{kind:<9}{name:<19}{interval(rows.sum(axis=1).tolist()):>16}  {thirds}"


def main() -> None:
    """Play each catalogue under each policy and print means over seeds with their intervals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="(default: %(default)s)")
    parser.add_argument("--days", type=int, default=60, help="days played (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    options = parser.parse_args()
    found: list[Result] = []
    with ProcessPoolExecutor(options.jobs) as pool:
        for each in pool.map(results, options.seeds, [options.days] * len(options.seeds)):
            found += each
            print(f"seed {each[0].seed}: " + ", ".join(f"{r.kind} {r.policy} {r.thirds.sum():,.0f}" for r in each))
    print(f"\n{'terms':<9}{'policy':<19}{'all days':>16}  " + "  ".join(f"{f'third {n}':>15}" for n in (1, 2, 3)))
    print("\n".join(table(found)))
    met = np.sum([one.met for one in found if one.kind == "binding"], axis=0)
    print(f"P(minimum reached) of {met[0]:.0f} orders: predicted {met[1] / met[0]:.3f}, found {met[2] / met[0]:.3f}")


if __name__ == "__main__":
    main()
