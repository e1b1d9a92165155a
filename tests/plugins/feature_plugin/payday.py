"""Features of a package outside of stream_coupons: demand rises at the end of the month, when wages are paid."""

from datetime import UTC, datetime

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Floats
from stream_coupons.core.features.affinity import RowBatch, ShopperMoment
from stream_coupons.core.features.feature import CouponFeature, MatchFeature, ShopperFeature

FIRST_DAY = 25


def is_payday(known: ShopperMoment) -> bool:
    """Return True from the 25th of a month on, UTC."""
    return datetime.fromtimestamp(known.at, UTC).day >= FIRST_DAY


def discount_after_payday(rows: RowBatch) -> Floats:
    """Return the coupon's discount in units of money where it is payday."""
    days = np.array([float(is_payday(each)) for each in rows.shoppers])
    return days[rows.owner] * rows.coupons.discount_minor[rows.position] / 100.0


def title_length(coupons: CouponSet) -> Floats:
    """Return the length of each coupon's title, letters."""
    return np.array([len(coupon.title) for coupon in coupons.coupons], np.float64)


FEATURES = (
    ShopperFeature(
        name="payday",
        compute=is_payday,
        bounds=(0.0, 1.0),
        text="comes when wages are paid",
        prior={"effect": 0.5, "demand": 0.5},
    ),
    CouponFeature(
        name="title_length",
        compute=title_length,
        log_divisor=2.0,
        bounds=(0.0, 3.0),
        text="has a title of {whole} letters",
    ),
    MatchFeature(
        name="payday_discount",
        compute=discount_after_payday,
        bounds=(0.0, 2.0),
        text="takes {number} off when wages are paid",
        is_of_terms=True,
        is_of_effect=True,
    ),
)
