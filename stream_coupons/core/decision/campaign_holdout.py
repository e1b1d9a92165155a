"""The holdout of a campaign: shoppers drawn by the secret get none of its coupons, and all others may.

A shopper is enrolled in either arm at the first decision at which a coupon of the campaign may be given. Until then no
coupon of it tells the arms apart. Shoppers whom the domain gives none are in neither arm.
"""

from collections.abc import Mapping

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Positions
from stream_coupons.core.decision import lift_steps, policy
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.affinity import Moment


def is_left_out(user_id: str, campaign_id: str, ratio: float, key: DrawKey) -> bool:
    """Return whether a campaign's holdout has the shopper; a greater ratio leaves out the same ones, and more.

    Parameters
    ----------
    user_id, campaign_id : str
        The shopper and the campaign: the draws of two campaigns are independent.
    ratio : float
        `Campaign.holdout_ratio`.
    key : DrawKey
        Signs the draw.

    Examples
    --------
    >>> from stream_coupons.core.draws import PUBLIC_KEY
    >>> [[n for n in range(8) if is_left_out(f"u{n}", "spring", ratio, PUBLIC_KEY)] for ratio in (0.2, 0.5)]
    [[0, 3, 7], [0, 1, 3, 7]]
    """
    return key.uniform("campaign holdout", campaign_id, user_id) < ratio


def allowed(user_id: str, coupons: CouponSet, positions: Positions, key: DrawKey) -> tuple[Positions, dict[str, bool]]:
    """Return the coupons that no campaign's holdout keeps from the shopper, and the campaigns that were drawn for.

    Parameters
    ----------
    user_id : str
        The shopper.
    coupons : CouponSet
        Coupons of one domain.
    positions : array of int
        Positions of the coupons that are eligible otherwise, ascending.
    key : DrawKey
        Signs the draws.

    Returns
    -------
    array of int
        Positions, ascending.
    dict of bool
        By campaign with a holdout and an eligible coupon, True if its holdout has the shopper.
    """
    arms: dict[str, bool] = {}
    if not coupons.holdouts:
        return positions, arms
    is_kept = np.zeros(len(coupons), np.bool_)
    is_kept[positions] = True
    for campaign_id, (ratio, members) in coupons.holdouts.items():
        if is_kept[members].any():
            arms[campaign_id] = is_left_out(user_id, campaign_id, ratio, key)
            is_kept[members] &= not arms[campaign_id]
    return np.flatnonzero(is_kept), arms


def enrol(moment: Moment, domain: str, arms: Mapping[str, bool], known: Knowledge, effects: Effects) -> None:
    """Follow the shopper for each campaign with a holdout of which this is the first decision.

    Parameters
    ----------
    moment : Moment
        The shopper and the time of the decision.
    domain : str
        Domain of the decision.
    arms : mapping of str to bool
        Campaigns, as of `allowed`.
    known : Knowledge
        Catalogue, and the arms of the domain.
    effects : Effects
        Effects of the event so far; extended.
    """
    if not arms:
        return
    arm = policy.arm_of(moment.user_id, known.brake(domain), known.rules)
    if arm.is_holdout or arm.is_braked:
        return
    for campaign_id, is_without in arms.items():
        lift_steps.enrol_for_campaign(moment, domain, campaign_id, known.catalogue, effects, is_without=is_without)
