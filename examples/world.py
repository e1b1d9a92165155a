"""Customers of a made-up domain, the randomised coupons that they were given, and what came of them.

A visit looks at one item. Some visits are decisions: one arm is drawn among the coupons of that item's category and
`none`, with a known probability, and the customer orders or not within the window. Visits to a category stop while its
window is open, so every order of a window belongs to one decision.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from examples.domains import AFTER_DAYS, DAY_S, Category, Domain, Offer, Segment

STARTS_AT = 1_767_571_200
"""Monday, 2026-01-05, UTC epoch seconds."""
NONE = "none"
DECIDED_RATIO = 0.85
NONE_RATIO = 0.3
UNIFORM_RATIO = 0.5
"""Of the propensity of a coupon that the customer's context does not decide."""
CLICKS_IF_ORDERING = 0.95
CURIOUS = 0.08


@dataclass(frozen=True, slots=True)
class Look:
    """A visit: one item looked at."""

    at: int
    customer: str
    category: str
    item: str
    price_minor: int
    context: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Purchase:
    """An order of one item, by a decision's arm or without a decision."""

    at: int
    look: Look
    quantity: int
    discount_minor: int

    @property
    def value_minor(self) -> int:
        """Value before the discount."""
        return self.look.price_minor * self.quantity


@dataclass(frozen=True, slots=True)
class Decision:
    """One randomised decision: what could be given, what was, and what would have come of every arm.

    Attributes
    ----------
    propensity : mapping
        By arm, the probability of its being chosen.
    p_order : mapping
        By arm, the probability of an order within the window: the ground truth.
    value_minor : int
        Value of the order, whichever arm brings it.
    """

    issue_id: str
    look: Look
    arm: str
    propensity: Mapping[str, float]
    p_order: Mapping[str, float]
    value_minor: int
    clicked_at: int | None
    ordered: Purchase | None


@dataclass(frozen=True, slots=True)
class History:
    """All that happened, each kind in order of time."""

    looks: Sequence[Look]
    decisions: Sequence[Decision]
    purchases: Sequence[Purchase]


def coupon_id(category: str, offer: Offer) -> str:
    """Return the id of an offer's coupon for a category."""
    return f"{category.replace(' ', '-')}-{offer.name}"


def offers_of(domain: Domain, category: str) -> dict[str, Offer]:
    """Return the offers for a category by coupon id."""
    return {coupon_id(category, offer): offer for offer in domain.offers if category in offer.categories}


def play(domain: Domain) -> History:
    """Let all customers of a domain live through its days; the same domain always gives the same history."""
    looks: list[Look] = []
    decisions: list[Decision] = []
    purchases: list[Purchase] = []
    for number in range(domain.customers):
        customer = _Customer(domain, number)
        customer.live()
        looks += customer.looks
        decisions += customer.decisions
        purchases += customer.purchases
    return History(
        sorted(looks, key=lambda look: (look.at, look.customer)),
        sorted(decisions, key=lambda decision: (decision.look.at, decision.issue_id)),
        sorted(purchases, key=lambda purchase: (purchase.at, purchase.look.customer)),
    )


