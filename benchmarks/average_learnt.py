"""The dull policy that is to be beaten: one value per coupon for all shoppers, learnt online by what a shop can see.

A shop that runs it compares, for every coupon, the margin of orders in its scope within its window, less discounts,
among shoppers who were given it and among those who were not: the holdout, and shoppers who were given a coupon for
something else. Each part of a window is learnt from as soon as it is over. Everybody gets the coupon with the highest
value; it explores by Thompson sampling [1]_.

References
----------
.. [1] Chapelle, O. and Li, L. (2011). An Empirical Evaluation of Thompson Sampling. NIPS.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from msgspec import Struct

from stream_coupons.core.catalogue.compiled import CouponSet, Floats
from stream_coupons.core.decision import policy
from stream_coupons.core.decision.scoring import ValueScorer
from stream_coupons.core.features.rows import Subject
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, FeedbackEvent, Item, OrderEvent
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.issue_counts import IssueCounts

PRIOR_UPLIFT = 0.02
"""Orders that a coupon brings about by the prior, of a typical basket each."""
PRIOR_UPLIFT_ISSUES = 200.0
PRIOR_ORDERS = 0.03
PRIOR_ORDERS_COUNT = 50.0
PRIOR_VARIANCE = 0.05
PRIOR_VARIANCE_COUNT = 100.0
MIN_SPREAD, PRIOR_SPREAD = 0.005, 0.02
"""Standard deviation between coupons, in typical baskets an issue: the least, and before there are `MIN_ISSUES`."""
MIN_ISSUES = 200
AGES = (0.0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Bounds of the parts of a window, as shares of it: what happens in a part is learnt from when it is over."""
PARTS = len(AGES) - 1


@dataclass(frozen=True, slots=True)
class _Window:
    """A shopper who was given a coupon, or none (-1), at a moment."""

    at: float
    user_id: str
    given: int
    issue_id: str = ""
    part: int = 0
    """The part of its time that is to be closed next."""


