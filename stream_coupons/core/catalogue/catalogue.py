"""All coupons and campaigns known, by id and by domain, and the pseudo-coupon of the no-coupon arm."""

import math
from collections.abc import Container, Iterable, Mapping
from functools import cached_property
from itertools import filterfalse
from typing import Self

import msgspec
import numpy as np

from stream_coupons.core.catalogue.approval import approved_campaigns
from stream_coupons.core.catalogue.campaign_states import BEFORE_LAUNCH, is_outside_ramp
from stream_coupons.core.catalogue.code_pools import CodePools
from stream_coupons.core.catalogue.compiled import CouponSet, Positions
from stream_coupons.core.catalogue.coupon_terms import is_in_scope, price_of
from stream_coupons.core.catalogue.eligibility_rules import broken_clause, rule_table
from stream_coupons.core.catalogue.occasions import Context, zone_of
from stream_coupons.core.catalogue.rule_fields import Occasion
from stream_coupons.core.draws import stable_hash
from stream_coupons.core.local_time import local_time
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.inputs import Item, ShopEvent
from stream_coupons.core.money.accounts import Accounts, within_campaign
from stream_coupons.core.reasons import Ineligible
from stream_coupons.core.rules import Rules
from stream_coupons.core.shopper.issue_counts import IssueCounts
from stream_coupons.core.shopper.state import Shopper

NOTHING = Coupon(coupon_id="", discount_minor=0, max_discount_minor=1)
"""The pseudo-coupon of the no-coupon arm: for everything, it takes nothing off. No other has an empty id."""


NO_CONTEXT: Context = {}


