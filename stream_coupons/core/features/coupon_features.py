"""Numeric features of the coupon."""

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Floats
from stream_coupons.core.catalogue.coupon_terms import MOST_DEPTH_RATIO, PRIOR_DEPTH_RATIO, depth_of
from stream_coupons.core.features.feature import CouponFeature
from stream_coupons.core.shopper.profile import DAY_S


def _depths(coupons: CouponSet) -> Floats:
    """Return the discount of each coupon as a share of its price; the prior depth where that is not known."""
    depths = [depth_of(coupon) for coupon in coupons.coupons]
    return np.array([PRIOR_DEPTH_RATIO if depth is None else depth for depth in depths])


COUPON_FEATURES = (
    CouponFeature(
        name="discount_depth",
        compute=_depths,
        bounds=(0.0, MOST_DEPTH_RATIO),
        text="takes {percent} off the usual price (15 % stands for not known, 50 % for all above)",
        # With a constant price elasticity of about -2.6 the effect grows fivefold from 10 to 30 % off.
        prior={"click": 3.0, "redeem": 3.0, "effect": 6.0},
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
        name="scope_size",
        compute=lambda coupons: np.array([len(coupon.items) for coupon in coupons.coupons], np.float64),
        log_divisor=3.0,
        bounds=(0.0, 4.0),
        text="names {whole} items",
    ),
)
