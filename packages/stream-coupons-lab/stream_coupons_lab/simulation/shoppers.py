"""A closed loop: shoppers who browse and order, are given coupons, and answer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from msgspec import Struct

from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons_lab.simulation.assortment import Assortment, make_assortment
from stream_coupons_lab.simulation.behaviour import DAY_S, USES_IF_ORDERING, Calendar, Shop, SimulatedShopper
from stream_coupons_lab.simulation.catalogue import ISSUES_PER_SHOPPER_WEEK, make_coupons, with_campaign
from stream_coupons_lab.simulation.history import CouponMemory
from stream_coupons_lab.simulation.population import MEDIAN_ORDER_RATIO, Floats, make_population
from stream_coupons_lab.simulation.reactions import CouponUse, Reactions
from stream_coupons_lab.simulation.terms import CouponTerms
from stream_coupons_lab.simulation.timeline import Timeline
from stream_coupons_lab.simulation.truth import Response, Truth
from stream_coupons_lab.simulation.worth import Worth, WorthOfCoupons

MONDAY = 1_736_121_600.0
"""2025-01-06 00:00 UTC."""
OTHER_SEEDS = 1_000_003
"""Between the seeds of two draws of shoppers of the same world: more than there are seeds of worlds."""


@dataclass(frozen=True)
class WorldSettings:
    """Settings of a world; the same settings make the same world.

    Parameters
    ----------
    seed : int
        Not negative.
    shoppers, coupons, days : int
        Numbers of shoppers, coupons and days; the world itself never ends.
    start_at : float
        UTC epoch seconds of the first midnight.
    sessions_per_day : float
        Mean over shoppers; at 1.5 a shopper makes between 5 and 6 events a day.
    taste_drift_day : float or None
        From the first midnight at or after this many days, every shopper has other tastes.
    domain : str
        Domain of all events and coupons.
    median_order_ratio : float
        Median over shoppers of P(order | session, nothing bought lately), above 0 to 0.6.
    uses_if_ordering : float
        P(a coupon that was seen is used | an order of the shopper's own is in its scope), 0 to 1.
    other_shoppers : int
        0, or the number of another draw of shoppers of the same world: with the same products, coupons and segments.
    has_campaign : bool
        Add a campaign, a coupon for the whole shop, and coupons that lose money: see `with_campaign`.
    """

    seed: int = 0
    shoppers: int = 300
    coupons: int = 40
    days: int = 21
    start_at: float = MONDAY
    sessions_per_day: float = 1.5
    taste_drift_day: float | None = None
    domain: str = "ecommerce"
    median_order_ratio: float = MEDIAN_ORDER_RATIO
    uses_if_ordering: float = USES_IF_ORDERING
    other_shoppers: int = 0
    has_campaign: bool = False


@dataclass(slots=True)
class WorldStatistics:
    """Totals of the events so far; money in cents.

    `incremental_margin_minor` is exact in this world: the margin of orders that coupons caused, less all
    discounts. It is exact because coupons never change a shopper's own orders here; real coupons also move
    purchases forward and take them from other products. It does not include the cost of sending.
    """

    issues: int = 0
    impressions: int = 0
    clicks: int = 0
    redemptions: int = 0
    persuaded: int = 0
    discount_minor: int = 0
    incremental_margin_minor: float = 0.0


def _offers(
    settings: WorldSettings, rng: np.random.Generator, assortment: Assortment
) -> tuple[list[Coupon], list[Campaign]]:
    """Draw the coupons of a world, and their campaigns."""
    issues = settings.shoppers * ISSUES_PER_SHOPPER_WEEK * settings.days / 7 / settings.coupons
    ids = tuple(f"coupon-{number:02d}" for number in range(settings.coupons))
    coupons = make_coupons(rng, assortment, ids, settings.domain, issues)
    if not settings.has_campaign:
        return coupons, []
    spring = Campaign(campaign_id="spring", title="Spring", starts_at=settings.start_at)
    spring, coupons = with_campaign(coupons, assortment, spring, issues)
    return coupons, [spring]


class World:
    """Simulated shoppers; take their events with `advance`, give them coupons with `receive`.

    Parameters
    ----------
    settings : WorldSettings
        Settings of this world.

    Attributes
    ----------
    now : float
        UTC epoch seconds: all events up to it have been taken.
    ends_at : float
        End of `settings.days`, UTC epoch seconds. The world does not stop there.
    statistics : WorldStatistics
        Totals of the events until `now`.

    Examples
    --------
    >>> world = World(WorldSettings(shoppers=20, days=1))
    >>> events = world.advance(world.ends_at)
    >>> topic, first = events[0]
    >>> topic, first.user_id.startswith("shopper-"), world.now == world.ends_at
    ('browse-events', True, True)
    """

    def __init__(self, settings: WorldSettings) -> None:
        self.settings = settings
        self.now = settings.start_at
        self.ends_at = settings.start_at + settings.days * DAY_S
        self.statistics = WorldStatistics()
        rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(0,)))
        assortment = make_assortment(rng)
        drift = settings.taste_drift_day
        calendar = Calendar(settings.start_at, None if drift is None else math.ceil(drift))
        make = partial(
            make_population,
            assortment=assortment,
            shoppers=settings.shoppers,
            sessions_per_day=settings.sessions_per_day,
            drifts=drift is not None,
            median_order_ratio=settings.median_order_ratio,
        )
        population, seed = make(settings.seed), settings.seed
        if settings.other_shoppers:
            seed += settings.other_shoppers * OTHER_SEEDS
            population = make(seed, like=population)
        self._shop = Shop.open(assortment, population, calendar, settings.domain, seed, settings.uses_if_ordering)
        self._coupons, self._campaigns = _offers(settings, rng, assortment)
        self._by_id = {coupon.coupon_id: coupon for coupon in self._coupons}
        terms = CouponTerms(settings.seed, assortment)
        terms.rows(self._coupons)
        self._truth = Truth(self._shop, terms)
        self._worth = WorthOfCoupons(self._shop, terms)
        self._reactions = Reactions(self._shop, terms, self._truth)
        born = (SimulatedShopper.born(index, self._shop) for index in range(settings.shoppers))
        self._shoppers = {shopper.user_id: shopper for shopper in born}
        self._timeline = Timeline(list(self._shoppers.values()), calendar)
        self._histories = {user_id: CouponMemory() for user_id in self._shoppers}
        self._received: set[str] = set()
        self._redemptions: dict[str, tuple[Coupon, CouponUse]] = {}

    def catalogue(self) -> list[Coupon]:
        """The coupons there are to give."""
        return list(self._coupons)

    def campaigns(self) -> list[Campaign]:
        """The campaigns that they belong to."""
        return list(self._campaigns)

    @property
    def user_ids(self) -> list[str]:
        """Every shopper."""
        return list(self._shoppers)

    def advance(self, until: float) -> list[tuple[str, Struct]]:
        """Advance time to `until` and return the events that happen.

        Parameters
        ----------
        until : float
            UTC epoch seconds; at or before `now`, nothing happens.

        Returns
        -------
        list of (topic name, message)
            In order of time, all with `occurred_at` in (now, until]; reactions to coupons included, those before `now`
            too if the coupon was received at an earlier time.
        """
        happened = self._timeline.take(self.now, until)
        self.now = max(self.now, until)
        for *_, message in happened:
            if isinstance(message, FeedbackEvent):
                self._count(message)
        return [(topic, message) for _, _, _, topic, message in happened]

    def receive(self, issue: CouponIssue, at: float | None = None) -> None:
        """Hand a coupon to its shopper, who reacts.

        A second issue with the same id is ignored, as a downstream that deduplicates does; so is one for a shopper or
        a coupon that this world does not have. An expired one moves nobody.

        Parameters
        ----------
        issue : CouponIssue
            Issues of one shopper come in the order in which they are received.
        at : float, optional
            UTC epoch seconds at which the shopper has it: by default max(issued_at, now). An earlier time is for time
            that stood still while the system decided.
        """
        shopper, coupon = self._shoppers.get(issue.user_id), self._by_id.get(issue.coupon_id)
        if issue.issue_id in self._received or shopper is None or coupon is None:
            return
        self._received.add(issue.issue_id)
        self.statistics.issues += 1
        at = max(issue.issued_at, self.now) if at is None else at
        reaction = self._reactions.react(shopper, self._histories[issue.user_id], coupon, issue, at)
        self._timeline.schedule(reaction.events)
        if reaction.redemption is not None:
            self._redemptions[issue.issue_id] = (coupon, reaction.redemption)

    def truths(self, user_id: str, coupons: Sequence[Coupon], at: float) -> Floats:
        """Return the probabilities that `receive` would draw from if a coupon were issued at `at`.

        They depend on the shopper's hidden state, not on the future; a session under way counts only by its
        events until `at`. P(order) is exact except for the minutes between a session's start and its order.
        An order takes one coupon, so P(redeem) and P(click) allow for earlier open coupons by the overlap of
        scopes and windows: an approximation.

        Parameters
        ----------
        user_id : str
            A shopper of this world.
        coupons : Sequence[Coupon]
            K coupons of any catalogue; the appeal of an unknown coupon derives from its id.
        at : float
            UTC epoch seconds, at or after the shopper's latest coupon.

        Returns
        -------
        Floats
            Shape (K, 3): P(click), P(redeem), and P(order in the coupon's scope within
            `redeem_within_s`, had there been no coupon).

        Raises
        ------
        KeyError
            The shopper is not of this world.
        """
        response = self._response(user_id, coupons, at)
        return np.stack([response.clicks, response.redeems, response.orders], axis=1)

    def worth(self, user_id: str, coupons: Sequence[Coupon], at: float, expires_at: float | None = None) -> Worth:
        """Return the money that each coupon is expected to bring, were it alone handed over at a moment.

        It is the expectation of what `statistics` books, by the same knowledge as `truths`.

        Parameters
        ----------
        user_id, coupons, at
            The same as for `truths`.
        expires_at : float, optional
            UTC epoch seconds: the end of a coupon that was issued earlier.

        Raises
        ------
        KeyError
            The shopper is not of this world.
        """
        day = max(0, self._shop.calendar.day(at))
        response = self._response(user_id, coupons, at, expires_at)
        return self._worth.of(response, self._shoppers[user_id].index, day, coupons)

    def _response(
        self, user_id: str, coupons: Sequence[Coupon], at: float, expires_at: float | None = None
    ) -> Response:
        until = np.array([min(at + coupon.redeem_within_s, coupon.valid_until) for coupon in coupons])
        if expires_at is not None:
            until = np.minimum(until, expires_at)
        return self._truth.response(self._shoppers[user_id], self._histories[user_id], coupons, at, until)

    def _count(self, feedback: FeedbackEvent) -> None:
        statistics = self.statistics
        if feedback.kind == "impression":
            statistics.impressions += 1
        elif feedback.kind == "click":
            statistics.clicks += 1
        else:
            coupon, redemption = self._redemptions.pop(feedback.issue_id)
            statistics.redemptions += 1
            statistics.persuaded += redemption.persuaded
            statistics.discount_minor += redemption.discount_minor
            statistics.incremental_margin_minor += redemption.incremental_margin_minor(coupon.margin_ratio)