class Catalogue:
    """All coupons known; immutable: a change makes a new one.

    Parameters
    ----------
    coupons : iterable of Coupon
        Of all domains.
    default_price_minor : float
        Typical price of a coupon that has none, minor units.
    attributes : mapping, optional
        Names of the attributes that are compiled, by domain; all that the coupons of the domain have, if not given.
    others : iterable of str
        Domains that are known although they have no coupon.
    campaigns : iterable of Campaign
        A coupon takes part in its campaign's time and state.
    pools : CodePools, optional
        Imported codes. It may grow: codes that come later are given by the next catalogue.
    approved : container of str, optional
        Ids of the campaigns that are approved; None where no approval is asked for.

    Attributes
    ----------
    accounts : Accounts
        All limits of stock and money.
    domains : dict of str to CouponSet
        Coupons by domain, without those of campaigns before their launch: these change no feature of the others.
    shadows : dict of str to CouponSet
        All coupons of each domain that has some of campaigns before their launch.
    names : frozenset of str
        The domains known.
    nothing : CouponSet
        The pseudo-coupon of the no-coupon arm alone.
    """

    def __init__(  # noqa: PLR0913 - all that a catalogue is made of
        self,
        coupons: Iterable[Coupon],
        default_price_minor: float = 1000.0,
        attributes: Mapping[str, tuple[str, ...]] | None = None,
        others: Iterable[str] = (),
        campaigns: Iterable[Campaign] = (),
        pools: CodePools | None = None,
        approved: Container[str] | None = None,
    ) -> None:
        self.pools = CodePools() if pools is None else pools
        self.campaigns = {campaign.campaign_id: campaign for campaign in campaigns}
        self.by_id = {coupon.coupon_id: self._as_in_campaign(coupon) for coupon in coupons}
        self.accounts = Accounts(self.by_id.values(), self.campaigns.values(), self.pools.sizes())
        self._default_price_minor = default_price_minor
        self.nothing = CouponSet([NOTHING], default_price_minor)
        groups = {one.coupon_id: one.exclusion_group for one in self.by_id.values() if one.exclusion_group}

        def compiled(coupons: Iterable[Coupon], *, is_shadow: bool = False) -> dict[str, CouponSet]:
            return {
                domain: CouponSet(
                    members,
                    default_price_minor,
                    None if attributes is None else attributes.get(domain, ()),
                    accounts=self.accounts,
                    campaigns=self.campaigns,
                    groups=groups,
                    approved=approved,
                    is_shadow=is_shadow,
                )
                for domain, members in _by_domain(coupons).items()
            }

        every = self.by_id.values()
        waiting = _by_domain(filter(self._is_before_launch, every))
        self.domains = compiled(filterfalse(self._is_before_launch, every))
        self.shadows = compiled((coupon for coupon in every if coupon.domain in waiting), is_shadow=True)
        self.names = frozenset({*self.domains, *waiting, *others})
        self._scope_marks: dict[str, int] = {}
        self._terms: dict[tuple[str | None, ...], tuple[float, float] | None] = {}

    @classmethod
    def under(
        cls, rules: Rules, coupons: Iterable[Coupon], campaigns: Iterable[Campaign], pools: CodePools | None = None
    ) -> Self:
        """Return the catalogue by the rules of the shop: its typical price, and the approvals that it asks for.

        Parameters
        ----------
        rules : Rules
            Their `policy.typical_price_minor` and `approval` count.
        coupons, campaigns, pools
            As of the class.
        """
        each, named = list(coupons), list(campaigns)
        approved = approved_campaigns(each, named, rules.approval)
        return cls(each, rules.policy.typical_price_minor, campaigns=named, pools=pools, approved=approved)

    def _as_in_campaign(self, coupon: Coupon) -> Coupon:
        if coupon.campaign_id is None:
            return coupon
        valid_from, valid_until = within_campaign(coupon, self.campaigns)
        return msgspec.structs.replace(coupon, valid_from=valid_from, valid_until=valid_until)

    def _is_before_launch(self, coupon: Coupon) -> bool:
        campaign = self.campaigns.get(coupon.campaign_id or "")
        return campaign is not None and campaign.state in BEFORE_LAUNCH

    def set_of(self, coupon_id: str) -> CouponSet:
        """Return the set that a known coupon is in: of its domain, or of all coupons there before its launch.

        Parameters
        ----------
        coupon_id : str
            Id of a coupon in `by_id`.
        """
        coupon = self.by_id[coupon_id]
        return (self.shadows if self._is_before_launch(coupon) else self.domains)[coupon.domain]

    @cached_property
    def over_at(self) -> dict[str, float]:
        """Time at which the last window of a campaign's coupons closes, by campaign, UTC epoch seconds."""
        windows = dict.fromkeys(self.campaigns, 0.0)
        for coupon in self.by_id.values():
            if coupon.campaign_id in windows:
                windows[coupon.campaign_id] = max(windows[coupon.campaign_id], coupon.redeem_within_s)
        return {name: self.campaigns[name].ends_at + window_s for name, window_s in windows.items()}

    def value_of(self, item: Item, coupon: Coupon) -> int:
        """Return the value of an ordered item, minor units.

        Parameters
        ----------
        item : Item
            An item of an order, in the scope of the coupon.
        coupon : Coupon
            Its typical price counts if the item has none.

        Examples
        --------
        >>> tea = Coupon(coupon_id="tea", max_discount_minor=100, typical_price_minor=400)
        >>> catalogue = Catalogue([tea])
        >>> [catalogue.value_of(Item(item_id="A", price_minor=price, quantity=2.0), tea) for price in (250, None)]
        [500, 800]
        """
        price = price_of(coupon, self._default_price_minor) if item.price_minor is None else item.price_minor
        return round(price * (1.0 if item.quantity is None else item.quantity))

    def terms_of(self, domain: str, item: Item) -> tuple[float, float] | None:
        """Return margin ratio and typical price, minor units, of an item: the means of the coupons for it, if any.

        Parameters
        ----------
        domain : str
            Domain of the order.
        item : Item
            The item.

        Examples
        --------
        >>> tea = Coupon(coupon_id="tea", categories=["tea"], max_discount_minor=100, margin_ratio=0.4)
        >>> [Catalogue([tea]).terms_of("ecommerce", Item(item_id="A", category=name)) for name in ("tea", "salt")]
        [(0.4, 1000.0), None]
        """
        coupons = self.domains.get(domain)
        if coupons is None:
            return None
        # Names that no scope has are one key, so that made-up ones take neither time nor memory.
        items, categories, brands = coupons.once(_named)
        key = (
            domain,
            item.item_id if item.item_id in items else None,
            item.category if item.category in categories else None,
            item.brand if item.brand in brands else None,
        )
        if key not in self._terms:
            found = [place for place, coupon in enumerate(coupons.coupons) if is_in_scope(coupon, item)]
            means = coupons.margin_ratio[found], coupons.price_minor[found]
            self._terms[key] = (float(means[0].mean()), float(means[1].mean())) if found else None
        return self._terms[key]

    def scope_mark(self, coupon_id: str) -> int:
        """Return a mark of the scope of a coupon, which an edit changes; 0 of an unknown coupon.

        Examples
        --------
        >>> Catalogue([]).scope_mark("tea")
        0
        """
        coupon = self.by_id.get(coupon_id)
        if coupon is not None and coupon_id not in self._scope_marks:
            named = [sorted(names) for names in (coupon.items, coupon.categories, coupon.brands)]
            parts = (part for names in named for part in (str(len(names)), *names))
            self._scope_marks[coupon_id] = stable_hash(*parts) | 1
        return self._scope_marks.get(coupon_id, 0)


