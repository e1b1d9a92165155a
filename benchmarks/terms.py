"""What a minimum spend earns, in a world of orders: without one, with one that never binds, and with one that does.

    python -m benchmarks.thresholds
    python -m benchmarks.thresholds --seeds 1 2 3 4 5 --days 60

Every shopper has a rate of visits, a probability to order, and a log-normal value of orders. A coupon in hand makes an
order likelier, as far as its minimum can be reached; some orders just below the minimum are raised to it. The same
draws are played without any coupon, so that what coupons add is known to the simulation, and to it alone. Policies read
events. `thompson` is a ranking learnt online: it draws the mean margin of the days after each coupon, less that of
shoppers without one, from its posterior, and gives the coupon with the greatest draw, or none.
"""

import argparse
import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from stream_coupons.core.catalogue.discount import discount_of
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.baskets import NO_ORDERS, OrderValues
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline, ManualClock, browse, feedback, item, order

Held = tuple[Coupon, CouponIssue | None]
SHOPPERS, DAY_S, WINDOW_S, BEGIN = 300, 86400.0, 3 * 86400.0, 1_800_000_000.0
MARGIN = 0.35
DEPTHS = (5.0, 10.0, 15.0, 20.0)
THRESHOLDS = {"none": (None,) * 4, "idle": (1,) * 4, "binding": (2500, 3500, 4500, 6000)}


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
            min_spend_minor=least,
        )
        for depth, least in zip(DEPTHS, THRESHOLDS[kind], strict=True)
    ]


class Taste(NamedTuple):
    """A shopper: visits a day, P(order), pull of a discount, and mean and deviation of log values; P(raise to it)."""

    visits: float
    orders: float
    elasticity: float
    mean: float
    sigma: float
    raises: float


class Visit(NamedTuple):
    """A visit, with all of its draws."""

    user: int
    at: float
    uniform: float
    log_value: float
    raises: float


@dataclass
class World:
    """Shoppers and their visits, drawn once for all policies."""

    seed: int
    days: int
    tastes: list[Taste] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        for user in range(SHOPPERS):
            mean = math.log(3000.0) + 0.45 * rng.standard_normal()
            taste = Taste(rng.gamma(2.0, 0.25), rng.beta(2, 8), rng.gamma(2.0, 5.0), mean, rng.uniform(0.25, 0.6), 0.3)
            self.tastes.append(taste)
            for at in np.sort(rng.uniform(0.0, self.days, rng.poisson(taste.visits * self.days))).tolist():
                value = taste.mean + taste.sigma * rng.standard_normal()
                self.visits.append(Visit(user, BEGIN + at * DAY_S, rng.random(), value, rng.random()))
        self.visits.sort(key=lambda visit: visit.at)

    def order(self, visit: Visit, held: Coupon | None) -> tuple[float, float]:
        """Return value of the order and discount; 0 for no order."""
        taste, value = self.tastes[visit.user], math.exp(visit.log_value)
        if held is None:
            return (value if visit.uniform < taste.orders else 0.0), 0.0
        least, depth = held.min_spend_minor or 0, (held.discount_percent or 0.0) / 100.0
        reach = 1.0 if least <= 1 else 0.5 * math.erfc((math.log(least) - taste.mean) / taste.sigma / math.sqrt(2.0))
        if visit.uniform >= min(taste.orders * (1.0 + taste.elasticity * depth * reach), 0.95):
            return 0.0, 0.0
        if 0.75 * least <= value < least and visit.raises < taste.raises:
            value = float(least)
        return value, discount_of(held).on(value)


class Engine:
    """The product: it reads events and feedback."""

    def __init__(self, coupons: list[Coupon], seed: int) -> None:
        policy = PolicyRules(cooldown_s=0.0, max_issues_per_window=2, known_after=0.0)
        self.clock = ManualClock(BEGIN)
        self.shop = LocalPipeline(
            Settings(policy=policy), coupons, clock=self.clock, on_output=lambda _: None, on_result=None
        )
        self.given: list[CouponIssue] = []
        self.shop.listen(CouponIssue, self.given.append)
        self.seed, self.met = seed, [0.0, 0.0, 0.0]
        self.by_id = {coupon.coupon_id: coupon for coupon in coupons}

    def visit(self, visit: Visit, number: int) -> Held | None:
        """Return the coupon that a visit leads to."""
        self.clock.now = visit.at
        self.given.clear()
        self.shop.publish(browse(f"u{visit.user}", item("i", category="c"), at=visit.at, event_id=f"b{number}"))
        if not self.given:
            return None
        return self.by_id[self.given[0].coupon_id], self.given[0]

    def ordered(self, visit: Visit, number: int, value: float, held: Held | None, discount: float) -> None:
        """Take in an order, and the use of a coupon."""
        user, cents = f"u{visit.user}", round(value)
        if held is not None and held[0].min_spend_minor:
            known = self.shop.owners["users"].batches.state(0, user).profile.baskets or NO_ORDERS  # type: ignore[attr-defined]
            least = np.array([float(held[0].min_spend_minor)])
            found = OrderValues.of([known], np.array([0]), np.array([3000.0]), np.ones(1)).reached(least)
            self.met = [self.met[0] + 1, self.met[1] + float(found[0]), self.met[2] + (value >= least[0])]
        what = item("i", category="c", price_minor=cents)
        self.shop.publish(order(user, what, at=visit.at + 60.0, event_id=f"o{number}"))
        if held is not None and held[1] is not None and discount:
            used = feedback(
                held[1], "purchase", at=visit.at + 61.0, discount_minor=round(discount), event_id=f"f{number}"
            )
            self.shop.publish(msgspec.structs.replace(used, order_id=f"o{number}"))

    def tick(self, at: float) -> None:
        """Let time pass."""
        self.clock.now = at
        self.shop.tick(at)


