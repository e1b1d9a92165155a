"""Ground truth: the probability of each response of a shopper to a coupon, at a moment.

A shopper sees a coupon less often the more coupons they received lately. A shopper who sees it and would order
in its scope anyway mostly uses it: the discount is a deadweight. Other shoppers may be persuaded, with a hazard
that grows with their interest, the felt depth of the discount and their current focus. A shopper who does
neither may still click.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons_lab.simulation.assortment import CATEGORIES, REPLENISH_DAYS
from stream_coupons_lab.simulation.behaviour import (
    ABANDON_RATIO,
    DAY_S,
    FOCUS_KEEPS,
    FOCUS_SHARE,
    SECOND_LINE_RATIO,
    Shop,
    SimulatedShopper,
    Visit,
)
from stream_coupons_lab.simulation.history import CouponMemory
from stream_coupons_lab.simulation.population import Floats
from stream_coupons_lab.simulation.terms import CouponTerms

CLICKS_IF_ORDERING = 0.75
CLICKS_IF_PERSUADED = 0.95
SEES = 0.95
PERSUASION = 2.2
PERSUADED_AT_MOST = 0.34
NOTICED_DEPTH = 0.04
DEPTH_SCALE = 0.2
FATIGUE_WEIGHT = 0.12
BORES_WEIGHT = 0.35
CURIOSITY = 0.3
SESSION_S = 5 * 60.0
LONGEST_SESSION_S = 2 * 3600.0

_REPLENISH_S = np.asarray(REPLENISH_DAYS) * DAY_S


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """Probabilities for K coupons, each of shape (K,).

    Attributes
    ----------
    sees : Floats
        P(the coupon is seen).
    orders : Floats
        P(order in scope within the window, had there been no coupon).
    free : Floats
        P(the order takes this coupon, and no earlier one kept for it | orders).
    uses : float
        P(the coupon is used | seen, an order takes it).
    persuaded : Floats
        P(order because of the coupon | seen, would not order).
    curious : Floats
        P(click | seen, neither used nor persuaded).
    """

    sees: Floats
    orders: Floats
    free: Floats
    uses: float
    persuaded: Floats
    curious: Floats

    @property
    def redeems(self) -> Floats:
        """P(redeem)."""
        return self.sees * (self.orders * self.free * self.uses + (1 - self.orders) * self.persuaded)

    @property
    def clicks(self) -> Floats:
        """P(click)."""
        uses = self.orders * self.free * self.uses
        persuaded = (1 - self.orders) * self.persuaded
        return self.sees * (
            uses * CLICKS_IF_ORDERING + persuaded * CLICKS_IF_PERSUADED + (1 - uses - persuaded) * self.curious
        )


class Truth:
    """Answers for any shopper, coupon and moment; changes nothing but caches."""

    def __init__(self, shop: Shop, terms: CouponTerms) -> None:
        self._shop = shop
        self._terms = terms
        self._reach: dict[tuple[int, int], Floats] = {}

    def response(
        self, shopper: SimulatedShopper, history: CouponMemory, coupons: Sequence[Coupon], at: float, until: Floats
    ) -> Response:
        """Return the probabilities of the shopper's responses to each coupon, issued alone at `at`.

        Parameters
        ----------
        shopper, history
            The shopper, and the coupons they received.
        coupons : Sequence[Coupon]
            K coupons.
        at : float
            Time of issue.
        until : Floats
            End of each coupon's window, shape (K,).
        """
        population = self._shop.population
        day = max(0, self._shop.calendar.day(at))
        shopper.live_through(day)
        rows = self._terms.rows(coupons)
        reach = self._reached(shopper, day)[rows]
        live = [s for s in _recent(shopper.sessions, at) if at < s.settled_at or at < s.decided_at]
        sees = SEES * math.exp(-FATIGUE_WEIGHT * population.irritability[shopper.index] * history.fatigue_at(at))
        pull = self._pull(shopper, history, reach, day, at, live)
        tastes = population.tastes[self._shop.calendar.tastes(day)]
        felt = self._terms.depth[rows] * np.where(
            self._terms.is_amount[rows], population.amount_taste[shopper.index], 1.0
        )
        felt = population.price_sensitivity[shopper.index] * np.maximum(0.0, felt - NOTICED_DEPTH)
        appeal = self._terms.appeal[rows, tastes.segment[shopper.index]] * (1 - np.exp(-felt / DEPTH_SCALE))
        bored = np.array([history.boredom_at(coupon.coupon_id, at) for coupon in coupons])
        fresh = np.exp(-BORES_WEIGHT * bored)
        # Curiosity follows appeal and interest more than the wish to buy, so a click is weak evidence.
        interest = (reach > 0) @ tastes.share[shopper.index]
        curious = CURIOSITY * population.curiosity[shopper.index] * np.sqrt(appeal * interest) * fresh
        return Response(
            sees=np.full(len(coupons), sees),
            orders=self._orders(shopper, rows, day, at, until, live),
            free=self._free(shopper, history.kept_at(at), rows, at, until, live),
            uses=self._shop.uses_if_ordering,
            persuaded=PERSUADED_AT_MOST * (1.0 - np.exp(-PERSUASION * appeal * pull * fresh)),
            curious=1.0 - np.exp(-curious),
        )

    def _reached(self, shopper: SimulatedShopper, day: int) -> Floats:
        """P(the product ordered is in scope | order in the category), shape (all coupons, C)."""
        epoch = self._shop.calendar.tastes(day)
        known = self._reach.get((shopper.index, epoch))
        if known is None or len(known) < len(self._terms):
            buy = self._shop.population.tastes[epoch].buy[shopper.index]
            first = self._shop.assortment.first[:-1]
            known = np.minimum(1.0, np.add.reduceat(self._terms.scope * buy, first, axis=1))
            self._reach[shopper.index, epoch] = known
        return known

    def _free(
        self,
        shopper: SimulatedShopper,
        kept: list[tuple[float, int]],
        rows: NDArray[np.intp],
        at: float,
        until: Floats,
        live: list[Visit],
    ) -> Floats:
        """P(no coupon kept from before takes the order), by how far scopes and windows overlap."""
        free = np.ones(len(rows))
        if not kept:
            return free
        population, day = self._shop.population, max(0, self._shop.calendar.day(at))
        tastes = population.tastes[self._shop.calendar.tastes(day)]
        visits = (1 - FOCUS_SHARE) * tastes.share[shopper.index]
        visits[shopper.focus[day]] += FOCUS_SHARE
        visits *= population.activity[shopper.index] * (float(until.max(initial=at)) - at) / DAY_S
        for session in live:
            visits[session.category] += 1.0
        orders = (visits * population.order_ratio[shopper.index])[self._shop.assortment.category]
        likely = self._terms.scope[rows] * (tastes.buy[shopper.index] * orders)
        total = np.maximum(likely.sum(axis=1), 1e-12)
        for expires_at, row in kept:
            window = np.clip((expires_at - at) / np.maximum(until - at, 1.0), 0.0, 1.0)
            free *= 1.0 - window * (likely @ self._terms.scope[row]) / total
        return np.asarray(free)

    def _pull(
        self,
        shopper: SimulatedShopper,
        history: CouponMemory,
        reach: Floats,
        day: int,
        at: float,
        live: list[Visit],
    ) -> Floats:
        """Return the shopper's current interest in the coupons' scopes, shape (K,)."""
        tastes = self._shop.population.tastes[self._shop.calendar.tastes(day)]
        want = tastes.share[shopper.index] ** 0.7
        want[shopper.focus[day]] *= 1.7
        for session in live:
            want[session.category] *= 1.7
        bought = _bought_at(shopper, at)
        for when, category in history.persuaded:
            if when <= at:
                bought[category] = max(bought[category], when)
        used_up = 1.0 - np.exp(-(at - bought) / _REPLENISH_S)
        return np.asarray(reach**0.6 @ (want * used_up))

    def _orders(
        self,
        shopper: SimulatedShopper,
        rows: NDArray[np.intp],
        day: int,
        at: float,
        until: Floats,
        live: list[Visit],
    ) -> Floats:
        """P(order in scope in (at, until]), over what a session under way and later ones may bring."""
        none = np.ones(len(rows))
        for session in live:
            none *= 1.0 - self._session_orders(shopper, session, rows, at)
        calendar, population = self._shop.calendar, self._shop.population
        hours = population.hours_cumulative[shopper.index]
        bought = _bought_at(shopper, at)
        ends = np.maximum(at, until - SESSION_S)
        focus = np.zeros((len(rows), len(CATEGORIES)))
        focus[:, shopper.focus[day]] = 1.0
        # The focus of later days is a Markov chain: carry P(no order yet, focus) through the days.
        for later in range(day, calendar.day(float(ends.max(initial=at))) + 1):
            tastes = population.tastes[calendar.tastes(later)]
            share = tastes.share[shopper.index]
            if later > day:
                focus = FOCUS_KEEPS * focus + (1 - FOCUS_KEEPS) * focus.sum(axis=1, keepdims=True) * share
            starts_at = calendar.starts_at(later)
            begin, end = max(at, starts_at), np.minimum(ends, starts_at + DAY_S)
            mass = np.interp((end - starts_at) / 3600.0, np.arange(25.0), hours)
            mass = mass - np.interp((begin - starts_at) / 3600.0, np.arange(25.0), hours)
            visits = population.activity[shopper.index] * np.maximum(0.0, mass)
            middle = (begin + float(end.max(initial=begin))) / 2
            used_up = 1.0 - np.exp(-(middle - bought) / _REPLENISH_S)
            ratio = population.order_ratio[shopper.index] * used_up
            hazard = ratio * _either_line(self._reached(shopper, later)[rows])
            mixed = FOCUS_SHARE * hazard + (1 - FOCUS_SHARE) * (hazard @ share)[:, None]
            focus = focus * np.exp(-visits[:, None] * mixed)
        return np.asarray(np.clip(1.0 - none * focus.sum(axis=1), 0.0, 1.0))

    def _session_orders(self, shopper: SimulatedShopper, session: Visit, rows: NDArray[np.intp], at: float) -> Floats:
        """P(this session ends in an order in scope), given no more than its events until now tell."""
        day = self._shop.calendar.day(session.started_at)
        reach = self._reached(shopper, day)[rows, session.category]
        if at < session.decided_at or session.carted is None:
            return session.order_ratio * _either_line(reach)
        tastes = self._shop.population.tastes[self._shop.calendar.tastes(day)]
        buys = session.order_ratio * tastes.buy[shopper.index, session.carted]
        leaves = (1 - session.order_ratio) * ABANDON_RATIO * tastes.look[shopper.index, session.carted]
        first = self._terms.scope[rows, session.carted]
        return np.asarray(buys / (buys + leaves) * np.where(first, 1.0, SECOND_LINE_RATIO * reach))


def _either_line(reach: Floats) -> Floats:
    """P(an order's first line or its second, if there is one, is in scope)."""
    return np.asarray(1.0 - (1.0 - reach) * (1.0 - SECOND_LINE_RATIO * reach))


def _recent(sessions: Sequence[Visit], at: float) -> list[Visit]:
    recent = []
    for session in reversed(sessions):
        if session.started_at < at - LONGEST_SESSION_S:
            break
        if session.started_at <= at:
            recent.append(session)
    return recent


def _bought_at(shopper: SimulatedShopper, at: float) -> Floats:
    """Return the time of the shopper's last own order in each category, -inf if there is none, shape (C,)."""
    bought = np.full(len(CATEGORIES), -np.inf)
    for purchase in shopper.purchases:
        if purchase.at <= at:
            bought[purchase.category] = purchase.at
    return bought