def _by_domain(coupons: Iterable[Coupon]) -> dict[str, list[Coupon]]:
    found: dict[str, list[Coupon]] = {}
    for coupon in coupons:
        found.setdefault(coupon.domain, []).append(coupon)
    return found


def _named(coupons: CouponSet) -> tuple[frozenset[str], ...]:
    """Return the items, the categories and the brands that scopes name."""
    each = coupons.coupons
    items = (name for coupon in each for name in coupon.items)
    categories = (name for coupon in each for name in coupon.categories)
    return frozenset(items), frozenset(categories), frozenset(name for coupon in each for name in coupon.brands)


def eligible(  # noqa: PLR0913 - what a decision begins with
    shopper: Shopper,
    coupons: CouponSet,
    at: float,
    rules: Rules,
    now: float = 0.0,
    trigger: ShopEvent | None = None,
    facts: list[tuple[str, str]] | None = None,
    context: Context = NO_CONTEXT,
) -> Positions:
    """Return the coupons that the shopper may get.

    Parameters
    ----------
    shopper : Shopper
        Its coupons held, coupons given and items ordered exclude coupons.
    coupons : CouponSet
        Coupons of one domain.
    at : float
        Time of the trigger, UTC epoch seconds.
    rules : Rules
        `policy.reorder_suppress_s` is the time for which an ordered item is not offered again, `shop.time_zone` the
        zone of caps, and of hours unless the context names one.
    now : float
        Current time, UTC epoch seconds. If it is later than `at`, as in a backlog, coupons that have ended by now are
        excluded, too.
    trigger : BrowseEvent, CartEvent or OrderEvent, optional
        The trigger, for the rules of coupons and the shopper's draws; without it, only its time is known.
    facts : list of (noun, kind), optional
        Extended if a rule raises.
    context : mapping
        Context of the trigger, imputed where it lacks a key: its `time_zone` and `channel` count.

    Returns
    -------
    array of int, shape (n,)
        Positions, ascending; in a shadow, of coupons of staged campaigns.

    Examples
    --------
    >>> from stream_coupons.core.draws import PUBLIC_KEY
    >>> coupons = [Coupon(coupon_id=name, max_discount_minor=1, paused=name == "b") for name in "abc"]
    >>> eligible(Shopper(), CouponSet(coupons, 1000.0), 0.0, Rules(key=PUBLIC_KEY)).tolist()
    [0, 2]
    """
    occasions, zone = coupons.occasions, rules.shop.time_zone
    if occasions is not None or coupons.has_rules:
        zone = zone_of(context, zone)
    allowed = (coupons.valid_from <= at) & (at < coupons.valid_until) & coupons.is_open
    if now > at:
        allowed &= (coupons.valid_until > now) & (coupons.redeem_within_s > now - at)
    if occasions is not None:
        allowed &= occasions.at(at, zone) & occasions.through(context)
        if now > at:
            allowed &= occasions.at(now, zone)
    for members in _beyond_ramps(coupons, trigger, rules):
        allowed[members] = False
    for position in coupons.in_question(shopper.history.given, shopper.profile.ordered_at):
        if allowed[position] and _past_objection(shopper, coupons, position, at, rules) is not None:
            allowed[position] = False
    if coupons.capped_campaigns:
        for campaign_id in shopper.history.given.campaigns.keys() & coupons.capped_campaigns.keys():
            (caps, members), on = coupons.capped_campaigns[campaign_id], local_time(at, rules.shop.time_zone)
            if shopper.history.given.reached(caps, on, campaign_id=campaign_id) is not None:
                allowed[members] = False
    if shopper.issues or shopper.controls:
        for held in shopper.held_coupons(at):
            allowed[[*coupons.excluded_by(held), *coupons.of_group(held)]] = False
    table = coupons.once(rule_table) if coupons.has_rules else None
    if table is not None and table.narrow(allowed, Occasion(shopper, at, trigger, zone)) and facts is not None:
        facts.append(("rule_error", coupons.coupons[0].domain))
    return np.flatnonzero(allowed)


