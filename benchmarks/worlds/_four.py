"""Time, wallets and messages of the worlds of the maker "four"; it holds no model of behaviour.

Each shopper is a small state that `step` moves forward. `events` merges the steps of all shoppers by time, and `future`
plays the steps of a copy of one shopper: both run the same code.
"""

import heapq
from abc import abstractmethod
from copy import copy
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from msgspec import Struct

from benchmarks.worlds.world import DAY_S, Events, Floats, World
from stream_coupons import testing
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import Item

OPEN_S, CLOSE_S = 8 * 3600.0, 22 * 3600.0
"""Visits start at a uniform time between these offsets in a day of the simulation."""
VISIT_S = 3 * 3600.0
"""Bound of the time from the start of a visit to its order: a coupon is usable in visits that end before it expires."""
CLICK_SHARE = 0.5
"""Share of noticed coupons that are clicked."""


@dataclass(slots=True)
class Held:
    """A coupon in a wallet: its index, its issue, and whether its shopper noticed it."""

    coupon: int
    issue: CouponIssue
    is_noticed: bool


@dataclass(slots=True)
class Shopper:
    """State of one shopper: `at` is the time of the next step, `phase` says what it is, `rng` is that of the day."""

    number: int
    user_id: str
    at: float
    rng: np.random.Generator
    day: int = -1
    fork: int = 0
    phase: str = "away"
    started_at: float = 0.0
    browses: int = 0
    sent: int = 0
    held: list[Held] = field(default_factory=list)

    def usable(self) -> list[Held]:
        """Return the noticed coupons that are valid for the whole of the current visit, the oldest first."""
        return [one for one in self.held if one.is_noticed and one.issue.expires_at >= self.started_at + VISIT_S]

    def next_id(self, kind: str) -> str:
        """Return a new event id."""
        self.sent += 1
        return f"{kind}-{self.user_id}-{self.sent}"

    def twin(self) -> "Shopper":
        """Return a copy; world-specific states with further mutable fields copy them, too."""
        other = copy(self)
        other.held = list(self.held)
        return other