class AverageLearnt(ValueScorer):
    """Ranks coupons by what each was worth on average so far.

    Parameters
    ----------
    coupons : iterable of Coupon
        The catalogue, of one domain.
    rules : PolicyRules
        Caps, which a shopper of the holdout is held to as well, and the cost of sending.
    is_control : callable
        Whether a shopper is in the holdout.
    seed : int
        Of the exploring.
    """

    def __init__(
        self, coupons: Iterable[Coupon], rules: PolicyRules, is_control: Callable[[str], bool], seed: int
    ) -> None:
        self._set = CouponSet(coupons, rules.typical_price_minor)
        self._rules = rules
        self._is_control = is_control
        self._rng = np.random.default_rng([seed, 24])
        each, count = self._set.coupons, len(self._set.coupons)
        self._ratio = np.array([coupon.margin_ratio for coupon in each])
        self._scale = np.maximum(self._set.margin_minor, 1.0)
        """Margin of a typical basket, minor units: what a coupon brings is learnt as a multiple of it."""
        self._depth = self._set.discount_minor / self._scale
        self._apart = np.array([[not _overlap(one, other) for other in each] for one in each])
        self._window_s = float(self._set.redeem_within_s.max())
        self._now = -np.inf
        self._items: dict[str, Item] = {}
        self._orders: defaultdict[str, list[tuple[float, Floats]]] = defaultdict(list)
        self._windows: list[tuple[float, int, _Window]] = []
        """A heap by the time when the next part is over."""
        self._opened = 0
        self._recent: defaultdict[str, list[float]] = defaultdict(list)
        self._discounts: dict[str, tuple[float, float]] = {}
        shape = (PARTS, count)
        self._given, self._brought, self._squares = np.zeros(shape), np.zeros(shape), np.zeros((PARTS, 1))
        self._without, self._anyway = np.zeros(shape), np.zeros(shape)
        self._mean, self._deviation = np.zeros(count), np.zeros(count)
        self.learn()

    def values_of(self, subject: Subject) -> Floats:
        """Return a draw of each coupon's value from what is believed of it, less the cost of sending it."""
        if self._is_control(subject.user_id):
            self._open_control(subject)
        drawn = self._rng.normal(self._mean, self._deviation)
        return np.asarray((drawn * self._scale)[subject.positions] - self._rules.cost_minor)

    def _open_control(self, subject: Subject) -> None:
        recent = self._recent[subject.user_id]
        if not policy.is_over_frequency_cap(recent, IssueCounts(), subject.at, self._rules):
            policy.note_issue(recent, subject.at, self._rules)
            self._open(_Window(subject.at, subject.user_id, -1))

    def _open(self, window: _Window) -> None:
        self._opened += 1
        over_at = window.at + AGES[window.part + 1] * self._window_s
        heapq.heappush(self._windows, (over_at, self._opened, window))

    def hear(self, message: Struct) -> None:
        """Take note of what the shop sees: products, orders, issues, and what coupons took off."""
        if isinstance(message, CouponIssue):
            position = self._set.position[message.coupon_id]
            self._open(_Window(message.issued_at, message.user_id, position, message.issue_id))
        elif isinstance(message, FeedbackEvent):
            if message.kind == "purchase":
                self._discounts[message.issue_id] = message.occurred_at, float(message.discount_minor or 0)
        elif isinstance(message, OrderEvent):
            self._now = max(self._now, message.occurred_at)
            values = np.zeros(len(self._set.coupons))
            for item in message.items:
                values += self._values_in_scope(item)
            self._orders[message.user_id].append((message.occurred_at, values))
        elif isinstance(message, BrowseEvent | CartEvent):
            self._now = max(self._now, message.occurred_at)
            if message.item is not None:
                self._known(message.item)

    def _known(self, item: Item) -> Item:
        """Return the item with what was last heard of it where it lacks something."""
        before = self._items.get(item.item_id, item)
        whole = Item(
            item_id=item.item_id,
            category=item.category or before.category,
            brand=item.brand or before.brand,
            price_minor=before.price_minor if item.price_minor is None else item.price_minor,
        )
        self._items[item.item_id] = whole
        return whole

    def _values_in_scope(self, item: Item) -> Floats:
        """Return the shelf price of an order's line by coupon, 0 where it is not in its scope."""
        known = self._known(item)
        value = (known.price_minor or 0) * (1.0 if item.quantity is None else item.quantity)
        return np.array([value if _covers(coupon, known) else 0.0 for coupon in self._set.coupons])

    def learn(self) -> None:
        """Take in the parts of windows that are over, and form beliefs."""
        while self._windows and self._windows[0][0] < self._now:
            self._close(heapq.heappop(self._windows)[2])
        # All in typical baskets an issue. Of a window, a part counts for as much as it varies.
        weights = self._squares + PRIOR_VARIANCE
        given = (weights / weights.sum() * self._given).sum(axis=0)
        total = given.sum()
        variance = (self._squares.sum() + PRIOR_VARIANCE * PRIOR_VARIANCE_COUNT) / (total + PRIOR_VARIANCE_COUNT)
        prior = PRIOR_ORDERS * np.diff(AGES)[:, None] * PRIOR_ORDERS_COUNT
        overall = (self._anyway.sum(axis=1, keepdims=True) + prior) / (
            self._without.sum(axis=1, keepdims=True) + PRIOR_ORDERS_COUNT
        )
        anyway_by_part = (self._anyway + overall * PRIOR_ORDERS_COUNT) / (self._without + PRIOR_ORDERS_COUNT)
        # A part that none was watched through yet is taken to have no effect.
        brought = np.where(self._given > 0, self._brought / np.maximum(self._given, 1.0), anyway_by_part)
        anyway = anyway_by_part.sum(axis=0)
        effects = brought.sum(axis=0) - anyway
        # By its terms alone, a coupon brings margin less discount of those persuaded, and costs that of the others.
        kept, lost = 1.0 - self._depth, self._depth * anyway
        uplift = (PRIOR_UPLIFT * PRIOR_UPLIFT_ISSUES + (given * kept * (effects + lost)).sum()) / (
            PRIOR_UPLIFT_ISSUES + (given * kept**2).sum()
        )
        expected = max(uplift, 0.0) * kept - lost
        spread = PRIOR_SPREAD if total < MIN_ISSUES else _spread(effects - expected, given, variance)
        precision = given / variance + 1.0 / spread**2
        self._mean = expected + (effects - expected) * (given / variance) / precision
        self._deviation = precision**-0.5

    def _close(self, window: _Window) -> None:
        """Count what happened in the next part of a window."""
        part, totals = window.part, np.zeros(len(self._scale))
        begin, end = (window.at + AGES[part + n] * self._set.redeem_within_s for n in range(2))
        for at, values in self._orders[window.user_id]:
            totals += values * ((begin < at) & (at <= end))
        margins = totals * self._ratio / self._scale
        others = np.ones(len(totals), np.bool_) if window.given < 0 else self._apart[window.given]
        self._without[part] += others
        self._anyway[part] += margins * others
        if window.given >= 0:
            given = window.given
            used_at, discount = self._discounts.get(window.issue_id, (-np.inf, 0.0))
            brought = margins[given] - discount * (begin[given] < used_at <= end[given]) / self._scale[given]
            self._given[part, given] += 1
            self._brought[part, given] += brought
            self._squares[part] += brought**2
        if part + 1 < PARTS:
            self._open(replace(window, part=part + 1))


def _spread(residuals: Floats, counts: Floats, variance: float) -> float:
    """Return the standard deviation between coupons by the method of moments (DerSimonian and Laird, 1986)."""
    weights = counts / variance
    total = weights.sum()
    excess = (weights * residuals**2).sum() - (np.count_nonzero(counts) - 1)
    return max(float(excess / (total - (weights**2).sum() / total)), MIN_SPREAD**2) ** 0.5


def _covers(coupon: Coupon, item: Item) -> bool:
    asked: tuple[tuple[list[str], str | None], ...] = (
        (coupon.categories, item.category),
        (coupon.brands, item.brand),
        (coupon.items, item.item_id),
    )
    return all(not names or name in names for names, name in asked)


def _overlap(one: Coupon, other: Coupon) -> bool:
    """Return whether an item may be in the scope of both coupons, by their terms."""
    lists = ((one.categories, other.categories), (one.brands, other.brands), (one.items, other.items))
    return all(not mine or not theirs or set(mine) & set(theirs) for mine, theirs in lists)