def _beyond_ramps(coupons: CouponSet, trigger: ShopEvent | None, rules: Rules) -> list[Positions]:
    """Return the positions of the coupons of each campaign that is not ramped up to the shopper of a trigger yet."""
    if trigger is None or not coupons.ramps:
        return []
    return [members for campaign, members in coupons.ramps if is_outside_ramp(campaign, trigger.user_id, rules.key)]


def objection(  # noqa: PLR0913 - as `eligible`
    shopper: Shopper,
    coupons: CouponSet,
    position: int,
    at: float,
    rules: Rules,
    trigger: ShopEvent | None = None,
    context: Context = NO_CONTEXT,
) -> Ineligible | None:
    """Return the reason why the shopper may not get a coupon.

    Parameters
    ----------
    shopper, coupons, at, rules, trigger, context
        As of `eligible`.
    position : int
        Position of the coupon in `coupons`.

    Returns
    -------
    Ineligible or None
        None if the shopper may get it.

    Examples
    --------
    >>> from stream_coupons.core.draws import PUBLIC_KEY
    >>> coupons = CouponSet([Coupon(coupon_id="c", max_discount_minor=1, valid_until=50.0)], 1000.0)
    >>> objection(Shopper(), coupons, 0, 60.0, Rules(key=PUBLIC_KEY)).value
    'expired'
    """
    zone = zone_of(context, rules.shop.time_zone)
    if (stop := coupons.stops[position]) is not None:
        return stop
    if any(position in members for members in _beyond_ramps(coupons, trigger, rules)):
        return Ineligible.OUTSIDE_RAMP
    if at < coupons.valid_from[position]:
        return Ineligible.NOT_YET_VALID
    if at >= coupons.valid_until[position]:
        return Ineligible.EXPIRED
    if coupons.occasions is not None and (found := coupons.occasions.objection(position, at, context, zone)):
        return found
    if any(position in coupons.excluded_by(held) for held in shopper.held_coupons(at)):
        return Ineligible.ALREADY_HELD
    if any(position in coupons.of_group(held) for held in shopper.held_coupons(at)):
        return Ineligible.EXCLUSION_GROUP
    past = _past_objection(shopper, coupons, position, at, rules)
    if past is None and broken_clause(coupons, position, Occasion(shopper, at, trigger, zone)) is not None:
        return Ineligible.RULE
    return past


def _past_objection(shopper: Shopper, coupons: CouponSet, position: int, at: float, rules: Rules) -> Ineligible | None:
    coupon = coupons.coupons[position]
    if (found := cap_objection(shopper.history.given, coupons, position, at, rules.shop.time_zone)) is not None:
        return found
    if coupon.items:
        since = at - rules.policy.reorder_suppress_s
        ordered = shopper.profile.ordered_at
        if all(ordered.get(item_id, -math.inf) > since for item_id in coupon.items):
            return Ineligible.ALREADY_ORDERED
    return None


def cap_objection(counts: IssueCounts, coupons: CouponSet, position: int, at: float, zone: str) -> Ineligible | None:
    """Return the reason if a cap of the coupon, or of its campaign, allows the shopper no more for now.

    Parameters
    ----------
    counts : IssueCounts
        Coupons that the shopper was given, or that were withheld.
    coupons : CouponSet
        Coupons of one domain.
    position : int
        Position of the coupon in `coupons`.
    at : float
        UTC epoch seconds.
    zone : str
        Time zone of the shop.
    """
    own, shared = coupons.caps[position]
    if not (own or shared):
        return None
    coupon, on = coupons.coupons[position], local_time(at, zone)
    if counts.reached(own, on, coupon_id=coupon.coupon_id) is not None:
        return Ineligible.SHOPPER_CAP
    if counts.reached(shared, on, campaign_id=coupon.campaign_id) is not None:
        return Ineligible.CAMPAIGN_CAP
    return None
