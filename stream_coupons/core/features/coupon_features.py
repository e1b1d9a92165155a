"""Numeric features of the coupon."""

import math

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Floats
from stream_coupons.core.catalogue.coupon_terms import MOST_DEPTH_RATIO, PRIOR_DEPTH_RATIO
from stream_coupons.core.features.feature import CouponFeature
from stream_coupons.core.shopper.profile import DAY_S

ELASTICITY = -2.62
"""Price elasticity of demand: the mean of published ones (Bijmolt, van Heerde, and Pieters 2005)."""
LEAST_DEPTH_RATIO = 0.01
"""Depth that counts for all below: the logarithm of no additional demand is not finite."""


def _depths(coupons: CouponSet) -> Floats:
    """Return the discount of each coupon as a share of its price; the prior depth where that is not known."""
    of_each = zip(coupons.discounts, coupons.coupons, strict=True)
    depths = [discount.depth(coupon.typical_price_minor) for discount, coupon in of_each]
    return np.array([PRIOR_DEPTH_RATIO if depth is None else depth for depth in depths])


def _growth(depth: float) -> float:
    """Return the additional demand at a discount of this depth, over the demand without it."""
    return float((1.0 - depth) ** ELASTICITY) - 1.0


def _pulls(coupons: CouponSet) -> Floats:
    """Return the logarithm of each coupon's additional demand, over that at the prior depth.

    At a constant elasticity shallow discounts hardly count: demand grows by 14 % at 5 % off and by 112 % at 25 % off.
    Of a pseudo-coupon it is 0.
    """
    depths = np.clip(_depths(coupons), LEAST_DEPTH_RATIO, MOST_DEPTH_RATIO)
    growth = np.array([_growth(depth) for depth in depths.tolist()])
    return np.where(coupons.gives_nothing, 0.0, np.log(growth / _growth(PRIOR_DEPTH_RATIO)))


COUPON_FEATURES = (
    CouponFeature(
        name="discount_depth",
        compute=_depths,
        bounds=(0.0, MOST_DEPTH_RATIO),
        text="takes {percent} off the usual price (15 % stands for not known, 50 % for all above)",
        is_of_terms=True,
        is_of_effect=True,
    ),
    CouponFeature(
        name="discount_pull",
        compute=_pulls,
        bounds=(-3.0, 2.5),
        text="takes off so much that demand in general grows by {percent}",
        number=lambda value: math.exp(value) * _growth(PRIOR_DEPTH_RATIO),
        prior={"click": 0.35, "effect": 0.75},
        is_of_terms=True,
        is_of_effect=True,
    ),
    CouponFeature(
        name="discount_size",
        compute=lambda coupons: coupons.discount_minor,
        log_divisor=10.0,
        bounds=(0.0, 4.0),
        text="takes {number} cents off",
        is_of_terms=True,
        is_of_effect=True,
    ),
    CouponFeature(
        name="time_to_redeem",
        compute=lambda coupons: coupons.redeem_within_s / DAY_S,
        log_divisor=4.0,
        bounds=(0.0, 4.0),
        text="can be used for {number} days",
    ),
    CouponFeature(
        name="whole_shop",
        compute=lambda coupons: coupons.is_for_all.astype(np.float64),
        bounds=(0.0, 1.0),
        text="is for the whole shop",
        prior={"effect": -1.0, "visit": 2.0},
        is_of_effect=True,
    ),
    CouponFeature(
        name="scope_size",
        compute=lambda coupons: np.array([len(coupon.items) for coupon in coupons.coupons], np.float64),
        log_divisor=3.0,
        bounds=(0.0, 4.0),
        text="names {whole} items",
    ),
)
