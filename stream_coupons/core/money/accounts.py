"""The accounts that coupons draw on: every limit of stock or money, made from coupons and campaigns.

A coupon draws on its stock, on its own budget and on that of its campaign. Each is an account with an id, a limit and,
if it is money with an end, a target curve of spending.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from stream_coupons.core.messages.catalogue import BudgetCurve, BudgetHold, Campaign, Coupon
from stream_coupons.core.messages.fields import END_OF_TIME

UNITS, MONEY, CAMPAIGN, CODES = "units", "money", "campaign", "codes"
LAG_RATIO = 0.4
"""Mean time from an issue to its redemption, over the time that a coupon can be used: most use comes early."""


def units_of(coupon_id: str) -> str:
    """Return the account of a coupon's stock.

    Examples
    --------
    >>> units_of("tea")
    'units:tea'
    """
    return f"{UNITS}:{coupon_id}"


def money_of(coupon_id: str) -> str:
    """Return the account of a coupon's own budget."""
    return f"{MONEY}:{coupon_id}"


def campaign_of(campaign_id: str) -> str:
    """Return the account of a campaign's budget."""
    return f"{CAMPAIGN}:{campaign_id}"


def codes_of(coupon_id: str) -> str:
    """Return the account of a coupon's pool of codes."""
    return f"{CODES}:{coupon_id}"


def budgets_of(coupon_id: str, campaign_id: str | None) -> tuple[str, ...]:
    """Return the accounts of money that a coupon draws on.

    Parameters
    ----------
    coupon_id : str
        The coupon.
    campaign_id : str or None
        Its campaign; None if it has none.

    Examples
    --------
    >>> budgets_of("tea", "spring")
    ('money:tea', 'campaign:spring')
    """
    own = money_of(coupon_id)
    return (own,) if campaign_id is None else (own, campaign_of(campaign_id))


class Limit(NamedTuple):
    """Terms of one account.

    Attributes
    ----------
    most : int or None
        What it may give in all, units or minor units of money; None: it has no limit.
    quantum : int
        The least that is of use to a partition: one unit, or the most that one coupon can cost.
    starts_at, ends_at : float
        UTC epoch seconds.
    lag_s : float
        About the mean time from an issue to its redemption.
    is_stock : bool
        True if the account is in units of stock; False for money.
    least : int
        The most that the cheapest coupon can cost: with less, none can be given.
    max_overspend_ratio : float
        Spending beyond `most` if every open coupon took the most that it can, at most, as a share of `most`.
    unit_minor : int
        Minor units that one unit of stock counts for where prices are set, above 0; 0 of money.
    revoked : frozenset of int or None
        Of a pool of codes, the numbers that must not be given; None of any other account.
    """

    most: int | None
    quantum: int
    account_id: str = ""
    hold: BudgetHold = "maximum"
    curve: BudgetCurve = "none"
    starts_at: float = 0.0
    ends_at: float = END_OF_TIME
    lag_s: float = 0.0
    is_stock: bool = False
    unit_minor: int = 0
    least: int = 1
    max_overspend_ratio: float = 0.0
    revoked: frozenset[int] | None = None

    @property
    def worst(self) -> int | None:
        """The most that can be spent, minor units; None without a limit."""
        return None if self.most is None else math.floor(self.most * (1.0 + self.max_overspend_ratio))

    @property
    def is_priced(self) -> bool:
        """True if the account has a price."""
        return self.most is not None and self.curve != "none" and self.ends_at < END_OF_TIME