class SteppedWorld(World):
    """A world of shoppers that move in steps; `notice` is the probability that a given coupon is noticed."""

    notice: float = 1.0
    people: list[Shopper]

    @abstractmethod
    def born(self, number: int) -> Shopper:
        """Return the state of a shopper at the start."""

    @abstractmethod
    def step(self, one: Shopper) -> tuple[list[Struct], float]:
        """Play the step that is due at `one.at`, set the next one; return messages and margin less discount."""

    def rng_of_day(self, one: Shopper) -> np.random.Generator:
        """Return the random numbers of one shopper and day: they do not depend on coupons given before."""
        return np.random.default_rng([self.seed, self.draw, one.number, one.day + 1, one.fork])

    def start_of(self, day: int) -> float:
        """Return the time at which a day of the simulation starts."""
        return self.starts_at + day * DAY_S

    def shares(self, day: int, until: Floats) -> Floats:
        """Return the share of the visits of a day that start before `until`."""
        out: Floats = np.clip((until - self.start_of(day) - OPEN_S) / (CLOSE_S - OPEN_S), 0.0, 1.0)
        return out

    def leave(self, one: Shopper) -> None:
        """End the visit: the next step is the opening of the next day."""
        one.phase, one.browses = "away", 0
        one.held = [held for held in one.held if held.issue.expires_at > one.at]
        one.at = self.start_of(one.day + 1) + OPEN_S

    def enter(self, one: Shopper) -> None:
        """Start a visit at a random time of the day that has just opened."""
        one.phase = "browse"
        one.at = one.started_at = self.start_of(one.day) + OPEN_S + float(one.rng.random()) * (CLOSE_S - OPEN_S)

    def simulated_margin(self, forks: int) -> float:
        """Return the mean margin of the time played over so many futures without coupons."""
        total = 0.0
        for number in range(self.shoppers):
            for fork in range(1, forks + 1):
                one = self.born(number)
                one.fork = fork
                while one.at < self.ends_at:
                    total += self.step(one)[1]
        return total / forks

    def reset(self) -> None:
        """Put all shoppers back to the start."""
        self.people = [self.born(number) for number in range(self.shoppers)]
        self.index = {one.coupon_id: n for n, one in enumerate(self.coupons)}
        self.numbers = {one.user_id: one.number for one in self.people}

    def shopper_of(self, user_id: str) -> Shopper:
        """Return the current state of a shopper."""
        return self.people[self.numbers[user_id]]

    def events(self) -> Events:
        """Yield all messages in order of time; see `World.events`."""
        self.reset()
        order = count()
        heap: list[tuple[float, int, Struct | Shopper]] = [(one.at, next(order), one) for one in self.people]
        heapq.heapify(heap)
        while heap and heap[0][0] < self.ends_at:
            _, _, due = heapq.heappop(heap)
            messages = self.step(due)[0] if isinstance(due, Shopper) else [due]
            for message in messages:
                for issue in (yield message) or ():
                    click_at = self.receive(self.shopper_of(issue.user_id), issue)
                    if click_at:
                        click = testing.feedback(issue, "click", at=click_at, event_id=f"click-{issue.issue_id}")
                        heapq.heappush(heap, (click_at, next(order), click))
            if isinstance(due, Shopper):
                heapq.heappush(heap, (due.at, next(order), due))

    def receive(self, one: Shopper, issue: CouponIssue) -> float:
        """Put an issue into the wallet; return the time of its click, or 0 if there is none."""
        rng = np.random.default_rng([self.seed, one.number, int(issue.issued_at), len(one.held), one.fork])
        noticed, delay = rng.random(2).tolist()
        one.held.append(Held(self.index[issue.coupon_id], issue, noticed < self.notice))
        return issue.issued_at + 2.0 + 30.0 * delay if noticed < self.notice * CLICK_SHARE else 0.0

    def future(self, user_id: str, at: float, until: float, coupon: int | None, fork: int) -> float:
        """Play one future of a copy of a shopper; return the margin of its orders less discounts until `until`."""
        one = self.shopper_of(user_id).twin()
        one.fork, one.rng = fork, np.random.default_rng([self.seed, one.number, fork])
        if coupon is not None:
            self.receive(one, testing.issue(user_id, self.coupons[coupon], at=at))
        earned = 0.0
        while one.at < until:
            earned += self.step(one)[1]
        return earned


def order_of(
    one: Shopper, items: list[Item], used: Held | None = None, discount: int = 0, in_scope: int = 0
) -> list[Struct]:
    """Return the messages of an order: the order, and the purchase if a coupon was used, which leaves the wallet."""
    order_id = one.next_id("order")
    order = testing.order(one.user_id, *items, at=one.at, event_id=order_id, discount_minor=discount or None)
    if used is None:
        return [order]
    one.held = [held for held in one.held if held is not used]
    bought = testing.feedback(
        used.issue,
        "purchase",
        at=one.at,
        event_id=one.next_id("purchase"),
        discount_minor=discount,
        order_value_minor=in_scope,
    )
    return [order, bought]


def stated(rng: np.random.Generator, coupon_id: str, price: float, margin: float, percent: float, fixed: int) -> Coupon:
    """Return a coupon for all items, `percent` or else `fixed` off; 85 % state price and margin, with errors."""
    known = rng.random() < 0.85
    wrong = 1.0 + rng.uniform(0.1, 0.3, 2) * rng.choice([-1.0, 1.0], 2)
    return testing.coupon(
        coupon_id,
        discount_percent=percent or None,
        discount_minor=None if percent else fixed,
        max_discount_minor=round(percent / 100 * price * 1.6) if percent else fixed,
        typical_price_minor=round(price * wrong[0]) if known else None,
        margin_ratio=round(float(margin * wrong[1]), 3) if known else 0.3,
    )


def taken(coupon: Coupon, prices: Floats) -> Floats:
    """Return the discount of a coupon on orders of these prices, whole minor units, whatever its scope."""
    raw = prices * (coupon.discount_percent or 0.0) / 100 if coupon.discount_percent else coupon.discount_minor or 0
    out: Floats = np.floor(np.minimum(np.minimum(raw, coupon.max_discount_minor), prices))
    return out
