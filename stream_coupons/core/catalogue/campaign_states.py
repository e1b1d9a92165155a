"""The meaning of a campaign's state for its coupons."""

from collections.abc import Container

from stream_coupons.core.draws import DrawKey
from stream_coupons.core.messages.catalogue import Campaign, CampaignState, Coupon
from stream_coupons.core.reasons import Ineligible

ISSUING: frozenset[CampaignState] = frozenset({"ramp", "running"})
"""States in which coupons are issued."""
BEFORE_LAUNCH: frozenset[CampaignState] = frozenset({"draft", "staged", "approved"})
"""States of campaigns whose coupons have no effect on any decision yet."""


def stop_of(coupon: Coupon, campaign: Campaign | None, approved: Container[str] | None = None) -> Ineligible | None:
    """Return the reason why nobody gets a coupon for now; None if some do.

    Parameters
    ----------
    coupon : Coupon
        A coupon.
    campaign : Campaign or None
        Its campaign, if it is known. The budget of one that is not known is 0.
    approved : container of str, optional
        Ids of the campaigns that are approved; None where no approval is asked for.

    Examples
    --------
    >>> tea = Coupon(coupon_id="tea", max_discount_minor=1, campaign_id="spring")
    >>> [stop_of(tea, Campaign(campaign_id="spring", state=state)) for state in ("running", "held")]
    [None, <Ineligible.HELD: 'held'>]
    """
    if coupon.paused:
        return Ineligible.PAUSED
    if campaign is not None and campaign.state not in ISSUING:
        return Ineligible(campaign.state)
    if approved is not None and (coupon.campaign_id or "") not in approved:
        return Ineligible.NOT_APPROVED
    return None


def is_outside_ramp(campaign: Campaign, user_id: str, key: DrawKey) -> bool:
    """Return True if a shopper is not among those who may get the coupons of a campaign while it is ramped up.

    Each shopper has one draw a campaign, so whoever is within a ratio is within each greater one.

    Parameters
    ----------
    campaign : Campaign
        In any state.
    user_id : str
        The shopper.
    key : DrawKey
        The workers' secret.

    Examples
    --------
    >>> from stream_coupons.core.draws import PUBLIC_KEY
    >>> half = Campaign(campaign_id="spring", state="ramp", ramp_ratio=0.5)
    >>> sum(is_outside_ramp(half, f"u{number}", PUBLIC_KEY) for number in range(1000))
    510
    """
    return campaign.state == "ramp" and key.uniform("ramp", campaign.campaign_id, user_id) >= campaign.ramp_ratio