class Accounts:
    """All accounts of a catalogue.

    Parameters
    ----------
    coupons, campaigns : iterable of Coupon, of Campaign
        The catalogue.
    pools : mapping of str to (int, frozenset of int)
        Number of codes and revoked numbers of each pool, by coupon.

    Attributes
    ----------
    limits : dict
        By account id.
    """

    def __init__(
        self,
        coupons: Iterable[Coupon] = (),
        campaigns: Iterable[Campaign] = (),
        pools: Mapping[str, tuple[int, frozenset[int]]] = {},
    ) -> None:
        self.limits: dict[str, Limit] = {}
        self._of_coupon: dict[str, tuple[Limit, ...]] = {}
        members = list(coupons)
        of_campaign: defaultdict[str | None, list[Coupon]] = defaultdict(list)
        for coupon in members:
            of_campaign[coupon.campaign_id].append(coupon)
        for campaign in campaigns:
            self._add(_shared_limit(campaign, of_campaign[campaign.campaign_id]))
        for coupon in members:
            own = [self._add(limit) for limit in _own_limits(coupon)]
            if coupon.campaign_id is not None:
                own.append(self.limit(campaign_of(coupon.campaign_id)))
            if coupon.codes == "pool":
                own.append(self._add(_pool_limit(coupon, *pools.get(coupon.coupon_id, (0, frozenset())))))
            self._of_coupon[coupon.coupon_id] = tuple(own)

    def _add(self, limit: Limit) -> Limit:
        self.limits[limit.account_id] = limit
        return limit

    def limit(self, account_id: str) -> Limit:
        """Return the terms of an account; of one that is not in the catalogue the limit is 0."""
        return self.limits.get(account_id) or Limit(0, 1, account_id)

    def of(self, coupon: Coupon) -> tuple[Limit, ...]:
        """Return the accounts that a coupon draws on: its stock, those of money, its pool of codes."""
        return self._of_coupon.get(coupon.coupon_id) or _own_limits(coupon)


def _shared_limit(campaign: Campaign, coupons: Sequence[Coupon]) -> Limit:
    costs = [coupon.max_discount_minor for coupon in coupons] or [1]
    return Limit(
        campaign.budget_minor,
        max(costs),
        campaign_of(campaign.campaign_id),
        campaign.budget_hold,
        campaign.budget_curve,
        campaign.starts_at,
        campaign.ends_at,
        LAG_RATIO * sum(coupon.redeem_within_s for coupon in coupons) / max(len(coupons), 1),
        least=min(costs),
        max_overspend_ratio=_overspend_ratio(campaign),
    )


def _own_limits(coupon: Coupon) -> tuple[Limit, Limit]:
    most, span = coupon.max_discount_minor, (coupon.valid_from, coupon.valid_until)
    stock = Limit(coupon.stock, 1, units_of(coupon.coupon_id), "maximum", coupon.budget_curve, *span, 0.0, True, most)
    lag_s = LAG_RATIO * coupon.redeem_within_s
    own = money_of(coupon.coupon_id)
    terms = coupon.budget_minor, most, own, coupon.budget_hold, coupon.budget_curve, *span, lag_s
    return stock, Limit(*terms, least=most, max_overspend_ratio=_overspend_ratio(coupon))


def _pool_limit(coupon: Coupon, size: int, revoked: frozenset[int]) -> Limit:
    span = (coupon.valid_from, coupon.valid_until)
    return Limit(size, 1, codes_of(coupon.coupon_id), "maximum", "none", *span, is_stock=True, revoked=revoked)


def _overspend_ratio(terms: Coupon | Campaign) -> float:
    return 0.0 if terms.budget_hold == "maximum" else terms.max_overspend_ratio


def within_campaign(coupon: Coupon, campaigns: Mapping[str, Campaign]) -> tuple[float, float]:
    """Return the times between which a coupon may be issued, those of its campaign considered.

    Parameters
    ----------
    coupon : Coupon
        The coupon.
    campaigns : mapping of str to Campaign
        Known campaigns by id; one that is missing sets no terms.

    Returns
    -------
    valid_from, valid_until : float
        UTC epoch seconds.

    Examples
    --------
    >>> spring = Campaign(campaign_id="spring", starts_at=10.0, ends_at=20.0)
    >>> coupon = Coupon(coupon_id="tea", max_discount_minor=1, campaign_id="spring", valid_until=15.0)
    >>> within_campaign(coupon, {"spring": spring})
    (10.0, 15.0)
    """
    campaign = None if coupon.campaign_id is None else campaigns.get(coupon.campaign_id)
    if campaign is None:
        return coupon.valid_from, coupon.valid_until
    return max(coupon.valid_from, campaign.starts_at), min(coupon.valid_until, campaign.ends_at)