class Thompson:
    """A ranking learnt online, with shoppers without a coupon as its control."""

    def __init__(self, coupons: list[Coupon], seed: int) -> None:
        self.arms: list[Coupon | None] = [None, *coupons]
        self.rng = np.random.default_rng(seed + 100)
        self.sums = np.tile([1e-2, 0.0, 1e4], (len(self.arms), 1))
        self.open: list[tuple[float, int, int]] = []
        self.earned: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        self.recent: defaultdict[int, list[float]] = defaultdict(list)

    def visit(self, visit: Visit, _: int) -> Held | None:
        """Return the coupon of the greatest draw."""
        recent = [at for at in self.recent[visit.user] if at > visit.at - 7 * DAY_S]
        if len(recent) >= 2:
            return None
        count, total, squares = self.sums.T
        spread = np.sqrt(np.maximum(squares / np.maximum(count, 1.0) - (total / np.maximum(count, 1.0)) ** 2, 1.0))
        draws = total / np.maximum(count, 1.0) + spread / np.sqrt(count + 1.0) * self.rng.standard_normal(len(count))
        arm = int(np.argmax(draws)) if self.rng.random() > 0.1 else 0
        self.open.append((visit.at + WINDOW_S, visit.user, arm))
        coupon = self.arms[arm]
        if coupon is None:
            return None
        self.recent[visit.user] = [*recent, visit.at]
        return coupon, None

    def ordered(self, visit: Visit, _: int, value: float, __: Held | None, discount: float) -> None:
        """Note what an order earned."""
        self.earned[visit.user].append((visit.at, MARGIN * value - discount))

    def tick(self, at: float) -> None:
        """Learn from windows that are over."""
        for until, user, arm in [one for one in self.open if one[0] <= at]:
            earned = sum(minor for when, minor in self.earned[user] if until - WINDOW_S <= when < until)
            self.sums[arm] += (1.0, earned, earned * earned)
        self.open = [one for one in self.open if one[0] > at]


def play(world: World, policy: Engine | Thompson) -> float:
    """Return what coupons added to the margin, in whole currency units."""
    held: dict[int, tuple[Coupon, CouponIssue | None, float]] = {}
    added, next_tick = 0.0, BEGIN + DAY_S / 2
    for number, visit in enumerate(world.visits):
        while visit.at >= next_tick:
            policy.tick(next_tick)
            next_tick += DAY_S / 2
        mine = held.get(visit.user)
        if mine is None or mine[2] < visit.at:
            held.pop(visit.user, None)
            found = policy.visit(visit, number)
            if found is not None:
                held[visit.user] = (*found, visit.at + WINDOW_S)
        mine = held.get(visit.user)
        value, discount = world.order(visit, mine[0] if mine else None)
        plain, _ = world.order(visit, None)
        added += MARGIN * (value - plain) - discount
        if value:
            policy.ordered(visit, number, value, mine[:2] if mine else None, discount)
            if discount:
                del held[visit.user]
    return added / 100.0


def main() -> None:
    """Play each catalogue under each policy and print the mean over seeds with its interval."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--days", type=int, default=60, help="days played (default: %(default)s)")
    options = parser.parse_args()
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    met = np.zeros(3)
    for seed in options.seeds:
        world = World(seed, options.days)
        for kind in THRESHOLDS:
            for policy in (Engine(catalogue(kind), seed), Thompson(catalogue(kind), seed)):
                earned = play(world, policy)
                found[kind, type(policy).__name__.lower()].append(earned)
                print(f"seed {seed}, {kind}, {type(policy).__name__.lower()}: {earned:,.0f}", flush=True)
                if isinstance(policy, Engine) and kind == "binding":
                    met += policy.met
    print(f"\n{'threshold':<10}{'policy':<10}{'added':>9}{'+-':>8}")
    for (kind, name), each in found.items():
        half = 2.0 * np.std(each, ddof=1) / math.sqrt(len(each)) if len(each) > 1 else math.nan
        print(f"{kind:<10}{name:<10}{np.mean(each):>9,.0f}{half:>8,.0f}")
    print(f"P(minimum reached) of {met[0]:.0f} orders: predicted {met[1] / met[0]:.3f}, found {met[2] / met[0]:.3f}")


if __name__ == "__main__":
    main()