class _Customer:
    """One customer, visit by visit."""

    def __init__(self, domain: Domain, number: int) -> None:
        self._domain = domain
        self._random = Random(f"{domain.name} {domain.seed} {number}")
        self._name = f"{domain.name[0]}{number:03d}"
        draw = self._random
        name = draw.choices(list(domain.segments), [segment.share for segment in domain.segments.values()])[0]
        self._segment: Segment = domain.segments[name]
        self._context = {
            key: draw.choices(list(weights), list(weights.values()))[0]
            for key, weights in self._segment.context.items()
        }
        self._taste = {
            category: self._segment.tastes.get(category, 1.0) * math.exp(draw.gauss(0, 0.6))
            for category in domain.categories
        }
        self._leaning = draw.gauss(0, 0.4)
        self._bought: dict[str, float] = {}
        self._open_until: dict[str, float] = {}
        self.looks: list[Look] = []
        self.decisions: list[Decision] = []
        self.purchases: list[Purchase] = []

    def live(self) -> None:
        """Live through the days of the log."""
        for day in range(self._domain.days):
            rate = self._domain.visits_a_day * self._domain.weekdays.get(day % 7, 1.0)
            if self._random.random() < 1 - math.exp(-rate):
                self._visit(day + self._random.triangular(7, 23, 19) / 24)

    def _visit(self, day: float) -> None:
        demand = {name: self._demand(name, category, day) for name, category in self._domain.categories.items()}
        if not any(demand.values()):
            return
        category = self._random.choices(list(demand), list(demand.values()))[0]
        item, price = self._random.choice(list(self._domain.categories[category].prices.items()))
        at = STARTS_AT + round(day * DAY_S)
        look = Look(at, self._name, category, item, price, self._context)
        self.looks.append(look)
        quantity = self._random.choice(self._domain.quantities)
        if self._random.random() < DECIDED_RATIO:
            self._decide(look, day, quantity)
        elif self._random.random() < self._p_order(look, None):
            self._buy(look, day, quantity, 0.0)

    def _demand(self, name: str, category: Category, day: float) -> float:
        if day < self._open_until.get(name, 0.0):
            return 0.0
        if category.after and not any(day - self._bought.get(each, -math.inf) < AFTER_DAYS for each in category.after):
            return 0.0
        season = category.season.demand(day) if category.season else 1.0
        return category.demand * self._taste[name] * season * self._wanted_again(name, category, day)

    def _wanted_again(self, name: str, category: Category, day: float) -> float:
        since = day - self._bought.get(name, -math.inf)
        return 1.0 if math.isinf(since) else 1 - math.exp(-since / category.lasts_days)

    def _p_order(self, look: Look, offer: Offer | None) -> float:
        buys = self._domain.categories[look.category].buys + self._segment.buys + self._leaning
        organic = 1 / (1 + math.exp(-buys))
        moved = self._segment.moved[offer.name] if offer else 0.0
        return organic + (1 - organic) * moved

    def _decide(self, look: Look, day: float, quantity: int) -> None:
        domain, draw = self._domain, self._random
        offers = offers_of(domain, look.category)
        propensity = _propensities(list(offers), self._context)
        p_order = {arm: self._p_order(look, offers.get(arm)) for arm in propensity}
        arm = draw.choices(list(propensity), list(propensity.values()))[0]
        self._open_until[look.category] = day + domain.window_days
        is_ordering = draw.random() < p_order[arm]
        offer = offers.get(arm)
        is_clicking = offer is not None and draw.random() < (CLICKS_IF_ORDERING if is_ordering else CURIOUS)
        clicked_at = look.at + draw.randint(20, 900) if is_clicking else None
        ordered = None
        if is_ordering:
            off = offer.discount_minor(look.price_minor * quantity) if offer else 0.0
            ordered = self._buy(look, day, quantity, off)
        issue_id = f"{self._name}-{len(self.decisions):02d}"
        value = look.price_minor * quantity
        self.decisions.append(Decision(issue_id, look, arm, propensity, p_order, value, clicked_at, ordered))

    def _buy(self, look: Look, day: float, quantity: int, discount_minor: float) -> Purchase:
        delay = 0.02 + self._random.random() ** 2 * (self._domain.window_days - 0.1)
        purchase = Purchase(look.at + round(delay * DAY_S), look, quantity, round(discount_minor))
        self._bought[look.category] = day + delay
        self.purchases.append(purchase)
        return purchase


def _propensities(coupons: list[str], context: Mapping[str, str]) -> dict[str, float]:
    """Return the logging policy's exact propensities, which depend on the context: `none`, then every coupon.

    A rule prefers one coupon by the customer's context; `UNIFORM_RATIO` of what is given is drawn evenly.
    """
    preferred = sum(map(ord, "".join(context.values()))) % len(coupons)
    given = 1 - NONE_RATIO
    even = given * UNIFORM_RATIO / len(coupons)
    propensity = {arm: even + (given * (1 - UNIFORM_RATIO) if i == preferred else 0.0) for i, arm in enumerate(coupons)}
    # Rounded as the log states them, and drawn by what the log states.
    rounded = {arm: round(value, 4) for arm, value in propensity.items()}
    return {NONE: round(1 - sum(rounded.values()), 4), **rounded}
